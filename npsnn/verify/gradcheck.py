"""Is the hand-written backward pass the derivative of the forward pass? By complex step, to 13 digits.

The law takes complex128, and a spike then carries its surrogate's tangent (C5). So for an entry p of any array

    dL/dp = Im L(p + i h) / h,     h = 1e-100                                                            (V1)

is the surrogate gradient of the run that really happened, with hard spikes and resets, detached or not: nothing is
subtracted, so the step has no error of its own (Squire & Trapp 1998). One forward pass an entry. Where that is too
many, the same in a random direction v, one pass a direction: the adjoint identity

    sum of (dL/dp) v = Im L(p + i h v) / h                                                               (V2)

The complex run and the backward pass share sigma'. So a wrong sigma' would go unseen, and `smooth=True` lets the
neurons emit sigma's primitive in place of the spike: then sigma' is compared with the derivative of another formula.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

import npsnn
from npsnn import _check
from npsnn._check import Array
from npsnn.functional.loss import Loss
from npsnn.network import Sequential, State
from npsnn.neuron import Leaky
from npsnn.verify import law

STEP = 1e-100  # small beside what a hundred steps can make of it: an attached reset may grow a gradient to 1e25
OF_LARGEST = 1e-13  # the difference that is allowed, as a share of the largest gradient in the network
OF_ENTRY = 1e-11  # and as a share of the entry itself, for entries that are no cancelled sums:
CANCELLED = 1e-10  # entries below this share of the largest are what rounding left of larger terms


class ArrayCheck(NamedTuple):
    """One array's gradient by hand and by complex step."""

    name: str
    entries: int  # compared one by one; 0 where random directions were
    directions: int
    largest: float  # gradient by complex step; for directions, the sum of |gradient times direction|
    difference: float  # largest
    entry_error: float  # largest difference as a share of its own entry; for directions, of `largest`
    worst: tuple[int, ...]  # the entry that differs most, or the direction
    by_hand: float  # there
    by_step: float


class GradReport(NamedTuple):
    """What `gradcheck` found: one row an array."""

    arrays: tuple[ArrayCheck, ...]
    loss: float
    backend: str
    smooth: bool
    num_steps: int

    @property
    def largest(self) -> float:
        """The largest gradient in the network, among the arrays compared entry by entry."""
        return max((a.largest for a in self.arrays if a.entries), default=0.0)

    def excess(self, a: ArrayCheck) -> float:
        """How far the array is from the nearer of its bounds: 1 is at the bound. NaN where a difference is."""
        of_largest = _share(a.difference, self.largest) if a.entries else a.entry_error
        return float(np.max((of_largest / OF_LARGEST, a.entry_error / OF_ENTRY)))

    @property
    def ok(self) -> bool:
        """Whether every array's gradient is right; NaN is not."""
        return all(self.excess(a) <= 1 for a in self.arrays)

    @property
    def worst(self) -> ArrayCheck:
        """The array that is nearest to its bounds, or furthest beyond."""
        return max(self.arrays, key=lambda a: np.nan_to_num(self.excess(a), nan=np.inf))

    def __str__(self) -> str:
        mode = "smooth spikes" if self.smooth else "hard spikes"
        lines = [
            f"gradcheck: npsnn {npsnn.__version__}, backend {self.backend}, float64, {mode}, "
            f"T = {self.num_steps}, loss {self.loss:.6g}",
            f"{'array':16}{'compared':>18}{'largest':>12}{'of largest':>12}{'of entry':>10}",
        ]
        for a in self.arrays:
            compared = f"{a.entries} entries" if a.entries else f"{a.directions} directions"
            share = _share(a.difference, self.largest if a.entries else a.largest)
            lines.append(f"{a.name:16}{compared:>18}{a.largest:12.3e}{share:12.1e}{a.entry_error:10.1e}")
        w = self.worst
        lines.append(f"worst: {w.name}{list(w.worst)} by hand {w.by_hand!r}, by complex step {w.by_step!r}")
        lines.append(f"{'passed' if self.ok else 'FAILED'}: bounds {OF_LARGEST:g} of the largest, {OF_ENTRY:g} of each")
        return "\n".join(lines)


def gradcheck(
    net: Sequential,
    x: Array,
    targets: Array,
    loss_fn: Loss,
    num_steps: int | None = None,
    *,
    state: State | None = None,
    smooth: bool = False,
    most: int = 2000,
    directions: int = 5,
    seed: int = 0,
) -> GradReport:
    """Compare the hand-written backward of `net` with complex-step derivatives of the law (V1), array by array.

    Every parameter, the input and the membranes before the first step. x, targets, num_steps and `state` as in
    `net.forward` and the loss. The check runs in float64 on a copy of the network, on its own backend (`smooth=True`:
    on the reference backend); `net` and x may be float32 and are not changed. Arrays of more than `most` entries are
    checked in `directions` random directions drawn from `seed` (V2). ValueError where a surrogate has no primitive and
    `smooth` is asked for, and all errors of `net.forward`.

    Example
    -------
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5, detach_reset=False), backend="reference")
    >>> x = np.linspace(0, 3, 6).reshape(2, 3)
    >>> report = gradcheck(net, x, np.array([0, 1]), npsnn.functional.ce_rate_loss(), num_steps=4)
    >>> report.ok, [a.name for a in report.arrays]
    (True, ['0.weight', '0.bias', 'input', 'state.1'])
    """
    _check.whole(most, "most", 0)
    _check.whole(directions, "directions")
    layers = tuple(smooth_layer(layer) if smooth else layer for layer in net.layers)
    double = law.in_double(net, layers, "reference" if smooth else net.backend)
    _, tape, arrays, grads, loss = law.gradients(double, x, targets, loss_fn, num_steps, state)
    problem = law.problem_of(tape)

    def derivative(name: str, v: Array) -> float:
        """The derivative of the loss where the array `name` moves along v: (V1), (V2)."""
        spk, mem = law.run(problem, {**arrays, name: arrays[name] + 1j * STEP * v})
        value: Any = loss_fn(spk if loss_fn.on == "spk" else mem, targets)
        return float(np.imag(value)) / STEP

    rng = np.random.default_rng(seed)
    moves = {
        name: _basis(a.shape) if a.size <= most else rng.standard_normal((directions, *a.shape))
        for name, a in arrays.items()
    }
    by_step = {name: np.array([derivative(name, v) for v in V]) for name, V in moves.items()}
    largest = max((float(np.abs(by_step[name]).max()) for name, a in arrays.items() if a.size <= most), default=0.0)
    checks = [
        _by_entry(name, grads[name], by_step[name].reshape(a.shape), largest)
        if a.size <= most
        else _by_direction(name, grads[name], by_step[name], moves[name])
        for name, a in arrays.items()
    ]
    return GradReport(tuple(checks), loss, double.backend, smooth, tape.num_steps)


def _by_entry(name: str, by_hand: Array, by_step: Array, largest: float) -> ArrayCheck:
    """(V1) for every entry of one array, where `largest` is the largest gradient in the network."""
    difference = np.abs(by_hand - by_step)
    large = np.abs(by_step) > CANCELLED * largest
    shares = np.divide(difference, np.abs(by_step), out=np.zeros_like(difference), where=large)
    worst = tuple(int(i) for i in np.unravel_index(difference.argmax(), difference.shape))
    return ArrayCheck(
        name, by_hand.size, 0, float(np.abs(by_step).max()), float(difference[worst]), float(shares.max()),
        worst, float(by_hand[worst]), float(by_step[worst]),
    )  # fmt: skip


def _by_direction(name: str, by_hand: Array, by_step: Array, V: Array) -> ArrayCheck:
    """(V2) for random directions V of one array; its scale is the sum of |(dL/dp) v|, which is what is rounded."""
    pairs = zip(V, by_step, strict=True)
    rows = [(float((by_hand * v).sum()), float(d), float(np.abs(by_hand * v).sum())) for v, d in pairs]
    errors = [_share(abs(a - b), scale) for a, b, scale in rows]
    worst = int(np.argmax(errors))
    a, b, scale = rows[worst]
    return ArrayCheck(name, 0, len(V), scale, abs(a - b), errors[worst], (worst,), a, b)


def _basis(shape: tuple[int, ...]) -> Array:
    """Every array of `shape` that is 1 at one place and 0 elsewhere, one after another."""
    size = int(np.prod(shape))
    return np.eye(size).reshape(size, *shape)


def _share(difference: Any, whole: float) -> float:
    """difference / whole; 0 / 0 is 0, since two arrays of zeros agree."""
    if difference == 0:
        return 0.0
    return float(difference / whole) if whole > 0 else float("inf")


def smooth_layer(layer: Any) -> Any:
    """The layer, a neuron with its primitive in place of the spike."""
    if not isinstance(layer, Leaky):
        return layer
    sigma = layer.spike_grad
    if not sigma.has_primitive:
        raise ValueError(f"surrogate {sigma} has no primitive, so it has no smooth mode")
    return Leaky(
        layer.beta, layer.threshold, replace(sigma, smooth=True), layer.learn_beta, layer.learn_threshold,
        layer.reset_mechanism, layer.detach_reset,
    )  # fmt: skip
