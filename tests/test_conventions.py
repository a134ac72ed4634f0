"""One test for each convention of docs/conventions.md; what a number means, in the fewest lines that show it."""

import re
from pathlib import Path

import numpy as np
import pytest

import npsnn
from npsnn import functional as SF
from npsnn import surrogate
from npsnn.adam.reference import adam_step
from npsnn.leaky.reference import leaky_backward, leaky_forward


def leaky(I, beta=0.5, theta=1.0, **options):
    """S, U and the cache for one neuron."""
    options = {"num_steps": len(I), "sigma": surrogate.straight_through_estimator(), **options}
    S, cache = leaky_forward(np.reshape(I, (-1, 1, 1)) * 1.0, np.array(beta), np.array(theta), **options)
    return S.ravel().tolist(), cache.U.ravel().tolist(), cache


def test_each_convention_has_a_test_and_a_heading():
    page = (Path(__file__).parent.parent / "docs" / "conventions.md").read_text("utf-8")
    headings = set(re.findall(r"^## C(\d+) ", page, re.MULTILINE))
    tests = {name[6:8].lstrip("0") for name in globals() if re.match(r"test_C\d\d_", name)}
    assert headings == tests == {str(n) for n in range(1, 15)}


def test_C01_the_reset_follows_one_step_later():
    assert leaky([1.5, 0, 0])[:2] == ([1, 0, 0], [1.5, -0.25, -0.125])
    assert leaky([1.5, 0.25, 0], reset_mechanism="zero")[1] == [1.5, 0.25, 0.125]
    assert leaky([1.5, 0, 0], reset_mechanism="none")[1] == [1.5, 0.75, 0.375]


def test_C02_at_threshold_is_no_spike():
    assert leaky([1.0])[0] == [0]
    assert leaky([np.nextafter(1.0, 2)])[0] == [1]


def test_C03_beta_is_clipped_and_its_gradient_with_it():
    for beta, U, passes in ((-0.5, 0.25, False), (0.0, 0.25, True), (1.0, 0.5, True), (1.5, 0.5, False)):
        _, membranes, cache = leaky([0.25, 0.25], beta=beta)
        assert membranes[1] == U
        assert (leaky_backward(None, np.ones((2, 1, 1)), cache)[1] == 0.25) == passes


def test_C04_backward():
    _, _, cache = leaky([1.5, 1.5, 0])
    dS, dmem = np.array([1.0, 2, 4]).reshape(3, 1, 1), np.array([8.0, 16, 32]).reshape(3, 1, 1)
    dI, dbeta, dtheta, _ = leaky_backward(dS, dmem, cache)
    # sigma' = 1, U = 1.5, 1.25, -0.375, R = 0, 1, 1: dU[2] = 36, dU[1] = 18 + 18, dU[0] = 9 + 18.
    assert dI.ravel().tolist() == [27, 36, 36]
    assert dbeta == 36 * 1.5 + 36 * 1.25
    assert dtheta == -(1 + 2 + 4) - (36 + 36)
    _, _, attached = leaky([1.5, 1.5, 0], detach_reset=False)
    # each step's dU also goes back through the reset: 0.5 - 1 instead of 0.5.
    assert leaky_backward(dS, dmem, attached)[0].ravel().tolist() == [9, 0, 36]


def test_C05_a_complex_spike_carries_the_surrogates_tangent():
    sigma = surrogate.fast_sigmoid(slope=1)
    S = surrogate.spike(np.array([1 + 1e-30j, -1 + 1e-30j]), sigma)
    assert S.real.tolist() == [1, 0] and S.imag.tolist() == [0.25e-30, 0.25e-30]
    assert surrogate.spike(np.array([1.0, -1.0]), sigma).tolist() == [1, 0]


def test_C06_a_tie_goes_to_the_first_and_padding_never_wins():
    pool = npsnn.MaxPool2d(2)
    _, cache = pool.forward(np.array([[[0.0, 1], [1, 1]]]), {})
    assert pool.backward(np.array([[[5.0]]]), cache, {})[0].tolist() == [[[0, 5], [0, 0]]]
    assert npsnn.MaxPool2d(2, padding=1).forward(np.array([[[-3.0]]]), {})[0].tolist() == [[[-3]]]


def test_C07_convolution_is_cross_correlation():
    weight = np.array([[[[1.0, 10]]]])
    y, _ = npsnn.Conv2d(1, 1, (1, 2), bias=False).forward(np.array([[[1.0, 2]]]), {"weight": weight})
    assert y.item() == 21


def test_C08_losses():
    S = np.zeros((2, 1, 2))
    S[0, 0, 1] = 1
    y = np.array([1])
    once, silent = np.log(1 + np.exp(-1)), np.log(2)
    assert SF.ce_rate_loss()(S, y) == pytest.approx((once + silent) / 2, rel=1e-15)
    assert SF.ce_count_loss()(S, y) == pytest.approx(once, rel=1e-15)
    assert SF.ce_max_membrane_loss()(S, y) == pytest.approx(once, rel=1e-15)
    assert SF.mse_count_loss()(S, y) == (0 + 1) / 2 / 2
    assert SF.mse_membrane_loss()(S, y) == 1 / 4
    # int(25 0.3) = 7: the target is cut off, not rounded.
    assert SF.mse_count_loss(correct_rate=0.3)(np.ones((25, 1, 1)), np.array([0])) == (25 - 7) ** 2 / 25


def test_C09_adam():
    p, m, v = np.array([1.0]), np.array([0.5]), np.array([4.0])
    adam_step(p, np.array([2.0]), m, v, 2, lr=0.1, b1=0.5, b2=0.75, eps=0.25, weight_decay=0.5)
    g = 2.0 + 0.5
    m2, v2 = 0.5 * 0.5 + 0.5 * g, 0.75 * 4 + 0.25 * g * g
    assert (m[0], v[0]) == (m2, v2)
    assert p[0] == pytest.approx(1 - (0.1 / 0.75) * m2 / (np.sqrt(v2) / np.sqrt(1 - 0.75**2) + 0.25), rel=1e-15)


def test_C10_weights_are_pytorchs():
    # torch.manual_seed(0); torch.nn.Linear(3, 2).weight, .bias
    net = npsnn.Sequential(npsnn.Linear(3, 2), seed=0, backend="reference")
    expected = [[-0.00432252, 0.30971584, -0.47518533], [-0.42489460, -0.22236897, 0.15482073]]
    np.testing.assert_allclose(net.params["0.weight"], expected, atol=1e-8)
    np.testing.assert_allclose(net.params["0.bias"], [-0.01143914, 0.45777494], atol=1e-8)


def test_C11_same_bits_step_by_step_and_without_neighbours():
    pytest.importorskip("numba", reason="the claim is of the cpu backend")
    net = npsnn.Sequential(npsnn.Linear(40, 30), npsnn.Leaky(0.9), backend="cpu", seed=0)
    x = np.random.default_rng(0).standard_normal((6, 70, 40)).astype(np.float32)
    _, mem_rec = net(x)
    np.testing.assert_array_equal(net(x[:, 33:34])[1], mem_rec[:, 33:34])
    state = net.init_state(70)
    for t in range(6):
        (_, mem), state = net.step(x[t], state)
        np.testing.assert_array_equal(mem, mem_rec[t])


def test_C12_a_static_input_is_the_same_input_T_times():
    net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5), backend="reference", dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((4, 3))
    np.testing.assert_array_equal(net(x, 3)[1], net(np.stack([x] * 3))[1])


def test_C13_perfect_output_zero_loss_zero_gradient_and_silence_is_class_0():
    y = np.array([1, 0])
    S = np.zeros((4, 2, 2))
    S[:, 0, 1] = S[:, 1, 0] = 1
    value, drec = SF.mse_count_loss().value_and_grad(S, y)
    assert value == 0 and not drec.any()
    value, drec = SF.mse_membrane_loss(on_target=1, off_target=-1).value_and_grad(2 * S - 1, y)
    assert value == 0 and not drec.any()
    assert SF.accuracy_rate(np.zeros((4, 2, 2)), y) == 0.5


def test_C14_the_tutorials_own_cell_fires_one_step_later():
    I = [0.75, 0.75, 0.75, 0.0, 1.5, 0.0]
    S, U, _ = leaky(I)
    printed, u = [], 0.0
    for t in range(6):
        printed.append(1 if u > 1 else 0)
        u = 0.5 * u + I[t] - printed[-1]
        assert u == U[t]
    assert S == [0, 1, 0, 0, 1, 0] and printed == [0, *S[:-1]]
