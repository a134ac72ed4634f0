"""Neurons and convolution in one: the law is the composition, and keeps neither spikes nor membranes."""

import numpy as np
import pytest

from npsnn import surrogate
from npsnn.conv2d.reference import conv2d_backward, conv2d_forward
from npsnn.leaky.inside import Neurons
from npsnn.leaky.reference import leaky_backward, leaky_forward
from npsnn.leakyconv2d.reference import leakyconv2d_backward, leakyconv2d_forward

# T, static, B, C, H, W, O, kernel, stride, padding
CASES = [
    (5, True, 3, 2, 7, 6, 4, (3, 2), (1, 1), (0, 0)),
    (3, False, 2, 3, 6, 7, 2, (2, 3), (2, 1), (1, 2)),
    (1, True, 2, 1, 5, 5, 3, (5, 5), (1, 1), (2, 0)),
]


def draw(case, rng, reset="subtract"):
    T, static, B, C, H, width, O, kernel, stride, padding = case
    I = rng.standard_normal((1 if static else T, B, C, H, width)) + 0.3
    beta, theta = rng.random((C, 1, 1)), 0.2 + rng.random((H, width))
    U_before = rng.standard_normal((B, C, H, width))
    neurons = Neurons(I, beta, theta, U_before, T, surrogate.fast_sigmoid(slope=3), reset)
    W, b = rng.standard_normal((O, C, *kernel)), rng.standard_normal(O)
    return neurons, W, b, {"stride": stride, "padding": padding}


def images(x):
    return x.reshape(-1, *x.shape[2:])


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_the_composition(rng, case, reset):
    neurons, W, b, settings = draw(case, rng, reset)
    Y, U_after, cache = leakyconv2d_forward(neurons, W, b, **settings)
    S, leaky = leaky_forward(*neurons[:4], num_steps=neurons.num_steps, sigma=neurons.sigma, reset_mechanism=reset)
    expected, conv = conv2d_forward(images(S), W, b, **settings)
    np.testing.assert_array_equal(images(Y), expected)
    np.testing.assert_array_equal(U_after, leaky.U[-1])

    dY, dU_after = rng.standard_normal(Y.shape), rng.standard_normal(U_after.shape)
    dS, dW, db = conv2d_backward(images(dY), conv, W)
    dmem = np.zeros_like(S)
    dmem[-1] = dU_after
    dI, _, _, dU_before = leaky_backward(dS.reshape(S.shape), dmem, leaky)
    got = leakyconv2d_backward(dY, dU_after, cache, W)
    for d, e in zip(got, (dI, dW, db, dU_before), strict=True):
        np.testing.assert_array_equal(d, e)
    without = leakyconv2d_backward(dY, None, cache, W)
    np.testing.assert_array_equal(without[0], leaky_backward(dS.reshape(S.shape), None, leaky)[0])


def test_what_is_not_asked_for_is_none_and_no_spike_is_kept(rng):
    neurons, W, _, settings = draw(CASES[0], rng)
    Y, _, cache = leakyconv2d_forward(neurons, W, None, **settings)
    dI, dW, db, dU_before = leakyconv2d_backward(Y, None, cache, W, bias=False)
    assert db is None and dW.shape == W.shape and dI.shape == neurons.I.shape and dU_before.shape == (3, 2, 7, 6)
    assert cache.neurons is neurons and cache._fields == ("neurons", "stride", "padding")
