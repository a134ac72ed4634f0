"""A fault in the engine is found by the drawn networks, and shrinks to a network that can be read at a glance."""

import numpy as np
import pytest
from hypothesis import given

from npsnn.conv2d import reference as conv2d
from npsnn.leaky import reference as leaky
from npsnn.pool2d import reference as pool2d
from tests.peers import compare_network
from tests.peers.draw_network import drawn, networks

pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = pytest.mark.filterwarnings("ignore")
leaky_forward, leaky_backward = leaky.leaky_forward, leaky.leaky_backward


def shrunk(first):
    """The smallest network that hypothesis found to fail; it runs that one last."""
    last = []

    @drawn(100)
    @given(networks(first))
    def every_network(case):
        last[:] = [case]
        compare_network.check(case, [])

    with pytest.raises(AssertionError):
        every_network()
    return last[0]


def steps(case):
    return case.num_steps or len(case.x)


def samples(case):
    return len(case.targets)


def kinds(case):
    return [kind for kind, _ in case.description]


@pytest.fixture(autouse=True)
def the_law_alone(monkeypatch):
    """The faults below are planted in the law."""
    monkeypatch.setattr(compare_network, "BACKENDS", ["reference"])


def test_a_forgotten_path_through_the_reset(monkeypatch):
    def backward(dS, dmem, cache, **asked):
        return leaky_backward(dS, dmem, cache._replace(detach_reset=True), **asked)

    monkeypatch.setattr(leaky, "leaky_backward", backward)
    case = shrunk((("zero", False), "atan"))
    assert kinds(case) == ["Linear", "Leaky"]
    assert (steps(case), samples(case)) == (2, 1)


def test_a_reset_that_decays(monkeypatch):
    """The other reading of "subtract": beta (U - theta) + I."""

    def forward(I, beta, theta, U_before=None, **options):
        S, cache = leaky_forward(I, beta, leaky.clip01(beta) * theta, U_before, **options)
        return S, cache._replace(theta=theta)

    monkeypatch.setattr(leaky, "leaky_forward", forward)
    case = shrunk((("subtract", True), "atan"))
    assert kinds(case) == ["Linear", "Leaky"]
    assert steps(case) <= 2 and samples(case) == 1


def test_a_threshold_gradient_without_the_reset(monkeypatch):
    def backward(dS, dmem, cache, **_):
        dI, dbeta, _, dU_before = leaky_backward(dS, dmem, cache)
        return dI, dbeta, leaky_backward(dS, dmem, cache._replace(reset_mechanism="none"))[2], dU_before

    monkeypatch.setattr(leaky, "leaky_backward", backward)
    case = shrunk((("subtract", True), "atan"))
    assert len(kinds(case)) <= 3
    assert steps(case) <= 2 and samples(case) == 1
    assert any(given.get("learn_threshold") for _, given in case.description)


def test_rows_and_columns_exchanged_in_a_gradient(monkeypatch):
    backward = conv2d.conv2d_backward
    monkeypatch.setattr(conv2d, "conv2d_backward", lambda *a, **k: tuple(_turned(d) for d in backward(*a, **k)))
    case = shrunk((("none", True), "straight_through_estimator"))
    assert kinds(case) == ["Conv2d", "Leaky", "Flatten", "Linear"]
    assert (steps(case), samples(case)) == (1, 1)


def _turned(d):
    return np.ascontiguousarray(d.swapaxes(-1, -2)) if d is not None and d.ndim == 4 and _square(d) else d


def _square(d):
    return d.shape[-1] == d.shape[-2]


def test_a_maximum_whose_gradient_goes_elsewhere(monkeypatch):
    backward = pool2d.maxpool2d_backward
    monkeypatch.setattr(pool2d, "maxpool2d_backward", lambda *a, **k: np.roll(backward(*a, **k), 1, -1))
    case = shrunk((("none", True), "straight_through_estimator"))
    assert len(kinds(case)) <= 6 and "MaxPool2d" in kinds(case)
    assert (steps(case), samples(case)) == (1, 1)
