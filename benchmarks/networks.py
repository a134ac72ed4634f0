"""The networks that are timed, each with a batch of input: the tutorial's and a grid beyond it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import npsnn
from npsnn import surrogate


class Network(NamedTuple):
    """One row of the tables."""

    layers: Callable[[], list[Any]]
    features: tuple[int, ...]
    batch: int
    num_steps: int
    static: bool  # one input shown at every step, or 0/1 events that vary
    density: float = 0.25  # of the input: how much of it is not zero


def lif() -> npsnn.Leaky:
    return npsnn.Leaky(beta=0.5, spike_grad=surrogate.fast_sigmoid(slope=25))


def tutorial(scale: int = 1) -> list[Any]:
    """12C5-MP2-64C5-MP2-1024FC10, or with `scale` times the channels."""
    a, b = 12 * scale, 64 * scale
    return [
        npsnn.Conv2d(1, a, 5), npsnn.MaxPool2d(2), lif(), npsnn.Conv2d(a, b, 5), npsnn.MaxPool2d(2), lif(),
        npsnn.Flatten(), npsnn.Linear(16 * b, 10), lif(),
    ]  # fmt: skip


def dense() -> list[Any]:
    return [npsnn.Linear(784, 1000), lif(), npsnn.Linear(1000, 10), lif()]


def deeper() -> list[Any]:
    """32-64-128 channels with padding and stride, for 32x32 colour images."""
    return [
        npsnn.Conv2d(3, 32, 3, padding=1), lif(), npsnn.Conv2d(32, 64, 3, stride=2, padding=1), lif(),
        npsnn.Conv2d(64, 128, 3, stride=2, padding=1), lif(), npsnn.AvgPool2d(8), npsnn.Flatten(),
        npsnn.Linear(128, 10), lif(),
    ]  # fmt: skip


def events() -> list[Any]:
    """For two channels of 34x34 events."""
    return [
        npsnn.Conv2d(2, 12, 5), npsnn.MaxPool2d(2), lif(), npsnn.Conv2d(12, 32, 5), npsnn.MaxPool2d(2), lif(),
        npsnn.Flatten(), npsnn.Linear(800, 10), lif(),
    ]  # fmt: skip


NETWORKS = {
    "tutorial, B 128, T 50": Network(tutorial, (1, 28, 28), 128, 50, True),
    "tutorial, B 1, T 50": Network(tutorial, (1, 28, 28), 1, 50, True),
    "dense 784-1000-10, B 128, T 25": Network(dense, (784,), 128, 25, True),
    "dense 784-1000-10, B 128, T 100": Network(dense, (784,), 128, 100, True),
    "conv 32-64-128, B 16, T 25": Network(deeper, (3, 32, 32), 16, 25, True, 1.0),
    "events 2x34x34, B 16, T 100": Network(events, (2, 34, 34), 16, 100, False, 0.03),
}


LIVELY = 0.85, 0.6  # this share of a layer's currents lies below this: it fires as a trained one does


def build(network: Network, backend: str = "cpu") -> npsnn.Sequential:
    """The network with PyTorch's weights for seed 0, each layer's scaled until its neurons fire.

    The law does the scaling: nothing is compiled here that a training step does not need.
    """
    net = npsnn.Sequential(*network.layers(), backend=backend, seed=0)
    x = batch(network)[0]
    y = x[None, :8] if network.static else x[:, :8]
    for i, layer in enumerate(net.layers):
        params = {name: net.params[f"{i}.{name}"] for name in layer.param_shapes()}
        if isinstance(layer, npsnn.Leaky):
            y = layer.forward(y, params, num_steps=network.num_steps)[0]
            continue
        if params:
            below = float(np.quantile(layer.forward(y, params)[0], LIVELY[0]))
            for value in params.values():
                value *= np.float32(LIVELY[1] / below)
        y = layer.forward(y, params)[0]
    return net


def batch(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(x, targets), drawn once and for all; `x` static or (T, B, *features)."""
    rng = np.random.default_rng(0)
    shape = (network.batch, *network.features)
    if network.static:
        x = rng.uniform(0, 1, shape) * (rng.random(shape) < network.density)
    else:
        x = rng.random((network.num_steps, *shape)) < network.density
    return x.astype(np.float32), rng.integers(0, 10, network.batch)
