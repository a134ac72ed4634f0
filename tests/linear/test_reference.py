"""The dense layer's law: numbers by hand and complex-step derivatives."""

import numpy as np
import pytest

from npsnn.linear.reference import linear_backward, linear_forward
from tests.helpers import close, complex_step


def test_forward_by_hand():
    X = np.array([[1.0, 2, 3], [0, -1, 0.5]])
    W = np.array([[1.0, 10, 100], [0.5, 0, -1]])
    Y, _ = linear_forward(X, W, np.array([0.25, -4]))
    assert Y.tolist() == [[321.25, -6.5], [40.25, -4.5]]
    assert linear_forward(X, W, None)[0].tolist() == [[321, -2.5], [40, -0.5]]


def test_backward_by_hand():
    X, W = np.array([[1.0, 2, 3], [0, -1, 0.5]]), np.array([[1.0, 10, 100], [0.5, 0, -1]])
    _, cache = linear_forward(X, W, None)
    dX, dW, db = linear_backward(np.array([[1.0, 2], [-4, 8]]), cache, W)
    assert dX.tolist() == [[2, 10, 98], [0, -40, -408]]
    assert dW.tolist() == [[1, 6, 1], [2, -4, 10]]
    assert db.tolist() == [-3, 10]


@pytest.mark.parametrize("N, K, M", [(5, 7, 3), (1, 6, 2), (4, 1, 3), (3, 2, 1), (1, 1, 1)])
def test_backward_is_the_complex_step_derivative(rng, N, K, M):
    X, W, b, dY = (rng.standard_normal(shape) for shape in ((N, K), (M, K), M, (N, M)))
    _, cache = linear_forward(X, W, b)
    by_step = complex_step(lambda X, W, b: (linear_forward(X, W, b)[0] * dY).sum(), X, W, b)
    for d, expected in zip(linear_backward(dY, cache, W), by_step, strict=True):
        close(d, expected)


def test_what_is_not_asked_for_is_none(rng):
    X, W, dY = rng.standard_normal((4, 3)), rng.standard_normal((2, 3)), rng.standard_normal((4, 2))
    _, cache = linear_forward(X, W, None)
    dX, dW, db = linear_backward(dY, cache, W, bias=False, input_grad=False)
    assert dX is None
    assert db is None
    np.testing.assert_array_equal(dW, linear_backward(dY, cache, W)[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(rng, dtype):
    X, W, b, dY = (rng.standard_normal(shape).astype(dtype) for shape in ((4, 3), (2, 3), 2, (4, 2)))
    Y, cache = linear_forward(X, W, b)
    assert {a.dtype for a in (Y, *linear_backward(dY, cache, W))} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_has_the_same_bits_alone(rng, dtype):
    X, W = rng.standard_normal((37, 129)).astype(dtype), rng.standard_normal((11, 129)).astype(dtype)
    whole, _ = linear_forward(X, W, None)
    for n in (0, 17, 36):
        np.testing.assert_array_equal(linear_forward(X[n : n + 1].copy(), W, None)[0], whole[n : n + 1])
