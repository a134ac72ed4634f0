"""All parameters of a network in one flat vector, seen by name (floor 2)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check
from npsnn._check import Array


class Slot(NamedTuple):
    """Where one parameter lies in the flat vector."""

    layer: int
    name: str
    start: int
    shape: tuple[int, ...]


class NamedViews(dict[str, Array]):
    """A dict of live views: assigning to a name copies into the view, so that the link is never lost."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name not in self:
            raise KeyError(f"no parameter {name!r}; there are {', '.join(self)}")
        value = _check.plain(value, name)
        if value.dtype.kind not in "fiu":
            raise TypeError(f"{name} must be real numbers, got {value.dtype}")
        _check.shape(value, self[name].shape, name)
        with np.errstate(over="ignore", under="ignore"):
            own = value.astype(self[name].dtype)  # a copy, for it may be a view of what it is written to
        _check.finite(own, name)
        self[name][...] = own

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Assign to several names."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: Any) -> "NamedViews":  # type: ignore[override,misc]
        self.update(other)
        return self

    def _refuse(self, *_: Any) -> Any:
        raise TypeError("a network's parameters can be assigned to, not added or taken away")

    __delitem__ = pop = popitem = clear = setdefault = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class FlatParams:
    """One vector and the slots that name its pieces."""

    def __init__(self, flat: Array, slots: Sequence[Slot]) -> None:
        self.flat = flat
        self.slots = tuple(slots)

    @classmethod
    def pack(cls, layers: Sequence[Mapping[str, Array]], dtype: np.dtype[Any]) -> "FlatParams":
        """Lay the layers' parameters one after another.

        >>> p = FlatParams.pack([{"weight": np.ones((2, 3))}, {}], np.dtype(np.float64))
        >>> p.names, p.flat.shape
        (('0.weight',), (6,))
        """
        slots, start = [], 0
        for i, params in enumerate(layers):
            for name, value in params.items():
                slots.append(Slot(i, name, start, value.shape))
                start += value.size
        packed = cls(np.empty(start, dtype), slots)
        for slot, view in packed._views():
            view[...] = layers[slot.layer][slot.name]
        return packed

    @property
    def names(self) -> tuple[str, ...]:
        """`"0.weight"`, in order."""
        return tuple(f"{slot.layer}.{slot.name}" for slot in self.slots)

    def _views(self) -> Iterator[tuple[Slot, Array]]:
        for slot in self.slots:
            yield slot, self._view(slot)

    def _view(self, slot: Slot) -> Array:
        return self.flat[slot.start : slot.start + math.prod(slot.shape)].reshape(slot.shape)

    def named(self) -> NamedViews:
        """Full name -> live view."""
        return NamedViews({f"{slot.layer}.{slot.name}": view for slot, view in self._views()})

    def of_layer(self, i: int) -> dict[str, Array]:
        """Short name -> live view, of one layer."""
        return {slot.name: self._view(slot) for slot in self.slots if slot.layer == i}

    def copy(self) -> "FlatParams":
        """The same slots over a copy of the vector."""
        return FlatParams(self.flat.copy(), self.slots)

    def flatten(self, grads: Mapping[str, Any]) -> Array:
        """Gradients laid out as the parameters are; ValueError for a missing, unknown, misshapen or non-finite one."""
        if not isinstance(grads, Mapping):
            raise TypeError(f"grads: must map names to arrays, got {type(grads).__name__}")
        names = self.names
        missing = [name for name in names if name not in grads]
        if missing:
            raise ValueError(f"grads: no gradient for {', '.join(missing)}")
        unknown = [name for name in grads if name not in names and name not in ("input", "state")]
        if unknown:
            raise ValueError(f"grads: no parameter {', '.join(map(repr, unknown))}; there are {', '.join(names)}")
        flat = np.empty_like(self.flat)
        for slot, name in zip(self.slots, names, strict=True):
            d = _check.array(grads[name], self.flat.dtype, name, "grads")
            _check.shape(d, slot.shape, name, "grads")
            flat[slot.start : slot.start + d.size] = d.ravel()
        return flat
