"""Does sigma' belong to its primitive, all the way through a network? By central differences, with no complex number.

In the smooth mode a neuron emits P(U - theta) in place of the spike, P the primitive of sigma', and the network is an
ordinary smooth function, whose gradient the hand-written backward must give:

    R[t] = P(U[t-1] - theta), or what was recorded of it where the reset is detached                       (V3)
    U[t] = (beta U[t-1] + I[t]) - R[t] theta   and so on as in (L2),   S[t] = P(U[t] - theta)                (V4)
    dL/dv = (L(p + h v) - L(p - h v)) / 2h,    h = 1e-6, along a random direction v                         (V5)

A detached reset is a constant to the gradient, so it must be one to the difference too: it is recorded at p and
replayed. The loop below is written a second time, and not the law's, so that the two forward passes check each other.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn import backends
from npsnn._check import Array
from npsnn.functional.loss import Loss
from npsnn.network import Sequential
from npsnn.neuron import Leaky
from npsnn.verify.gradcheck import smooth_layer
from npsnn.verify.law import gradients, in_double

H = 1e-6
FORMULA = 1e-7  # the error allowed for (V5) itself, as a share of the sum of |gradient times direction|
ROUNDING = 8 * np.finfo(float).eps / H  # and for the subtraction, as a share of the loss


class Difference(NamedTuple):
    """One array along one random direction."""

    name: str
    by_hand: float
    by_difference: float
    allowed: float

    @property
    def ok(self) -> bool:
        """Whether the two agree; NaN does not."""
        return abs(self.by_hand - self.by_difference) <= self.allowed


def central_differences(
    net: Sequential, x: Array, targets: Array, loss_fn: Loss, num_steps: int | None = None, *, seed: int = 0
) -> list[Difference]:
    """One row for every parameter, the input and the initial membranes: by hand and by (V5), in the smooth mode.

    Arguments as in `gradcheck`. ValueError where a surrogate has no primitive.

    Example
    -------
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5))
    >>> x = np.linspace(0, 3, 6).reshape(2, 3)
    >>> rows = central_differences(net, x, np.array([0, 1]), npsnn.functional.ce_rate_loss(), num_steps=4)
    >>> all(row.ok for row in rows)
    True
    """
    smooth = in_double(net, tuple(map(smooth_layer, net.layers)), "reference")
    _, tape, arrays, grads, value = gradients(smooth, x, targets, loss_fn, num_steps)
    resets: dict[int, Array] = {}

    def loss(name: str = "input", move: Any = 0.0) -> float:
        spk, mem = smooth_run(smooth, {**arrays, name: arrays[name] + move}, tape.num_steps, tape.static, resets)
        return loss_fn(spk if loss_fn.on == "spk" else mem, targets)

    loss()  # records the resets that are detached
    rng, rows = np.random.default_rng(seed), []
    for name, d in ((name, grads[name]) for name in arrays):
        v = rng.standard_normal(d.shape)
        by_hand, by_difference = float((d * v).sum()), (loss(name, H * v) - loss(name, -H * v)) / (2 * H)
        allowed = FORMULA * float(np.abs(d * v).sum()) + ROUNDING * abs(value)
        rows.append(Difference(name, by_hand, by_difference, allowed))
    return rows


def smooth_run(
    net: Sequential, arrays: dict[str, Array], num_steps: int, static: bool, resets: dict[int, Array]
) -> tuple[Array, Array | None]:
    """(spk_rec, mem_rec) by (V3), (V4). Detached resets are taken from `resets`, or recorded there where missing."""
    ops = backends.load("reference")
    x = arrays["input"][None] if static else arrays["input"]
    mem_rec = None
    for i, layer in enumerate(net.layers):
        params = {name: arrays[f"{i}.{name}"] for name in layer.param_shapes()}
        if isinstance(layer, Leaky):
            I = np.broadcast_to(x, (num_steps, *x.shape[1:]))
            frozen = resets.get(i) if layer.detach_reset else None
            x, mem_rec, R = _neuron(layer, I, params, arrays[f"state.{i}"], frozen)
            if layer.detach_reset:
                resets.setdefault(i, R)
        else:
            x, _ = layer.run(x, params, ops)
            mem_rec = None
    return np.broadcast_to(x, (num_steps, *x.shape[1:])), mem_rec


def _neuron(
    layer: Leaky, I: Array, params: dict[str, Array], U: Array, frozen: Array | None
) -> tuple[Array, Array, Array]:
    """(S, U, R) over time, from the membrane U before it."""
    beta = np.clip(params.get("beta", layer.beta), 0.0, 1.0)
    theta = params.get("threshold", layer.threshold)
    P = layer.spike_grad.primitive
    record: list[tuple[Array, Array, Array]] = []
    for t in range(len(I)):
        R = P(U - theta) if frozen is None else frozen[t]  # (V3)
        lost = R * theta if layer.reset_mechanism == "subtract" else 0.0
        kept = U * (1.0 - R) if layer.reset_mechanism == "zero" else U
        U = beta * kept + I[t] - lost  # (V4)
        record.append((P(U - theta), U, R))
    S, U_all, R_all = (np.stack(column) for column in zip(*record, strict=True))
    return S, U_all, R_all
