"""The pools' law: numbers by hand, ties, padding, remainders, a naive loop and complex-step derivatives."""

import itertools

import numpy as np
import pytest

from npsnn.pool2d.reference import (
    add_to_windows,
    avgpool2d_backward,
    avgpool2d_forward,
    maxpool2d_backward,
    maxpool2d_forward,
    windows,
)
from tests.helpers import close, complex_step, distinct

# N, C, H_in, W_in, kernel, stride, padding
CASES = [
    (2, 3, 6, 4, (2, 2), (2, 2), (0, 0)),
    (1, 2, 7, 9, (3, 2), (3, 2), (0, 0)),  # neither 7 / 3 nor 9 / 2 divides
    (3, 1, 5, 8, (3, 3), (1, 2), (1, 1)),  # windows overlap
    (2, 2, 4, 5, (2, 4), (3, 1), (1, 2)),
    (1, 3, 5, 1, (5, 1), (1, 1), (0, 0)),
    (1, 1, 1, 1, (1, 1), (1, 1), (0, 0)),
]


def settings(case):
    return dict(zip(("kernel", "stride", "padding"), case[4:], strict=True))


def naive(X, kernel, stride, padding, average):
    """Y and the place of each maximum, one pixel at a time."""
    N, C, H, W = X.shape
    out = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip((H, W), kernel, stride, padding, strict=True)]
    Y, place = np.zeros((N, C, *out)), np.zeros((N, C, *out), int)
    for n, c, y, x in np.ndindex(Y.shape):
        best, total = -np.inf, 0.0
        for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
            u, v = y * stride[0] + i - padding[0], x * stride[1] + j - padding[1]
            if 0 <= u < H and 0 <= v < W:
                total += X[n, c, u, v]
                if X[n, c, u, v] > best:
                    best, place[n, c, y, x] = X[n, c, u, v], i * kernel[1] + j
        Y[n, c, y, x] = total / (kernel[0] * kernel[1]) if average else best
    return Y, place


def image(rows):
    return np.array(rows, float)[None, None]


def test_max_by_hand():
    X = image([[1, 7, 2, 0], [5, 3, 9, 4]])
    Y, cache = maxpool2d_forward(X, kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    assert Y.tolist() == [[[[7, 9]]]]
    assert cache.place.tolist() == [[[[1, 2]]]]
    assert maxpool2d_backward(image([[2, -3]]), cache).tolist() == [[[[0, 2, 0, 0], [0, 0, -3, 0]]]]


def test_the_first_maximum_in_row_major_order_takes_the_whole_gradient():
    """With spikes a tie is the usual case: all 16 windows of 0 and 1."""
    for n, window in enumerate(itertools.product([0, 1], repeat=4)):
        Y, cache = maxpool2d_forward(image(window).reshape(1, 1, 2, 2), kernel=(2, 2), stride=(2, 2), padding=(0, 0))
        first = window.index(max(window))
        assert Y.item() == max(window)
        expected = [0.0] * 4
        expected[first] = n + 0.5
        assert maxpool2d_backward(image([[n + 0.5]]), cache).ravel().tolist() == expected


def test_overlapping_windows_add_up_at_one_pixel():
    X = image([[0, 1, 0], [0, 0, 0]])
    _, cache = maxpool2d_forward(X, kernel=(1, 2), stride=(1, 1), padding=(0, 0))
    assert maxpool2d_backward(image([[2, 3], [5, 7]]), cache).tolist() == [[[[0, 5, 0], [5, 7, 0]]]]


def test_padding_never_wins_a_maximum():
    Y, cache = maxpool2d_forward(image([[-3, -2], [-5, -4]]), kernel=(2, 2), stride=(2, 2), padding=(1, 1))
    assert Y.tolist() == [[[[-3, -2], [-5, -4]]]]
    assert cache.place.tolist() == [[[[3, 2], [1, 0]]]]
    dX = maxpool2d_backward(image([[2, 3], [5, 7]]), cache)
    assert dX.tolist() == [[[[2, 3], [5, 7]]]]


def test_average_counts_the_padding():
    Y, cache = avgpool2d_forward(image([[4, 8], [12, 16]]), kernel=(2, 2), stride=(2, 2), padding=(1, 1))
    assert Y.tolist() == [[[[1, 2], [3, 4]]]]
    assert avgpool2d_backward(image([[4, 8], [12, 16]]), cache).tolist() == [[[[1, 2], [3, 4]]]]


def test_average_by_hand():
    X = image([[1, 2, 3], [4, 5, 6]])
    Y, cache = avgpool2d_forward(X, kernel=(2, 2), stride=(1, 1), padding=(0, 0))
    assert Y.tolist() == [[[[3, 4]]]]
    assert avgpool2d_backward(image([[4, -8]]), cache).tolist() == [[[[1, -1, -2], [1, -1, -2]]]]


def test_a_remainder_that_fills_no_window_is_left_out():
    X = image(np.arange(35).reshape(5, 7))
    for forward, backward in ((maxpool2d_forward, maxpool2d_backward), (avgpool2d_forward, avgpool2d_backward)):
        Y, cache = forward(X, kernel=(2, 3), stride=(2, 3), padding=(0, 0))
        assert Y.shape == (1, 1, 2, 2)
        dX = backward(np.ones_like(Y), cache)
        assert dX.shape == X.shape
        assert not dX[..., 4, :].any()
        assert not dX[..., :, 6].any()


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("spikes", [True, False], ids=["spikes", "numbers"])
def test_forward_equals_the_naive_loop(rng, case, spikes):
    X = (rng.random(case[:4]) < 0.3) * 1.0 if spikes else rng.standard_normal(case[:4])
    Y, cache = maxpool2d_forward(X, **settings(case))
    expected, place = naive(X, **settings(case), average=False)
    np.testing.assert_array_equal(Y, expected)
    np.testing.assert_array_equal(cache.place, place)
    close(avgpool2d_forward(X, **settings(case))[0], naive(X, **settings(case), average=True)[0], 1e-15)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_windows_and_their_transpose_are_adjoint(rng, case):
    """<d, windows(X)> = <add_to_windows(d), X>; on integers both sides are exact."""
    X = rng.integers(-9, 10, case[:4]).astype(float)
    view = windows(X, *case[4:], 0.0)
    d = rng.integers(-9, 10, view.shape).astype(float)
    assert (d * view).sum() == (add_to_windows(d, X.shape, *case[4:]) * X).sum()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_is_the_complex_step_derivative(rng, case):
    X = distinct(rng, case[:4])
    for forward, backward in ((maxpool2d_forward, maxpool2d_backward), (avgpool2d_forward, avgpool2d_backward)):
        Y, cache = forward(X, **settings(case))
        dY = rng.standard_normal(Y.shape)
        (expected,) = complex_step(lambda X, forward=forward, dY=dY: (forward(X, **settings(case))[0] * dY).sum(), X)
        close(backward(dY, cache), expected)


@pytest.mark.parametrize("kernel, dtype", [((16, 16), np.uint8), ((17, 16), np.int32), ((257, 1), np.int32)])
def test_a_place_takes_one_byte_up_to_256_and_none_is_lost(kernel, dtype):
    X = np.zeros((1, 1, *kernel))
    X[0, 0, -1, -1] = 1
    Y, cache = maxpool2d_forward(X, kernel=kernel, stride=kernel, padding=(0, 0))
    assert (Y.item(), cache.place.dtype, cache.place.item()) == (1, dtype, kernel[0] * kernel[1] - 1)
    assert maxpool2d_backward(np.array([[[[3.0]]]]), cache)[0, 0, -1, -1] == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(rng, dtype):
    X = rng.standard_normal(CASES[3][:4]).astype(dtype)
    for forward, backward in ((maxpool2d_forward, maxpool2d_backward), (avgpool2d_forward, avgpool2d_backward)):
        Y, cache = forward(X, **settings(CASES[3]))
        assert Y.dtype == backward(Y, cache).dtype == dtype
