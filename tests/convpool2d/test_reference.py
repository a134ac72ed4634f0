"""Convolution and pool in one: the law is the composition, and its gradient the composition's."""

import numpy as np
import pytest

from npsnn.conv2d.reference import conv2d_forward
from npsnn.convpool2d.reference import convpool2d_backward, convpool2d_forward
from npsnn.pool2d.reference import maxpool2d_forward
from tests.helpers import close, complex_step

# N, C, H_in, W_in, O, kernel, stride, padding, pool (kernel, stride, padding)
CASES = [
    (2, 2, 6, 7, 3, (3, 2), (1, 1), (0, 0), ((2, 2), (2, 2), (0, 0))),
    (3, 1, 7, 6, 2, (2, 3), (2, 1), (1, 2), ((3, 2), (1, 1), (1, 1))),
    (1, 3, 5, 5, 4, (5, 5), (1, 1), (2, 0), ((2, 1), (2, 1), (0, 0))),
]


def draw(case, rng):
    N, C, H_in, W_in, O, kernel, stride, padding, pool = case
    X, W, b = rng.standard_normal((N, C, H_in, W_in)), rng.standard_normal((O, C, *kernel)), rng.standard_normal(O)
    return X, W, b, {"stride": stride, "padding": padding, "pool": pool}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_the_composition(rng, case):
    X, W, b, settings = draw(case, rng)
    Y, cache = convpool2d_forward(X, W, b, **settings)
    by_hand, _ = conv2d_forward(X, W, b, stride=settings["stride"], padding=settings["padding"])
    kernel, stride, padding = settings["pool"]
    expected, chosen = maxpool2d_forward(by_hand, kernel=kernel, stride=stride, padding=padding)
    np.testing.assert_array_equal(Y, expected)
    np.testing.assert_array_equal(cache.pool.place, chosen.place)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_is_the_complex_step_derivative(rng, case):
    X, W, b, settings = draw(case, rng)
    Y, cache = convpool2d_forward(X, W, b, **settings)
    dY = rng.standard_normal(Y.shape)
    by_step = complex_step(lambda X, W, b: (convpool2d_forward(X, W, b, **settings)[0] * dY).sum(), X, W, b)
    for d, expected in zip(convpool2d_backward(dY, cache, W), by_step, strict=True):
        close(d, expected)


def test_what_is_not_asked_for_is_none(rng):
    X, W, _, settings = draw(CASES[0], rng)
    Y, cache = convpool2d_forward(X, W, None, **settings)
    dX, dW, db = convpool2d_backward(Y, cache, W, bias=False, input_grad=False)
    assert dX is None and db is None and dW.shape == W.shape
