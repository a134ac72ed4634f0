"""Random networks and numbers for the properties.

Hypothesis draws a seed for each example, and the seed everything else: the examples are small as they are, and drawn
choice by choice most of them would repeat each other.
"""

import functools
from typing import NamedTuple

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import npsnn
from npsnn import surrogate

EXAMPLES = {"reference": 80, "cpu": 80, "cuda": 4}  # a GPU's simulator takes a second for each
DRAWN = settings(
    max_examples=80, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([np.float64, np.float32])
POWERS = st.sampled_from([2.0, 0.5, 4.0, 0.0625])


def on_backends(strategy):
    """The test gets a backend and what is drawn: every example on every backend, few where they are slow."""

    def decorate(test):
        @functools.wraps(test)
        def run(backend):
            @settings(DRAWN, max_examples=EXAMPLES[backend])
            @given(strategy)
            def check(drawn):
                test(backend, drawn)

            check()

        del run.__wrapped__  # whose arguments pytest would take for fixtures
        return run

    return decorate


def from_seed(function):
    """A strategy: what `function` makes of random numbers."""
    return SEEDS.map(lambda seed: function(np.random.default_rng(seed)))


def pick(rng, *options):
    return options[rng.integers(len(options))]


def whole(rng, low, high):
    return int(rng.integers(low, high + 1))


class Case(NamedTuple):
    """A small network with its data: layers, one sample's shape, steps, samples, whether x has a time axis."""

    layers: tuple
    sample: tuple
    T: int
    B: int
    varying: bool
    seed: int

    def rng(self):
        return np.random.default_rng(self.seed)

    def build(self, backend, dtype=np.float32):
        """(network, x, num_steps, other numbers); weights and input with which most neurons fire now and then."""
        rng, net = self.rng(), npsnn.Sequential(*self.layers, dtype=dtype, backend=backend)
        for name, value in net.params.items():
            if name.endswith("weight"):
                mean, gain = (0.3, 2) if value.ndim == 2 else (-0.5, 1.5)  # a pool takes the largest
                value[...] = rng.normal(mean, gain, value.shape) / np.sqrt(value[0].size)
            elif name.endswith("bias"):
                value[...] = rng.uniform(-0.2, 0.4, value.shape)
        x = rng.normal(0.3, 1, (self.T, self.B, *self.sample) if self.varying else (self.B, *self.sample))
        return net, x.astype(dtype), None if self.varying else self.T, rng


def neuron(rng):
    return npsnn.Leaky(
        pick(rng, 0.5, 0.875, 0.0, 1.0),
        threshold=pick(rng, 1.0, 0.5),
        spike_grad=surrogate.fast_sigmoid(slope=pick(rng, 1, 5, 25)),
        learn_beta=pick(rng, True, False, False),
        learn_threshold=pick(rng, True, False, False),
        reset_mechanism=pick(rng, "subtract", "zero", "none"),
        detach_reset=pick(rng, True, True, False),
    )


def cases(varying=(True, False), steps=(1, 2, 3, 6)):
    def make(rng):
        if pick(rng, True, False):
            sample, channels, hidden = (whole(rng, 1, 2), 6, 5), whole(rng, 1, 3), whole(rng, 1, 4)
            layers, pixels = [npsnn.Conv2d(sample[0], channels, (2, 3), padding=1), npsnn.MaxPool2d(2)], 3 * 2
            if pick(rng, True, False):
                layers += [neuron(rng), npsnn.Conv2d(channels, channels, 2, padding=1), npsnn.MaxPool2d(2)]
                pixels = 2 * 1
            layers += [neuron(rng), npsnn.Flatten(), npsnn.Linear(channels * pixels, hidden)]
        else:
            sample, hidden = (whole(rng, 1, 4),), whole(rng, 1, 4)
            layers = [npsnn.Linear(*sample, hidden)]
        layers += pick(rng, [neuron(rng)], [neuron(rng), npsnn.Linear(hidden, whole(rng, 1, 4))])
        seed = whole(rng, 0, 2**32 - 1)
        return Case(tuple(layers), sample, pick(rng, *steps), whole(rng, 1, 5), pick(rng, *varying), seed)

    return from_seed(make)


def upstream(rng, tape, mem_rec):
    """Random dspk, dmem (None where there is no membrane) and dstate."""
    dspk = rng.standard_normal(tape.out_shape).astype(tape.params.flat.dtype)
    dmem = None if mem_rec is None else rng.standard_normal(dspk.shape).astype(dspk.dtype)
    return dspk, dmem, [rng.standard_normal(U.shape).astype(dspk.dtype) for U in tape.state.U]


def backward(net, tape, dspk, dmem, dstate):
    """All gradients by name; those of the state as state.0, state.1."""
    grads = net.backward(tape, dspk, dmem, input_grad=True, dstate=dstate, state_grad=True)
    return {**{f"state.{k}": d for k, d in enumerate(grads.pop("state"))}, **grads}


def arrays_in(thing):
    """Every array of a tape."""
    if isinstance(thing, tuple | list):
        return [a for part in thing for a in arrays_in(part)]
    if isinstance(thing, dict):
        return arrays_in(list(thing.values()))
    if hasattr(thing, "slots") and hasattr(thing, "flat"):
        return [np.asarray(thing.flat)]
    return [np.asarray(thing)] if hasattr(thing, "__array__") else []


def without_biases(case):
    layers = [npsnn.Linear(a.in_features, a.out_features, bias=False) if isinstance(a, npsnn.Linear)
              else npsnn.Conv2d(a.in_channels, a.out_channels, a.kernel_size, padding=a.padding, bias=False)
              if isinstance(a, npsnn.Conv2d) else a for a in case.layers]  # fmt: skip
    return case._replace(layers=tuple(layers))


@from_seed
def recordings(rng):
    """(rec (T, B, C), targets (B,), rng): spikes or membranes."""
    T, B, C = whole(rng, 1, 6), whole(rng, 1, 4), whole(rng, 1, 5)
    rec = pick(rng, rng.integers(0, 2, (T, B, C)), rng.standard_normal((T, B, C)))
    return rec.astype(pick(rng, np.float32, np.float64)), rng.integers(0, C, B), rng


def perfect(rec, y):
    """Every sample's own class fires at every step, no other does."""
    return np.broadcast_to(np.arange(rec.shape[2]) == y[:, None], rec.shape).astype(rec.dtype)
