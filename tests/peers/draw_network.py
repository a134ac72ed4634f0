"""Random small networks, drawn by hypothesis: structure and constants as choices that shrink, arrays from a drawn seed.

Every choice shrinks towards the plainer one: no image, one layer fewer, one step, one sample, a number where an array
might stand. So what hypothesis prints after a failure is close to the smallest network that shows it.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.peers import torch_network as peer
from tests.peers.compare_network import firing_rates

torch = pytest.importorskip("torch", reason="needs PyTorch")

RESETS = [(mechanism, detached) for mechanism in ("subtract", "zero", "none") for detached in (True, False)]
SURROGATES = list(peer.DERIVATIVES)
LOSSES = [name for name in peer.LOSSES if name != "l1_rate_sparsity"]
TRIES = 6


class Case(NamedTuple):
    """One network with its data and loss."""

    description: list[tuple[str, dict[str, Any]]]
    params: dict[str, Any]
    x: Any
    num_steps: int | None  # None: x varies in time
    targets: Any
    terms: list[tuple[str, dict[str, Any]]]  # the loss and, in some, the regulariser


class Sketch:
    """A description as it grows: its layers so far and one sample's shape after them."""

    def __init__(self, draw, neurons):
        self.draw, self.neurons = draw, neurons
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.layers, self.shape = [], ()

    def chance(self, tenths):
        return self.whole(0, 9) >= 10 - tenths

    def whole(self, low, high):
        return self.draw(st.integers(low, high))

    def choice(self, options):
        return self.draw(st.sampled_from(options))

    def real(self, low, high):
        return self.draw(st.floats(low, high, allow_subnormal=False))

    def either(self, low, high):
        """An int or a pair."""
        return (self.whole(low, high), self.whole(low, high)) if self.chance(6) else self.whole(low, high)

    def add(self, kind, **given):
        self.layers.append((kind, given))

    def slide(self, kernel, stride, padding):
        for axis, (k, s, p) in enumerate(zip(pair(kernel), pair(stride), pair(padding), strict=True), start=1):
            out = (self.shape[axis] + 2 * p - k) // s + 1
            self.shape = (*self.shape[:axis], out, *self.shape[axis + 1 :])

    def conv(self):
        kernel, stride, padding = self.either(1, min(3, *self.shape[1:])), self.either(1, 2), self.either(0, 1)
        out_channels = self.whole(1, 3)
        self.add(
            "Conv2d", in_channels=self.shape[0], out_channels=out_channels, kernel_size=kernel, stride=stride,
            padding=padding, bias=self.chance(6),
        )  # fmt: skip
        self.shape = (out_channels, *self.shape[1:])
        self.slide(kernel, stride, padding)

    def pool(self):
        kernel = self.either(1, min(3, *self.shape[1:]))
        padding = tuple(self.whole(0, k // 2) for k in pair(kernel))
        stride = self.either(1, 2) if self.chance(5) else None
        self.add(self.choice(["MaxPool2d", "AvgPool2d"]), kernel_size=kernel, stride=stride, padding=padding)
        self.slide(kernel, kernel if stride is None else stride, padding)

    def flatten(self):
        self.add("Flatten")
        self.shape = (int(np.prod(self.shape)),)

    def linear(self, out_features):
        self.add("Linear", in_features=self.shape[0], out_features=out_features, bias=self.chance(6))
        self.shape = (out_features,)

    def leaky(self):
        """The first neuron's reset and surrogate are given, every further one's are drawn."""
        first = all(kind != "Leaky" for kind, _ in self.layers)
        (mechanism, detached), name = self.neurons.first if first else self.draw(self.neurons.further)
        arguments = {argument: self.real(*bounds) for argument, bounds in ARGUMENTS.get(name, {}).items()}
        self.add(
            "Leaky",
            beta=self.constant(self.choice([0.5, 0.0, 1.0, None, None, None]), 0.1, 0.95),
            threshold=self.constant(self.choice([1.0, None, None]), 0.6, 1.4),
            spike_grad=(name, arguments),
            learn_beta=self.chance(5),
            learn_threshold=self.chance(5),
            reset_mechanism=mechanism,
            detach_reset=detached,
        )

    def constant(self, value, low, high):
        """A number, or one a neuron, a channel or a column."""
        if self.chance(6):
            shape = self.choice([self.shape, self.shape[-1:], (self.shape[0],) + (1,) * (len(self.shape) - 1)])
            drawn = self.rng.uniform(low, high, shape)
            return drawn if value is None else np.where(self.rng.random(shape) < 0.5, drawn, value)
        return self.real(low, high) if value is None else value


class Neurons(NamedTuple):
    """The first neuron's ((mechanism, detached), surrogate), and a strategy for the others'."""

    first: Any
    further: Any


ARGUMENTS = {
    "fast_sigmoid": {"slope": (1, 25)},
    "atan": {"alpha": (0.5, 4)},
    "sigmoid": {"slope": (1, 25)},
    "triangular": {"threshold": (0.2, 1)},
    "spike_rate_escape": {"beta": (0.5, 2), "slope": (0.2, 2)},
    "LSO": {"slope": (0.05, 0.5)},
    "SFS": {"slope": (1, 25), "B": (-0.5, 0.2)},
    "custom_of_one": {"width": (0.1, 1)},
    "custom_of_three": {"width": (0.5, 1)},
}


def drawn(examples):
    """The same examples on every run, however slow; nothing is kept on disk."""
    return settings(
        max_examples=examples, derandomize=True, deadline=None, database=None, report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def id_of(first):
    (mechanism, detached), surrogate = first
    return f"{mechanism}-{'detached' if detached else 'attached'}-{surrogate}"


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


@st.composite
def networks(draw, first, resets=RESETS, surrogates=SURROGATES):
    """Cases whose first neuron has the ((mechanism, detached), surrogate) `first`; None: without neurons."""
    further = st.tuples(st.sampled_from(resets), st.sampled_from(surrogates))
    sketch = Sketch(draw, Neurons(first, further))
    sample = (sketch.whole(1, 3), sketch.whole(3, 7), sketch.whole(3, 7)) if sketch.chance(7) else (sketch.whole(1, 6),)
    sketch.shape = sample
    classes, T, B = sketch.whole(2, 5), sketch.whole(1, 8), sketch.whole(1, 4)
    layers_without_neurons(sketch, classes) if first is None else layers(sketch, classes)
    varying = sketch.chance(5)
    rng = sketch.rng
    x = rng.uniform(0, 1.5, (T, B, *sample) if varying else (B, *sample))
    num_steps = None if varying else T
    terms = draw_terms(sketch)
    params = firing_params(sketch, x, num_steps)
    return Case(sketch.layers, params, x, num_steps, rng.integers(0, classes, B), terms)


def layers(sketch, classes):
    """Zero to two blocks of convolution, then one or two dense layers; one to three neurons."""
    neurons = 0
    if len(sketch.shape) == 3:
        if sketch.chance(1):
            sketch.pool()
        conv_block(sketch)
        neurons += 1
        if sketch.chance(5):
            conv_block(sketch)
            neurons += 1
        sketch.flatten()
    elif sketch.chance(2):
        sketch.leaky()  # on the input itself
        neurons += 1
    if neurons < 2 and sketch.chance(4):
        sketch.linear(sketch.whole(2, 8))
        sketch.leaky()
        neurons += 1
    sketch.linear(classes)
    if neurons == 0 or sketch.chance(8):
        sketch.leaky()


def conv_block(sketch):
    """A convolution and its neurons, with a pool between them, behind them or nowhere."""
    sketch.conv()
    pool_at = sketch.choice(["never", "before", "after"])
    if pool_at == "before":
        sketch.pool()
    sketch.leaky()
    if pool_at == "after":
        sketch.pool()


def layers_without_neurons(sketch, classes):
    if len(sketch.shape) == 3:
        sketch.conv()
        sketch.pool()
        sketch.flatten()
    sketch.linear(classes)


def draw_terms(sketch):
    fires = sketch.layers[-1][0] == "Leaky"
    name = sketch.choice(LOSSES if fires else [loss for loss in LOSSES if "membrane" not in loss])
    arguments = {
        "mse_count_loss": {"correct_rate": (0, 1), "incorrect_rate": (0, 0.4)},
        "mse_membrane_loss": {"on_target": (-1, 2), "off_target": (-1, 1)},
    }.get(name, {})
    terms = [(name, {argument: sketch.real(*bounds) for argument, bounds in arguments.items()})]
    if sketch.chance(4):
        terms.append(("l1_rate_sparsity", {"Lambda": sketch.real(0.001, 0.1)}))
    return terms


def firing_params(sketch, x, num_steps):
    """Parameters with which every neuron layer fires at 5 to 60 %, where a few draws find some."""
    net = peer.build(sketch.layers, dtype=np.float64, backend="reference")
    leaves = [sketch.chance(2) for name in net.params if name.endswith(("beta", "threshold"))]
    for _ in range(TRIES):
        params = draw_params(sketch.rng, net, iter(leaves))
        with torch.no_grad():
            rates = firing_rates(peer.run(sketch.layers, params, x, num_steps))
        if all(0.05 <= rate <= 0.6 for rate in rates):
            break
    return params


def draw_params(rng, net, leaves):
    """Weights that give currents of about the threshold's size."""
    params = {}
    for name, value in net.params.items():
        kind = name.partition(".")[2]
        if kind == "weight":
            gain = rng.uniform(1.5, 4.0)
            params[name] = rng.normal(0.3, gain, value.shape) / np.sqrt(value[0].size)
        elif kind == "bias":
            params[name] = rng.uniform(-0.2, 0.6, value.shape)
        else:
            params[name] = learnt(rng, kind, value) if next(leaves) else value.copy()
    return params


def learnt(rng, kind, value):
    """A learnable constant where training may take it: beta out of [0, 1], theta below 0."""
    return value + (rng.uniform(-0.8, 0.8, value.shape) if kind == "beta" else rng.uniform(-2.0, 0.0, value.shape))
