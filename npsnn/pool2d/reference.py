"""Two-dimensional pooling: the law.

Max, over the window of output pixel (y, x), with stride s and padding p by -inf (C6)

    place[n, c, y, x] = the first (i, j), row by row, at which X[n, c, s y + i - p, s x + j - p] is largest   (P1)
    Y[n, c, y, x]     = X there                                                                               (P2)
    dX                = dY added at `place`, and nothing anywhere else                                        (P3)

Average, padding by 0 and counting it

    Y[n, c, y, x]     = (1 / (kh kw)) sum over (i, j) of X[n, c, s y + i - p, s x + j - p]                    (P4)
    dX                = dY / (kh kw), added to every pixel of the window                                      (P5)

Shapes: X (N, C, H_in, W_in), Y (N, C, H_out, W_out), H_out = floor((H_in + 2 p - kh) / s) + 1. For complex X the
largest is the one with the largest real part. With spikes a tie is the usual case: an all-zero window sends its
gradient to its first corner. Twin: cpu.py.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


class MaxPool2dCache(NamedTuple):
    """What backward needs of forward."""

    place: Array  # (N, C, H_out, W_out) uint8 or int32: i kw + j of the maximum within its window
    X_shape: tuple[int, ...]
    kernel: Pair
    stride: Pair
    padding: Pair


class AvgPool2dCache(NamedTuple):
    """What backward needs of forward."""

    X_shape: tuple[int, ...]
    kernel: Pair
    stride: Pair
    padding: Pair


def place_dtype(kernel: Pair) -> type[np.uint8] | type[np.int32]:
    """One byte a choice where the window has at most 256 places, else four."""
    return np.uint8 if kernel[0] * kernel[1] <= 256 else np.int32


def windows(X: Array, kernel: Pair, stride: Pair, padding: Pair, fill: float) -> Array:
    """The windows of X padded by `fill`, each flattened row by row: (N, C, H_out, W_out, kh kw)."""
    (ph, pw), (sh, sw) = padding, stride
    Xp = np.pad(X, ((0, 0), (0, 0), (ph, ph), (pw, pw)), constant_values=fill)
    view = sliding_window_view(Xp, kernel, axis=(2, 3))[:, :, ::sh, ::sw]
    return view.reshape(*view.shape[:4], kernel[0] * kernel[1])


def add_to_windows(dwindows: Array, X_shape: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair) -> Array:
    """The transpose of `windows`: every entry is added back to the pixel it came from."""
    (kh, kw), (sh, sw), (ph, pw) = kernel, stride, padding
    N, C, H_in, W_in = X_shape
    H_out, W_out = dwindows.shape[2:4]
    dXp = np.zeros((N, C, H_in + 2 * ph, W_in + 2 * pw), dwindows.dtype)
    for i in range(kh):
        for j in range(kw):
            rows, columns = slice(i, i + sh * H_out, sh), slice(j, j + sw * W_out, sw)
            dXp[:, :, rows, columns] += dwindows[..., i * kw + j]
    return np.ascontiguousarray(dXp[:, :, ph : ph + H_in, pw : pw + W_in])


def maxpool2d_forward(X: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Array, MaxPool2dCache]:
    """Y and the cache, by (P1) and (P2).

    >>> X = np.array([[[[0.0, 1.0], [1.0, 0.0]]]])
    >>> Y, cache = maxpool2d_forward(X, kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    >>> Y.item(), cache.place.item()
    (1.0, 1)
    """
    view = windows(X, kernel, stride, padding, -np.inf)
    place = view.real.argmax(axis=-1)  # (P1): argmax takes the first
    Y = np.take_along_axis(view, place[..., None], axis=-1)[..., 0]  # (P2)
    return Y, MaxPool2dCache(place.astype(place_dtype(kernel)), X.shape, kernel, stride, padding)


def maxpool2d_backward(dY: Array, cache: MaxPool2dCache) -> Array:
    """dX by (P3).

    >>> X = np.array([[[[0.0, 1.0], [1.0, 0.0]]]])
    >>> _, cache = maxpool2d_forward(X, kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    >>> maxpool2d_backward(np.array([[[[3.0]]]]), cache)[0, 0]
    array([[0., 3.],
           [0., 0.]])
    """
    # (P2) Y = X at `place`; so dY goes there and nowhere else:
    dwindows = np.zeros((*dY.shape, cache.kernel[0] * cache.kernel[1]), dY.dtype)
    np.put_along_axis(dwindows, cache.place[..., None].astype(np.intp), dY[..., None], axis=-1)
    return add_to_windows(dwindows, *cache[1:])  # (P3)


def avgpool2d_forward(X: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Array, AvgPool2dCache]:
    """Y and the cache, by (P4).

    >>> X = np.array([[[[0.0, 1.0], [2.0, 3.0]]]])
    >>> avgpool2d_forward(X, kernel=(2, 2), stride=(2, 2), padding=(0, 0))[0].item()
    1.5
    """
    view = windows(X, kernel, stride, padding, 0.0)
    Y = view.sum(axis=-1) / (kernel[0] * kernel[1])  # (P4)
    return Y, AvgPool2dCache(X.shape, kernel, stride, padding)


def avgpool2d_backward(dY: Array, cache: AvgPool2dCache) -> Array:
    """dX by (P5).

    >>> _, cache = avgpool2d_forward(np.zeros((1, 1, 2, 2)), kernel=(2, 2), stride=(2, 2), padding=(0, 0))
    >>> avgpool2d_backward(np.array([[[[2.0]]]]), cache)[0, 0]
    array([[0.5, 0.5],
           [0.5, 0.5]])
    """
    # (P4) Y = mean of the window; so each of its pixels receives dY / (kh kw):
    places = cache.kernel[0] * cache.kernel[1]
    dwindows = np.broadcast_to((dY / places)[..., None], (*dY.shape, places))
    return add_to_windows(dwindows, *cache)  # (P5)
