"""(K3) of spikes over many steps at once, by the trains that neurons fire: for cpu.py.

Neurons that fire at the same steps have the same train. A static input's have few: a train depends on one current, and
of the tutorial's first 1,728 neurons some 300 fire, 32 trains among them. What a pixel's delta adds to a weight is the
sum over the steps of the neuron's train,

    dW[o, c, i, j] = sum over (y, x) of H[(y, x), train of (c, y sh + i, x sw + j), o]
    H[(y, x), train, o] = sum over t in train of dC[t, o, y, x]

and H is made once for all neurons of a train that the window of (y, x) sees. The order of sums is that of these lines,
(y, x) and t ascending, whatever neurons share: the bits are the same where no two do. PAIR pixels side by side are done
together, for the same trains. Arrays as in conv2d/image.py.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn._jit import borrows, register_jitable
from npsnn._lanes import ROUND, add_labelled, add_piece, aligned, copy, put_labelled, sum_ones

Array = np.ndarray[Any, Any]

STEPS = 64  # of a train, at most: the bits of a word
PAIR = 2


class Room(NamedTuple):
    """What one sample's trains are worked in."""

    words: Array  # (M,)  at which steps a neuron fires
    train: Array  # (M,)  which one it fires
    slots: Array  # a table of the trains by their words: 1 + train, 0 where a slot is free
    word: Array  # (trains,)
    firsts: Array  # (trains + 1,)  where its steps begin in `steps`
    steps: Array  # as offsets in `rows`
    begins: Array  # ((u, v),)  where the neurons of a pixel that fire begin, and at last where they end
    terms: Array  # of each of these, v C + c
    fires: Array  # and its train
    met: Array  # (trains,)  the last pair of pixels that met it
    order: Array  # (trains,)  as which one it was met there
    here: Array  # the trains that a pair meets, in that order
    sums: Array  # of each of these, H of the pair
    deltas: Array  # dY[(cell, t), o]
    labels: Array  # place[(cell, t), o]
    rows: Array  # dC[(t, pixel of the pair), o]
    none: Array


@register_jitable
def trains_room(M, cells, place, like, s):  # type: ignore[no-untyped-def]
    """For M neurons and so many cells."""
    size, (kh, kw), C, L = 1, s.kernel, s.channels[0], s.L
    while size < 2 * M:
        size *= 2
    most = kh * (kw + (PAIR - 1) * s.stride[1]) * C  # neurons that a pair sees
    deltas, rows, none = aligned(like, cells * STEPS * L), aligned(like, STEPS * PAIR * L), aligned(like, PAIR * L)
    deltas[:], rows[:], none[:] = 0, 0, 0
    return Room(
        np.empty(M, np.uint64),
        np.empty(M, np.int32),
        np.empty(size, np.int32),
        np.empty(M, np.uint64),
        np.empty(M + 1, np.int64),
        np.empty(M * STEPS, np.int32),
        np.empty(s.seen[0] * s.seen[1] + 1, np.int64),
        np.empty(M + 1, np.int32),
        np.empty(M + 1, np.int32),
        np.empty(M, np.int64),
        np.empty(M, np.int64),
        np.empty(most + 1, np.int64),
        aligned(like, most * PAIR * L),
        deltas,
        np.zeros(cells * STEPS * L, place.dtype),
        rows,
        none,
    )


@borrows
def keep_deltas(dY, place, first, t, cells, s, room):  # type: ignore[no-untyped-def]
    """One step's dY and place, which begin at `first`; t of those that are summed together."""
    O, L = s.channels[1], s.L
    for cell in range(cells):
        at = (cell * STEPS + t) * L
        copy(dY, first + cell * O, O, room.deltas, at)
        copy(place, first + cell * O, O, room.labels, at)


@borrows
def bias_gradient(steps, cells, s, room, total):  # type: ignore[no-untyped-def]
    """(K4): the sum of what is kept, by cell, then t."""
    total[:] = 0
    for cell in range(cells):
        for t in range(steps):
            for lane in range(0, s.L, ROUND * len(s.row)):
                add_piece(s.row, room.deltas, (cell * STEPS + t) * s.L + lane, s.L, total, lane)


@borrows
def find_trains(S, s, room):  # type: ignore[no-untyped-def]
    """The trains of S (steps, M), and where they are fired."""
    words, train, slots, word, firsts, steps = room.words, room.train, room.slots, room.word, room.firsts, room.steps
    one, trains, end, mask = np.uint64(1), 0, 0, len(room.slots) - 1
    words[:], slots[:] = 0, 0
    for t in range(len(S)):
        for m in range(len(words)):
            words[m] |= np.uint64(S[t, m]) << np.uint64(t)
    for m in range(len(words)):
        bits = words[m]
        if bits != 0:
            slot = _slot(bits) & mask
            while slots[slot] != 0 and word[slots[slot] - 1] != bits:
                slot = (slot + 1) & mask
            if slots[slot] == 0:
                word[trains], firsts[trains], room.met[trains] = bits, end, -1
                for t in range(len(S)):
                    steps[end] = t * PAIR * s.L
                    end += (bits >> np.uint64(t)) & one == one
                trains += 1
                slots[slot] = trains
            train[m] = slots[slot] - 1
    firsts[trains] = end
    _find_places(s, room)


@borrows
def _slot(bits):  # type: ignore[no-untyped-def]
    """A number that every bit of a word has a part in."""
    half = bits ^ (bits >> np.uint64(31))
    return np.int64((half ^ (half >> np.uint64(11)) ^ (half >> np.uint64(21))) & np.uint64(0x7FFFFFFF))


@borrows
def _find_places(s, room):  # type: ignore[no-untyped-def]
    """Of the padded image, by (u, v, c)."""
    C, (H_in, W_in), (ph, pw), k = s.channels[0], s.size, s.padding, 0
    for u in range(s.seen[0]):
        for v in range(s.seen[1]):
            room.begins[u * s.seen[1] + v] = k
            if ph <= u < ph + H_in and pw <= v < pw + W_in:
                m = ((u - ph) * W_in + v - pw) * C
                for c in range(C):
                    room.terms[k], room.fires[k] = v * C + c, room.train[m + c]
                    k += room.words[m + c] != 0
    room.begins[s.seen[0] * s.seen[1]] = k


@borrows
def weight_gradient_of_trains(steps, s, seen_by, room, dWt):  # type: ignore[no-untyped-def]
    """(K3): dWt += of what is kept and found."""
    (H_out, W_out), L, both = s.shape, s.L, s.row + s.row
    for y in range(H_out):
        for x in range(0, W_out, PAIR):
            count = min(PAIR, W_out - x)
            met = _meet(y, x, s, room)
            if met > 0:
                for p in range(count):
                    _put_rows(steps, y, x + p, p, s, seen_by, room)
                for k in range(met):
                    first, last = room.firsts[room.here[k]], room.firsts[room.here[k] + 1]
                    for lane in range(0, PAIR * L, ROUND * len(both)):
                        at = k * PAIR * L + lane
                        sum_ones(both, room.rows, lane, room.steps, first, last, room.none, lane, room.sums, at)
                for p in range(count):
                    _add_sums(y, x + p, p, s, room, dWt)


@borrows
def _meet(y, x, s, room):  # type: ignore[no-untyped-def]
    """How many trains the windows of (y, x) and the pixel beside it see; each has a place in `here` then."""
    (kh, kw), (sh, sw), wide, met = s.kernel, s.stride, s.seen[1], 0
    pair, last = y * s.shape[1] + x, min(x * sw + (PAIR - 1) * sw + kw, wide)
    for i in range(kh):
        row = (y * sh + i) * wide
        for k in range(room.begins[row + x * sw], room.begins[row + last]):
            train = room.fires[k]
            new = room.met[train] != pair
            room.here[met] = train
            room.order[train] = met if new else room.order[train]
            room.met[train] = pair
            met += new
    return met


@borrows
def _put_rows(steps, y, x, p, s, seen_by, room):  # type: ignore[no-untyped-def]
    """dC of the pair's pixel p, which is (y, x): (P3)."""
    L, pixel = s.L, x * s.shape[0] + y
    first, last = seen_by.starts[pixel], seen_by.starts[pixel + 1]
    if first == last:
        for t in range(steps):
            for lane in range(L):
                room.rows[(t * PAIR + p) * L + lane] = 0
    for n in range(first, last):
        start, label = seen_by.cells[n] * STEPS * L, seen_by.labels[n]
        for t in range(steps):
            for lane in range(0, L, ROUND * len(s.row)):
                source, at = start + t * L + lane, (t * PAIR + p) * L + lane
                if n == first:
                    put_labelled(s.row, room.deltas, room.labels, source, label, L, room.rows, at)
                else:
                    add_labelled(s.row, room.deltas, room.labels, source, label, L, room.rows, at)


@borrows
def _add_sums(y, x, p, s, room, dWt):  # type: ignore[no-untyped-def]
    """H of the pair's pixel p, which is (y, x), to the weights of every neuron that its window sees fire."""
    C, L, (kh, kw), (sh, sw), wide = s.channels[0], s.L, s.kernel, s.stride, s.seen[1]
    for i in range(kh):
        row, term = (y * sh + i) * wide + x * sw, (i * kw - x * sw) * C
        for k in range(room.begins[row], room.begins[row + kw]):
            source, at = (room.order[room.fires[k]] * PAIR + p) * L, (term + room.terms[k]) * L
            for lane in range(0, L, ROUND * len(s.row)):
                add_piece(s.row, room.sums, source + lane, L, dWt, at + lane)
