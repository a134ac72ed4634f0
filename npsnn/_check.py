"""Errors about shapes, dtypes and values, worded once (floor 0).

Every public door of the package sends its arguments through here before any work is done. A message names the
place, the argument, what came and what was expected. Nothing that comes in is changed; a conversion is a copy.
"""

import numbers
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def prefix(where: str) -> str:
    """``"3 Conv2d"`` -> ``"3 Conv2d: "``; nothing for an empty place."""
    return f"{where}: " if where else ""


def shape_text(shape: tuple[int, ...]) -> str:
    """The shape as NumPy prints it, whatever integers it holds: ``(2, 3)``."""
    return str(tuple(int(n) for n in shape))


def whole(value: Any, name: str, minimum: int = 1, where: str = "") -> int:
    """An integer of at least `minimum`; bool and float are refused (TypeError), a small one is a ValueError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{prefix(where)}{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{prefix(where)}{name} must be at least {minimum}, got {value}")
    return int(value)


def pair(value: Any, name: str, minimum: int, where: str = "") -> tuple[int, int]:
    """An int, meaning both, or a pair of ints, each at least `minimum`."""
    values = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(values) != 2:
        raise ValueError(f"{prefix(where)}{name} must be an integer or a pair, got {value!r}")
    return whole(values[0], name, minimum, where), whole(values[1], name, minimum, where)


def real(value: Any, name: str, where: str = "") -> float:
    """A finite real number (not a bool, not a string)."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real | np.floating):
        raise TypeError(f"{prefix(where)}{name} must be a number, got {value!r}")
    if not np.isfinite(float(value)):
        raise ValueError(f"{prefix(where)}{name} must be finite, got {value!r}")
    return float(value)


def flag(value: Any, name: str, where: str = "") -> bool:
    """True or False, and nothing that merely counts as one."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{prefix(where)}{name} must be True or False, got {value!r}")
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
    if a.dtype.kind in "iub":
        images = ", and for images of 0..255 divide by 255" if a.dtype == np.uint8 else ""
        raise TypeError(
            f"{prefix(where)}{name} is {a.dtype}, the network computes in {dtype}; convert it: "
            f"{name}.astype(np.{dtype}){images}"
        )
    if a.dtype.kind != "f":
        raise TypeError(f"{prefix(where)}{name} is {a.dtype}, expected {dtype}")
    if not np.can_cast(a.dtype, dtype, "safe"):
        raise TypeError(
            f"{prefix(where)}{name} is {a.dtype}, the network computes in {dtype}: that would lose digits; "
            f"convert it: {name}.astype(np.{dtype})"
        )
    a = np.asarray(a, dtype=dtype, order="C")  # not ascontiguousarray, which gives a 0-d array an axis
    finite(a, name, where)
    return a


def plain(x: Any, name: str, where: str = "") -> Array:
    """`x` as NumPy has it; TypeError for what is ragged, no array at all, or masked, since the mask would be lost."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{prefix(where)}{name} is a masked array; fill it first: {name}.filled(0)")
    try:
        return np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:
        raise TypeError(f"{prefix(where)}{name} is not an array: {error}") from None


def shape(x: Array, expected: tuple[int, ...], name: str, where: str = "") -> None:
    """Refuse `x` unless its shape is `expected`."""
    if x.shape != tuple(expected):
        raise ValueError(f"{prefix(where)}{name} has shape {shape_text(x.shape)}, expected {shape_text(expected)}")


def labels(targets: Any, batch: int, classes: int, name: str = "targets") -> Array:
    """Class numbers as int64 of shape (batch,), each in [0, classes)."""
    t = plain(targets, name)
    if t.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers (class numbers), got {t.dtype}")
    shape(t, (batch,), name)
    if t.size and (int(t.min()) < 0 or int(t.max()) >= classes):
        worst = int(t.min()) if int(t.min()) < 0 else int(t.max())
        raise ValueError(f"{name} must lie in 0..{classes - 1} for {classes} outputs, got {worst}")
    return t.astype(np.int64)
