"""A small fault in the engine's own source, for the length of a block."""

import inspect
from contextlib import contextmanager
from types import CodeType


@contextmanager
def planted(function, old, new):
    """Inside, `function` computes what its source says with `old`, which must stand there once, replaced by `new`."""
    module = inspect.getmodule(function)
    lines, first = inspect.getsourcelines(function)
    source = inspect.getsource(module).splitlines(keepends=True)
    body = "".join(lines)
    assert body.count(old) == 1, f"{old!r} stands {body.count(old)} times in {function.__qualname__}"
    source[first - 1 : first - 1 + len(lines)] = [body.replace(old, new)]
    changed = _find(compile("".join(source), module.__file__, "exec"), function.__qualname__)
    true = function.__code__
    function.__code__ = changed
    try:
        yield
    finally:
        function.__code__ = true


def _find(code: CodeType, qualname: str) -> CodeType:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == qualname:
                return constant
            inner = _find(constant, qualname)
            if inner is not None:
                return inner
    return None
