"""As reference.py; what differs follows.

- No im2col. Of every image, the pixels that are not zero are listed, row by row; a window's share of a row is a piece
  of that list, and (K2), (K3) run over it. For the input gradient the deltas that are not zero are listed, output pixel
  by output pixel. Spikes and pooled deltas are mostly zeros, and a zero costs nothing. (So 0 times an infinite or NaN
  weight is 0 here and NaN in the law; and (K5) writes NaN a little beside a window whose delta is not finite.)
- Inside, channels lie last, in rows of padded length (_lanes.py), and a row's sum stays in registers.
- A thread owns chunks of CHUNK images, with scratch of its own; the chunk does not depend on the number of threads.
- Order of sums: (K2) (j, c) ascending within a kernel row, then the kernel rows' sums ascending, then the bias; (K3)
  within a chunk by image and output pixel, (K4) over an image's output pixels, then the chunk's images, and for both
  the chunks' partial sums ascending; (K5) o ascending; (K6) by kernel row, then output pixel.
- Memory: one image's scratch a chunk, dW once for every chunk, and a copy of an X or dY that is not contiguous.
"""

from typing import Any

import numpy as np

from npsnn._jit import chunked_jit
from npsnn._lanes import aligned, aligned_zeros, padded_lanes
from npsnn._threads import parts
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
from npsnn.conv2d.reference import Conv2dCache, Pair

Array = np.ndarray[Any, Any]

CHUNK = 32


@chunked_jit
def _forward(begin, end, X, Wt, b, Y, L, kernel, stride, padding):  # type: ignore[no-untyped-def]
    N, C, H_in, W_in = X.shape
    O, H_out, W_out = Y.shape[1:]
    for chunk in range(begin, end):
        acc, pixels = aligned(X, H_out * W_out * L), C * H_in * W_in
        offsets, values = np.empty(pixels, np.int32), np.empty(pixels, X.dtype)
        starts = np.empty((H_in, W_in + 1), np.int64)
        for n in range(chunk * CHUNK, min((chunk + 1) * CHUNK, N)):
            convolve(X[n], Wt, L, acc, (H_out, W_out), kernel, stride, padding, offsets, values, starts)
            for o in range(O):
                for y in range(H_out):
                    for x in range(W_out):
                        Y[n, o, y, x] = acc[(y * W_out + x) * L + o] + b[o]


@chunked_jit
def _backward(begin, end, dY, X, Wr, dX, dWt, db, L, R, kernel, stride, padding):  # type: ignore[no-untyped-def]
    N, C, H_in, W_in = X.shape
    O, H_out, W_out = dY.shape[1:]
    shape = (H_out, W_out)
    for chunk in range(begin, end):
        db[chunk] = 0
        dy, pixels = aligned(X, H_out * W_out * L), C * H_in * W_in
        dy[:] = 0
        listed = max(pixels, O * H_out * W_out)
        offsets, values = np.empty(listed, np.int32), np.empty(listed, X.dtype)
        starts, ends = np.empty((H_in, W_in + 1), np.int64), np.empty(H_out * W_out, np.int64)
        padded = aligned(X, (H_in + 2 * padding[0]) * (W_in + 2 * padding[1]) * C + R)
        for n in range(chunk * CHUNK, min((chunk + 1) * CHUNK, N)):
            for o in range(O):
                total = X.dtype.type(0)
                for y in range(H_out):
                    for x in range(W_out):
                        dy[(y * W_out + x) * L + o] = dY[n, o, y, x]
                        total += dY[n, o, y, x]
                db[chunk, o] += total  # (K4)
            weight_gradient(X[n], dy, L, dWt[chunk], shape, kernel, stride, padding, offsets, values, starts)
            if len(dX) > 0:
                list_deltas(dy, L, R, O, offsets, values, ends)
                input_gradient(dX[n], Wr, R, O, shape, kernel, stride, padding, padded, offsets, values, ends)


def conv2d_forward(X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair) -> tuple[Array, Conv2dCache]:
    """As reference.conv2d_forward."""
    N, _, H_in, W_in = X.shape
    O, _, kh, kw = W.shape
    H_out = (H_in + 2 * padding[0] - kh) // stride[0] + 1
    W_out = (W_in + 2 * padding[1] - kw) // stride[1] + 1
    Y = np.empty((N, O, H_out, W_out), X.dtype)
    bias = np.zeros(O, X.dtype) if b is None else b
    Wt, L = rows_of_outputs(W)
    _forward(parts(len(X), CHUNK), np.ascontiguousarray(X), Wt, bias, Y, L, (kh, kw), stride, padding)  # (K1), (K2)
    return Y, Conv2dCache(X, stride, padding)


def conv2d_backward(
    dY: Array, cache: Conv2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """As reference.conv2d_backward."""
    X, dY = np.ascontiguousarray(cache.X), np.ascontiguousarray(dY)
    O, C, kh, kw = W.shape
    chunks, L = parts(len(X), CHUNK), padded_lanes(O)
    dWt, db = aligned_zeros((chunks, kh * kw * C * L), X), np.empty((chunks, O), X.dtype)
    dX = np.empty(X.shape if input_grad else (0, *X.shape[1:]), X.dtype)
    Wr, R = rows_of_inputs(W)
    _backward(chunks, dY, X, Wr, dX, dWt, db, L, R, (kh, kw), cache.stride, cache.padding)  # (K3) to (K6)
    dW = weights_of_rows(ordered_sum(dWt), W.shape)
    return dX if input_grad else None, dW, ordered_sum(db) if bias else None
