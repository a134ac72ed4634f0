"""Numba's options, in one place, each with its reason (floor 0). Only _lanes.py and _vectors.py import Numba too."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numba
from numba.extending import register_jitable as register_jitable

from npsnn import _threads

OPTIONS: dict[str, Any] = {
    "nogil": True,  # no Python object is touched inside, so other threads may run
    "error_model": "numpy",  # x / 0 is inf, as in the law, and no branch that raises stands in a loop's way
    "fastmath": False,  # a reference neither reorders sums nor contracts a * b + c (C11)
    "boundscheck": False,  # shapes are checked at the doors
}

Kernel = Callable[..., Any]


def jit(kernel: Kernel) -> Kernel:
    """Compile on the first call, for the types that come, and keep the machine code on disk where that is possible."""
    compiled = _compile(kernel)

    @wraps(kernel)
    def call(*args: Any) -> Any:
        return _run(compiled, args)

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def chunked_jit(kernel: Kernel) -> Kernel:
    """As `jit`, for kernel(begin, end, *args) that does chunks begin to end; call it as (chunks, *args), over threads.

    Who does which chunk is left to chance: a chunk must not write what another reads or writes.
    """
    compiled = _compile(kernel)

    @wraps(kernel)
    def call(chunks: int, *args: Any) -> None:
        _threads.share(chunks, lambda begin, end: _run(compiled, (begin, end, *args)))

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def _compile(kernel: Kernel) -> Kernel:
    try:
        return numba.njit(cache=True, **OPTIONS)(kernel)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder can be written to: compile in every process instead
        return numba.njit(**OPTIONS)(kernel)  # type: ignore[no-any-return]


def _run(compiled: Kernel, args: tuple[Any, ...]) -> Any:
    try:
        return compiled(*args)
    except OSError:  # it was compiled but could not be kept, say on a full disk; it has not run yet
        return compiled(*args)


def cache_folder() -> str:
    """Where compiled kernels are kept; a reason where they are not."""
    stats = getattr(_compile(_probe), "stats", None)
    return str(stats.cache_path) if stats is not None and stats.cache_path else "nowhere: no folder can be written to"


def _probe() -> None:
    return None
