"""What the compiled convolutions do to one image, and how they lay out the weights.

Shared by conv2d/cpu.py and convpool2d/cpu.py, which own the loop over images and say what the orders of sums are. All
arrays of an image are flat. Inside, channels lie last and zeros surround the image, so that (K1) has no border:

    image   X[(u, v), c], u and v counted in the padded image
    acc     Y[(y, x), o], a row over o for every output pixel
    dy      dY[(y, x), o]: before each y are kw - 1 rows of zeros, between two x sw - 1; so (u, v) is its place too
    Wt      W[(i, j, c), o], dWt likewise
    Wr      W[(i, o), (j, c)]

A row over o is padded with zeros to L numbers, a row over (j, c) to R (_lanes.py).
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn._jit import register_jitable
from npsnn._lanes import (
    ROUND,
    SLACK,
    add_columns,
    add_ones,
    add_rows,
    add_tile,
    aligned,
    aligned_zeros,
    as_many_as_fit,
    copy_list,
    list_nonzero,
    padded_lanes,
    row_of,
)

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]

SPARSE = 0.3  # of an image's pixels: where fewer fire, adding what is listed takes less time than adding everything
ONE = (0,)


class Sizes(NamedTuple):
    """What a compiled convolution knows of its layer."""

    channels: Pair  # C, O
    size: Pair  # H_in, W_in
    seen: Pair  # rows and columns of the padded image that a window sees
    shape: Pair  # H_out, W_out
    kernel: Pair
    stride: Pair
    padding: Pair
    lists: bool  # 32 bits suffice for a list's entries
    L: int
    R: int
    row: tuple[int, ...]  # a piece of a row over o
    columns: tuple[int, ...]  # so many of them for (K3) of spikes
    tile: tuple[int, ...]  # and for (K2), (K3) of any numbers
    in_row: tuple[int, ...]  # a piece of a row over (j, c)
    in_tile: tuple[int, ...]  # so many of them for (K5) of any deltas


def sizes(X: Array, W: Array, stride: Pair, padding: Pair) -> Sizes:
    """The sizes of a convolution of X (N, C, H_in, W_in) by W (O, C, kh, kw)."""
    (O, C, kh, kw), (_, _, H_in, W_in) = W.shape, X.shape
    H_out, W_out = (H_in + 2 * padding[0] - kh) // stride[0] + 1, (W_in + 2 * padding[1] - kw) // stride[1] + 1
    L, R = padded_lanes(O), padded_lanes(kw * C)
    row, in_row = row_of(L), row_of(R)
    seen = (H_out - 1) * stride[0] + kh, (W_out - 1) * stride[1] + kw
    return Sizes(
        channels=(C, O),
        size=(H_in, W_in),
        seen=seen,
        shape=(H_out, W_out),
        kernel=(kh, kw),
        stride=stride,
        padding=padding,
        lists=max(seen[0] * seen[1], seen[1] * C, kh * kw * C) * L < 2**31,
        L=L,
        R=R,
        row=row,
        columns=as_many_as_fit(row, X.itemsize, 28, kw),
        tile=as_many_as_fit(row, X.itemsize, 16, 4),
        in_row=in_row,
        in_tile=as_many_as_fit(in_row, X.itemsize, 16, 4),
    )


class Scratch(NamedTuple):
    """What one image is worked in."""

    image: Array
    rows: Array  # acc, or dy
    listed: Array
    starts: Array  # where a pixel's or a row's part of the list begins
    window: Array  # the list of one window


@register_jitable
def scratch(X, s, rows):  # type: ignore[no-untyped-def]
    """For `rows` rows over o; image and rows are zero."""
    (C, O), (H_in, W_in), (ph, pw) = s.channels, s.size, s.padding
    image = aligned(X, (H_in + 2 * ph) * (W_in + 2 * pw) * C)
    image[:] = 0
    acc = aligned(X, rows * s.L)
    acc[:] = 0
    pixels = max(C * H_in * W_in, O * s.shape[0] * s.shape[1])
    listed, window = np.empty(pixels + SLACK, np.int32), np.empty(s.kernel[0] * s.kernel[1] * C + SLACK, np.int32)
    starts = np.empty((max(s.seen[0], C), max(s.seen[0], s.seen[1]) + 1), np.int64)
    return Scratch(image, acc, listed, starts, window)


@register_jitable
def fires_seldom(X):  # type: ignore[no-untyped-def]
    """Whether one image is nothing but zeros and few ones."""
    ones = others = 0
    for q in range(len(X)):
        ones += X[q] == 1
        others += (X[q] != 0) & (X[q] != 1)
    return others == 0 and ones < SPARSE * len(X)


@register_jitable
def put_channels_last(X, s, image):  # type: ignore[no-untyped-def]
    """X[c, u, v] of one image to its place in the padded image."""
    C, (H_in, W_in), (ph, pw) = s.channels[0], s.size, s.padding
    for c in range(C):
        for u in range(H_in):
            q, at = (c * H_in + u) * W_in, ((u + ph) * (W_in + 2 * pw) + pw) * C + c
            for v in range(W_in):
                image[at + v * C] = X[q + v]


# --- forward -------------------------------------------------------------------------------------------------------


@register_jitable
def convolve(X, Wt, s, room):  # type: ignore[no-untyped-def]
    """(K1), (K2) without the bias: one image's acc, room.rows."""
    put_channels_last(X, s, room.image)
    room.rows[:] = 0
    if s.lists and fires_seldom(X):
        _list_pixels(room.image, s, room.listed, room.starts)
        _convolve_spikes(Wt, s, room.listed, room.starts, room.window, room.rows)
    else:
        _convolve_numbers(room.image, Wt, s, room.rows)


@register_jitable
def _list_pixels(image, s, listed, starts):  # type: ignore[no-untyped-def]
    """The pixels that fire, by (u, v, c): (v C + c) L; starts[u, v]: where v starts."""
    C, width, k = s.channels[0], s.size[1] + 2 * s.padding[1], 0
    for u in range(s.seen[0]):
        for v in range(s.seen[1]):
            starts[u, v] = k
            k = list_nonzero(image, (u * width + v) * C, C, v * C * s.L, s.L, listed, k)
        starts[u, s.seen[1]] = k


@register_jitable
def _convolve_spikes(Wt, s, listed, starts, window, acc):  # type: ignore[no-untyped-def]
    """A window's rows are listed, from its share of kh rows' lists, and added up."""
    C, (H_out, W_out), (kh, kw), (sh, sw), L = s.channels[0], s.shape, s.kernel, s.stride, s.L
    for y in range(H_out):
        for x in range(W_out):
            listed_here = 0
            for i in range(kh):
                first, last = starts[y * sh + i, x * sw], starts[y * sh + i, x * sw + kw]
                copy_list(listed, first, last, (i * kw - x * sw) * C * L, window, listed_here)
                listed_here += last - first
            for lane in range(0, L, ROUND * len(s.row)):
                add_ones(s.row, Wt, lane, window, 0, listed_here, acc, (y * W_out + x) * L + lane)


@register_jitable
def _convolve_numbers(image, Wt, s, acc):  # type: ignore[no-untyped-def]
    """Neighbouring windows together, so that a row of weights is read once for all of them."""
    C, (H_out, W_out), (kh, kw), (sh, sw), L = s.channels[0], s.shape, s.kernel, s.stride, s.L
    width, together = s.size[1] + 2 * s.padding[1], len(s.tile)
    for y in range(H_out):
        for i in range(kh):
            for lane in range(0, L, ROUND * len(s.row)):
                base = i * kw * C * L + lane
                for x in range(0, W_out - together + 1, together):
                    at, pixel = (y * W_out + x) * L + lane, ((y * sh + i) * width + x * sw) * C
                    add_tile(s.tile, s.row, image, pixel, sw * C, 1, Wt, base, L, kw * C, acc, at, L)
                for x in range(W_out - W_out % together, W_out):
                    at, pixel = (y * W_out + x) * L + lane, ((y * sh + i) * width + x * sw) * C
                    add_tile(ONE, s.row, image, pixel, 0, 1, Wt, base, L, kw * C, acc, at, 0)


# --- backward: weights ---------------------------------------------------------------------------------------------


@register_jitable
def weight_gradient(X, s, room, dWt):  # type: ignore[no-untyped-def]
    """(K3): dWt += of one image, from its dy, room.rows."""
    if s.lists and fires_seldom(X):
        _list_rows(X, s, room.listed, room.starts)
        _weight_gradient_of_spikes(room.rows, s, room.listed, room.starts, dWt)
    else:
        put_channels_last(X, s, room.image)
        _weight_gradient_of_numbers(room.image, room.rows, s, dWt)


@register_jitable
def _list_rows(X, s, listed, starts):  # type: ignore[no-untyped-def]
    """The pixels that fire and are seen, by (c, u, v): (u pitch + v) L; starts[c, u]: where u starts."""
    C, (H_in, W_in), (ph, pw), k = s.channels[0], s.size, s.padding, 0
    for c in range(C):
        for u in range(s.seen[0]):
            starts[c, u] = k
            if ph <= u < ph + H_in:
                at, terms = (c * H_in + u - ph) * W_in, min(W_in, s.seen[1] - pw)
                k = list_nonzero(X, at, terms, (u * s.seen[1] + pw) * s.L, s.L, listed, k)
        starts[c, s.seen[0]] = k


@register_jitable
def _weight_gradient_of_spikes(dy, s, listed, starts, dWt):  # type: ignore[no-untyped-def]
    """A channel's pixels that fire are met once for each i, and kw sums, one for each j, stay in registers."""
    C, H_out, (kh, kw), sh, L = s.channels[0], s.shape[0], s.kernel, s.stride[0], s.L
    rows, together = H_out if sh == 1 else 1, len(s.columns)
    for i in range(kh):
        for c in range(C):
            for y in range(0, H_out, rows):
                u = y * sh + i
                first, last = starts[c, u], starts[c, u + rows]
                for lane in range(0, L if last > first else 0, ROUND * len(s.row)):
                    base = ((y - u) * s.seen[1] + kw - 1) * L + lane
                    for j in range(0, kw - together + 1, together):
                        at, b = ((i * kw + j) * C + c) * L + lane, base - j * L
                        add_columns(s.columns, s.row, dy, b, -L, listed, first, last, dWt, at, C * L)
                    for j in range(kw - kw % together, kw):
                        at, b = ((i * kw + j) * C + c) * L + lane, base - j * L
                        add_columns(ONE, s.row, dy, b, 0, listed, first, last, dWt, at, 0)


@register_jitable
def _weight_gradient_of_numbers(image, dy, s, dWt):  # type: ignore[no-untyped-def]
    """Neighbouring (j, c) together, over the pixels of one y."""
    C, (H_out, W_out), (kh, kw), (sh, sw), L = s.channels[0], s.shape, s.kernel, s.stride, s.L
    width, together, terms = s.size[1] + 2 * s.padding[1], len(s.tile), kw * C
    for y in range(H_out):
        for i in range(kh):
            u = (y * sh + i) * width * C
            for lane in range(0, L, ROUND * len(s.row)):
                base, at = (y * s.seen[1] + kw - 1) * L + lane, i * terms * L + lane
                for q in range(0, terms - together + 1, together):
                    add_tile(s.tile, s.row, image, u + q, 1, sw * C, dy, base, sw * L, W_out, dWt, at + q * L, L)
                for q in range(terms - terms % together, terms):
                    add_tile(ONE, s.row, image, u + q, 0, sw * C, dy, base, sw * L, W_out, dWt, at + q * L, 0)


# --- backward: input -----------------------------------------------------------------------------------------------


@register_jitable
def list_deltas(s, room):  # type: ignore[no-untyped-def]
    """The o of one image's deltas that are not zero, by output pixel; starts[y, x]: where a pixel's start."""
    (H_out, W_out), k = s.shape, 0
    for y in range(H_out):
        for x in range(W_out):
            room.starts[y, x] = k
            place = (y * s.seen[1] + x * s.stride[1] + s.kernel[1] - 1) * s.L
            k = list_nonzero(room.rows, place, s.channels[1], 0, 1, room.listed, k)
        room.starts[y, W_out] = k


@register_jitable
def input_gradient_of_listed(Wr, s, room, padded):  # type: ignore[no-untyped-def]
    """(K5), (K6): padded dX of one image, from its listed deltas. A kernel row at a time, whose weights stay near."""
    (C, O), (H_out, W_out), (sh, sw), R = s.channels, s.shape, s.stride, s.R
    width, dy = (s.size[1] + 2 * s.padding[1]) * C, room.rows
    padded[:] = 0
    for i in range(s.kernel[0]):
        for y in range(H_out):
            for x in range(W_out):
                first, last = room.starts[y, x], room.starts[y, x + 1]
                place = (y * s.seen[1] + x * sw + s.kernel[1] - 1) * s.L
                for lane in range(0, R if last > first else 0, ROUND * len(s.in_row)):
                    at, base = (y * sh + i) * width + x * sw * C + lane, i * O * R + lane
                    add_rows(s.in_row, Wr, base, R, dy, place, room.listed, first, last, padded, at)


@register_jitable
def input_gradient(Wr, s, room, padded):  # type: ignore[no-untyped-def]
    """The same from all deltas. Output pixels whose rows of padded do not meet go together."""
    (C, O), (H_out, W_out), (sh, sw), R = s.channels, s.shape, s.stride, s.R
    width, dy, together = (s.size[1] + 2 * s.padding[1]) * C, room.rows, len(s.in_tile)
    apart = -(-ROUND * len(s.in_row) // (sw * C))
    padded[:] = 0
    for i in range(s.kernel[0]):
        for y in range(H_out):
            for lane in range(0, R, ROUND * len(s.in_row)):
                base, row = i * O * R + lane, (y * sh + i) * width + lane
                for x in range(min(apart, W_out)):
                    for left in range(x, W_out, apart * together):
                        place, at = (y * s.seen[1] + left * sw + s.kernel[1] - 1) * s.L, row + left * sw * C
                        step, out = apart * sw * s.L, apart * sw * C
                        if left + apart * (together - 1) < W_out:
                            add_tile(s.in_tile, s.in_row, dy, place, step, 1, Wr, base, R, O, padded, at, out)
                        else:
                            for k in range((W_out - left - 1) // apart + 1):
                                add_tile(
                                    ONE, s.in_row, dy, place + k * step, 0, 1, Wr, base, R, O, padded, at + k * out, 0
                                )


@register_jitable
def put_channels_first(padded, s, dX):  # type: ignore[no-untyped-def]
    """The image's part of padded dX[(u, v), c], as dX[c, u, v]."""
    C, (H_in, W_in), (ph, pw) = s.channels[0], s.size, s.padding
    for c in range(C):
        for u in range(H_in):
            q, at = (c * H_in + u) * W_in, ((u + ph) * (W_in + 2 * pw) + pw) * C + c
            for v in range(W_in):
                dX[q + v] = padded[at + v * C]


# --- weights and sums ----------------------------------------------------------------------------------------------


def rows_of_outputs(W: Array, L: int) -> Array:
    """Wt."""
    O, C, kh, kw = W.shape
    Wt = aligned_zeros((kh, kw, C, L), W)
    Wt[..., :O] = W.transpose(2, 3, 1, 0)
    return Wt.reshape(-1)


def rows_of_inputs(W: Array, R: int) -> Array:
    """Wr."""
    O, C, kh, kw = W.shape
    Wr = aligned_zeros((kh, O, R), W)
    Wr[:, :, : kw * C] = W.transpose(2, 0, 3, 1).reshape(kh, O, kw * C)
    return Wr.reshape(-1)


def weights_of_rows(dWt: Array, shape: tuple[int, ...]) -> Array:
    """dWt in W's layout."""
    O, C, kh, kw = shape
    return np.ascontiguousarray(dWt.reshape(kh, kw, C, -1)[..., :O].transpose(3, 2, 0, 1))


def flat(images: Array) -> Array:
    """(N, ...) as (N, numbers of an image)."""
    return np.ascontiguousarray(images).reshape(len(images), int(np.prod(images.shape[1:])))


def ordered_sum(parts: Array) -> Array:
    """The sum over the first axis, ascending."""
    total: Array = np.zeros(parts.shape[1:], parts.dtype)
    for part in parts:
        total += part
    return total
