"""Two-dimensional convolution by im2col: the law.

Forward, for image n, output channel o, output pixel (y, x), with stride s and zero padding p (C7: cross-correlation)

    cols[n, (y, x), (c, i, j)] = X[n, c, s y + i - p, s x + j - p]      zero outside the image         (K1)
    Y[n, o, y, x]              = sum over (c, i, j) of cols[n, (y, x), (c, i, j)] W[o, c, i, j] + b[o]   (K2)

Backward, with dY = dL/dY given

    dW[o, c, i, j]             = sum over n, (y, x) of dY[n, o, y, x] cols[n, (y, x), (c, i, j)]         (K3)
    db[o]                      = sum over n, (y, x) of dY[n, o, y, x]                                    (K4)
    dcols[n, (y, x), (c, i, j)] = sum over o of dY[n, o, y, x] W[o, c, i, j]                             (K5)
    dX[n, c, u, v]             = sum of dcols over all places where (K1) copied X[n, c, u, v] to         (K6)

Shapes: X (N, C, H_in, W_in), W (O, C, kh, kw), b (O,) or None, Y (N, O, H_out, W_out); N counts images, whatever time
step or sample they belong to. float32, float64 or complex128. Source: LeCun et al. 1998; im2col as in Chellapilla et
al. 2006. Twin: cpu.py.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


class Conv2dCache(NamedTuple):
    """What backward needs of forward."""

    X: Array  # (N, C, H_in, W_in)  the input; cols is made again from it, being kh kw times as large
    stride: Pair
    padding: Pair


def im2col(X: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """(K1) the patches of X as rows: (N, C, H_in, W_in) -> (N, H_out W_out, C kh kw).

    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), (2, 2), (1, 1), (0, 0))[0]
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.],
           [3., 4., 6., 7.],
           [4., 5., 7., 8.]])
    """
    (ph, pw), (sh, sw) = padding, stride
    Xp = np.pad(X, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    patches = sliding_window_view(Xp, kernel, axis=(2, 3))[:, :, ::sh, ::sw]
    N, C, H_out, W_out, kh, kw = patches.shape
    return patches.transpose(0, 2, 3, 1, 4, 5).reshape(N, H_out * W_out, C * kh * kw)


def col2im(dcols: Array, X_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """(K6) the transpose of im2col: every entry is added back to the pixel it was copied from.

    >>> col2im(np.ones((1, 4, 4)), (1, 1, 3, 3), (2, 2), (1, 1), (0, 0))[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    N, C, H_in, W_in = X_shape
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    H_out, W_out = (H_in + 2 * ph - kh) // sh + 1, (W_in + 2 * pw - kw) // sw + 1
    patches = dcols.reshape(N, H_out, W_out, C, kh, kw)
    dXp = np.zeros((N, C, H_in + 2 * ph, W_in + 2 * pw), dcols.dtype)
    for i in range(kh):
        for j in range(kw):
            rows, columns = slice(i, i + sh * H_out, sh), slice(j, j + sw * W_out, sw)
            dXp[:, :, rows, columns] += patches[:, :, :, :, i, j].transpose(0, 3, 1, 2)
    return np.ascontiguousarray(dXp[:, :, ph : ph + H_in, pw : pw + W_in])


def conv2d_forward(X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair) -> tuple[Array, Conv2dCache]:
    """Y and the cache, by (K1) and (K2).

    One matrix product an image, never one for all: its bits then do not depend on the images beside it.

    >>> X = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> Y, _ = conv2d_forward(X, np.ones((1, 1, 2, 2)), np.array([0.5]), stride=(1, 1), padding=(0, 0))
    >>> Y
    array([[[[10.5]]]])
    """
    N, _, H_in, W_in = X.shape
    O, _, kh, kw = W.shape
    H_out = (H_in + 2 * padding[0] - kh) // stride[0] + 1
    W_out = (W_in + 2 * padding[1] - kw) // stride[1] + 1
    cols = im2col(X, (kh, kw), stride, padding)  # (K1)
    Y = cols @ W.reshape(O, -1).T  # (K2)
    if b is not None:
        Y = Y + b
    Y = np.ascontiguousarray(Y.transpose(0, 2, 1)).reshape(N, O, H_out, W_out)
    return Y, Conv2dCache(X, stride, padding)


def conv2d_backward(
    dY: Array, cache: Conv2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """(dX, dW, db) by (K3) to (K6), from dY and the W of the forward pass; dX and db are None where not asked for.

    >>> X, W = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.ones((1, 1, 2, 2))
    >>> _, cache = conv2d_forward(X, W, None, stride=(1, 1), padding=(0, 0))
    >>> dX, dW, db = conv2d_backward(np.array([[[[2.0]]]]), cache, W)
    >>> dW[0, 0], db
    (array([[2., 4.],
           [6., 8.]]), array([2.]))
    """
    X, stride, padding = cache
    N, O, H_out, W_out = dY.shape
    kernel = (W.shape[2], W.shape[3])
    dY_rows = dY.reshape(N, O, H_out * W_out).transpose(0, 2, 1)

    # (K2) Y = cols W^T + b; so dW collects dY times cols, and db collects dY:
    cols = im2col(X, kernel, stride, padding)
    dW = np.matmul(dY_rows.transpose(0, 2, 1), cols).sum(axis=0).reshape(W.shape)  # (K3)
    db = dY_rows.sum(axis=1).sum(axis=0) if bias else None  # (K4)
    if not input_grad:
        return None, dW, db

    # (K2) Y = cols W^T + b; so dcols = dY W:
    dcols = dY_rows @ W.reshape(O, -1)  # (K5)

    # (K1) cols copies X, to several places where windows overlap; so dX adds them up:
    return col2im(dcols, X.shape, kernel, stride, padding), dW, db  # (K6)
