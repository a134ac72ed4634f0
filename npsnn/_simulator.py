"""Numba's simulator of a GPU, made quick and certain (floor 0). Nothing here runs where there is a GPU.

- It has a thread of the operating system for a thread of the GPU, and asks in a loop whether they have come to a
  barrier. Python's lock changes hands every 5 ms, so that a barrier took that long; while a kernel runs, it changes
  hands more often.
- The first thread that asks for a shared array makes it. Two that ask at the same time got two: here one waits.
"""

import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

_making = threading.Lock()


def mend() -> None:
    """Have the simulator make every shared array once."""
    from numba.cuda.simulator import kernelapi

    kernelapi.FakeCUDAShared.array = _shared_array


def _shared_array(self: Any, shape: Any, dtype: Any) -> Any:
    """The array of a block that is asked for in the caller's line."""
    caller = sys._getframe(1)
    line = caller.f_code.co_filename, caller.f_lineno
    with _making:
        if line not in self._allocations:
            self._allocations[line] = np.empty(shape, dtype)
        return self._allocations[line]


def run(kernel: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """A kernel that knows its grid."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of inf and NaN NumPy's scalars warn, and no GPU does
            kernel(*args)
    finally:
        sys.setswitchinterval(interval)
