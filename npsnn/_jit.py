"""Numba's options, in one place, each with its reason (floor 0). Beside it only _lanes.py imports Numba."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import numba
from numba import prange as prange
from numba.extending import register_jitable as register_jitable

OPTIONS: dict[str, Any] = {
    "nogil": True,  # no Python object is touched inside, so other threads may run
    "error_model": "numpy",  # x / 0 is inf, as in the law, and no branch that raises stands in a loop's way
    "fastmath": False,  # a reference neither reorders sums nor contracts a * b + c (C11)
    "boundscheck": False,  # shapes are checked at the doors
}

# Numba's fallback threading layer aborts the process when two Python threads are in a parallel kernel at once.
_one_at_a_time = threading.Lock()

Kernel = Callable[..., Any]


def jit(kernel: Kernel) -> Kernel:
    """Compile on the first call, for the types that come, and keep the machine code on disk where that is possible."""
    compiled = _compile(kernel)

    @wraps(kernel)
    def call(*args: Any) -> Any:
        return _run(compiled, args)

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def parallel_jit(kernel: Kernel) -> Kernel:
    """As `jit`, with `prange` over threads; calls from several Python threads take turns."""
    compiled = _compile(kernel, parallel=True)

    @wraps(kernel)
    def call(*args: Any) -> Any:
        with _one_at_a_time:
            return _run(compiled, args)

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def _compile(kernel: Kernel, **more: Any) -> Kernel:
    try:
        return numba.njit(cache=True, **OPTIONS, **more)(kernel)  # type: ignore[no-any-return]
    except RuntimeError:  # no folder can be written to: compile in every process instead
        return numba.njit(**OPTIONS, **more)(kernel)  # type: ignore[no-any-return]


def _run(compiled: Kernel, args: tuple[Any, ...]) -> Any:
    try:
        return compiled(*args)
    except OSError:  # it was compiled but could not be kept, say on a full disk; it has not run yet
        return compiled(*args)


def threads() -> int:
    """How many threads a parallel kernel uses."""
    return int(numba.get_num_threads())


def cache_folder() -> str:
    """Where compiled kernels are kept; a reason where they are not."""
    stats = getattr(_compile(_probe), "stats", None)
    return str(stats.cache_path) if stats is not None and stats.cache_path else "nowhere: no folder can be written to"


def _probe() -> None:
    return None
