"""Neurons and the dense layer over their spikes in one: the law is the composition, and keeps neither S nor U."""

import numpy as np
import pytest

from npsnn import surrogate
from npsnn.leaky.inside import Neurons
from npsnn.leaky.reference import leaky_backward, leaky_forward
from npsnn.leakylinear.reference import leakylinear_backward, leakylinear_forward
from npsnn.linear.reference import linear_backward, linear_forward

# T, static, B, K, M
CASES = [(5, True, 3, 7, 4), (3, False, 2, 9, 1), (1, True, 2, 5, 3)]


def draw(case, rng, reset="subtract"):
    T, static, B, K, M = case
    I = rng.standard_normal((1 if static else T, B, K)) + 0.3
    beta, theta, U_before = rng.random(K), np.array(0.7), rng.standard_normal((B, K))
    neurons = Neurons(I, beta, theta, U_before, T, surrogate.fast_sigmoid(slope=3), reset)
    return neurons, rng.standard_normal((M, K)), rng.standard_normal(M)


def rows(x):
    return x.reshape(-1, x.shape[-1])


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_the_composition(rng, case, reset):
    neurons, W, b = draw(case, rng, reset)
    Y, U_after, cache = leakylinear_forward(neurons, W, b)
    S, leaky = leaky_forward(*neurons[:4], num_steps=neurons.num_steps, sigma=neurons.sigma, reset_mechanism=reset)
    expected, linear = linear_forward(rows(S), W, b)
    np.testing.assert_array_equal(rows(Y), expected)
    np.testing.assert_array_equal(U_after, leaky.U[-1])

    dY, dU_after = rng.standard_normal(Y.shape), rng.standard_normal(U_after.shape)
    dS, dW, db = linear_backward(rows(dY), linear, W)
    dmem = np.zeros_like(S)
    dmem[-1] = dU_after
    dI, _, _, dU_before = leaky_backward(dS.reshape(S.shape), dmem, leaky)
    got = leakylinear_backward(dY, dU_after, cache, W)
    for d, e in zip(got, (dI, dW, db, dU_before), strict=True):
        np.testing.assert_array_equal(d, e)
    without = leakylinear_backward(dY, None, cache, W)
    np.testing.assert_array_equal(without[0], leaky_backward(dS.reshape(S.shape), None, leaky)[0])


def test_what_is_not_asked_for_is_none_and_no_spike_is_kept(rng):
    neurons, W, _ = draw(CASES[0], rng)
    Y, _, cache = leakylinear_forward(neurons, W, None)
    dI, dW, db, dU_before = leakylinear_backward(Y, None, cache, W, bias=False)
    assert db is None and dW.shape == W.shape and dI.shape == neurons.I.shape and dU_before.shape == (3, 7)
    assert cache.neurons is neurons and cache._fields == ("neurons",)
