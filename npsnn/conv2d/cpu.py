"""As reference.py; what differs follows.

- No im2col: an input pixel that is not zero is added to the outputs that it reaches. Spikes are mostly zeros, and a
  zero adds nothing. A pooled delta is mostly zeros too, and the input gradient skips those. (So 0 times an infinite or
  NaN weight is 0 here and NaN in the law; and (K5) writes NaN a little beside a window whose delta is not finite.)
- A thread owns chunks of CHUNK images, with scratch of its own; the chunk does not depend on the number of threads.
- Order of sums: (K2) (c, i, j) ascending, then the bias; (K3) within a chunk by image and input pixel, (K4) over an
  image's output pixels, then the chunk's images, and for both the chunks' partial sums ascending; (K5), (K6) o
  ascending, then output pixel.
- Inside, channels lie last, so the inner loops run over contiguous channels and vectorise without reordering a sum.
- Memory: one image's scratch a chunk, dW once for every chunk, and a copy of an X or dY that is not contiguous.
"""

from typing import Any

import numpy as np

from npsnn._jit import parallel_jit, prange
from npsnn.conv2d.reference import Conv2dCache, Pair

Array = np.ndarray[Any, Any]

CHUNK = 32
LANES = 32  # rows that are not a multiple of it end in a loop without vectors, which costs more than the zeros


@parallel_jit
def _forward(X, Wt, b, Y, rows, columns, sh, sw, ph, pw):  # type: ignore[no-untyped-def]
    N, C, H_in, W_in = X.shape
    O = Wt.shape[3]
    H_out, W_out = Y.shape[2], Y.shape[3]
    for chunk in prange((N + CHUNK - 1) // CHUNK):
        acc = np.empty((H_out * W_out, O), X.dtype)
        for n in range(chunk * CHUNK, min((chunk + 1) * CHUNK, N)):
            acc[:] = 0
            for c in range(C):
                for u in range(H_in):
                    for v in range(W_in):
                        value = X[n, c, u, v]
                        if value == 0:
                            continue
                        for y in range(rows[u, 0], rows[u, 1]):
                            for x in range(columns[v, 0], columns[v, 1]):
                                row = acc[y * W_out + x]
                                w = Wt[c, u + ph - sh * y, v + pw - sw * x]
                                for o in range(O):
                                    row[o] += value * w[o]
            for o in range(O):
                for y in range(H_out):
                    for x in range(W_out):
                        Y[n, o, y, x] = acc[y * W_out + x, o] + b[o]


@parallel_jit
def _weight_gradient(dY, X, dWt, db, rows, columns, sh, sw, ph, pw):  # type: ignore[no-untyped-def]
    N, C, H_in, W_in = X.shape
    O = dWt.shape[4]
    H_out, W_out = dY.shape[2], dY.shape[3]
    for chunk in prange((N + CHUNK - 1) // CHUNK):
        dWt[chunk] = 0
        db[chunk] = 0
        dy = np.empty((H_out * W_out, O), X.dtype)
        for n in range(chunk * CHUNK, min((chunk + 1) * CHUNK, N)):
            for o in range(O):
                total = X.dtype.type(0)
                for y in range(H_out):
                    for x in range(W_out):
                        dy[y * W_out + x, o] = dY[n, o, y, x]
                        total += dY[n, o, y, x]
                db[chunk, o] += total
            for c in range(C):
                for u in range(H_in):
                    for v in range(W_in):
                        value = X[n, c, u, v]
                        if value == 0:
                            continue
                        for y in range(rows[u, 0], rows[u, 1]):
                            for x in range(columns[v, 0], columns[v, 1]):
                                row = dy[y * W_out + x]
                                dw = dWt[chunk, c, u + ph - sh * y, v + pw - sw * x]
                                for o in range(O):
                                    dw[o] += value * row[o]


@parallel_jit
def _input_gradient(dY, Wr, dX, kh, sh, sw, ph, pw):  # type: ignore[no-untyped-def]
    N, C, H_in, W_in = dX.shape
    O, H_out, W_out = dY.shape[1:]
    reach = Wr.shape[2]  # kw C and a few zeros: one kernel row, over all channels, lies together in an image row
    for chunk in prange((N + CHUNK - 1) // CHUNK):
        padded = np.empty((H_in + 2 * ph, (W_in + 2 * pw) * C + LANES), dX.dtype)
        for n in range(chunk * CHUNK, min((chunk + 1) * CHUNK, N)):
            padded[:] = 0
            for o in range(O):
                for y in range(H_out):
                    for x in range(W_out):
                        d = dY[n, o, y, x]
                        if d == 0:
                            continue
                        first = x * sw * C
                        for i in range(kh):
                            row = padded[y * sh + i, first : first + reach]
                            w = Wr[o, i]
                            for q in range(reach):
                                row[q] += d * w[q]
            for c in range(C):
                for u in range(H_in):
                    for v in range(W_in):
                        dX[n, c, u, v] = padded[u + ph, (v + pw) * C + c]


def conv2d_forward(X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair) -> tuple[Array, Conv2dCache]:
    """As reference.conv2d_forward."""
    N, _, H_in, W_in = X.shape
    O, _, kh, kw = W.shape
    H_out = (H_in + 2 * padding[0] - kh) // stride[0] + 1
    W_out = (W_in + 2 * padding[1] - kw) // stride[1] + 1
    Y = np.empty((N, O, H_out, W_out), X.dtype)
    bias = np.zeros(O, X.dtype) if b is None else b
    reached = _reached(X, Y, (kh, kw), stride, padding)
    Wt = np.ascontiguousarray(W.transpose(1, 2, 3, 0))
    _forward(np.ascontiguousarray(X), Wt, bias, Y, *reached, *stride, *padding)  # (K1), (K2)
    return Y, Conv2dCache(X, stride, padding)


def conv2d_backward(
    dY: Array, cache: Conv2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """As reference.conv2d_backward."""
    stride, padding = cache.stride, cache.padding
    X, dY = np.ascontiguousarray(cache.X), np.ascontiguousarray(dY)
    O, C, kh, kw = W.shape
    chunks = (X.shape[0] + CHUNK - 1) // CHUNK
    dWt, db = np.empty((chunks, C, kh, kw, O), X.dtype), np.empty((chunks, O), X.dtype)
    reached = _reached(X, dY, (kh, kw), stride, padding)
    _weight_gradient(dY, X, dWt, db, *reached, *stride, *padding)  # (K3), (K4)
    dW = np.ascontiguousarray(_ordered_sum(dWt).transpose(3, 0, 1, 2))
    dX = None
    if input_grad:
        reach = kw * C
        Wr = np.zeros((O, kh, reach + -reach % LANES), X.dtype)
        Wr[:, :, :reach] = W.transpose(0, 2, 3, 1).reshape(O, kh, reach)
        dX = np.empty(X.shape, X.dtype)
        _input_gradient(dY, Wr, dX, kh, *stride, *padding)  # (K5), (K6)
    return dX, dW, _ordered_sum(db) if bias else None


def _reached(X: Array, Y: Array, kernel: Pair, stride: Pair, padding: Pair) -> list[Array]:
    """For every input row, and every input column, the range [first, last) of outputs whose window it lies in."""
    ranges = []
    for n, n_out, k, s, p in zip(X.shape[2:], Y.shape[2:], kernel, stride, padding, strict=True):
        at = np.arange(n) + p
        first, last = -((k - 1 - at) // s), at // s + 1
        ranges.append(np.stack([np.clip(first, 0, n_out), np.clip(last, 0, n_out)], axis=1))
    return ranges


def _ordered_sum(parts: Array) -> Array:
    """The sum over the first axis, ascending."""
    total: Array = np.zeros(parts.shape[1:], parts.dtype)
    for part in parts:
        total += part
    return total
