"""Errors about shapes, dtypes and values, worded once (floor 0).

Every public door of the package sends its arguments through here before any work is done. A message names the
place, the argument, what came and what was expected. Nothing that comes in is changed; a conversion is a copy.
"""

import math
import numbers
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
LARGEST = 2**31 - 1  # of a kernel, a stride, a padding: products of two, and of their places, stay within 64 bits


def prefix(where: str) -> str:
    """``"3 Conv2d"`` -> ``"3 Conv2d: "``; nothing for an empty place."""
    return f"{where}: " if where else ""


def shape_text(shape: tuple[int, ...]) -> str:
    """The shape as NumPy prints it, whatever integers it holds: ``(2, 3)``."""
    return str(tuple(int(n) for n in shape))


def said(value: Any) -> str:
    """What came, in a line: an array passed by mistake would fill a screen.

    >>> said("soft"), said(np.zeros((2, 2))), said(np.zeros(99))
    ("'soft'", 'array([[0., 0.], [0., 0.]])', 'a ndarray of shape (99,)')
    """
    text = " ".join(repr(value).split())
    if len(text) <= 100:
        return text
    shape = f" of shape {shape_text(value.shape)}" if isinstance(value, np.ndarray) else ""
    return f"a {type(value).__name__}{shape}"


def whole(value: Any, name: str, minimum: int = 1, where: str = "") -> int:
    """An integer of at least `minimum`; bool and float are refused (TypeError), a small one is a ValueError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{prefix(where)}{name} must be an integer, got {said(value)}")
    if value < minimum:
        raise ValueError(f"{prefix(where)}{name} must be at least {minimum}, got {value}")
    return int(value)


def pair(value: Any, name: str, minimum: int, where: str = "") -> tuple[int, int]:
    """An int, meaning both, or a pair of ints, each at least `minimum`."""
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{prefix(where)}{name} must be an integer or a pair, got {said(value)}")
    a, b = (whole(v, name, minimum, where) for v in values)
    if max(a, b) > LARGEST:
        raise ValueError(f"{prefix(where)}{name} must be at most {LARGEST}, got {max(a, b)}")
    return a, b


def size(shape: tuple[int, ...], name: str, where: str = "") -> tuple[int, ...]:
    """`shape` itself, refused where no array of float64 could have it."""
    if 8 * math.prod(shape) > np.iinfo(np.intp).max:
        raise ValueError(f"{prefix(where)}{name} of shape {shape_text(shape)} is larger than any array can be")
    return shape


def real(value: Any, name: str, where: str = "") -> float:
    """A finite real number (not a bool, not a string)."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real | np.floating):
        raise TypeError(f"{prefix(where)}{name} must be a number, got {said(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"{prefix(where)}{name} must be finite, got an integer beyond the floats") from None
    if not np.isfinite(number):
        raise ValueError(f"{prefix(where)}{name} must be finite, got {value!r}")
    return number


def flag(value: Any, name: str, where: str = "") -> bool:
    """True or False, and nothing that merely counts as one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{prefix(where)}{name} must be True or False, got {said(value)}")
    return bool(value)


def finite(x: Array, name: str, where: str = "") -> None:
    """Refuse NaN and inf, saying how many there are and where the first one is."""
    good = np.isfinite(x)
    if good.all():
        return
    first = tuple(int(i) for i in np.argwhere(~good)[0])
    bad = x[~good]
    count, kind = (int(np.isnan(bad).sum()), "NaN") if np.isnan(bad).any() else (bad.size, "inf")
    raise ValueError(f"{prefix(where)}{name} has {count} {kind}, first non-finite value at {first}")


def array(x: Any, dtype: np.dtype[Any], name: str, where: str = "") -> Array:
    """`x` as a C-contiguous array of `dtype`, converted if that loses nothing and refused otherwise.

    TypeError for integers, bools, objects, complex and for a float dtype that would lose digits;
    ValueError for NaN and inf.
    """
    a = plain(x, name, where)
    if a.dtype != dtype:
        _castable(x, a, dtype, name, where)
    a = in_order(a, dtype)
    finite(a, name, where)
    return a


def _castable(x: Any, a: Array, dtype: np.dtype[Any], name: str, where: str) -> None:
    """TypeError where `a`, which is x as NumPy has it, would lose something as `dtype`."""
    it = name if name.isidentifier() else "..."
    convert = f"{it}.astype(np.{dtype})" if hasattr(x, "astype") else f"np.asarray({it}, np.{dtype})"
    if a.dtype.kind in "iub":
        images = ", and for images of 0..255 divide by 255" if a.dtype == np.uint8 else ""
        raise TypeError(
            f"{prefix(where)}{name} is {a.dtype}, the network computes in {dtype}; convert it: {convert}{images}"
        )
    if a.dtype.kind != "f":
        holds = ""
        if a.dtype.kind == "O" and a.size:
            holds = f"; it holds {said(next((v for v in a.flat if not isinstance(v, numbers.Number)), a.flat[0]))}"
        raise TypeError(f"{prefix(where)}{name} is {a.dtype}, expected {dtype}{holds}")
    if not np.can_cast(a.dtype, dtype, "safe"):
        raise TypeError(
            f"{prefix(where)}{name} is {a.dtype}, the network computes in {dtype}: that would lose digits; "
            f"convert it: {convert}"
        )


def in_order(a: Array, dtype: np.dtype[Any]) -> Array:
    """`a` of `dtype` as a kernel takes it: C-contiguous, in the machine's byte order, aligned; itself where it is so.

    >>> in_order(np.ones((2, 3), ">f4").T, np.dtype(np.float32)).strides
    (8, 4)
    """
    a = np.asarray(a, dtype=dtype, order="C")  # not ascontiguousarray, which gives a 0-d array an axis
    return a if a.flags.aligned else a.copy()


def plain(x: Any, name: str, where: str = "") -> Array:
    """`x` as NumPy has it; TypeError for what is ragged, no array at all, or masked, since the mask would be lost."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{prefix(where)}{name} is a masked array; fill it first: {name}.filled(0)")
    try:
        return np.asarray(x)
    except MemoryError:
        raise
    except Exception as error:  # whatever another library's arrays raise: this door makes one line of it
        if getattr(x, "requires_grad", False) is True:
            raise TypeError(f"{prefix(where)}{name} requires grad, which no array can; pass its .detach()") from None
        raise TypeError(f"{prefix(where)}{name} is not an array: {' '.join(str(error).split())}") from None


def shape(x: Array, expected: tuple[int, ...], name: str, where: str = "") -> None:
    """Refuse `x` unless its shape is `expected`."""
    if x.shape != tuple(expected):
        raise ValueError(f"{prefix(where)}{name} has shape {shape_text(x.shape)}, expected {shape_text(expected)}")


def axes(shape: tuple[int, ...], timed: bool, images: bool, channels: int | None, name: str) -> None:
    """Refuse an input for its number of axes, and say what to write where that can be told.

    `timed`: it should begin with time; `images`, `channels`: what the first layer takes; name: x, or x_t of one step.
    """
    features, hint = "channels, height, width" if images else "*features", ""
    over = len(shape) - timed - (4 if images else 2)
    if name == "x" and not timed and over == 1:
        hint = "; where it has a time axis, leave num_steps out"
    elif over == -1 and (not images or shape[-3] == channels):
        hint = "; where it has no time axis give num_steps" if timed else f"; add a batch axis: {name}[None]"
        hint += f", where it has no batch axis {name}[:, None]" if timed else ""
    elif over == -1 and images and channels == 1:
        hint = f"; add a channel axis: np.expand_dims({name}, -3)"
    given = " with num_steps" if name == "x" and not timed else ""
    raise ValueError(
        f"{name} has shape {shape_text(shape)}, expected ({'T, ' if timed else ''}B, {features}){given}{hint}"
    )


def labels(targets: Any, batch: int, classes: int, name: str = "targets", steps: int | None = None) -> Array:
    """Class numbers as int64 of shape (batch,), each in [0, classes).

    `steps` is that of the recording they belong to: to say so where the two were taken for each other.
    """
    t = plain(targets, name)
    if t.shape != (batch,):
        hint = ""
        if t.shape == (batch, classes):
            hint = f"; for one-hot use {name}.argmax(1)"
        elif t.shape == (batch, 1):
            hint = f"; for a column use {name}[:, 0]"
        elif t.shape == (steps,):
            hint = f"; the recording has {steps} steps: time comes first, then the batch"
        raise ValueError(f"{name} has shape {shape_text(t.shape)}, expected ({batch},){hint}")
    if t.dtype.kind not in "iu":
        convert = f"; convert them: np.asarray({name}, np.int64)" if t.dtype.kind in "fb" else ""
        raise TypeError(f"{name} must be integers (class numbers), got {t.dtype}{convert}")
    if t.size and (int(t.min()) < 0 or int(t.max()) >= classes):
        at = int(t.argmin()) if int(t.min()) < 0 else int(t.argmax())
        got = f"{t[at]} at sample {at}" + ("; no number says that a sample is ignored" if int(t[at]) < 0 else "")
        raise ValueError(f"{name} must lie in 0..{classes - 1} for {classes} outputs, got {got}")
    return t.astype(np.int64)
