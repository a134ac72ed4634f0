"""Holding a state dict against a network: ours, PyTorch's or snnTorch's (floor 2)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.layer import Layer
from npsnn.neuron import RESETS, Leaky

WHERE = "state dict"
MOST_AXES = 32  # of an array that NumPy can broadcast
MOST_NAMES = 20  # that an error lists


class LoadResult(NamedTuple):
    """What `strict=False` left out."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def match(
    mapping: Mapping[str, Any],
    params: Mapping[str, Array],
    layers: Sequence[Layer],
    dtype: np.dtype[Any],
    strict: bool,
) -> tuple[dict[str, Array], LoadResult]:
    """(name -> a copy of the network's dtype, what is left out); ValueError or TypeError for what differs."""
    if not isinstance(mapping, Mapping):
        raise TypeError(f"{WHERE}: must map names to arrays, got {type(mapping).__name__}")
    values: dict[str, Array] = {}
    unexpected: list[str] = []
    expected = constants(layers)
    for name, value in mapping.items():
        if not isinstance(name, str):
            raise TypeError(f"{WHERE}: a name must be a string, got {_check.said(name)}")
        if name in params:
            value = _check.plain(value, name, WHERE)
            if value.dtype.kind == "f":  # before it is copied: a view may be of more numbers than it has
                _check.shape(value, params[name].shape, name, WHERE)
            values[name] = _check.array(value, dtype, name, WHERE).copy()  # it may be a view of this very network
        elif name in expected:
            _check_constant(name, value, expected[name], dtype)
        else:
            unexpected.append(name)
    missing = [name for name in params if name not in values]
    if strict and (missing or unexpected):
        parts = [f"missing {_listed(missing)}"] if missing else []
        parts += [f"unexpected {_listed(unexpected)}"] if unexpected else []
        raise ValueError(f"{WHERE}: {'; '.join(parts)}; the network has {', '.join(params) or 'no parameters'}")
    return values, LoadResult(missing, unexpected)


def _listed(names: list[str]) -> str:
    """The first names, each in a form that a line can show."""
    shown = [name if name.isprintable() and len(name) < 100 else _check.said(name) for name in names[:MOST_NAMES]]
    return ", ".join(shown) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def constants(layers: Sequence[Layer]) -> dict[str, Array]:
    """What the neurons are, by the names of snnTorch's buffers; a learnable one has its first value here.

    >>> constants([Leaky(0.5, reset_mechanism="zero")])["0.reset_mechanism_val"]
    array(1)
    """
    found = {}
    for i, layer in enumerate(layers):
        if isinstance(layer, Leaky):
            found[f"{i}.beta"] = layer.beta
            found[f"{i}.threshold"] = layer.threshold
            found[f"{i}.graded_spikes_factor"] = np.array(1.0)
            found[f"{i}.reset_mechanism_val"] = np.array(RESETS.index(layer.reset_mechanism))
    return found


def _check_constant(name: str, value: Any, ours: Array, dtype: np.dtype[Any]) -> None:
    """ValueError or TypeError where a constant is another than the network's."""
    theirs = _check.plain(value, name, WHERE)
    if theirs.dtype.kind not in "fiu":
        raise TypeError(f"{WHERE}: {name} is {theirs.dtype}, expected a number or an array of numbers")
    try:
        fits = theirs.ndim <= MOST_AXES and 0 not in np.broadcast_shapes(theirs.shape, ours.shape)
    except ValueError:
        fits = False
    if not fits:
        shapes = _check.shape_text(theirs.shape), _check.shape_text(ours.shape)
        raise ValueError(f"{WHERE}: {name} has shape {shapes[0]}, the network's has {shapes[1]}")
    theirs = theirs[tuple(slice(1) if stride == 0 else slice(None) for stride in theirs.strides)]  # each number once
    # Compared in the coarser dtype of the two: snnTorch keeps 0.9 as its nearest float32.
    coarser = theirs.dtype if theirs.dtype.kind == "f" and theirs.dtype.itemsize < dtype.itemsize else dtype
    with np.errstate(over="ignore"):
        a, b = theirs.astype(coarser), ours.astype(coarser)
    a, b = np.broadcast_arrays(a, b)
    if (a != b).any():
        at = tuple(int(i) for i in np.argwhere(a != b)[0])
        given, has = (np.broadcast_to(constant, a.shape)[at] for constant in (theirs, ours))
        place = f" at {at}" if at else ""
        raise ValueError(f"{WHERE}: {name} is {given!s}{place}, the network's is {has!s}")
