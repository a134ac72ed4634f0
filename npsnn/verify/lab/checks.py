"""Twelve small checks of the law, each in well under two seconds, on the reference backend alone.

A check gives None, or the first number that is not as it should be, in a sentence. They are small on purpose, so that
it can be seen which mistakes each is blind to; what proves the engine is `npsnn check` and the tests.
"""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from npsnn import functional as SF
from npsnn import surrogate
from npsnn._check import Array
from npsnn.adam.reference import adam_step
from npsnn.conv2d.reference import conv2d_backward, conv2d_forward
from npsnn.layer import Layer
from npsnn.layers import Conv2d, Flatten, Linear, MaxPool2d
from npsnn.leaky.reference import leaky_backward, leaky_forward
from npsnn.linear.reference import linear_backward, linear_forward
from npsnn.network import Sequential, State
from npsnn.neuron import RESETS, Leaky
from npsnn.pool2d.reference import avgpool2d_backward, avgpool2d_forward, maxpool2d_backward, maxpool2d_forward
from npsnn.verify import golden
from npsnn.verify.gradcheck import GradReport
from npsnn.verify.gradcheck import gradcheck as by_complex_step
from npsnn.verify.rtrl import rtrl as forward_mode

TO_ROUNDING = 1e-13  # of an array's largest entry: two float64 computations of one number, in different orders


class Number(NamedTuple):
    """One array of a check, as it is and as it should be."""

    name: str
    actual: Any
    expected: Any
    allowed: float = TO_ROUNDING  # difference, as a share of the largest expected entry


class Check(NamedTuple):
    """One check: `run()` gives None, or the first wrong number as a sentence."""

    name: str
    says: str
    run: Callable[[], str | None]


def found(check: Check) -> str | None:
    """What a check gives, with a fault planted too: the engine may then refuse its own numbers."""
    with np.errstate(all="ignore"):
        try:
            return check.run()
        except ValueError as refused:
            return str(refused)


def first_wrong(numbers: Iterator[Number]) -> str | None:
    """The first entry that is further off than it may be; NaN is.

    >>> first_wrong(iter([Number("U", [0.5, 0.75], [0.5, 1.0])]))
    'U[1] is 0.75, expected 1'
    """
    for name, actual, expected, allowed in numbers:
        a, b = np.asarray(actual, float), np.asarray(expected, float)
        wrong = ~(np.abs(a - b) <= allowed * np.abs(b).max(initial=0.0))
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            place = str(list(at)) if at else ""
            return f"{name}{place} is {a[at]:.6g}, expected {b[at]:.6g}"
    return None


# --- one neuron ------------------------------------------------------------------------------------------------------


def hand() -> str | None:
    """The four-step table of examples/02_one_neuron.py, and four steps two of which end exactly at the threshold."""
    return first_wrong(_tables())


def _tables() -> Iterator[Number]:
    sigma, beta, theta = surrogate.fast_sigmoid(slope=1), np.array(0.5), np.array(1.0)

    def column(*values: float) -> Array:
        return np.array(values, float).reshape(-1, 1, 1)

    S, cache = leaky_forward(column(0.75, 0.75, 1.5, 0.5), beta, theta, num_steps=4, sigma=sigma)
    yield Number("U", cache.U.ravel(), _numbers("3/4 9/8 17/16 1/32"))
    yield Number("S", S.ravel(), [0, 1, 1, 0])
    dI, dbeta, dtheta, _ = leaky_backward(column(1, -1, 2, 1), None, cache)
    yield Number("dI", dI.ravel(), _numbers("2294384/3186225 20416/127449 2180096/1147041 1024/3969"))
    yield Number("dbeta", dbeta, _numbers("2904848/1147041")[0])
    yield Number("dtheta", dtheta, _numbers("-12866384/3186225")[0])
    S, cache = leaky_forward(column(0.75, 0.625, 0.5, 0.75), beta, theta, num_steps=4, sigma=sigma)
    yield Number("U at the threshold", cache.U.ravel(), [0.75, 1, 1, 1.25])
    yield Number("S at the threshold", S.ravel(), [0, 0, 0, 1])


def _numbers(row: str) -> list[float]:
    return [float(Fraction(cell)) for cell in row.split()]


# --- gradients of networks -------------------------------------------------------------------------------------------


def gradcheck() -> str | None:
    """A convolutional network as one usually has it: resets detached, beta and theta not learnt."""
    sigma = surrogate.fast_sigmoid(5)
    layers = [Conv2d(1, 2, 3), Leaky(0.7, spike_grad=sigma), MaxPool2d(2), Conv2d(2, 2, 2), Flatten(), Linear(2, 2)]
    net, x = _lively([*layers, Leaky(0.8, spike_grad=sigma)]), np.random.default_rng(0).uniform(0, 1.5, (2, 1, 6, 6))
    for loss in (SF.ce_rate_loss(), SF.mse_membrane_loss()):
        found = _first_of(by_complex_step(net, x, np.array([0, 1]), loss, 3))
        if found:
            return found
    return None


def smooth() -> str | None:
    """The network "spikes" by sigma's primitive, whose true derivative sigma' must be."""
    for sigma in (surrogate.fast_sigmoid(5), surrogate.atan(), surrogate.sigmoid(4)):
        net = _lively([Linear(3, 4), Leaky(0.8, 0.9, sigma), Linear(4, 2), Leaky(0.6, 1.1, sigma)])
        x = np.random.default_rng(4).uniform(0, 1.5, (2, 3))
        report = by_complex_step(net, x, np.array([0, 1]), SF.mse_membrane_loss(), 5, smooth=True)
        found = _first_of(report)
        if found:
            return f"{sigma}: {found}"
    return None


def rtrl() -> str | None:
    """Learnt beta and theta, all resets, detached and not, in a dense network, against forward-mode sensitivities."""
    return first_wrong(_sensitivities())


def _sensitivities() -> Iterator[Number]:
    rng = np.random.default_rng(3)
    for reset, detach in itertools.product(RESETS, (True, False)):
        net, x = _dense(reset, detach), rng.uniform(0, 1.5, (2, 3))
        spk_rec, _, tape = net.forward(x, 6)
        dspk, dmem = rng.standard_normal((2, *spk_rec.shape))
        by_rtrl = forward_mode(net, x, 6, dspk, dmem)
        for name, d in net.backward(tape, dspk, dmem).items():
            yield Number(f"reset {reset}: {name}", d, by_rtrl[name])


def batch() -> str | None:
    """The loss and the gradients of a batch are the means of its samples'."""
    return first_wrong(_batches())


def _batches() -> Iterator[Number]:
    net, targets = _dense("subtract", True), np.array([0, 1, 1])
    x = np.random.default_rng(5).uniform(0, 1.5, (3, 3))
    for loss in (SF.ce_rate_loss(), SF.ce_count_loss(), SF.mse_count_loss(), SF.mse_membrane_loss()):
        whole = _loss_and_gradients(net, x, targets, loss)
        alone = [_loss_and_gradients(net, x[b : b + 1], targets[b : b + 1], loss) for b in range(3)]
        for name, value in whole.items():
            yield Number(f"{loss.name}: {name}", value, sum(of[name] for of in alone) / 3)


# --- the parts that are linear ---------------------------------------------------------------------------------------


def adjoint() -> str | None:
    """Where y = A x, the backward pass is A's transpose: the sum of (A x) v is that of x (A^T v), for a random v."""
    return first_wrong(_transposes(np.random.default_rng(7).standard_normal))


def ones() -> str | None:
    """The same with ones for v, as after y.sum(): what is quickly written, and what it does not see."""
    return first_wrong(_transposes(np.ones))


def _transposes(upstream: Callable[[tuple[int, ...]], Array]) -> Iterator[Number]:
    rng = np.random.default_rng(6)
    X, W, V = rng.standard_normal((3, 2, 6, 5)), rng.standard_normal((2, 2, 3, 2)), rng.standard_normal((4, 60))
    rows = X.reshape(3, 60)

    Y, conv = conv2d_forward(X, W, None, stride=(2, 1), padding=(1, 1))
    v = upstream(Y.shape)
    dX, dW, _ = conv2d_backward(v, conv, W)
    yield _transposed("conv2d: sum of X dX", X, dX, Y, v)
    yield _transposed("conv2d: sum of W dW", W, dW, Y, v)

    Y, dense = linear_forward(rows, V, None)
    v = upstream(Y.shape)
    dX, dW, _ = linear_backward(v, dense, V)
    yield _transposed("linear: sum of X dX", rows, dX, Y, v)
    yield _transposed("linear: sum of W dW", V, dW, Y, v)

    Y, chosen = maxpool2d_forward(X, kernel=(2, 3), stride=(1, 2), padding=(0, 1))
    v = upstream(Y.shape)
    yield _transposed("maxpool2d: sum of X dX", X, maxpool2d_backward(v, chosen), Y, v)

    Y, mean = avgpool2d_forward(X, kernel=(2, 3), stride=(1, 2), padding=(0, 1))
    v = upstream(Y.shape)
    yield _transposed("avgpool2d: sum of X dX", X, avgpool2d_backward(v, mean), Y, v)

    I, beta, sigma = X.reshape(3, 2, 30), np.array(0.75), surrogate.atan()
    _, leak = leaky_forward(I, beta, np.array(1.0), num_steps=3, sigma=sigma, reset_mechanism="none")
    v = upstream(leak.U.shape)
    dI = leaky_backward(None, v, leak)[0]
    yield _transposed("leaky without a reset: sum of I dI", I, dI, leak.U, v)


def _transposed(name: str, x: Array, dx: Array | None, y: Array, v: Array) -> Number:
    """The sum of x dx against that of y v, to rounding of what is added up there."""
    total = float((y * v).sum())
    return Number(name, (x * _given(dx)).sum(), total, TO_ROUNDING * float(np.abs(y * v).sum()) / abs(total))


# --- the same again --------------------------------------------------------------------------------------------------


def steps() -> str | None:
    """A sequence in one call, and a step a call with the state carried on and its gradient carried back."""
    return first_wrong(_pieces())


def _pieces() -> Iterator[Number]:
    rng = np.random.default_rng(8)
    x = rng.uniform(0, 1.5, (5, 2, 3))
    for reset in RESETS:
        net = _dense(reset, False)
        spk_rec, mem_rec, tape = net.forward(x)
        dspk, dmem = rng.standard_normal((2, *spk_rec.shape))
        whole = net.backward(tape, dspk, dmem)

        tapes, state = [], State(2, (None, None))
        for t in range(len(x)):
            S, U, tape = net.forward(x[t : t + 1], state=state)
            state = tape.state
            tapes.append(tape)
            yield Number(f"reset {reset}: S at step {t}", S[0], spk_rec[t], 0.0)
            yield Number(f"reset {reset}: U at step {t}", _given(U)[0], _given(mem_rec)[t], 0.0)

        total, dstate = {name: np.zeros_like(d) for name, d in whole.items()}, None
        for t in reversed(range(len(x))):
            part = net.backward(tapes[t], dspk[t : t + 1], dmem[t : t + 1], dstate=dstate, state_grad=True)
            dstate = part.pop("state")
            total = {name: d + part[name] for name, d in total.items()}
        for name, d in whole.items():
            yield Number(f"reset {reset}: {name}", total[name], d)


def twice() -> str | None:
    """Loss and backward, then both again from the same tape: the same bits, and the recordings as they were."""
    return first_wrong(_repetitions())


def _repetitions() -> Iterator[Number]:
    targets, x = np.array([0, 1]), np.random.default_rng(9).uniform(0, 1.5, (2, 3))
    for reset in RESETS:
        net = _dense(reset, True)
        spk_rec, mem_rec, tape = net.forward(x, 6)
        mem_rec = _given(mem_rec)
        S, U = spk_rec.copy(), mem_rec.copy()
        (_, dspk), (_, dmem) = (SF.ce_rate_loss().value_and_grad(spk_rec, targets), _mse(mem_rec, targets))
        first = net.backward(tape, dspk, dmem)
        (_, dspk), (_, dmem) = (SF.ce_rate_loss().value_and_grad(spk_rec, targets), _mse(mem_rec, targets))
        for name, d in net.backward(tape, dspk, dmem).items():
            yield Number(f"reset {reset}: {name} the second time", d, first[name], 0.0)
        yield Number(f"reset {reset}: S afterwards", spk_rec, S, 0.0)
        yield Number(f"reset {reset}: U afterwards", mem_rec, U, 0.0)


def _mse(mem_rec: Array, targets: Array) -> tuple[float, Array]:
    return SF.mse_membrane_loss().value_and_grad(mem_rec, targets)


# --- loss and optimiser ----------------------------------------------------------------------------------------------


def perfect() -> str | None:
    """Perfect output has zero loss and zero gradient; ten silent classes have a cross-entropy of log 10 (C13)."""
    return first_wrong(_outputs())


def _outputs() -> Iterator[Number]:
    y = np.array([3, 7])
    hot = np.tile(np.eye(10)[y], (4, 1, 1))
    for loss, rec in ((SF.mse_count_loss(), hot), (SF.mse_membrane_loss(1, -1), 2 * hot - 1)):
        value, drec = loss.value_and_grad(rec, y)
        yield Number(f"{loss.name} of perfect output", value, 0.0)
        yield Number(f"{loss.name}: gradient of perfect output", drec, 0 * drec)
    for loss in (SF.ce_rate_loss(), SF.ce_count_loss(), SF.ce_max_membrane_loss()):
        yield Number(f"{loss.name} of silence", loss(0 * hot, y), np.log(10))


def adam() -> str | None:
    """Under a gradient that does not change, every one of Adam's steps is lr long, however large the gradient is."""
    return first_wrong(_updates())


def _updates() -> Iterator[Number]:
    g = np.array([-1e3, -1.0, 1e-3, 1.0, 1e3])
    p, m, v = np.zeros((3, 5))
    for t in range(1, 6):
        adam_step(p, g, m, v, t, lr=0.5, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0)
        yield Number(f"p after step {t}", p, -0.5 * t * np.sign(g), 1e-4)  # eps is 1e-5 of the smallest gradient


# --- numbers from elsewhere ------------------------------------------------------------------------------------------

PER_KIND = 4  # of each op's dyadic and certified vectors


def some_golden() -> str | None:
    """A few of the golden vectors of every op; none of these numbers were made by npsnn."""
    for case in _some_cases():
        outputs = golden.compute(case, "reference", "float64")
        result = golden.judge(case, outputs)
        if not result.ok:
            name = result.array
            return f"{case.name}: {first_wrong(iter([Number(name, outputs[name], case.expected[name])]))}"
    return None


@lru_cache(maxsize=1)
def _some_cases() -> tuple[golden.Case, ...]:
    """Spread over the vectors of each op and kind."""
    kinds: dict[tuple[str, ...], list[golden.Case]] = {}
    for case in golden.cases():
        op = case.meta["op"]
        which = case.meta["loss"]["name"] if op == "loss" else case.meta["layers"][0]["type"] if op == "pool2d" else ""
        kinds.setdefault((op, case.meta["kind"], which), []).append(case)
    return tuple(case for found in kinds.values() for case in found[:: max(1, len(found) // PER_KIND)])


# --- small networks --------------------------------------------------------------------------------------------------


def _dense(reset: str, detach: bool) -> Sequential:
    """Two layers of neurons whose constants are learnt."""

    def neuron(beta: float) -> Leaky:
        return Leaky(beta, learn_beta=True, learn_threshold=True, reset_mechanism=reset, detach_reset=detach)

    return _lively([Linear(3, 4), neuron(0.8), Linear(4, 2), neuron(0.6)])


def _lively(layers: list[Layer]) -> Sequential:
    """A float64 network whose weights make its neurons fire."""
    net = Sequential(*layers, dtype=np.float64, backend="reference", seed=1)
    rng = np.random.default_rng(2)
    for name, value in net.params.items():
        if name.endswith("weight"):
            value[...] = rng.uniform(-0.4, 1.0, value.shape)
    return net


def _loss_and_gradients(net: Sequential, x: Array, targets: Array, loss: SF.Loss) -> dict[str, Any]:
    spk_rec, mem_rec, tape = net.forward(x, 6)
    if loss.on == "spk":
        value, dspk = loss.value_and_grad(spk_rec, targets)
        return {"the loss": value, **net.backward(tape, dspk=dspk)}
    value, dmem = loss.value_and_grad(mem_rec, targets)
    return {"the loss": value, **net.backward(tape, dmem=dmem)}


def _first_of(report: GradReport) -> str | None:
    if report.ok:
        return None
    w = report.worst
    return f"{w.name}{list(w.worst)} by hand is {w.by_hand:.6g}, by complex step {w.by_step:.6g}"


def _given(array: Array | None) -> Array:
    """An array that was asked for: a gradient, or the membranes of a network whose last layer is of neurons."""
    assert array is not None
    return array


CHECKS = (
    Check("hand", "one neuron, four steps, by hand", hand),
    Check("gradcheck", "backward is the complex-step derivative", gradcheck),
    Check("smooth", "the same with primitives in place of spikes", smooth),
    Check("rtrl", "backward is the forward-mode gradient", rtrl),
    Check("adjoint", "backward is the transpose, random upstream", adjoint),
    Check("ones", "the same with ones upstream", ones),
    Check("steps", "a step a call is the whole in one call", steps),
    Check("twice", "backward twice gives the same", twice),
    Check("batch", "a batch is the mean of its samples", batch),
    Check("perfect", "perfect output has no loss and no gradient", perfect),
    Check("adam", "Adam's steps are lr long", adam),
    Check("golden", "stored vectors from exact arithmetic", some_golden),
)
