"""Faults too small to see in a training run, and mostly within the tolerances of gradient checks elsewhere.

Each is planted in the law and must make `gradcheck` fail; without it, the same check passes. A fault in sigma' is
shared by both sides of the hard-spike check, so it is looked for in the smooth mode.
"""

from typing import NamedTuple

import numpy as np
import pytest

import npsnn
from npsnn import functional as SF
from npsnn import surrogate
from npsnn.conv2d.reference import conv2d_backward
from npsnn.functional import reference as losses
from npsnn.leaky.reference import clip01, leaky_backward, leaky_forward
from npsnn.linear.reference import linear_backward
from npsnn.pool2d.reference import avgpool2d_backward, maxpool2d_backward
from npsnn.verify import gradcheck
from npsnn.verify.planted import planted


class Fault(NamedTuple):
    """Where, what, and the run that must show it."""

    name: str
    function: object
    old: str
    new: str
    sigma: object = surrogate.atan  # makes the surrogate, with the fault in place
    loss: object = SF.ce_rate_loss()
    reset: str = "subtract"
    detach: bool = True
    smooth: bool = False


HALF = "U if np.iscomplexobj(U) else U.astype(np.{}).astype(U.dtype)"
FAULTS = [
    Fault("pi is 3.1416", surrogate.atan, "np.pi / 2 * a", "3.1416 / 2 * a", smooth=True),
    Fault("alpha/2 is off by 1e-6", surrogate.atan, "a / 2,", "a / 2 + 1e-6,", smooth=True),
    Fault(
        "1e-7 in the fast sigmoid's denominator",
        surrogate.fast_sigmoid_derivative,
        "abs(x) + one",
        "abs(x) + one + 1e-7",
        lambda: surrogate.fast_sigmoid(5),
        smooth=True,
    ),
    Fault(
        "1e-7 in the sigmoid's denominator",
        surrogate.sigmoid_derivative,
        "((one + e) * (one + e))",
        "((one + e) * (one + e) + 1e-7)",
        lambda: surrogate.sigmoid(5),
        smooth=True,
    ),
    Fault(
        "the escape rate's peak is at 1.00001",
        surrogate.spike_rate_escape_derivative,
        "x - one",
        "x - 1.00001 * one",
        lambda: surrogate.spike_rate_escape(slope=1),
        smooth=True,
    ),
    Fault("beta is off by 1e-4", leaky_backward, "(beta_hat * kept)", "((beta_hat - 1e-4) * kept)"),
    Fault(
        "the membrane is kept in half precision",
        leaky_forward,
        "LeakyCache(U,",
        f"LeakyCache({HALF.format('float16')},",
    ),
    Fault(
        "the membrane is kept in single precision",
        leaky_forward,
        "LeakyCache(U,",
        f"LeakyCache({HALF.format('float32')},",
    ),
    Fault(
        "sigma' is taken 1e-6 beside the threshold",
        leaky_backward,
        "sigma.derivative(U_t - theta, t)",
        "sigma.derivative(U_t - theta + 1e-6, t)",
    ),
    Fault(
        "a detached reset leaks a millionth",
        leaky_backward,
        "            dR_next = zero\n\n",
        "            dR_next = 1e-6 * dR_next\n\n",
    ),
    Fault(
        "an attached reset loses a millionth",
        leaky_backward,
        "dR_next = -theta * dU_next",
        "dR_next = -0.999999 * theta * dU_next",
        detach=False,
    ),
    Fault(
        "an attached zero reset uses beta once too often",
        leaky_backward,
        "-beta_hat * U_t * dU_next",
        "-beta_hat * beta_hat * U_t * dU_next",
        reset="zero",
        detach=False,
    ),
    Fault(
        "the threshold forgets the reset before the first step",
        leaky_backward,
        "dtheta -= dU_next * R_next",
        "dtheta -= dU_next * R_next * (t >= 0)",
    ),
    Fault(
        "beta's gradient forgets the initial membrane",
        leaky_backward,
        "dbeta += dU_next * (kept * U_t)",
        "dbeta += dU_next * (kept * U_t) * (t >= 0)",
    ),
    Fault(
        "beta's gradient ignores the zero reset",
        leaky_backward,
        "dbeta += dU_next * (kept * U_t)",
        "dbeta += dU_next * U_t",
        reset="zero",
    ),
    Fault("beta at 1 gets no gradient", leaky_backward, "(beta <= 1)", "(beta < 1)"),
    Fault(
        "the upstream gradient passes through single precision",
        leaky_backward,
        "g = (dS_t + dR_next)",
        "g = (dS_t.astype(np.float32) + dR_next)",
    ),
    Fault(
        "eps in the softmax", losses.cross_entropy, "np.exp(log_p) - one_hot", "np.exp(log_p) / (1 + 1e-8) - one_hot"
    ),
    Fault("eps beside the batch size", losses.cross_entropy, "/ len(y)", "/ (len(y) + 1e-9)"),
    Fault(
        "2 is 2.000001 in the squared error",
        losses.mse_count,
        "dcount = 2 * miss",
        "dcount = 2.000001 * miss",
        loss=SF.mse_count_loss(),
    ),
    Fault(
        "the weight gradient of conv2d in single precision",
        conv2d_backward,
        "im2col(X, kernel",
        "im2col(X.astype(np.float32), kernel",
    ),
    Fault(
        "the input gradient of conv2d in single precision",
        conv2d_backward,
        "dY_rows @ W.reshape(O, -1)",
        "dY_rows @ W.reshape(O, -1).astype(np.float32)",
    ),
    Fault(
        "the weight gradient of linear in single precision",
        linear_backward,
        "dY.T @ cache.X",
        "dY.T.astype(np.float32) @ cache.X",
    ),
    Fault("an average over 4.000001 pixels", avgpool2d_backward, "(dY / places)", "(dY / (places + 1e-6))"),
    Fault(
        "a pool's gradient loses its last digits",
        maxpool2d_backward,
        "dY[..., None]",
        "dY.astype(np.float32)[..., None]",
    ),
]


def check(fault):
    """A network with every layer, constants at and in their range, spikes that tie in a pool, from a given state."""
    neuron = {"spike_grad": fault.sigma(), "reset_mechanism": fault.reset, "detach_reset": fault.detach}
    net = npsnn.Sequential(
        npsnn.Conv2d(1, 2, 3), npsnn.Leaky(0.7, learn_beta=True, learn_threshold=True, **neuron),
        npsnn.MaxPool2d(2), npsnn.Conv2d(2, 3, 2, padding=1), npsnn.AvgPool2d(2),
        npsnn.Leaky([[[1.0]], [[0.5]], [[0.0]]], learn_beta=True, **neuron),
        npsnn.Flatten(), npsnn.Linear(3, 2), npsnn.Leaky(0.9, 0.5, learn_threshold=True, **neuron),
        dtype=np.float64, backend="reference", seed=5,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    for name, value in net.params.items():
        if name.endswith("weight"):
            value[...] = rng.uniform(-0.3, 0.9, value.shape)
    x = rng.uniform(0, 1.5, (2, 1, 6, 6))
    state = npsnn.State(2, tuple(1.5 * rng.random((2, *n)) for n in ((2, 4, 4), (3, 1, 1), (2,))))
    return gradcheck(net, x, np.array([1, 0]), fault.loss, 6, state=state, smooth=fault.smooth)


def test_a_planted_fault_is_there_inside_the_block_and_nowhere_else():
    beta = np.array(1.5)
    with planted(clip01, "0 * beta + 1", "0 * beta + 2"):
        assert clip01(beta) == 2
    assert clip01(beta) == 1


def test_there_are_at_least_sixteen():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 16


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.name)
def test_each_is_caught(fault):
    report = check(fault)
    assert report.ok, f"without the fault\n{report}"
    with planted(fault.function, fault.old, fault.new):
        report = check(fault)
    assert not report.ok, f"with the fault\n{report}"


def test_neurons_fire_and_pools_tie_in_that_network():
    report = check(FAULTS[5])
    assert report.largest > 0.01 and len(report.arrays) == 14
