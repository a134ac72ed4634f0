"""Arrays on the device (floor 0). What is not used any more is kept for the next array of its size."""

import math
import weakref
from collections import defaultdict
from functools import lru_cache
from typing import Any

import numpy as np

from npsnn import _cuda
from npsnn._cuda import GROUPS

Array = np.ndarray[Any, Any]

cuda = _cuda.driver()  # by this name the simulator finds it

# Of a kernel's: its integers are of 64 bits else, and an index may be negative, which costs a comparison each.
word, integer, index = np.uint32, np.int32, np.uint64

_idle: dict[tuple[np.dtype[Any], int], list[Any]] = defaultdict(list)  # dtype and size -> memory nobody uses
savers: weakref.WeakSet[Any] = weakref.WeakSet()  # who has memory for later, and a method `clear` that gives it up


class DeviceArray:
    """A contiguous array on the device, with what the network's layers need of an array, and no arithmetic but +.

    `np.asarray` brings it to the host. Slices along the first axis, and reshapes, are views.

    """

    on_device = True

    def __init__(self, flat: Any, shape: tuple[int, ...], owner: Any) -> None:
        self.flat, self.shape, self._owner = flat, shape, owner

    dtype = property(lambda self: self.flat.dtype)
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    real = property(lambda self: self)

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one number to the next along each axis."""
        return tuple(self.dtype.itemsize * math.prod(self.shape[k + 1 :]) for k in range(self.ndim))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        _cuda.copied()
        host = np.empty(self.size, self.dtype)
        if self.size:
            self.flat.copy_to_host(host)
        host = host.reshape(self.shape)
        return host if dtype is None else host.astype(dtype, copy=False)

    def reshape(self, *shape: Any) -> "DeviceArray":
        """The same numbers in another shape; one axis may be -1."""
        axes = tuple(int(n) for n in (shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape))
        known = math.prod(n for n in axes if n != -1)
        axes = tuple(self.size // known if n == -1 else n for n in axes)
        if math.prod(axes) != self.size:
            raise ValueError(f"cannot reshape {self.shape} into {axes}")
        return DeviceArray(self.flat, axes, self._owner)

    def transpose(self, order: tuple[int, ...]) -> "DeviceArray":
        """Itself: an array on the device lies in the order of its axes."""
        if tuple(order) != tuple(range(self.ndim)):
            raise NotImplementedError("an array on the device is not transposed")
        return self

    def __getitem__(self, which: Any) -> "DeviceArray":
        """A step, or steps in a row; further slices must take all of their axis."""
        first, *others = which if isinstance(which, tuple) else (which,)
        if any(s.indices(n) != (0, n, 1) for s, n in zip(others, self.shape[1:], strict=False)):
            raise NotImplementedError("an array on the device is cut along its first axis only")
        row = math.prod(self.shape[1:])
        if isinstance(first, int):
            first = first % len(self)
            return DeviceArray(self.flat[first * row : (first + 1) * row], self.shape[1:], self._owner)
        begin, end, _ = first.indices(len(self))
        return DeviceArray(self.flat[begin * row : end * row], (end - begin, *self.shape[1:]), self._owner)

    def __setitem__(self, which: Any, value: Any) -> None:
        there = self[which]
        if not (isinstance(value, DeviceArray) and value.flat is there.flat):
            copy_into(there, value)

    def copy(self) -> "DeviceArray":
        """Another array with the same numbers."""
        twin = empty(self.shape, self.dtype)
        copy_into(twin, self)
        return twin

    def astype(self, dtype: Any, copy: bool = True) -> "DeviceArray":
        """The numbers in another dtype."""
        if np.dtype(dtype) == self.dtype:
            return self.copy() if copy else self
        cast = empty(self.shape, dtype)
        _cuda.launch(_put, self.size, self, cast)
        return cast

    def __add__(self, other: Any) -> "DeviceArray":
        total = empty(self.shape, self.dtype)
        _cuda.launch(_add, self.size, self, send(other), total)
        return total

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"


def empty(shape: tuple[int, ...], dtype: Any) -> DeviceArray:
    """An array of any numbers."""
    dtype, size = np.dtype(dtype), math.prod(shape)
    idle = _idle[dtype, max(size, 1)]
    try:
        flat = idle.pop()
    except IndexError:
        flat = _allocated(max(size, 1), dtype)
    owner = Owner(flat)
    weakref.finalize(owner, idle.append, flat).atexit = False
    return DeviceArray(flat, tuple(int(n) for n in shape), owner)


class Owner:
    """Whoever shares some memory holds this; when the last one lets go, the memory is idle."""

    def __init__(self, flat: Any = None) -> None:
        self.flat = flat


def _allocated(size: int, dtype: np.dtype[Any]) -> Any:
    try:
        return cuda.device_array(size, dtype)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
    release()
    try:
        return cuda.device_array(size, dtype)
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        free, total = cuda.current_context().get_memory_info()
        raise MemoryError(
            f"the GPU has {free / 1e6:,.0f} MB free of {total / 1e6:,.0f} MB, and an array needs "
            f"{size * dtype.itemsize / 1e6:,.0f} MB: take fewer samples at a time, or give the network a memory_budget"
        ) from None


def _is_out_of_memory(error: Exception) -> bool:
    return "OUT_OF_MEMORY" in str(error) or "out of memory" in str(error)


def release() -> None:
    """Give back the memory that nobody uses."""
    _cuda.copied()
    for saver in list(savers):
        saver.clear()
    for idle in _idle.values():
        idle.clear()


def send(x: Any) -> DeviceArray:
    """`x` on the device: itself where it is there already."""
    if isinstance(x, DeviceArray):
        return x
    x = np.asarray(x)
    there = empty(x.shape, x.dtype.newbyteorder("="))
    copy_into(there, x)
    return there


def copy_into(there: DeviceArray, x: Any) -> None:
    """The numbers of `x`, from the host or the device, into an array of its shape and dtype."""
    if _cuda.recording is not None and isinstance(x, DeviceArray):
        _cuda.launch(_put, there.size, x, there)  # a recording has launches only
    elif there.size:
        _cuda.copied()
        source = x.flat if isinstance(x, DeviceArray) else np.ascontiguousarray(x, there.dtype).reshape(-1)
        there.flat.copy_to_device(source)


_sent: weakref.WeakKeyDictionary[Any, tuple[bytes, DeviceArray]] = weakref.WeakKeyDictionary()


def send_for(holder: Any, x: Array) -> DeviceArray:
    """As `send`: what lies there for `holder` since last time, where its bits are the same. Nobody may write to it."""
    numbers = x.tobytes()
    known = _sent.get(holder)
    if known is None or known[0] != numbers or known[1].shape != x.shape or known[1].dtype != x.dtype:
        known = lies_there(holder, x, send(x))
    return known[1]


def lies_there(holder: Any, x: Array, there: DeviceArray) -> tuple[bytes, DeviceArray]:
    """`there` has the numbers of `x`: `send_for` need not send them."""
    _sent[holder] = x.tobytes(), there
    return _sent[holder]


@lru_cache(maxsize=256)
def _constant(numbers: bytes, dtype: str, shape: tuple[int, ...]) -> DeviceArray:
    return send(np.frombuffer(numbers, dtype).reshape(shape))


def constant(x: Any) -> DeviceArray:
    """As `send`, for what is the same at every step: it crosses once. Nobody may write to it."""
    if isinstance(x, DeviceArray):
        return x
    x = np.asarray(x)
    return _constant(x.tobytes(), x.dtype.str, x.shape)


# --- kernels -------------------------------------------------------------------------------------------------------


@_cuda.kernel
def _put(total, x, y):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    while i < total:
        y[i] = x[i]
        i += cuda.gridsize(1)


@_cuda.kernel
def _add(total, a, b, c):  # type: ignore[no-untyped-def]
    i = cuda.grid(1)
    while i < total:
        c[i] = a[i] + b[i]
        i += cuda.gridsize(1)


@_cuda.device
def quotient(a, b):  # type: ignore[no-untyped-def]
    """(a // b, a % b) of what is in 32 bits: a GPU has no division of 64, and calls a function."""
    whole = word(word(a) // word(b))
    return integer(whole), integer(a - whole * b)


@_cuda.device
def add_groups(shares, lane, group):  # type: ignore[no-untyped-def]
    """A block's shares[0, lane] += those of all other groups, as a fixed tree; each of its threads must come here."""
    cuda.syncthreads()
    half = GROUPS // 2
    while half > 0:
        if group < half:
            shares[group, lane] += shares[group + half, lane]
        cuda.syncthreads()
        half //= 2
