"""Holding a state dict against a network: ours, PyTorch's or snnTorch's (floor 2)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.layer import Layer
from npsnn.neuron import RESETS, Leaky


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
    """(name -> checked array of the network's dtype, what is left out); ValueError or TypeError for what differs."""
    values: dict[str, Array] = {}
    unexpected: list[str] = []
    for name, value in mapping.items():
        if name in params:
            value = _check.array(value, dtype, name, "state dict")
            _check.shape(value, params[name].shape, name, "state dict")
            values[name] = value
        elif not _is_same_neuron(name, value, layers, dtype):
            unexpected.append(name)
    missing = [name for name in params if name not in values]
    if strict and (missing or unexpected):
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unexpected {', '.join(unexpected)}"] if unexpected else []
        raise ValueError(f"state dict: {'; '.join(parts)}; the network has {', '.join(params) or 'no parameters'}")
    return values, LoadResult(missing, unexpected)


def _is_same_neuron(name: str, value: Any, layers: Sequence[Layer], dtype: np.dtype[Any]) -> bool:
    """Whether `name` is a constant of one of the network's neurons; ValueError where its value is another."""
    index, _, key = name.partition(".")
    layer = layers[int(index)] if index.isdecimal() and int(index) < len(layers) else None
    if not isinstance(layer, Leaky):
        return False
    ours: dict[str, Any] = {
        "beta": layer.beta,
        "threshold": layer.threshold,
        "graded_spikes_factor": 1.0,
        "reset_mechanism_val": RESETS.index(layer.reset_mechanism),
    }
    if key not in ours:
        return False
    # Compared as float32 where either side is: snnTorch keeps 0.9 as its nearest float32.
    theirs = np.asarray(value)
    single = theirs.dtype == np.float32 or dtype == np.float32
    a, b = (np.asarray(v, np.float32 if single else np.float64) for v in (theirs, ours[key]))
    if not np.array_equal(a, np.broadcast_to(b, a.shape)):
        raise ValueError(f"state dict: {name} is {theirs}, the network's {layer!r} has {ours[key]}")
    return True
