"""As reference.py; what differs follows.

- An image's convolution stays in scratch, (pixels, channels), and only the pooled Y and the places are written; the
  deltas are put at their places in such scratch. No array of the convolution's size over all images is made.
- What is done to one image's scratch is conv2d's, and so is the order of sums, but for these: (K4) sums the image's
  cells; (K5) and (K6) run over the deltas that are not zero, down a column of output pixels: for every x one sum, by
  y, then the pool's windows that see the pixel, then o, and where a kernel has more rows than registers hold, by groups
  of rows.
- A window's pixels outside the image are left out; to a maximum, as in the law, NaN is the largest.
- A thread owns chunks of CHUNK images. Memory: one image's scratch a chunk, dW once for every chunk.
"""

from typing import Any

import numpy as np

from npsnn._jit import chunked_jit
from npsnn._lanes import aligned, aligned_zeros
from npsnn._memory import CHANNELS_LAST, empty, flat
from npsnn._sums import add_to, ordered_sum
from npsnn._threads import parts
from npsnn.conv2d.cpu import CHUNK
from npsnn.conv2d.image import (
    convolve,
    cut_out,
    for_backward,
    for_forward,
    input_gradient_of_listed,
    padded_bias,
    rows_of_outputs,
    scratch,
    sizes,
    stairs_of_inputs,
    weight_gradient,
    weights_of_rows,
)
from npsnn.conv2d.reference import Conv2dCache
from npsnn.convpool2d.image import choose, list_routed, pixels_of, pooled_shape, route, windows
from npsnn.convpool2d.reference import ConvPool2dCache, Pair
from npsnn.pool2d.reference import MaxPool2dCache, place_dtype

Array = np.ndarray[Any, Any]


@chunked_jit
def _forward(begin, end, size, X, Wt, b, Y, place, s, pool, pooled):  # type: ignore[no-untyped-def]
    for chunk in range(begin, end):
        room = scratch(X, Wt, s, s.shape[0] * s.shape[1])
        pixels = pixels_of(s, pool, pooled, place)
        for n in range(chunk * size, min((chunk + 1) * size, len(X))):
            convolve(X[n], Wt, b, s, room)
            choose(room.rows, Y.reshape(-1), place.reshape(-1), n * Y.shape[1], s, pixels)


@chunked_jit
def _backward(begin, end, size, dY, place, X, stairs, dX, dWt, db, s, pool, pooled):  # type: ignore[no-untyped-def]
    for chunk in range(begin, end):
        db[chunk] = 0
        room = scratch(X, stairs, s, s.shape[0] * s.seen[1] + s.kernel[1] - 1)
        padded, total = aligned(stairs, len(room.image) + s.R), np.empty(s.channels[1], stairs.dtype)
        seen_by = windows(s, pool, pooled)
        for n in range(chunk * size, min((chunk + 1) * size, len(X))):
            route(dY[n], place[n], s, pool, pooled, room.rows, total)
            add_to(total, db[chunk])
            weight_gradient(X[n], s, room, dWt[chunk])
            if dX is not None:
                list_routed(dY.reshape(-1), place.reshape(-1), n * dY.shape[1], s, seen_by, room)
                input_gradient_of_listed(stairs, s, room, padded)
                cut_out(padded, s, dX[n])


def convpool2d_forward(
    X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair, pool: tuple[Pair, Pair, Pair]
) -> tuple[Array, ConvPool2dCache]:
    """As reference.convpool2d_forward."""
    s = sizes(X.shape[1:], W, stride, padding)
    pooled = pooled_shape(s.shape, pool)
    Y = empty((len(X), len(W), *pooled), W.dtype, CHANNELS_LAST)
    place = empty(Y.shape, place_dtype(pool[0]), CHANNELS_LAST)
    Wt, bias = rows_of_outputs(W, s.L), padded_bias(b, W, s.L)
    _forward(parts(len(X), CHUNK), CHUNK, flat(X), Wt, bias, flat(Y), flat(place), for_forward(s), pool, pooled)
    return Y, ConvPool2dCache(Conv2dCache(X, stride, padding), MaxPool2dCache(place, (*Y.shape[:2], *s.shape), *pool))


def convpool2d_backward(
    dY: Array, cache: ConvPool2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """As reference.convpool2d_backward."""
    (X, stride, padding), (place, _, *pool) = cache
    s, chunks = sizes(X.shape[1:], W, stride, padding), parts(len(X), CHUNK)
    dWt, db = aligned_zeros((chunks, W[0].size * s.L), W), np.empty((chunks, len(W)), W.dtype)
    dX = empty(X.shape, W.dtype, CHANNELS_LAST) if input_grad else None
    stairs, into = (W.reshape(-1), None) if dX is None else (stairs_of_inputs(W, s), flat(dX))
    s, pooled = for_backward(s, input_grad, listed=True), dY.shape[2:]
    _backward(chunks, CHUNK, flat(dY), flat(place), flat(X), stairs, into, dWt, db, s, tuple(pool), pooled)
    dW = weights_of_rows(ordered_sum(dWt), W.shape)
    return dX, dW, ordered_sum(db) if bias else None
