"""What the compiled convolutions do to one image, and how they lay out the weights.

Shared by the twins of the ops with a convolution in them, which own the loop over images and say what the orders of
sums are. All arrays of an image are flat, and its channels lie last. Zeros surround the image, so that (K1) has no
border:

    image   X[(u, v), c], u and v counted in the padded image
    acc     Y[(y, x), o], a row over o for every output pixel
    dy      dY[(y, x), o]: before each y are kw - 1 rows of zeros, between two x sw - 1; so (u, v) is its place too
    Wt      W[(i, j, c), o], dWt likewise
    Wr      W[(i, o), (j, c)]
    stairs  the same in pieces, by kernel rows that go together, piece, o, kernel row; what is left of a last group is 0

A row over o is padded with zeros to L numbers, a row over (j, c) to R (_lanes.py).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from npsnn._jit import borrows, register_jitable
from npsnn._lanes import (
    ROUND,
    SLACK,
    add_columns,
    add_piece,
    add_stairs,
    add_tile,
    aligned,
    aligned_zeros,
    as_many_as_fit,
    copy,
    list_nonzero,
    padded_lanes,
    row_of,
    sum_ones,
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
    stair: tuple[int, ...]  # a shorter piece of it, so that the weights of all o at one piece are near
    stairs: tuple[int, ...]  # so many kernel rows for (K5) of listed deltas
    shift: tuple[int, ...]  # so many of them are done when the next row of output pixels begins


def sizes(image: tuple[int, ...], W: Array, stride: Pair, padding: Pair) -> Sizes:
    """The sizes of a convolution of an image (C, H_in, W_in) by W (O, C, kh, kw)."""
    return _sizes(image, W.shape, W.itemsize, stride, padding)


@lru_cache  # a training step asks for the same a hundred times
def _sizes(image: tuple[int, ...], shape: tuple[int, ...], itemsize: int, stride: Pair, padding: Pair) -> Sizes:
    (O, C, kh, kw), (_, H_in, W_in) = shape, image
    H_out, W_out = (H_in + 2 * padding[0] - kh) // stride[0] + 1, (W_in + 2 * padding[1] - kw) // stride[1] + 1
    L, R = padded_lanes(O), padded_lanes(kw * C)
    row, in_row = row_of(L), row_of(R)
    stair = in_row[: len(in_row) // 2] if len(in_row) % 2 == 0 else in_row
    stairs = as_many_as_fit(stair, itemsize, 24, kh)
    seen = (H_out - 1) * stride[0] + kh, (W_out - 1) * stride[1] + kw
    return Sizes(
        channels=(C, O),
        size=(H_in, W_in),
        seen=seen,
        shape=(H_out, W_out),
        kernel=(kh, kw),
        stride=stride,
        padding=padding,
        lists=max(seen[0] * seen[1], seen[0] * kw * C) * L < 2**31,
        L=L,
        R=R,
        row=row,
        columns=as_many_as_fit(row, itemsize, 28, kw),
        tile=as_many_as_fit(row, itemsize, 16, 4),
        in_row=in_row,
        in_tile=as_many_as_fit(in_row, itemsize, 16, 4),
        stair=stair,
        stairs=stairs,
        shift=stairs[: stride[0]],
    )


def for_forward(s: Sizes) -> Sizes:
    """Without what only backward needs: a kernel is compiled for every form of Sizes that it meets."""
    return s._replace(columns=ONE, in_row=ONE, in_tile=ONE, stair=ONE, stairs=ONE, shift=ONE)


def for_backward(s: Sizes, input_grad: bool, listed: bool) -> Sizes:
    """Without what the input's gradient does not need, from listed deltas or from all, or not at all."""
    if not input_grad:
        return s._replace(in_row=ONE, in_tile=ONE, stair=ONE, stairs=ONE, shift=ONE)
    return s._replace(in_row=ONE, in_tile=ONE) if listed else s._replace(stair=ONE, stairs=ONE, shift=ONE)


class Scratch(NamedTuple):
    """What one image is worked in."""

    image: Array  # with its padding; not used where there is none
    numbers: Array  # the image where all of it is multiplied
    rows: Array  # acc, or dy
    listed: Array
    found: Array  # the numbers of listed deltas
    starts: Array  # where the parts of the list begin
    row: Array  # what fires in one row of the image
    channel: Array  # of a row's entries
    column: Array  # of a row's entries, in dy


@register_jitable
def scratch(X, Wt, s, rows):  # type: ignore[no-untyped-def]
    """For `rows` rows over o; image and rows are zero."""
    (C, O), (H_in, W_in), (ph, pw), width = s.channels, s.size, s.padding, s.seen[1] * s.channels[0]
    pixels = (H_in + 2 * ph) * (W_in + 2 * pw) * C
    image, numbers, acc = np.zeros(pixels, X.dtype), aligned(Wt, pixels), aligned(Wt, rows * s.L)
    acc[:] = 0
    deltas = O * (s.shape[0] + 1) * (s.shape[1] + 1)  # of a pool, which may have a window more than pixels, each way
    longest = max(C * s.seen[0] * s.seen[1], deltas)
    starts = np.empty((max(s.seen[0] + 1, s.shape[1]), max(C, s.shape[0] + 1)), np.int64)
    channel, column = np.empty(width, np.int32), np.empty(width, np.int32)
    for v in range(s.seen[1]):
        for c in range(C):
            channel[v * C + c], column[v * C + c] = c, v * s.L
    listed, row = np.empty(longest + SLACK, np.int32), np.empty(width + SLACK, np.int32)
    found = np.empty(deltas + SLACK, Wt.dtype)
    return Scratch(image, numbers, acc, listed, found, starts, row, channel, column)


@borrows
def fires_seldom(X):  # type: ignore[no-untyped-def]
    """Whether one image, of numbers or of spikes, is nothing but zeros and few ones."""
    ones = others = 0
    for q in range(len(X)):
        ones += X[q] == 1
        others += (X[q] != 0) & (X[q] != 1)
    return others == 0 and ones < SPARSE * len(X)


@borrows
def has_border(s):  # type: ignore[no-untyped-def]
    """Whether there are zeros around an image: else it is its padded self."""
    return s.padding[0] > 0 or s.padding[1] > 0


@borrows
def surround(X, s, image):  # type: ignore[no-untyped-def]
    """One image with zeros around it; itself where there are none."""
    C, (H_in, W_in), (ph, pw) = s.channels[0], s.size, s.padding
    if not has_border(s):
        return X
    for u in range(H_in):
        copy(X, u * W_in * C, W_in * C, image, ((u + ph) * (W_in + 2 * pw) + pw) * C)
    return image


@borrows
def _put(image, numbers):  # type: ignore[no-untyped-def]
    for q in range(len(image)):
        numbers[q] = image[q]


# --- forward -------------------------------------------------------------------------------------------------------


@borrows
def convolve(X, Wt, b, s, room):  # type: ignore[no-untyped-def]
    """(K1), (K2): one image's acc, room.rows; b is padded to L numbers."""
    image = surround(X, s, room.image)
    if s.lists and fires_seldom(X):
        _convolve_spikes(image, Wt, b, s, room)
    else:
        room.rows[:] = 0
        _put(image, room.numbers)
        _convolve_numbers(room.numbers, Wt, s, room.rows)
        for pixel in range(s.shape[0] * s.shape[1]):
            for o in range(s.L):
                room.rows[pixel * s.L + o] += b[o]


@borrows
def put_outputs(s, room, Y):  # type: ignore[no-untyped-def]
    """Acc, room.rows, without what pads its rows."""
    for pixel in range(s.shape[0] * s.shape[1]):
        copy(room.rows, pixel * s.L, s.channels[1], Y, pixel * s.channels[1])


@borrows
def _convolve_spikes(image, Wt, b, s, room):  # type: ignore[no-untyped-def]
    """What fires in kw columns is listed once, by (u, j, c), for all windows over them: a window sees kh rows of it."""
    C, (H_out, W_out), (kh, kw), (sh, sw), L = s.channels[0], s.shape, s.kernel, s.stride, s.L
    width, starts = s.size[1] + 2 * s.padding[1], room.starts[:, 0]
    for x in range(W_out):
        k = 0
        for u in range(s.seen[0]):
            starts[u] = k
            k = list_nonzero(image, (u * width + x * sw) * C, kw * C, u * kw * C * L, L, room.listed, k)
        starts[s.seen[0]] = k
        for y in range(H_out):
            first, last, base, at = starts[y * sh], starts[y * sh + kh], -y * sh * kw * C * L, (y * W_out + x) * L
            for lane in range(0, L, ROUND * len(s.row)):
                sum_ones(s.row, Wt, base + lane, room.listed, first, last, b, lane, room.rows, at + lane)


@borrows
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


@borrows
def put_deltas(dY, s, room, total):  # type: ignore[no-untyped-def]
    """One image's dy, room.rows, and (K4) its sum over the output pixels, total[:O]."""
    (H_out, W_out), O, wide = s.shape, s.channels[1], s.stride[1] * s.L
    total[:] = 0
    for y in range(H_out):
        at, q = (y * s.seen[1] + s.kernel[1] - 1) * s.L, y * W_out * O
        for x in range(W_out):
            copy(dY, q + x * O, O, room.rows, at + x * wide)
            for lane in range(0, s.L, ROUND * len(s.row)):
                add_piece(s.row, dY, q + x * O + lane, O - lane, total, lane)


@borrows
def weight_gradient(X, s, room, dWt):  # type: ignore[no-untyped-def]
    """(K3): dWt += of one image, from its dy, room.rows."""
    image = surround(X, s, room.image)
    if s.lists and fires_seldom(X):
        _list_channels(image, s, room)
        _weight_gradient_of_spikes(s, room, dWt)
    else:
        _put(image, room.numbers)
        _weight_gradient_of_numbers(room.numbers, room.rows, s, dWt)


@borrows
def _list_channels(image, s, room):  # type: ignore[no-untyped-def]
    """The pixels that fire and are seen, by (c, u, v), the rows u that go with one kernel row side by side.

    Those are u = i, i + sh, ...: so the rows come by u mod sh, then u. starts[k, c]: where the k-th row of c starts. An
    entry is ((u // sh) pitch + v) L.
    """
    C, seen, wide, sh, k = s.channels[0], s.seen[0] * s.seen[1], s.seen[1] * s.channels[0], s.stride[0], 0
    width, starts, listed, row, channel, column = (
        s.size[1] + 2 * s.padding[1], room.starts, room.listed, room.row, room.channel, room.column,
    )  # fmt: skip
    for c in range(C):
        starts[0, c] = c * seen
    for first in range(sh):
        for u in range(first, s.seen[0], sh):
            for c in range(C):
                starts[k + 1, c] = starts[k, c]
            fires, here = list_nonzero(image, u * width * C, wide, 0, 1, row, 0), u // sh * s.seen[1] * s.L
            for n in range(fires):
                q = row[n]
                c = channel[q]
                at = starts[k + 1, c]
                listed[at] = here + column[q]
                starts[k + 1, c] = at + 1
            k += 1


@borrows
def _weight_gradient_of_spikes(s, room, dWt):  # type: ignore[no-untyped-def]
    """A channel's pixels that fire are met once for each i, and kw sums, one for each j, stay in registers."""
    C, H_out, (kh, kw), sh, L = s.channels[0], s.shape[0], s.kernel, s.stride[0], s.L
    together, dy, listed = len(s.columns), room.rows, room.listed
    for i in range(kh):
        k = i // sh
        for before in range(i % sh):
            k += (s.seen[0] - before + sh - 1) // sh
        for c in range(C):
            first, last = room.starts[k, c], room.starts[k + H_out, c]
            for lane in range(0, L if last > first else 0, ROUND * len(s.row)):
                base = (kw - 1 - i // sh * s.seen[1]) * L + lane
                for j in range(0, kw - together + 1, together):
                    at, b = ((i * kw + j) * C + c) * L + lane, base - j * L
                    add_columns(s.columns, s.row, dy, b, -L, listed, first, last, dWt, at, C * L)
                for j in range(kw - kw % together, kw):
                    at, b = ((i * kw + j) * C + c) * L + lane, base - j * L
                    add_columns(ONE, s.row, dy, b, 0, listed, first, last, dWt, at, 0)


@borrows
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


@borrows
def input_gradient_of_listed(stairs, s, room, padded):  # type: ignore[no-untyped-def]
    """(K5), (K6): padded dX of one image, from its listed deltas, by x: down a column of output pixels, a row of padded
    is met by kh of them, and its sum stays in registers until the last. The list goes by (x, y); starts[x, y]: where an
    output pixel's deltas start. Each is listed with its o, times the numbers that a row of stairs has.
    """
    kh, together = s.kernel[0], len(s.stairs)
    padded[:] = 0
    for i in range(0, kh - together + 1, together):
        _add_kernel_rows(s.stairs, s.shift, stairs, i, 0, s, room, padded)
    for i in range(kh % together):
        _add_kernel_rows(ONE, ONE, stairs, kh - kh % together, i, s, room, padded)


@borrows
def _add_kernel_rows(rows, shift, stairs, group, i, s, room, padded):  # type: ignore[no-untyped-def]
    """len(rows) of them, from the i-th of the group that begins with row `group`."""
    (C, O), (H_out, W_out), (sh, sw), piece = s.channels, s.shape, s.stride, ROUND * len(s.stair)
    width, together = (s.size[1] + 2 * s.padding[1]) * C, len(s.stairs)
    for lane in range(0, s.R, piece):
        base = (group * s.R + lane * together) * O + i * piece
        for x in range(W_out):
            first, at = x * room.starts.shape[1], (group + i) * width + x * sw * C + lane
            add_stairs(
                rows, shift, s.stair, stairs, base, piece, room.found, room.listed, room.starts, first, H_out,
                padded, at, sh, width,
            )  # fmt: skip


@borrows
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


@borrows
def cut_out(padded, s, dX):  # type: ignore[no-untyped-def]
    """The image's part of padded dX."""
    C, (H_in, W_in), (ph, pw) = s.channels[0], s.size, s.padding
    for u in range(H_in):
        copy(padded, ((u + ph) * (W_in + 2 * pw) + pw) * C, W_in * C, dX, u * W_in * C)


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


def stairs_of_inputs(W: Array, s: Sizes) -> Array:
    """Stairs."""
    kh, together, piece = s.kernel[0], len(s.stairs), ROUND * len(s.stair)
    groups = -(-kh // together)
    rows = aligned_zeros((groups * together, len(W), s.R // piece, piece), W)
    rows[:kh] = rows_of_inputs(W, s.R).reshape(kh, *rows.shape[1:])
    stairs = aligned_zeros((rows.size,), W)
    stairs[:] = rows.reshape(groups, together, *rows.shape[1:]).transpose(0, 3, 2, 1, 4).reshape(-1)
    return stairs


def padded_bias(b: Array | None, W: Array, L: int) -> Array:
    """b, or zeros, padded to L numbers."""
    bias = aligned_zeros((L,), W)
    if b is not None:
        bias[: len(b)] = b
    return bias


def weights_of_rows(dWt: Array, shape: tuple[int, ...]) -> Array:
    """dWt in W's layout."""
    O, C, kh, kw = shape
    return np.ascontiguousarray(dWt.reshape(kh, kw, C, -1)[..., :O].transpose(3, 2, 0, 1))
