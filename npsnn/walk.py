"""A network run layer by layer, so that all that passes between its layers can be seen (floor 2).

What a network runs as one (items.py), a tile at a time (tiles.py), is here one layer after the other, each over all
steps. The numbers are those of the network: forward has the same bits (C11), backward differs by the order of a sum.
Arrays are on the host, whatever the backend.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from npsnn._check import Array
from npsnn.layer import Layer, Params
from npsnn.layers import Flatten, Linear
from npsnn.neuron import Leaky, Remembers
from npsnn.pairs import FlatLinear
from npsnn.tiles import Membranes, Run

Layers = tuple[Layer, ...]


class Forward(NamedTuple):
    """What one layer did."""

    i: int
    y: Array  # (T, B, *out), or (1, B, *out) where the input is static and no neuron came yet; spikes as numbers
    U: Array | None  # (T, B, *N)  of neurons, the membranes
    cache: Any


class Backward(NamedTuple):
    """What one layer's backward was given, and what came out."""

    i: int
    dy: Array | None  # of y's shape; None: zero
    dU: Array | None  # (T, B, *N)  of neurons, dL/dU
    dx: Array  # of its input's shape: a static one's is summed over time


def forward(layers: Layers, run: Run, x: Array, before: Membranes, first: int = 0) -> Iterator[Forward]:
    """Every layer from `first` on, which is given x (T or 1, B, *features); `before` is its membranes' and those after.

    Example
    -------
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5))
    >>> x = np.ones((1, 4, 3), np.float32)
    >>> tape = net.forward(x[0], num_steps=5)[2]
    >>> [(done.i, done.y.shape) for done in forward(tape.layers, tape.run, x, (None,))]
    [(0, (1, 4, 2)), (1, (5, 4, 2))]
    """
    params, sigmas, membranes = _params(run), _sigmas(run), iter(before)
    unflattened, num_steps = x, run.cuts.steps[-1][1]
    for i in range(first, len(layers)):
        layer, given = _run_as(layers, i, first), x
        if isinstance(layer, Leaky):
            S, cache = layer.fire(given, params.get(i, {}), run.ops, num_steps, next(membranes), sigmas[i])
            U = np.asarray(cache.U)
            x = np.asarray(S, U.dtype)
            yield Forward(i, x, U, cache)
        else:
            y, cache = layer.run(unflattened if isinstance(layer, FlatLinear) else given, params.get(i, {}), run.ops)
            x = np.asarray(y)
            yield Forward(i, x, None, cache)
        unflattened = given


def backward(
    layers: Layers,
    run: Run,
    caches: Sequence[Any],
    dy: Array | None,
    dmem: Array | None = None,
    dafter: Membranes | None = None,
    first: int = 0,
) -> Iterator[Backward]:
    """Every layer from the last down to `first`, from dL/d(the last one's y) and dL/d(its membranes).

    `caches` are forward's, from `first` on; `dafter` is dL/d(membranes after the last step), one a neuron layer.
    """
    params, left = _params(run), list(dafter or ())
    for i in reversed(range(first, len(layers))):
        layer, cache, dU = _run_as(layers, i, first), caches[i - first], None
        if isinstance(layer, Leaky):
            after = left.pop() if left else None
            back: Any = layer.back_through(dy, dmem, after, cache, params.get(i, {}), run.ops)[0]
            by_step = back
            if cache.static:  # its dx is a sum over time, so each step's is asked for by itself
                moving = cache._replace(static=False)
                by_step = layer.back_through(dy, dmem, after, moving, params.get(i, {}), run.ops)[0]
            dU = np.asarray(by_step)
        else:
            assert dy is not None
            back = layer.run_back(dy, cache, params.get(i, {}), run.ops, True)[0]
            if isinstance(layer, FlatLinear):
                back = back.reshape(*back.shape[:2], -1)
        dx = np.asarray(back)
        yield Backward(i, dy, dU, dx)
        dy, dmem = dx, None


def neurons_backward(
    layers: Layers, run: Run, x: Array, before: Membranes, dy: Array | None, dmem: Array | None
) -> Iterator[tuple[Backward, Any]]:
    """(what its backward was given and gave, its cache) of every neuron layer, the last first; nothing below them.

    x is what a tape's chunk keeps, or several chunks' together, and `before` the membranes of the same samples.
    """
    neurons = [i for i, layer in enumerate(layers) if isinstance(layer, Leaky)]
    if not neurons:
        return
    first = neurons[0] if run.lead else 0  # what a chunk keeps was given to this layer
    caches = [done.cache for done in forward(layers, run, x, before, first)]
    for back in backward(layers, run, caches, dy, dmem, None, first):
        if back.dU is not None:
            yield back, caches[back.i - first]
        if back.i == neurons[0]:
            return


def norms(d: Array) -> Array:
    """(T,) the norm of every step of d (T, ...), in float64; no square is too large or too small.

    >>> norms(np.array([[3e-200, 4e-200], [0, 0]]))
    array([5.e-200, 0.e+000])
    """
    d = d.reshape(len(d), -1).astype(np.float64)
    largest = np.abs(d).max(axis=1, keepdims=True)
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    d /= scale
    return np.asarray(scale[:, 0] * np.sqrt((d * d).sum(axis=1)))


def _run_as(layers: Layers, i: int, first: int) -> Layer:
    """Layer i; a linear layer after a flattening one as the pair that a network runs, for its order of sums."""
    layer, before = layers[i], layers[i - 1] if i > first else None
    return FlatLinear(before, layer) if isinstance(layer, Linear) and isinstance(before, Flatten) else layer


def _params(run: Run) -> dict[int, Params]:
    """Layer -> its parameters, of those that have some."""
    return {i: params for (i, _), params in zip(run.items, run.params, strict=True)}


def _sigmas(run: Run) -> dict[int, Any]:
    """Neuron layer -> the surrogate of this run."""
    items = zip(run.items, run.sigmas, strict=True)
    return {layer.neurons_at(i): sigma for (i, layer), sigma in items if isinstance(layer, Remembers)}
