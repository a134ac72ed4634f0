"""A training run that goes wrong says so: what is wrong in one batch, and what to try (floor 4)."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from npsnn import walk
from npsnn._check import Array
from npsnn.layer import where
from npsnn.network import Sequential, Tape
from npsnn.neuron import Leaky

# The tutorial's network, healthy, with each of the five losses: after an epoch its layers have rates of 0.01 to 0.3 and
# at most 0.65 of their neurons silent, and in no batch is the first steps' gradient under 0.08 of the last steps'.
DEAD = 0.99  # of a layer's neurons silent: a convolution's border alone, where images are empty, is well below
SATURATED = 0.95  # spikes a neuron and step: at 1 a spike says nothing, and the rate can only fall
VANISHED = 1e-6  # the first steps' gradient over the last steps': in a float32 sum of all steps (6e-8) it is rounding
EXPLODED = 1e6  # by which a gradient grows in one layer: what it came from is then rounding in it
SAMPLES = 16  # of the batch, whose gradient is looked at step by step
ENDS = 10  # the first and the last steps are this part of all: a tenth


def notes(net: Sequential, tape: Tape, dspk: Array | None = None, dmem: Array | None = None) -> list[str]:
    """What is wrong in a batch, a line each, with what to try; nothing for a healthy one.

    From `tape` alone: layers that are silent, nearly dead or saturated. With dspk = dL/dspk_rec or dmem = dL/dmem_rec,
    as in `Sequential.backward` and with its errors, also layers whose gradient dL/dU is zero, vanishes over the steps,
    or explodes; of the first samples alone. A fault is named at the layer where it begins. It takes about a tenth
    of a second for the tutorial's network. Ask after an epoch: in its first batches a network may be silent, and wake.

    Example
    -------
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5, threshold=9))
    >>> notes(net, net.forward(np.ones((4, 3), np.float32), num_steps=5)[2])
    ['1 Leaky: no neuron fired in this batch; lower its threshold, raise its beta, or scale the weights below it up']
    """
    found = list(_of_firing(net, tape))
    if dspk is not None or dmem is not None:
        dspk, dmem = net._upstream(tape, dspk, dmem, None)
        with np.errstate(all="ignore"):
            found += _of_gradients(tape, dspk, dmem)
    return found


def after_failure(message: str) -> str:
    """What to try after a loss or a gradient that is not finite, from the message that said so.

    >>> after_failure("the loss is nan at batch 3, step 0; no update was made from it")
    'try a smaller --lr; --check-finite names the layer and the step where it begins'
    """
    if "is not finite, first" in message:  # that of check_finite
        return "try a smaller --lr, smaller weights below this layer, or an input that is scaled down"
    return "try a smaller --lr; --check-finite names the layer and the step where it begins"


def _of_firing(net: Sequential, tape: Tape) -> Iterator[str]:
    hears = True  # whether the layers below gave this one something to go by
    for name, firing in net.firing(tape).items():
        if hears and firing.rate == 0:
            yield (
                f"{name}: no neuron fired in this batch; lower its threshold, raise its beta, "
                "or scale the weights below it up"
            )
        elif hears and firing.silent >= DEAD:
            yield (
                f"{name}: {100 * firing.silent:.1f}% of its neurons never fired in this batch; lower its threshold, "
                "or try a smaller --lr: large updates push neurons out of reach"
            )
        elif firing.rate > SATURATED:
            yield (
                f"{name}: its neurons fired at {100 * firing.rate:.0f}% of the steps; raise its threshold, lower its "
                "beta, or scale the weights below it down"
            )
        hears = hears and firing.silent < DEAD


def _of_gradients(tape: Tape, dspk: Array | None, dmem: Array | None) -> Iterator[str]:
    """By layer, the last first; every one is held against the neurons above it, the last against the loss."""
    above = sum(float(walk.norms(d).sum()) for d in (dspk, dmem) if d is not None)
    vanished = False  # what an upper layer has lost, a lower one does not get
    for i, dU, direct in _by_neurons(tape, dspk, dmem):
        by_step, name = walk.norms(dU), where(tape.layers, i)
        total, ends = float(by_step.sum()), math.ceil(len(by_step) / ENDS)
        first, last = by_step[:ends].mean(), by_step[-ends:].mean()
        if total == 0 and above > 0:
            yield (
                f"{name}: its gradient is zero at every step, so nothing is learnt below; take a surrogate that is "
                "not zero where its membranes are (fast_sigmoid, atan), or weights above it that are not zero"
            )
        elif direct is not None and by_step.max() > EXPLODED * direct.sum():
            yield (
                f"{name}: its gradient explodes over time, to {by_step.max() / direct.sum():.0e} times what the steps "
                "are given; set detach_reset=True, or take a flatter surrogate"
            )
        elif above > 0 and total > EXPLODED * above:
            yield (
                f"{name}: its gradient is {total / above:.0e} times the one above it; scale the weights between them "
                "down, or take a flatter surrogate"
            )
        elif not vanished and first < VANISHED * last:
            vanished = True
            yield (
                f"{name}: its gradient vanishes over time, the first steps' is {first / last:.0e} of the last steps'; "
                "raise its beta, or take a loss that reads every step (ce_rate_loss)"
            )
        above = total


def _by_neurons(tape: Tape, dspk: Array | None, dmem: Array | None) -> Iterator[tuple[int, Array, Array | None]]:
    """(layer, dL/dU, norms of what its steps are given) of all neurons, the last first, for the first samples.

    The last is None where the reset is detached: no step then passes on more than it has, and nothing can explode.
    """
    x = _first_samples(tape)
    before = tuple(None if U is None else U[: x.shape[1]] for U in tape.before)
    dspk, dmem = (None if d is None else d[:, : x.shape[1]] for d in (dspk, dmem))
    for back, cache in walk.neurons_backward(tape.layers, tape.run, x, before, dspk, dmem):
        assert back.dU is not None
        layer = tape.layers[back.i]
        attached = isinstance(layer, Leaky) and not layer.detach_reset
        last = back.i == len(tape.layers) - 1
        yield back.i, back.dU, _given(cache, back.dy, dmem if last else None) if attached else None


def _first_samples(tape: Tape) -> Array:
    """(T or 1, SAMPLES, ...) of what the chunks keep."""
    parts: list[Array] = []
    for chunk in tape.chunks:
        parts.append(np.asarray(chunk.x))
        if sum(part.shape[1] for part in parts) >= SAMPLES:
            break
    return np.concatenate(parts, axis=1)[:, :SAMPLES]


def _given(cache: Any, dS: Array | None, dmem: Array | None) -> Array:
    """(T,) the norms of dL/dU but for what a step hands to the one before it: (L5) and (L6) without their paths."""
    U, theta = np.asarray(cache.U), np.asarray(cache.theta)
    d = np.zeros_like(U) if dmem is None else dmem.copy()
    if dS is not None:
        for t, U_t in enumerate(U):
            d[t] += dS[t] * cache.sigma.derivative(U_t - theta, t)
    return walk.norms(d)
