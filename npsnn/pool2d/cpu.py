"""As reference.py; what differs follows.

- A thread owns chunks of IMAGES images. No padded copy and no array of windows is made: what lies outside is left out.
  So (P1) a window of nothing but -inf chooses its first pixel, never the padding.
- Order of sums: (P4) row by row; (P3), (P5) by output pixel, row by row.
- Channels lie last in the memory of Y. Memory: a copy of an X or dY that is not contiguous.
"""

from typing import Any

import numpy as np

from npsnn import _buffers
from npsnn._jit import borrows, chunked_jit
from npsnn._memory import CHANNELS_LAST, empty, flat
from npsnn._sums import add_to
from npsnn._threads import parts
from npsnn.pool2d.reference import AvgPool2dCache, MaxPool2dCache, Pair, place_dtype

Array = np.ndarray[Any, Any]

IMAGES = 32


@borrows
def _choose_nan(X, Y, place, kh, kw, sh, sw, ph, pw):  # type: ignore[no-untyped-def]
    """To NumPy, and so to the law, NaN is the largest: where one image's windows have one, they take the first."""
    H_in, W_in = X.shape
    for y in range(Y.shape[0]):
        for x in range(Y.shape[1]):
            top, left = sh * y - ph, sw * x - pw
            for i in range(min(kh, H_in - top) - 1, max(0, -top) - 1, -1):
                for j in range(min(kw, W_in - left) - 1, max(0, -left) - 1, -1):
                    if np.isnan(X[top + i, left + j]):
                        Y[y, x], place[y, x] = X[top + i, left + j], i * kw + j


@chunked_jit
def _max_forward(begin, end, X, Y, place, kh, kw, sh, sw, ph, pw):  # type: ignore[no-untyped-def]
    N, C, H_in, W_in = X.shape
    H_out, W_out = Y.shape[2], Y.shape[3]
    for n in range(begin * IMAGES, min(end * IMAGES, N)):
        for c in range(C):
            ordered = True
            for y in range(H_out):
                for x in range(W_out):
                    top, left = sh * y - ph, sw * x - pw
                    i0, j0 = max(0, -top), max(0, -left)
                    best, where = X[n, c, top + i0, left + j0], i0 * kw + j0
                    for i in range(i0, min(kh, H_in - top)):
                        for j in range(j0, min(kw, W_in - left)):
                            value = X[n, c, top + i, left + j]
                            ordered &= value == value
                            if value > best:
                                best, where = value, i * kw + j
                    place[n, c, y, x] = where  # (P1)
                    Y[n, c, y, x] = best  # (P2)
            if not ordered:
                _choose_nan(X[n, c], Y[n, c], place[n, c], kh, kw, sh, sw, ph, pw)


@chunked_jit
def _max_backward(begin, end, dY, place, dX, kw, sh, sw, ph, pw):  # type: ignore[no-untyped-def]
    N, C, H_out, W_out = dY.shape
    for n in range(begin * IMAGES, min(end * IMAGES, N)):
        dX[n] = 0
        for c in range(C):
            for y in range(H_out):
                for x in range(W_out):
                    i, j = divmod(np.int64(place[n, c, y, x]), kw)
                    dX[n, c, sh * y + i - ph, sw * x + j - pw] += dY[n, c, y, x]  # (P3)


@chunked_jit
def _average_forward(begin, end, X, Y, C, size, shape, kernel, stride, padding):  # type: ignore[no-untyped-def]
    """An image's numbers are flat, channels last."""
    (H_in, W_in), (H_out, W_out), (kh, kw), (sh, sw), (ph, pw) = size, shape, kernel, stride, padding
    places, total = X.dtype.type(kh * kw), np.empty(C, X.dtype)
    for n in range(begin * IMAGES, min(end * IMAGES, len(X))):
        for y in range(H_out):
            for x in range(W_out):
                total[:] = 0
                for u in range(max(0, sh * y - ph), min(H_in, sh * y - ph + kh)):
                    for v in range(max(0, sw * x - pw), min(W_in, sw * x - pw + kw)):
                        add_to(X[n, (u * W_in + v) * C : (u * W_in + v + 1) * C], total)
                for c in range(C):
                    Y[n, (y * W_out + x) * C + c] = total[c] / places  # (P4)


@chunked_jit
def _average_backward(begin, end, dY, dX, C, size, shape, kernel, stride, padding):  # type: ignore[no-untyped-def]
    (H_in, W_in), (H_out, W_out), (kh, kw), (sh, sw), (ph, pw) = size, shape, kernel, stride, padding
    places, share = dY.dtype.type(kh * kw), np.empty(C, dY.dtype)
    for n in range(begin * IMAGES, min(end * IMAGES, len(dX))):
        dX[n] = 0
        for y in range(H_out):
            for x in range(W_out):
                for c in range(C):
                    share[c] = dY[n, (y * W_out + x) * C + c] / places
                for u in range(max(0, sh * y - ph), min(H_in, sh * y - ph + kh)):
                    for v in range(max(0, sw * x - pw), min(W_in, sw * x - pw + kw)):
                        add_to(share, dX[n, (u * W_in + v) * C : (u * W_in + v + 1) * C])  # (P5)


def _empty_output(X: Array, kernel: Pair, stride: Pair, padding: Pair) -> Array:
    sizes = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(X.shape[2:], kernel, stride, padding, strict=True)]
    return empty((*X.shape[:2], *sizes), X.dtype, CHANNELS_LAST)


def maxpool2d_forward(X: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Array, MaxPool2dCache]:
    """As reference.maxpool2d_forward."""
    Y = _empty_output(X, kernel, stride, padding)
    place = _buffers.empty(Y.shape, place_dtype(kernel))
    _max_forward(parts(len(X), IMAGES), np.ascontiguousarray(X), Y, place, *kernel, *stride, *padding)
    return Y, MaxPool2dCache(place, X.shape, kernel, stride, padding)


def maxpool2d_backward(dY: Array, cache: MaxPool2dCache) -> Array:
    """As reference.maxpool2d_backward."""
    dX = _buffers.empty(cache.X_shape, dY.dtype)
    dY, width = np.ascontiguousarray(dY), cache.kernel[1]
    _max_backward(parts(len(dX), IMAGES), dY, cache.place, dX, width, *cache.stride, *cache.padding)
    return dX


def avgpool2d_forward(X: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Array, AvgPool2dCache]:
    """As reference.avgpool2d_forward."""
    Y = _empty_output(X, kernel, stride, padding)
    sizes = X.shape[1], X.shape[2:], Y.shape[2:]
    _average_forward(parts(len(X), IMAGES), flat(X), flat(Y), *sizes, kernel, stride, padding)
    return Y, AvgPool2dCache(X.shape, kernel, stride, padding)


def avgpool2d_backward(dY: Array, cache: AvgPool2dCache) -> Array:
    """As reference.avgpool2d_backward."""
    shape, kernel, stride, padding = cache
    dX = empty(shape, dY.dtype, CHANNELS_LAST)
    sizes = shape[1], shape[2:], dY.shape[2:]
    _average_backward(parts(len(dX), IMAGES), flat(dY), flat(dX), *sizes, kernel, stride, padding)
    return dX
