"""The common misreadings of a neuron and of a pool: what an engine computes that has misunderstood the law.

Each is the law of one layer with one thing changed, as a reader of papers would change it, run over all steps on the
engine's own inputs; its docstring is what `npsnn compare` prints. Which of them gives the engine's outputs is for
compare.py to see. Nothing here is fast.

    U[t] = (beta U[t-1] + I[t]) - R[t] theta,   R[t] = H(U[t-1] - theta),   S[t] = H(U[t] - theta)   (L1) to (L3)
    dU[t] = (dS[t] + dR[t+1]) sigma'(U[t] - theta) + dmem[t] + dU[t+1] beta (1 - R[t+1] if "zero")   (L4) to (L6)
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from npsnn import surrogate
from npsnn._check import Array
from npsnn.neuron import RESETS
from npsnn.surrogate import Surrogate


class Neuron(NamedTuple):
    """A neuron layer, and the arrays that went into an engine's and came out, each (T, B, *N)."""

    beta: Array
    theta: Array
    reset: str
    detach: bool
    sigma: Surrogate
    I: Array
    U: Array
    S: Array


# --- forward -------------------------------------------------------------------------------------------------------

Step = Callable[[Neuron, Array, Array, Array], tuple[Array, Array]]  # (neuron, U, the spike before the last, I)


def forward(n: Neuron) -> Iterator[tuple[str, Array, Array]]:
    """(what was misread, S, U) for every misreading of this kind of neuron."""
    steps: list[Step] = [at_threshold, previous_spike, input_scaled]
    if n.reset != "none":
        steps += [early_reset, late_reset, no_reset_delay]
    if n.reset == "subtract":
        steps.append(decayed_reset)
    if n.reset == "zero":
        steps.append(input_dropped)
    for step in steps:
        yield str(step.__doc__).rstrip("."), *over_time(n, step)
    for other in RESETS:
        if other != n.reset:
            yield f'Reset "{other}" for "{n.reset}"', *over_time(n._replace(reset=other), law)
    yield "The membrane is not carried over: beta is 0", *over_time(n._replace(beta=0 * n.beta), law)
    beta = fitted_beta(n)
    yield f"Another beta: {beta:.7g} for {n.beta.flat[0]:.7g}", *over_time(n._replace(beta=np.asarray(beta)), law)


def over_time(n: Neuron, step: Step) -> tuple[Array, Array]:
    """(S, U), from rest."""
    U = S = late = np.zeros(n.I.shape[1:])
    S_all, U_all = [], []
    for I in n.I:
        late, before = S, late
        U, S = step(n, U, before, I)
        U_all.append(U)
        S_all.append(S)
    return np.stack(S_all), np.stack(U_all)


def law(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """The law."""
    U = charge(n, U, fires(U, n.theta), I)
    return U, fires(U, n.theta)


def at_threshold(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """A membrane at its threshold fires: U >= theta, where the law has U > theta (C2)."""
    U = charge(n, U, (n.theta <= U) * 1.0, I)
    return U, (n.theta <= U) * 1.0


def previous_spike(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """The spike of the previous membrane: S[t] = H(U[t-1] - theta)."""
    S = fires(U, n.theta)
    return charge(n, U, S, I), S


def early_reset(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """The reset one step early: in the step of its own spike, before U is recorded."""
    U = charge(n, U, 0 * U, I)
    S = fires(U, n.theta)
    return (U - S * n.theta if n.reset == "subtract" else (1 - S) * U), S


def no_reset_delay(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """The reset one step early, as with snnTorch's reset_delay=False: a membrane still above theta resets again."""
    R = fires(U, n.theta)
    U = charge(n, U, R, I)
    S = fires(U, n.theta)
    return U - (S - R) * (n.theta if n.reset == "subtract" else U), S


def late_reset(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """The reset one step late: R[t] = H(U[t-2] - theta)."""
    U = charge(n, U, late, I)
    return U, fires(U, n.theta)


def decayed_reset(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """Beta applied to the reset: U[t] = beta (U[t-1] - R[t] theta) + I[t]."""
    U = n.beta * (U - fires(U, n.theta) * n.theta) + I
    return U, fires(U, n.theta)


def input_dropped(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """The reset to zero drops the step's input: U[t] = (1 - R[t]) (beta U[t-1] + I[t])."""
    U = (1 - fires(U, n.theta)) * (n.beta * U + I)
    return U, fires(U, n.theta)


def input_scaled(n: Neuron, U: Array, late: Array, I: Array) -> tuple[Array, Array]:
    """The input scaled by 1 - beta."""
    return law(n, U, late, (1 - n.beta) * I)


def fires(U: Array, theta: Array) -> Array:
    """H(U - theta), as a number."""
    return np.asarray((theta < U) * 1.0)


def charge(n: Neuron, U: Array, R: Array, I: Array) -> Array:
    """(L2)."""
    if n.reset == "subtract":
        return np.asarray((n.beta * U + I) - R * n.theta)
    return np.asarray(n.beta * ((1 - R) * U if n.reset == "zero" else U) + I)


def fitted_beta(n: Neuron) -> float:
    """The decay that the engine's own membranes show where nothing was reset; NaN where none can be seen."""
    U_last = n.U[:-1]
    seen = (fires(U_last, n.theta) == 0) & (np.abs(U_last) > 1e-3 * np.abs(n.U).max(initial=0.0))
    ratios = (n.U[1:] - n.I[1:])[seen] / U_last[seen]
    return float(np.median(ratios)) if ratios.size else float("nan")


# --- backward ------------------------------------------------------------------------------------------------------


class Upstream(NamedTuple):
    """What enters a neuron layer's backward pass, and what an engine made of it, each (T, B, *N)."""

    dS: Array
    dmem: Array
    dU: Array


def backward(n: Neuron, d: Upstream) -> Iterator[tuple[str, Array]]:
    """(what was misread, dU) for every misreading of this neuron's backward pass."""
    detached = "The reset is not detached" if n.detach else "The reset is detached"
    yield detached, bptt(n._replace(detach=not n.detach), d, slopes(n))
    yield "No path through time: dU[t] = g[t] + dmem[t]", bptt(n._replace(beta=0 * n.beta, detach=True), d, slopes(n))
    yield "The gradient of the recorded membrane is left out", bptt(n, d._replace(dmem=0 * d.dmem), slopes(n))
    yield "The surrogate at U, where the law has it at U - theta", bptt(n, d, n.sigma.derivative(n.U))
    if n.reset == "zero":
        yield "The reset to zero does not cut the path through time", bptt(n, d, slopes(n), cut=False)
    scale = fitted_scale(n, d)
    yield f"The surrogate {scale:.7g} times as large", bptt(n, d, scale * slopes(n))
    for sigma in other_surrogates(n.sigma):
        yield f"Surrogate {sigma.name} for {n.sigma.name}", bptt(n, d, slopes(n._replace(sigma=sigma)))


def bptt(n: Neuron, d: Upstream, slope: Array, cut: bool = True) -> Array:
    """dU by (L4) to (L6), with sigma' given."""
    dU_next, dU = np.zeros(n.U.shape[1:]), np.empty_like(n.U)
    beta = np.clip(n.beta, 0, 1)
    for t in range(len(n.U) - 1, -1, -1):
        dR = np.zeros_like(dU_next)
        if not n.detach and n.reset != "none":
            dR = -n.theta * dU_next if n.reset == "subtract" else -beta * n.U[t] * dU_next
        kept = 1 - fires(n.U[t], n.theta) if n.reset == "zero" and cut else 1.0
        dU_next = dU[t] = (d.dS[t] + dR) * slope[t] + d.dmem[t] + dU_next * (beta * kept)
    return dU


def slopes(n: Neuron) -> Array:
    """sigma' at every step."""
    return np.stack([n.sigma.derivative(U_t - n.theta, t) for t, U_t in enumerate(n.U)])


def fitted_scale(n: Neuron, d: Upstream) -> float:
    """The engine's surrogate over the law's, from the last step, where no later one adds; NaN where none is seen."""
    by_law = (d.dS[-1] * n.sigma.derivative(n.U[-1] - n.theta)).ravel()
    seen = np.abs(by_law) > 1e-3 * np.abs(by_law).max(initial=0.0)
    ratios = (d.dU[-1] - d.dmem[-1]).ravel()[seen] / by_law[seen]
    return float(np.median(ratios)) if ratios.size else float("nan")


def other_surrogates(sigma: Surrogate) -> list[Surrogate]:
    """The usual ones, with slopes that are in use, and twice and half the given one."""
    given = [sigma.a, 2 * sigma.a, sigma.a / 2] if sigma.a > 0 else []
    sizes = sorted({1.0, 2.0, 4.0, 5.0, 10.0, 25.0, 50.0, 100.0, *given})
    found = [surrogate.straight_through_estimator(), surrogate.heaviside(), surrogate.triangular()]
    for size in sizes:
        found += [surrogate.fast_sigmoid(size), surrogate.atan(size), surrogate.sigmoid(size)]
    return [s for s in found if (s.formula, s.a, s.b) != (sigma.formula, sigma.a, sigma.b)]


# --- a max-pool's gradient -----------------------------------------------------------------------------------------


def pool_backward(windows: Array, dY: Array) -> Iterator[tuple[str, Array]]:
    """(what was misread, the gradient of each window's pixels) for windows (..., kh kw) and dY (...)."""
    top = windows == windows.max(axis=-1, keepdims=True)
    last = np.flip(np.cumsum(np.flip(top, -1), axis=-1), -1) == 1
    yield (
        "The last maximum of a window gets the gradient, where the law has the first (C6)",
        (last & top) * dY[..., None],
    )
    yield "Every maximum of a window gets the whole gradient", top * dY[..., None]
    yield "The maxima of a window share its gradient", top / top.sum(axis=-1, keepdims=True) * dY[..., None]
