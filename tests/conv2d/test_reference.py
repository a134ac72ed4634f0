"""The convolution's law: numbers by hand, a naive loop, the adjoint identity and complex-step derivatives."""

import itertools

import numpy as np
import pytest

from npsnn.conv2d.reference import col2im, conv2d_backward, conv2d_forward, im2col
from tests.helpers import close, complex_step

# N, C, H_in, W_in, O, kernel, stride, padding
CASES = [
    (2, 3, 7, 5, 4, (3, 2), (1, 1), (0, 0)),
    (3, 2, 6, 9, 5, (2, 3), (2, 3), (1, 2)),
    (2, 1, 5, 4, 3, (5, 1), (3, 2), (2, 0)),
    (1, 4, 3, 2, 1, (3, 2), (1, 1), (0, 0)),  # the kernel is the image
    (5, 2, 4, 7, 3, (1, 1), (3, 2), (0, 0)),  # some pixels are never looked at
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0)),
    (2, 1, 1, 3, 2, (3, 3), (2, 1), (1, 1)),  # no window without padding in it
]


def draw(rng, case):
    """X, W, b, the settings and the shape of Y."""
    N, C, H, W_in, O, (kh, kw), (sh, sw), (ph, pw) = case
    X, W, b = rng.standard_normal((N, C, H, W_in)), rng.standard_normal((O, C, kh, kw)), rng.standard_normal(O)
    out = (N, O, (H + 2 * ph - kh) // sh + 1, (W_in + 2 * pw - kw) // sw + 1)
    return X, W, b, {"stride": (sh, sw), "padding": (ph, pw)}, out


def naive(X, W, b, stride, padding, out):
    """Y, one multiplication at a time, written from the definition of cross-correlation."""
    Y = np.zeros(out)
    for n, o, y, x in np.ndindex(out):
        total = b[o]
        for c, i, j in np.ndindex(W.shape[1:]):
            u, v = y * stride[0] + i - padding[0], x * stride[1] + j - padding[1]
            if 0 <= u < X.shape[2] and 0 <= v < X.shape[3]:
                total += X[n, c, u, v] * W[o, c, i, j]
        Y[n, o, y, x] = total
    return Y


def test_forward_by_hand():
    X = np.array([[[[1.0, 2, 3], [4, 5, 6]]]])
    W = np.array([[[[1.0, 10], [100, 1000]]], [[[0, -1], [0.5, 0]]]])
    Y, _ = conv2d_forward(X, W, np.array([0.25, -1]), stride=(1, 1), padding=(0, 0))
    # 1 + 20 + 400 + 5000, not the flipped 1000 + 200 + 40 + 5: it is a cross-correlation (C7).
    assert Y.tolist() == [[[[5421.25, 6532.25]], [[-1.0, -1.5]]]]


def test_forward_with_stride_and_padding_by_hand():
    X = np.array([[[[1.0, 2, 3], [4, 5, 6]]]])
    Y, _ = conv2d_forward(X, np.array([[[[1.0, 10, 100]]]]), None, stride=(2, 2), padding=(1, 1))
    # Rows -1 and 1 (stride 2, padding 1), columns starting at -1 and 1; row -1 is padding.
    assert Y.tolist() == [[[[0, 0], [540, 65]]]]


def test_backward_by_hand():
    X, W = np.array([[[[1.0, 2, 3], [4, 5, 6]]]]), np.array([[[[1.0, 10], [100, 1000]]]])
    _, cache = conv2d_forward(X, W, None, stride=(1, 1), padding=(0, 0))
    dX, dW, db = conv2d_backward(np.array([[[[2.0, -1]]]]), cache, W)
    assert dX.tolist() == [[[[2, 20 - 1, -10], [200, 2000 - 100, -1000]]]]
    assert dW.tolist() == [[[[2 * 1 - 2, 2 * 2 - 3], [2 * 4 - 5, 2 * 5 - 6]]]]
    assert db.tolist() == [1]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_equals_the_naive_loop(rng, case):
    X, W, b, settings, out = draw(rng, case)
    close(conv2d_forward(X, W, b, **settings)[0], naive(X, W, b, **settings, out=out), 1e-14)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_im2col_and_col2im_are_adjoint(rng, case):
    """<cols, im2col(X)> = <col2im(cols), X>; on integers both sides are exact."""
    N, C, H, W_in, _, kernel, stride, padding = case
    X = rng.integers(-9, 10, (N, C, H, W_in)).astype(float)
    cols = im2col(X, kernel, stride, padding)
    dcols = rng.integers(-9, 10, cols.shape).astype(float)
    assert (dcols * cols).sum() == (col2im(dcols, X.shape, kernel, stride, padding) * X).sum()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_is_the_complex_step_derivative(rng, case):
    X, W, b, settings, out = draw(rng, case)
    dY = rng.standard_normal(out)
    _, cache = conv2d_forward(X, W, b, **settings)
    by_step = complex_step(lambda X, W, b: (conv2d_forward(X, W, b, **settings)[0] * dY).sum(), X, W, b)
    for d, expected in zip(conv2d_backward(dY, cache, W), by_step, strict=True):
        close(d, expected)


@pytest.mark.parametrize("bias, input_grad", list(itertools.product([True, False], repeat=2)))
def test_what_is_not_asked_for_is_none_and_the_rest_is_the_same(rng, bias, input_grad):
    X, W, _, settings, out = draw(rng, CASES[1])
    dY = rng.standard_normal(out)
    _, cache = conv2d_forward(X, W, None, **settings)
    full = conv2d_backward(dY, cache, W)
    dX, dW, db = conv2d_backward(dY, cache, W, bias=bias, input_grad=input_grad)
    np.testing.assert_array_equal(dW, full[1])
    assert (dX is None) == (not input_grad)
    assert (db is None) == (not bias)
    for d, expected in ((dX, full[0]), (db, full[2])):
        assert d is None or np.array_equal(d, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_is_kept(rng, dtype):
    X, W, b, settings, out = draw(rng, CASES[1])
    X, W, b, dY = (a.astype(dtype) for a in (X, W, b, rng.standard_normal(out)))
    Y, cache = conv2d_forward(X, W, b, **settings)
    assert {a.dtype for a in (Y, *conv2d_backward(dY, cache, W))} == {np.dtype(dtype)}
