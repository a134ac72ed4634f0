"""How large a network and a run of it are: the table of `summary`, and the memory a call takes at least (floor 2)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npsnn import _check, tiles
from npsnn.backends import Backend
from npsnn.firing import LeakyConv2d, LeakyLinear
from npsnn.layer import Layer, Shape, where
from npsnn.layers import Flatten
from npsnn.neuron import Leaky
from npsnn.parameters import FlatParams


def summary(
    layers: tuple[Layer, ...], items: tiles.Items, params: FlatParams, ops: Backend, input_shape: Shape, num_steps: int
) -> str:
    """A table for one sample of `input_shape`: layer, output shape, parameters, bytes that the tape keeps."""
    T, dtype = _check.whole(num_steps, "num_steps"), params.flat.dtype
    shape = (1, 1, *(_check.whole(n, "input_shape") for n in input_shape))
    kind, spikes = dtype, tiles.spikes_dtype(ops, dtype)
    rows = [("layer", "output shape", "parameters", "tape bytes")]
    total, fused = 0, {i: layer for i, layer in items if isinstance(layer, LeakyConv2d | LeakyLinear)}
    firing = [layer.neurons_at(i) for i, layer in fused.items()]
    for i, layer in enumerate(layers):
        kept = layer.cache_bytes(shape, T, dtype if isinstance(layer, Leaky) else kind)
        if i in fused or i in firing:  # of the neurons the currents are kept, and no spikes
            kept = math.prod(shape) * dtype.itemsize if i in firing else 0
        kind = spikes if isinstance(layer, Leaky) else kind if isinstance(layer, Flatten) else dtype
        shape = layer.out_shape(shape, where(layers, i))
        shape = (T, *shape[1:]) if isinstance(layer, Leaky) else shape
        count = sum(v.size for v in params.of_layer(i).values())
        total += kept
        rows.append((f"{i} {layer!r}", str(shape[2:]), f"{count:,}", f"{kept:,}"))
    rows.append(("total", f"T = {T}", f"{params.flat.size:,}", f"{total:,}"))
    return _table(rows)


def least(
    layers: tuple[Layer, ...], dtype: np.dtype[Any], shape: Shape, T: int, out_shape: Shape, tape_bytes: int | None
) -> tuple[int, str]:
    """(bytes, of what) that a call on x of `shape` (T or 1, B, *features) takes at least.

    That is the recordings, of `out_shape`, and the tape, if there is one, or the largest output of one step and sample.
    """
    recordings = math.prod((T, *out_shape[1:])) * dtype.itemsize * (2 if isinstance(layers[-1], Leaky) else 1)
    need, what = recordings + (tape_bytes or 0), "the recording" if tape_bytes is None else "the tape"
    what += f" of T = {T}, B = {shape[1]}"
    for i, layer in enumerate(layers):
        shape = layer.out_shape(shape)
        one = math.prod(shape[2:]) * dtype.itemsize
        if one > need:
            need, what = one, f"{where(layers, i)}: one output of shape {shape[2:]}"
    return need, what


def tape(items: tiles.Items, ops: Backend, dtype: np.dtype[Any], shape: Shape, T: int, budget: int | None) -> int:
    """Bytes of a tape for x of `shape` (T or 1, B, *features), at most the budget."""
    lead = tiles.lead_of(items, shape[0] != T or T == 1)
    need = tiles.needs(tiles.Run(items, (), (), ops, lead, tiles.Cuts((), ())), shape, dtype)
    whole = need.once + need.step * T
    return whole if budget is None else min(whole, budget)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
