"""Large arrays in memory that was used before (floor 0).

Every step of a training run makes arrays of the same sizes and drops them. An allocator gives such memory back to the
system, which clears each page before it lends it again; here it is kept for the next array of that size.
"""

import math
import os
import threading
from collections import OrderedDict
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SMALL = 2**16  # bytes; what is smaller an allocator keeps at hand itself
KEPT = 2**28  # bytes that are kept unused, at most
ALIGNMENT = 64  # of the first number: a cache line, and the longest vector


class _Idle:
    """Memory that no array uses, what was given back first at the front."""

    def __init__(self) -> None:
        self.buffers: OrderedDict[int, Array] = OrderedDict()  # by address
        self.bytes = 0
        self.lock = threading.RLock()  # a garbage collection may give something back while it is held

    def take(self, size: int) -> Array | None:
        with self.lock:
            # A copy, because a garbage collection may put something in while this looks.
            for address, buffer in reversed(list(self.buffers.items())):
                if buffer.size == size and self.buffers.pop(address, None) is not None:
                    self.bytes -= size
                    return buffer
        return None

    def put(self, buffer: Array) -> None:
        with self.lock:
            # not .ctypes.data: that may import, which an interpreter that is shutting down cannot
            self.buffers[buffer.__array_interface__["data"][0]] = buffer
            self.bytes += buffer.size
            while self.bytes > KEPT:
                self.bytes -= self.buffers.popitem(last=False)[1].size


class _Loan:
    """A buffer while arrays use it: NumPy keeps this alive as long as any array over it lives."""

    def __init__(self, buffer: Array) -> None:
        self.buffer = buffer
        self.__array_interface__ = buffer.__array_interface__

    def __del__(self) -> None:
        _idle.put(self.buffer)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """As np.empty, C-contiguous.

    >>> x = empty((100, 200), np.float64)
    >>> x.shape, x.dtype, x.flags.c_contiguous
    ((100, 200), dtype('float64'), True)
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    buffer = _idle.take(size + ALIGNMENT)
    if buffer is None:
        buffer = np.empty(size + ALIGNMENT, np.uint8)
    numbers = np.asarray(_Loan(buffer))
    first = -buffer.ctypes.data % ALIGNMENT
    array: Array = numbers[first : first + size].view(dtype).reshape(shape)
    return array


def release() -> None:
    """Give what is kept unused back to the system."""
    with _idle.lock:
        _idle.buffers.clear()
        _idle.bytes = 0


_idle = _Idle()


def _start_again() -> None:
    """A forked child has none of its parent's threads, one of which may have held the lock."""
    _idle.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_again)
