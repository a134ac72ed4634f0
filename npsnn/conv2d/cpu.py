"""As reference.py; what differs follows.

- No im2col. Of an image that is nothing but zeros and few ones, the ones are listed, and (K2), (K3) add up what belongs
  to them: a spike costs an addition, a zero nothing. Of any other image all is multiplied and added. The bits are the
  same either way. (But for 0 times an infinite or NaN weight, which is 0 in the one and NaN in the other and in the
  law; and (K5) writes NaN a little beside a window whose delta is not finite.)
- Channels lie last, in the memory of Y and dX too (their shapes are the law's); inside, in rows of padded length
  (_lanes.py), and a row's sum stays in registers.
- A thread owns chunks of CHUNK images, with scratch of its own; the chunk does not depend on the number of threads.
- Order of sums: (K2) (i, j, c) ascending, then the bias; (K3) within a chunk by image and output pixel, (K4) over an
  image's output pixels, then the chunk's images, and for both the chunks' partial sums ascending; (K5), (K6) in one
  sum, by kernel row, y, x modulo a number of pixels, x, o.
- Memory: one image's scratch a chunk, dW once for every chunk, and a copy of an X or dY whose channels do not lie last.
"""

from typing import Any

import numpy as np

from npsnn._jit import chunked_jit
from npsnn._lanes import aligned, aligned_zeros
from npsnn._memory import CHANNELS_LAST, empty, flat
from npsnn._sums import add_to, ordered_sum
from npsnn._threads import parts
from npsnn.conv2d.image import (
    convolve,
    cut_out,
    for_backward,
    for_forward,
    input_gradient,
    padded_bias,
    put_deltas,
    put_outputs,
    rows_of_inputs,
    rows_of_outputs,
    scratch,
    sizes,
    weight_gradient,
    weights_of_rows,
)
from npsnn.conv2d.reference import Conv2dCache, Pair

Array = np.ndarray[Any, Any]

CHUNK = 64


@chunked_jit
def _forward(begin, end, size, X, Wt, b, Y, s):  # type: ignore[no-untyped-def]
    for chunk in range(begin, end):
        room = scratch(X, Wt, s, s.shape[0] * s.shape[1])
        for n in range(chunk * size, min((chunk + 1) * size, len(X))):
            convolve(X[n], Wt, b, s, room)
            put_outputs(s, room, Y[n])


@chunked_jit
def _backward(begin, end, size, dY, X, Wr, dX, dWt, db, s):  # type: ignore[no-untyped-def]
    for chunk in range(begin, end):
        db[chunk] = 0
        room = scratch(X, Wr, s, s.shape[0] * s.seen[1] + s.kernel[1] - 1)
        padded, total = aligned(Wr, len(room.image) + s.R), np.empty(s.L, Wr.dtype)
        for n in range(chunk * size, min((chunk + 1) * size, len(X))):
            put_deltas(dY[n], s, room, total)
            add_to(total[: s.channels[1]], db[chunk])  # (K4)
            weight_gradient(X[n], s, room, dWt[chunk])
            if dX is not None:
                input_gradient(Wr, s, room, padded)
                cut_out(padded, s, dX[n])


def conv2d_forward(X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair) -> tuple[Array, Conv2dCache]:
    """As reference.conv2d_forward."""
    s = sizes(X.shape[1:], W, stride, padding)
    Y = empty((len(X), len(W), *s.shape), W.dtype, CHANNELS_LAST)
    _forward(
        parts(len(X), CHUNK), CHUNK, flat(X), rows_of_outputs(W, s.L), padded_bias(b, W, s.L), flat(Y), for_forward(s)
    )  # (K1), (K2)
    return Y, Conv2dCache(X, stride, padding)


def conv2d_backward(
    dY: Array, cache: Conv2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """As reference.conv2d_backward."""
    X, s = cache.X, sizes(cache.X.shape[1:], W, cache.stride, cache.padding)
    chunks = parts(len(X), CHUNK)
    dWt, db = aligned_zeros((chunks, W[0].size * s.L), W), np.empty((chunks, len(W)), W.dtype)
    dX = empty(X.shape, W.dtype, CHANNELS_LAST) if input_grad else None
    Wr, s = rows_of_inputs(W, s.R), for_backward(s, input_grad, listed=False)
    into = None if dX is None else flat(dX)
    _backward(chunks, CHUNK, flat(dY), flat(X), Wr, into, dWt, db, s)  # (K3) to (K6)
    dW = weights_of_rows(ordered_sum(dWt), W.shape)
    return dX, dW, ordered_sum(db) if bias else None
