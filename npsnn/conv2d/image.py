"""What the compiled convolutions do to one image, and how they lay out the weights.

Shared by conv2d/cpu.py and convpool2d/cpu.py, which own the loop over images and say what the orders of sums are.
Weights are flat arrays of rows (_lanes.py): over output channels o, one for each (i, j, c), padded with zeros to L
numbers; or over (j, c), one for each (i, o), padded to R.
"""

from typing import Any

import numpy as np

from npsnn._jit import register_jitable
from npsnn._lanes import LANES, add_rows, aligned_zeros, padded_lanes, spread_row

Array = np.ndarray[Any, Any]


@register_jitable
def list_pixels(X, L, offsets, values, starts):  # type: ignore[no-untyped-def]
    """The pixels of one image that are not zero, by (u, v, c): (v C + c) L and value; starts[u, v]: where v starts."""
    C, H_in, W_in = X.shape
    k = 0
    for u in range(H_in):
        for v in range(W_in):
            starts[u, v] = k
            for c in range(C):
                value = X[c, u, v]
                offsets[k], values[k] = (v * C + c) * L, value
                k += value != 0
        starts[u, W_in] = k


@register_jitable
def convolve(X, Wt, L, acc, shape, kernel, stride, padding, offsets, values, starts):  # type: ignore[no-untyped-def]
    """(K1), (K2) without the bias: acc[(y, x), o] of one image."""
    C, H_in, W_in = X.shape
    (H_out, W_out), (kh, kw), (sh, sw), (ph, pw) = shape, kernel, stride, padding
    list_pixels(X, L, offsets, values, starts)
    acc[:] = 0
    for y in range(H_out):
        for i in range(max(0, ph - y * sh), min(kh, H_in + ph - y * sh)):
            u = y * sh + i - ph
            for x in range(W_out):
                left = x * sw - pw
                first, last = starts[u, min(max(0, left), W_in)], starts[u, max(0, min(W_in, left + kw))]
                for lane in range(0, L if last > first else 0, LANES):
                    base, at = (i * kw - left) * C * L + lane, (y * W_out + x) * L + lane
                    add_rows(min(L, LANES), Wt, base, offsets, values, first, last, acc, at)


@register_jitable
def weight_gradient(X, dy, L, dWt, shape, kernel, stride, padding, offsets, values, starts):  # type: ignore[no-untyped-def]
    """(K3): dWt[(i, j, c), o] += of one image, from its deltas dy[(y, x), o]."""
    C, H_in, W_in = X.shape
    (H_out, W_out), (kh, kw), (sh, sw), (ph, pw) = shape, kernel, stride, padding
    list_pixels(X, L, offsets, values, starts)
    for y in range(H_out):
        for i in range(max(0, ph - y * sh), min(kh, H_in + ph - y * sh)):
            u = y * sh + i - ph
            for x in range(W_out):
                left = x * sw - pw
                first, last = starts[u, min(max(0, left), W_in)], starts[u, max(0, min(W_in, left + kw))]
                for lane in range(0, L if last > first else 0, LANES):
                    base, at = (i * kw - left) * C * L + lane, (y * W_out + x) * L + lane
                    spread_row(min(L, LANES), dy, at, offsets, values, first, last, dWt, base)


@register_jitable
def list_deltas(dy, L, R, O, offsets, values, ends):  # type: ignore[no-untyped-def]
    """The deltas dy[(y, x), o] of one image that are not zero: o R and value, and where each output pixel's end."""
    k = 0
    for pixel in range(len(ends)):
        for o in range(O):
            d = dy[pixel * L + o]
            offsets[k], values[k] = o * R, d
            k += d != 0
        ends[pixel] = k


@register_jitable
def input_gradient(dX, Wr, R, O, shape, kernel, stride, padding, padded, offsets, values, ends):  # type: ignore[no-untyped-def]
    """(K5), (K6): dX of one image, from its listed deltas. A kernel row at a time, whose weights stay near."""
    C, H_in, W_in = dX.shape
    (H_out, W_out), (sh, sw), (ph, pw) = shape, stride, padding
    width = (W_in + 2 * pw) * C
    padded[:] = 0
    for i in range(kernel[0]):
        first = 0
        for y in range(H_out):
            for x in range(W_out):
                last = ends[y * W_out + x]
                for lane in range(0, R if last > first else 0, LANES):
                    at = (y * sh + i) * width + x * sw * C + lane
                    add_rows(min(R, LANES), Wr, i * O * R + lane, offsets, values, first, last, padded, at)
                first = last
    for c in range(C):
        for u in range(H_in):
            for v in range(W_in):
                dX[c, u, v] = padded[(u + ph) * width + (v + pw) * C + c]


def rows_of_outputs(W: Array) -> tuple[Array, int]:
    """W as rows over o, one for each (i, j, c), padded with zeros to L; and L."""
    O, C, kh, kw = W.shape
    L = padded_lanes(O)
    Wt = aligned_zeros((kh, kw, C, L), W)
    Wt[..., :O] = W.transpose(2, 3, 1, 0)
    return Wt.reshape(-1), L


def rows_of_inputs(W: Array) -> tuple[Array, int]:
    """W as rows over (j, c), one for each (i, o), padded with zeros to R; and R."""
    O, C, kh, kw = W.shape
    R = padded_lanes(kw * C)
    Wr = aligned_zeros((kh, O, R), W)
    Wr[:, :, : kw * C] = W.transpose(2, 0, 3, 1).reshape(kh, O, kw * C)
    return Wr.reshape(-1), R


def weights_of_rows(dWt: Array, shape: tuple[int, ...]) -> Array:
    """The rows over o back in W's layout."""
    O, C, kh, kw = shape
    return np.ascontiguousarray(dWt.reshape(kh, kw, C, -1)[..., :O].transpose(3, 2, 0, 1))


def ordered_sum(parts: Array) -> Array:
    """The sum over the first axis, ascending."""
    total: Array = np.zeros(parts.shape[1:], parts.dtype)
    for part in parts:
        total += part
    return total
