"""What the compiled pool does to one image's convolution, shared by the ops that fuse the two.

Arrays as in conv2d/image.py: acc[(y, x), o] and dy[(y, x), o] with its rows of zeros; Y, place and dY are one image's
pooled, flat, channels last.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn._jit import borrows, register_jitable
from npsnn._lanes import ROUND, add_labelled, add_piece, largest, list_labelled, put_labelled

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


class Pixels(NamedTuple):
    """For every window of a pool, those of its pixels that are in the image."""

    starts: Array  # where a window's begin, and at last where they end
    offsets: Array  # where a pixel's row starts in acc
    places: Array  # which of the window's pixels it is


class Windows(NamedTuple):
    """For every output pixel, by (x, y), the pool's windows that see it."""

    starts: Array  # where a pixel's begin, and at last where they end
    cells: Array  # which window
    labels: Array  # which of the window's pixels this is


def pooled_shape(shape: Pair, pool: tuple[Pair, Pair, Pair]) -> Pair:
    """(H_pool, W_pool) of a pool of (H_out, W_out)."""
    (h, w), ((kh, kw), (sh, sw), (ph, pw)) = shape, pool
    return (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1


@register_jitable
def pixels_of(s, pool, pooled, place):  # type: ignore[no-untyped-def]
    """Pixels, the places of place's dtype."""
    (H_out, W_out), ((kh, kw), (sh, sw), (ph, pw)), k = s.shape, pool, 0
    starts, most = np.empty(pooled[0] * pooled[1] + 1, np.int64), pooled[0] * pooled[1] * kh * kw
    offsets, places = np.empty(most, np.int32), np.empty(most, place.dtype)
    for cell in range(pooled[0] * pooled[1]):
        top, left = sh * (cell // pooled[1]) - ph, sw * (cell % pooled[1]) - pw
        starts[cell] = k
        for i in range(max(0, -top), min(kh, H_out - top)):
            for j in range(max(0, -left), min(kw, W_out - left)):
                offsets[k], places[k] = ((top + i) * W_out + left + j) * s.L, i * kw + j
                k += 1
    starts[pooled[0] * pooled[1]] = k
    return Pixels(starts, offsets, places)


@borrows
def choose(acc, Y, place, begin, s, pixels):  # type: ignore[no-untyped-def]
    """(P1), (P2) over one image's acc[(y, x), o], whose Y and place begin at `begin`."""
    O, (starts, offsets, places) = s.channels[1], pixels
    for cell in range(len(starts) - 1):
        for lane in range(0, s.L, ROUND * len(s.row)):
            at, first, last = begin + cell * O + lane, starts[cell], starts[cell + 1]
            largest(s.row, acc, lane, offsets, places, first, last, Y, place, at, O - lane)


@borrows
def route(dY, place, s, pool, pooled, dy, total):  # type: ignore[no-untyped-def]
    """(P3), (K4): one image's deltas at their places in dy, and summed. What no window sees stays 0, as it came."""
    (kh, kw), (sh, sw), (ph, pw) = pool
    O, wide, apart = s.channels[1], s.stride[1] * s.L, kh <= sh and kw <= sw
    total[:] = 0
    if not apart:
        dy[:] = 0
    for cell in range(pooled[0] * pooled[1]):
        top, left = sh * (cell // pooled[1]) - ph, sw * (cell % pooled[1]) - pw
        for lane in range(0, s.L, ROUND * len(s.row)):
            q, count = cell * O + lane, O - lane
            add_piece(s.row, dY, q, count, total, lane)
            for i in range(max(0, -top), min(kh, s.shape[0] - top)):
                for j in range(max(0, -left), min(kw, s.shape[1] - left)):
                    at = ((top + i) * s.seen[1] + s.kernel[1] - 1) * s.L + (left + j) * wide + lane
                    if apart:
                        put_labelled(s.row, dY, place, q, i * kw + j, count, dy, at)
                    else:
                        add_labelled(s.row, dY, place, q, i * kw + j, count, dy, at)


@register_jitable
def windows(s, pool, pooled):  # type: ignore[no-untyped-def]
    """Windows."""
    (H_out, W_out), ((kh, kw), (sh, sw), (ph, pw)), k = s.shape, pool, 0
    starts, most = np.empty(H_out * W_out + 1, np.int64), pooled[0] * pooled[1] * kh * kw
    cells, labels = np.empty(most, np.int64), np.empty(most, np.int64)
    for x in range(W_out):
        for y in range(H_out):
            starts[x * H_out + y] = k
            for cell_y in range(max(0, (y + ph - kh) // sh + 1), min(pooled[0], (y + ph) // sh + 1)):
                for cell_x in range(max(0, (x + pw - kw) // sw + 1), min(pooled[1], (x + pw) // sw + 1)):
                    i, j = y + ph - sh * cell_y, x + pw - sw * cell_x
                    cells[k], labels[k] = cell_y * pooled[1] + cell_x, i * kw + j
                    k += 1
    starts[H_out * W_out] = k
    return Windows(starts, cells, labels)


@borrows
def list_routed(dY, place, first, s, seen_by, room):  # type: ignore[no-untyped-def]
    """(P3): the deltas, not zero, of the image that begins at `first`, listed for (K5) where the maxima were."""
    O, H_out, step, k = s.channels[1], s.shape[0], ROUND * len(s.stair) * len(s.stairs), 0
    for x in range(s.shape[1]):
        for y in range(H_out):
            pixel = x * H_out + y
            room.starts[x, y] = k
            for n in range(seen_by.starts[pixel], seen_by.starts[pixel + 1]):
                at, label = first + seen_by.cells[n] * O, seen_by.labels[n]
                k = list_labelled(dY, place, at, label, O, step, room.listed, room.found, k)
        room.starts[x, H_out] = k
