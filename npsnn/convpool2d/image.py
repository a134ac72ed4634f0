"""What the compiled pool does to one image's convolution, shared by the ops that fuse the two.

Arrays as in conv2d/image.py: acc[(y, x), o] and dy[(y, x), o] with its rows of zeros; Y, place and dY are one image's
pooled, flat, channels last.
"""

from npsnn._jit import register_jitable
from npsnn._lanes import ROUND, add_labelled, add_piece, largest, put_labelled

Pair = tuple[int, int]


def pooled_shape(shape: Pair, pool: tuple[Pair, Pair, Pair]) -> Pair:
    """(H_pool, W_pool) of a pool of (H_out, W_out)."""
    (h, w), ((kh, kw), (sh, sw), (ph, pw)) = shape, pool
    return (h + 2 * ph - kh) // sh + 1, (w + 2 * pw - kw) // sw + 1


@register_jitable
def _list_window(cell_y, cell_x, s, pool, offsets, places):  # type: ignore[no-untyped-def]
    """The pixels of a pool's window that are in the image: where their rows start, and their places. How many."""
    (H_out, W_out), ((kh, kw), (sh, sw), (ph, pw)), k = s.shape, pool, 0
    top, left = sh * cell_y - ph, sw * cell_x - pw
    for i in range(max(0, -top), min(kh, H_out - top)):
        for j in range(max(0, -left), min(kw, W_out - left)):
            offsets[k], places[k] = ((top + i) * W_out + left + j) * s.L, i * kw + j
            k += 1
    return k


@register_jitable
def choose(acc, Y, place, s, pool, pooled, offsets, places):  # type: ignore[no-untyped-def]
    """(P1), (P2) over one image's acc[(y, x), o]."""
    O = s.channels[1]
    for cell in range(pooled[0] * pooled[1]):
        pixels = _list_window(cell // pooled[1], cell % pooled[1], s, pool, offsets, places)
        for lane in range(0, s.L, ROUND * len(s.row)):
            largest(s.row, acc, lane, offsets, places, pixels, Y, place, cell * O + lane, O - lane)


@register_jitable
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
