"""Numba's options, in one place, each with its reason, and how kernels are called (floor 0)."""

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any

import numba
import numba.extending

from npsnn import _threads
from npsnn._kernel_files import KernelCache

OPTIONS: dict[str, Any] = {
    "nogil": True,  # no Python object is touched inside, so other threads may run
    "error_model": "numpy",  # x / 0 is inf, as in the law, and no branch that raises stands in a loop's way
    "fastmath": False,  # a reference neither reorders sums nor contracts a * b + c (C11)
    "boundscheck": False,  # shapes are checked at the doors
    "no_cfunc_wrapper": True,  # nobody calls from C; a tenth of the time to compile
}

Kernel = Callable[..., Any]

# A function that is called from kernels alone, and is plain Python outside of them.
register_jitable = numba.extending.register_jitable(no_cfunc_wrapper=True)
# The same for one that makes no array, nor calls one that does: it need not count who holds what it is given, as Numba
# does in the middle of loops, atomically. One that gives back an array that it was given is for its like alone.
borrows = numba.extending.register_jitable(no_cfunc_wrapper=True, _nrt=False)


def jit(kernel: Kernel) -> Kernel:
    """Compile on the first call, for the types that come, and keep the machine code on disk where that is possible."""
    compiled = _compile(kernel)

    @wraps(kernel)
    def call(*args: Any) -> Any:
        return compiled(*args)

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def chunked_jit(kernel: Kernel) -> Kernel:
    """As `jit`, for kernel(begin, end, *args) that does chunks begin to end; call it as (chunks, *args), over threads.

    Who does which chunk is left to chance: a chunk must not write what another reads or writes.
    """
    compiled = _compile(kernel)

    @wraps(kernel)
    def call(chunks: int, *args: Any) -> None:
        _threads.share(chunks, lambda begin, end: compiled(begin, end, *args))

    call.compiled = compiled  # type: ignore[attr-defined]
    return call


def variant_of(function: Callable[..., Any]) -> Callable[[Kernel], Kernel]:
    """Decorate a kernel that is made once for each of several functions: it is then named after the one it has inside.

    Machine code is named after its function and a number that counts the functions of a process. Variants of one name,
    kept on disk by two processes, may come with the same number, and a third that loads both would run one for both.

    >>> @variant_of(max)
    ... def kernel(): pass
    >>> kernel.__qualname__
    'kernel[max]'
    """

    def name(kernel: Kernel) -> Kernel:
        kernel.__qualname__ += f"[{function.__qualname__}]"
        return kernel

    return name


def _compile(kernel: Kernel) -> Kernel:
    compiled = numba.njit(**OPTIONS)(kernel)
    if not numba.config.DISABLE_JIT:
        with suppress(RuntimeError, OSError):  # no folder can be written to: compile in every process instead
            compiled._cache = KernelCache(kernel)
    return compiled  # type: ignore[no-any-return]


def cache_folder() -> str:
    """Where compiled kernels are kept; a reason where they are not."""
    stats = getattr(_compile(_probe), "stats", None)
    return str(stats.cache_path) if stats is not None and stats.cache_path else "nowhere: no folder can be written to"


def _probe() -> None:
    return None
