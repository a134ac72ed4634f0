"""A small fault in the engine's own source, for the length of a block: how to see that a check would see one.

The fault is planted in the running function, never in a file: the source is read, changed as text, compiled, and the
function's code is exchanged. At the end of the block the true code is put back, after an exception and Ctrl-C too.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import Any, cast

Function = Callable[..., Any]


@contextmanager
def planted(function: Function, old: str, new: str) -> Iterator[None]:
    """Inside, `function` computes what its source says with `old`, which must stand there once, replaced by `new`.

    Stay on the reference backend inside: the twins do not have the fault, and a kernel that is compiled of `function`
    there would keep it. ValueError where `old` does not stand there once, OSError where the source is not there.

    Example
    -------
    >>> import numpy as np
    >>> from npsnn.leaky.reference import clip01
    >>> with planted(clip01, "0 * beta + 1", "0 * beta + 2"):
    ...     clip01(np.array(1.5))
    array(2.)
    >>> clip01(np.array(1.5))
    array(1.)
    """
    plain = cast(FunctionType, function)
    changed, true = _changed(plain, old, new), plain.__code__
    try:
        plain.__code__ = changed
        yield
    finally:
        plain.__code__ = true


def source_of(function: Function) -> str:
    """The text of a function; OSError, which says what to do, where its file was not installed."""
    try:
        return inspect.getsource(function)
    except OSError:
        raise OSError(
            f"the source of {function.__module__} is not here, so no fault can be planted in it: install npsnn with "
            "its .py files"
        ) from None


def _changed(function: FunctionType, old: str, new: str) -> CodeType:
    """The code of the function with the fault."""
    body = source_of(function)
    if body.count(old) != 1:
        raise ValueError(f"{old!r} stands {body.count(old)} times in {function.__qualname__}, expected once")
    path, first = function.__code__.co_filename, function.__code__.co_firstlineno - 1
    lines = inspect.getsource(sys.modules[function.__module__]).splitlines(keepends=True)
    lines[first : first + len(body.splitlines())] = [body.replace(old, new)]
    found = _find(compile("".join(lines), path, "exec"), function.__qualname__)
    assert found is not None  # its text is in the module's
    return found


def _find(code: CodeType, qualname: str) -> CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == qualname:
                return constant
            inner = _find(constant, qualname)
            if inner is not None:
                return inner
    return None
