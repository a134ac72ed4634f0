"""As reference.py; what differs follows.

- An image's convolution stays in scratch, (pixels, channels), and only the pooled Y and the places are written; the
  deltas are put at their places in the same scratch. No array of the convolution's size over all images is made.
- What is done to one image's scratch is conv2d's, and so is the order of sums; (K4) sums the image's cells.
- A window's pixels outside the image are left out; to a maximum, as in the law, NaN is the largest.
- A thread owns chunks of CHUNK images. Memory: one image's scratch a chunk, dW once for every chunk.
"""

from typing import Any

import numpy as np

from npsnn._jit import chunked_jit, register_jitable
from npsnn._lanes import aligned, aligned_zeros, padded_lanes
from npsnn._threads import parts
from npsnn.conv2d.cpu import CHUNK
from npsnn.conv2d.image import (
    convolve,
    input_gradient,
    list_deltas,
    ordered_sum,
    rows_of_inputs,
    rows_of_outputs,
    weight_gradient,
    weights_of_rows,
)
from npsnn.conv2d.reference import Conv2dCache
from npsnn.convpool2d.reference import ConvPool2dCache, Pair
from npsnn.pool2d.reference import MaxPool2dCache, place_dtype

Array = np.ndarray[Any, Any]


@register_jitable
def _keep_larger(row, k, best, where):  # type: ignore[no-untyped-def]
    """(P1), (P2) for the k-th pixel of a window: of all channels at once."""
    for o in range(len(best)):
        value = row[o]
        larger = (value > best[o]) | ((value != value) & (best[o] == best[o]))
        best[o] = value if larger else best[o]
        where[o] = np.int32(k) if larger else where[o]


@register_jitable
def _choose(acc, b, L, Y, place, shape, pool, best, where):  # type: ignore[no-untyped-def]
    """(P1), (P2) over one image's acc[(y, x), o], to which the bias is added first, as in the law."""
    (H_out, W_out), ((kh, kw), (sh, sw), (ph, pw)) = shape, pool
    O, H_pool, W_pool = Y.shape
    for pixel in range(H_out * W_out):
        row = acc[pixel * L : pixel * L + O]
        for o in range(O):
            row[o] += b[o]
    for cell_y in range(H_pool):
        for cell_x in range(W_pool):
            top, left = sh * cell_y - ph, sw * cell_x - pw
            i0, j0 = max(0, -top), max(0, -left)
            at = ((top + i0) * W_out + left + j0) * L
            for o in range(O):
                best[o], where[o] = acc[at + o], i0 * kw + j0
            for i in range(i0, min(kh, H_out - top)):
                for j in range(j0, min(kw, W_out - left)):
                    at = ((top + i) * W_out + left + j) * L
                    _keep_larger(acc[at : at + O], i * kw + j, best[:O], where[:O])
            for o in range(O):
                Y[o, cell_y, cell_x], place[o, cell_y, cell_x] = best[o], where[o]


@register_jitable
def _route(dY, place, L, dy, shape, pool):  # type: ignore[no-untyped-def]
    """(P3): one image's deltas at their places, dy[(y, x), o]."""
    (_, kw), (sh, sw), (ph, pw) = pool
    O, H_pool, W_pool = dY.shape
    dy[:] = 0
    for o in range(O):
        for cell_y in range(H_pool):
            for cell_x in range(W_pool):
                k = np.int64(place[o, cell_y, cell_x])
                y, x = sh * cell_y - ph + k // kw, sw * cell_x - pw + k % kw
                dy[(y * shape[1] + x) * L + o] += dY[o, cell_y, cell_x]


@chunked_jit
def _forward(begin, end, X, Wt, b, Y, place, L, shape, kernel, stride, padding, pool):  # type: ignore[no-untyped-def]
    N, C, H_in, W_in = X.shape
    for chunk in range(begin, end):
        acc, pixels = aligned(X, shape[0] * shape[1] * L), C * H_in * W_in
        offsets, values = np.empty(pixels, np.int32), np.empty(pixels, X.dtype)
        starts = np.empty((H_in, W_in + 1), np.int64)
        best, where = aligned(X, L), np.empty(L, np.int32)
        for n in range(chunk * CHUNK, min((chunk + 1) * CHUNK, N)):
            convolve(X[n], Wt, L, acc, shape, kernel, stride, padding, offsets, values, starts)
            _choose(acc, b, L, Y[n], place[n], shape, pool, best, where)


@chunked_jit
def _backward(  # type: ignore[no-untyped-def]
    begin, end, dY, place, X, Wr, dX, dWt, db, L, R, shape, kernel, stride, padding, pool
):
    N, C, H_in, W_in = X.shape
    O, H_pool, W_pool = dY.shape[1:]
    for chunk in range(begin, end):
        db[chunk] = 0
        dy, pixels = aligned(X, shape[0] * shape[1] * L), C * H_in * W_in
        listed = max(pixels, O * shape[0] * shape[1])
        offsets, values = np.empty(listed, np.int32), np.empty(listed, X.dtype)
        starts, ends = np.empty((H_in, W_in + 1), np.int64), np.empty(shape[0] * shape[1], np.int64)
        padded = aligned(X, (H_in + 2 * padding[0]) * (W_in + 2 * padding[1]) * C + R)
        for n in range(chunk * CHUNK, min((chunk + 1) * CHUNK, N)):
            for o in range(O):
                total = X.dtype.type(0)
                for cell_y in range(H_pool):
                    for cell_x in range(W_pool):
                        total += dY[n, o, cell_y, cell_x]
                db[chunk, o] += total  # (K4)
            _route(dY[n], place[n], L, dy, shape, pool)
            weight_gradient(X[n], dy, L, dWt[chunk], shape, kernel, stride, padding, offsets, values, starts)
            if len(dX) > 0:
                list_deltas(dy, L, R, O, offsets, values, ends)
                input_gradient(dX[n], Wr, R, O, shape, kernel, stride, padding, padded, offsets, values, ends)


def convpool2d_forward(
    X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair, pool: tuple[Pair, Pair, Pair]
) -> tuple[Array, ConvPool2dCache]:
    """As reference.convpool2d_forward."""
    O = W.shape[0]
    shape = _slid(X.shape[2:], W.shape[2:], stride, padding)
    Y = np.empty((len(X), O, *_slid(shape, *pool)), X.dtype)
    place = np.empty(Y.shape, place_dtype(pool[0]))
    bias = np.zeros(O, X.dtype) if b is None else b
    Wt, L = rows_of_outputs(W)
    chunks, kernel = parts(len(X), CHUNK), W.shape[2:]
    _forward(chunks, np.ascontiguousarray(X), Wt, bias, Y, place, L, shape, kernel, stride, padding, pool)
    return Y, ConvPool2dCache(Conv2dCache(X, stride, padding), MaxPool2dCache(place, (len(X), O, *shape), *pool))


def convpool2d_backward(
    dY: Array, cache: ConvPool2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """As reference.convpool2d_backward."""
    (X, stride, padding), (place, Y_shape, *pool) = cache
    X, dY = np.ascontiguousarray(X), np.ascontiguousarray(dY)
    O, C, kh, kw = W.shape
    chunks, L = parts(len(X), CHUNK), padded_lanes(O)
    dWt, db = aligned_zeros((chunks, kh * kw * C * L), X), np.empty((chunks, O), X.dtype)
    dX = np.empty(X.shape if input_grad else (0, *X.shape[1:]), X.dtype)
    Wr, R = rows_of_inputs(W)
    _backward(chunks, dY, place, X, Wr, dX, dWt, db, L, R, Y_shape[2:], (kh, kw), stride, padding, tuple(pool))
    dW = weights_of_rows(ordered_sum(dWt), W.shape)
    return dX if input_grad else None, dW, ordered_sum(db) if bias else None


def _slid(sizes: tuple[int, ...], kernel: tuple[int, ...], stride: Pair, padding: Pair) -> Pair:
    """(H_out, W_out) of a kernel sliding over (H_in, W_in)."""
    (h, w), (kh, kw), (sh, sw), (ph, pw) = sizes, kernel, stride, padding
    return (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1
