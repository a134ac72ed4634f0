"""A convolution of spikes on the device: what a window sees of an image is words of bits, and only spikes are met.

A window is what one number of the pooled output depends on, `tall` x `wide` pixels. A row of it takes `pitch` bits, a
power of two, and a word `rows` rows of one channel, so that a bit's place in a word says where in the window it lies.

    forward          a group of LANES threads owns a window, a thread OUTPUTS channels of it
    weight_gradient  a block owns a tile of output channels, a slice of input channels, and every image that is `shares`
                     from its first one; a group owns channels of the slice, so that no two threads add to one sum
    add_shares       what the blocks have summed, added up

Orders of sums: (K2) c, i, j ascending, then the bias: the plain kernel's bits. (K3), (K4) images `shares` apart,
windows in rows; then the shares, GROUPS apart, and the groups as a tree.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from npsnn import _cuda
from npsnn._cuda import GROUPS, LANES, SIMULATED, Kernel
from npsnn._device import DeviceArray, add_groups, empty, index, integer, quotient, word
from npsnn.conv2d.geometry import Geometry, Sizes
from npsnn.conv2d.routed import NO_SLICE, Slice, arrange, rows_size

cuda = _cuda.driver()

WARPS = GROUPS // 2  # windows that a block has in its shared memory
OUTPUTS = 2  # output channels of a thread, LANES apart
TILE = OUTPUTS * LANES
WORDS = 128  # of a window, at a time
ROOM = 45_056  # bytes of shared memory that a block has for the weight gradient
SHARES, PARTS = 3 if SIMULATED else 256, 2**25  # of the images, at most; and the bytes of all their sums
BITS, MOST = 32, 1024  # of a word, and rows of a window


class Words(NamedTuple):
    """How a window lies in words."""

    tall: int
    wide: int
    pitch: int  # bits from a row to the next
    rows: int  # of a word
    words: int  # of a channel
    inside: bool  # no window hangs over the image


def has_words(g: Geometry) -> bool:
    """Whether a row of a window goes into a word."""
    tall, wide = _window(g)
    return wide <= BITS and tall <= MOST


def words_of(g: Geometry) -> Words:
    """Of a window that has them."""
    tall, wide = _window(g)
    pitch = 1 << (wide - 1).bit_length()
    words = -(-tall // (BITS // pitch))
    hangs = any((*g.padding, *g.pool[2]))
    return Words(tall, wide, pitch, -(-tall // words), words, not hangs)


def _window(g: Geometry) -> tuple[int, ...]:
    return tuple((q - 1) * s + k for q, s, k in zip(g.pool[0], g.stride, g.kernel, strict=True))


@lru_cache
def _word_of(w: Words) -> Any:
    """The word of the rows from `down` on, of the window at (top, left) of the channel that begins at `start`."""
    tall, wide, pitch, rows, _, inside = w
    nothing = word(0)

    @_cuda.device
    def word_of(X, start, down, top, left, H, W):  # type: ignore[no-untyped-def]
        bits = nothing
        for row in range(rows):
            u = integer(top + down + row)
            if down + row < tall and (inside or (u >= 0 and u < H)):
                at = start + integer(u * W + left)
                for right in range(wide):
                    v = integer(left + right)
                    if (inside or (v >= 0 and v < W)) and X[index(at + right)]:
                        bits = word(bits | word(1 << (row * pitch + right)))
        return bits

    return word_of


def tiled(W: DeviceArray) -> DeviceArray:
    """Wt[tile, (c, i, j), o] of W[o, (c, i, j)], with zeros where there is no such o."""
    O, K = W.shape[0], W.size // W.shape[0]
    Wt = empty((-(-O // TILE), K, TILE), W.dtype)
    _cuda.launch(_tiled(W.dtype), Wt.size, W, Wt, O, K)
    return Wt


@lru_cache
def _tiled(dtype: Any) -> Kernel:
    zero = np.dtype(dtype).type(0)

    @_cuda.kernel
    def tiled(total, W, Wt, O, K):  # type: ignore[no-untyped-def]
        at = cuda.grid(1)
        while at < total:
            o, k = at // TILE // K * TILE + at % TILE, at // TILE % K
            Wt[at] = W[o * K + k] if o < O else zero
            at += cuda.gridsize(1)

    return tiled


@lru_cache
def forward(g: Geometry, dtype: Any, pooled: bool) -> Kernel:
    """(K2), and (P1), (P2) where `pooled`."""
    kind, w = np.dtype(dtype).type, words_of(g)
    (KH, KW), (SH, SW), (PH, PW), ((QH, QW), (TH, TW), (RH, RW)) = g
    _, _, pitch, rows, words, _ = w
    zero, one, shift, whole, word_of = kind(0), word(1), pitch.bit_length() - 1, (RH, RW) == (0, 0), _word_of(w)
    wide = np.int64
    channels = max(1, WORDS // words)
    room, sums = channels * words, QH * QW * OUTPUTS
    rooms = WARPS * room

    @_cuda.kernel
    def forward(total, X, Wt, b, Y, place, windows, C, H, W, O, H_conv, W_conv, H_out, W_out):  # type: ignore[no-untyped-def]
        seen = cuda.shared.array(rooms, word)
        acc = cuda.local.array(sums, kind)
        lane, group, block = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x
        tiles, cells, mine = (O + TILE - 1) // TILE, H_out * W_out, word(group * room)
        while block < total:
            at = block * WARPS + group
            here = at < windows
            n = at // (cells * tiles)
            tile, cell = quotient(at - n * (cells * tiles), cells)
            y, x = quotient(cell, W_out)
            top, left = (y * TH - RH) * SH - PH, (x * TW - RW) * SW - PW
            for q in range(sums):
                acc[q] = zero
            # (K1), (K2)
            for begin in range(0, C, channels):
                count = integer(min(C - begin, channels))
                cuda.syncthreads()
                if here:
                    for k in range(integer(lane), integer(count * words), integer(LANES)):
                        channel, part = k // words, k % words
                        start = (n * C + begin + channel) * (H * W)
                        seen[word(mine + k)] = word_of(X, start, part * rows, top, left, integer(H), integer(W))
                cuda.syncthreads()
                if here:
                    weights, slot = word((tile * C + begin) * (KH * KW * TILE) + lane), mine
                    for _ in range(count):
                        for part in range(words):
                            bits = seen[slot]
                            slot = word(slot + one)
                            while bits > 0:
                                low = integer(cuda.ffs(bits) - 1)
                                bits = word(bits & word(bits - one))
                                down, right = integer((low >> shift) + part * rows), integer(low & (pitch - 1))
                                at_weight = wide(word(weights + (down * KW + right) * TILE))
                                for p in range(QH):
                                    for q in range(QW):
                                        i, j = integer(down - p * SH), integer(right - q * SW)
                                        if (i >= 0) & (i < KH) & (j >= 0) & (j < KW):
                                            for r in range(OUTPUTS):
                                                weight = index(at_weight + (r * LANES - (p * SH * KW + q * SW) * TILE))
                                                acc[(p * QW + q) * OUTPUTS + r] += Wt[weight]
                        weights = word(weights + KH * KW * TILE)
            # (P1), (P2)
            if here:
                for r in range(OUTPUTS):
                    o = tile * TILE + r * LANES + lane
                    if o < O:
                        best, first = zero, -1
                        for p in range(QH):
                            if whole or (y * TH - RH + p >= 0 and y * TH - RH + p < H_conv):
                                for q in range(QW):
                                    if whole or (x * TW - RW + q >= 0 and x * TW - RW + q < W_conv):
                                        value = acc[(p * QW + q) * OUTPUTS + r] + b[o]
                                        if first < 0 or value > best or (math.isnan(value) and best == best):
                                            best, first = value, p * QW + q
                        out = (n * O + o) * cells + cell
                        Y[index(out)] = best
                        if pooled:
                            place[index(out)] = first
            block += cuda.gridDim.x

    return forward


class Tile(NamedTuple):
    """A block's sums in the weight gradient."""

    outputs: int  # of a thread
    channels: int  # of a slice
    each: int  # of a group
    groups: int


def tile_of(g: Geometry, dtype: Any, s: Sizes) -> Tile | None:
    """None where there are no words, or the weights of one channel are more than a block has room for."""
    if not has_words(g):
        return None
    size = np.dtype(dtype).itemsize
    for outputs in (OUTPUTS, 1) if s.O > LANES else (1,):
        sums = g.kernel[0] * g.kernel[1] * outputs * LANES * size
        fit = (ROOM - WARPS * outputs * LANES * (size + 4)) // (sums + WARPS * words_of(g).words * 4)
        if fit > 0:
            channels = -(-s.C // -(-s.C // fit))
            each = -(-channels // GROUPS)
            return Tile(outputs, channels, each, -(-channels // each))
    return None


@lru_cache
def weight_gradient(g: Geometry, dtype: Any, pooled: bool, t: Tile) -> Kernel:
    """(K3), (K4) of a share of the images: a block's sums[(c, i, j), o], and after them the biases'."""
    kind, w = np.dtype(dtype).type, words_of(g)
    (KH, KW), (SH, SW), (PH, PW), ((_, QW), (TH, TW), (RH, RW)) = g
    _, _, pitch, rows, words, _ = w
    outputs, channels, each, groups = t
    zero, one, shift, word_of, threads = kind(0), word(1), pitch.bit_length() - 1, _word_of(w), groups * LANES
    wide, room = outputs * LANES, channels * words  # a tile's output channels, and a window's words
    sums, deltas, seens = channels * KH * KW * wide, WARPS * wide, WARPS * room

    @_cuda.kernel
    def weight_gradient(  # type: ignore[no-untyped-def]
        total, dY, place, X, parts, tiles, slices, shares, N, C, H, W, O, H_conv, W_conv, H_out, W_out
    ):
        acc = cuda.shared.array(sums, kind)
        d = cuda.shared.array(deltas, kind)
        at = cuda.shared.array(deltas, integer)
        seen = cuda.shared.array(seens, word)
        lane, group, block = integer(cuda.threadIdx.x), integer(cuda.threadIdx.y), cuda.blockIdx.x
        me, cells, across = integer(group * LANES + lane), integer(H_out * W_out), integer(W_out)
        height, width, pixels = integer(H), integer(W), integer(H * W)
        mine, here = cuda.local.array(outputs, kind), cuda.local.array(outputs, kind)
        to = cuda.local.array(outputs, integer)
        down_here, right_here = cuda.local.array(outputs, integer), cuda.local.array(outputs, integer)
        while block < total:
            share, piece = quotient(block, tiles * slices)
            tile, slice_ = quotient(piece, slices)
            first, biased = slice_ * channels, slice_ == 0 and group == 0
            count = integer(min(C - first, channels))
            begin, end = integer(group * each), integer(min((group + 1) * each, count))
            for k in range(me, integer(sums), integer(threads)):
                acc[word(k)] = zero
            for r in range(outputs):
                mine[r] = zero
            few = integer(min(O - tile * wide, wide))
            n = share
            while n < N:
                image = (n * C + first) * (H * W)
                for start in range(0, H_out * W_out, WARPS):
                    windows = integer(min(H_out * W_out - start, WARPS))
                    deltas_of = (n * O + tile * wide) * cells + start
                    cuda.syncthreads()
                    for k in range(me, integer(deltas), integer(threads)):
                        window, o = integer(k % WARPS), integer(k // WARPS)
                        delta, where = zero, integer(0)
                        if window < windows and o < few:
                            source = index(deltas_of + integer(o * cells + window))
                            delta = dY[source]
                            if pooled:
                                where = integer(place[source])
                                where = integer(where // QW * SH << 16 | where % QW * SW)  # (P3)
                        d[word(window * wide + o)] = delta
                        at[word(window * wide + o)] = where
                    for k in range(me, integer(seens), integer(threads)):
                        window, rest = integer(k // room), integer(k % room)
                        channel, down = integer(rest // words), integer(rest % words * rows)
                        if window < windows and channel < count:
                            y, x = quotient(start + window, across)
                            top, left = integer((y * TH - RH) * SH - PH), integer((x * TW - RW) * SW - PW)
                            seen[word(k)] = word_of(
                                X, image + integer(channel * pixels), down, top, left, height, width
                            )
                    cuda.syncthreads()
                    for at_window in range(windows):
                        for r in range(outputs):
                            of = word(at_window * wide + r * LANES + lane)
                            where = integer(at[of])
                            here[r], down_here[r], right_here[r] = d[of], integer(where >> 16), integer(where & 0xFFFF)
                            to[r] = r * LANES + lane - (down_here[r] * KW + right_here[r]) * wide
                            if biased:
                                mine[r] += here[r]  # (K4)
                        c, slot = begin, word(at_window * room + begin * words)
                        while c < end:
                            for part in range(words):
                                bits = seen[slot]
                                slot = word(slot + one)
                                while bits > 0:
                                    low = integer(cuda.ffs(bits) - 1)
                                    bits = word(bits & word(bits - one))
                                    down, right = integer((low >> shift) + part * rows), integer(low & (pitch - 1))
                                    weight = integer(((c * KH + down) * KW + right) * wide)
                                    for r in range(outputs):
                                        i, j = integer(down - down_here[r]), integer(right - right_here[r])
                                        if (i >= 0) & (i < KH) & (j >= 0) & (j < KW):
                                            acc[word(weight + to[r])] += here[r]  # (K3)
                            c = integer(c + 1)
                n += shares
            cuda.syncthreads()
            for k in range(me, integer(sums), integer(threads)):
                parts[index(block * (sums + wide) + k)] = acc[word(k)]
            if group == 0:
                for r in range(outputs):
                    parts[index(block * (sums + wide) + sums + r * LANES + lane)] = mine[r]
            cuda.syncthreads()
            block += cuda.gridDim.x

    return weight_gradient


@lru_cache
def add_shares(dtype: Any, area: int, t: Tile, part: Slice) -> Kernel:
    """The shares of every block's sums, into sums[(o, c, i, j)], and after all of them sums[o].

    Beside that it arranges the weights for the input gradient, of which there are `arranged`: a launch less.
    """
    kind, wide, channels = np.dtype(dtype).type, t.outputs * LANES, t.channels
    zero, size, arrange_ = kind(0), channels * area * wide + wide, arrange(dtype, area, part)

    @_cuda.kernel
    def add_shares(total, parts, sums, W, rows, arranged, slices, shares, C, O):  # type: ignore[no-untyped-def]
        summed = cuda.shared.array((GROUPS, LANES), kind)
        lane, group, block = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x
        at = (block * GROUPS + group) * LANES + lane
        while at < arranged:
            rows[index(at)] = arrange_(W, at, C, O)
            at += cuda.gridDim.x * GROUPS * LANES
        while block * LANES < total:
            at, mine = block * LANES + lane, zero
            if at < total:
                for share in range(group, shares, GROUPS):
                    mine += parts[index(share * total + at)]
            summed[group, lane] = mine
            add_groups(summed, lane, group)
            if group == 0 and at < total:
                piece, k = at // size, at % size
                tile, slice_ = piece // slices, piece % slices
                o, c, ij = tile * wide + k % wide, slice_ * channels + k // wide // area, k // wide % area
                if k >= size - wide:
                    if o < O and slice_ == 0:
                        sums[index(O * C * area + o)] = summed[0, lane]
                elif o < O and c < C:
                    sums[index((o * C + c) * area + ij)] = summed[0, lane]
            cuda.syncthreads()
            block += cuda.gridDim.x

    return add_shares


def run_forward(
    X: DeviceArray, W: DeviceArray, bias: DeviceArray, Y: DeviceArray, place: Any, g: Geometry, s: Sizes
) -> None:
    """Y, and the places of the maxima where they are asked for."""
    windows = X.shape[0] * s.H_out * s.W_out * -(-s.O // TILE)
    kernel = forward(g, W.dtype, place is not None)
    _cuda.launch_blocks(
        kernel, -(-windows // WARPS), WARPS, X, tiled(W), bias, Y, Y if place is None else place, windows, *s
    )  # fmt: skip


def run_weight_gradient(
    dY: DeviceArray, place: Any, X: DeviceArray, W: DeviceArray, g: Geometry, s: Sizes, t: Tile, part: Slice | None
) -> tuple[DeviceArray, DeviceArray]:
    """dW and db side by side, and the weights as `part` wants them."""
    tiles, slices = -(-s.O // (t.outputs * LANES)), -(-s.C // t.channels)
    area, pooled = g.kernel[0] * g.kernel[1], place is not None
    size = (t.channels * area + 1) * t.outputs * LANES * tiles * slices
    shares = max(1, min(X.shape[0], SHARES, PARTS // (size * W.dtype.itemsize)))
    parts, sums = empty((shares * size,), W.dtype), empty((W.size + s.O,), W.dtype)
    kernel = weight_gradient(g, W.dtype, pooled, t)
    _cuda.launch_blocks(
        kernel, shares * tiles * slices, t.groups, dY, place if pooled else dY, X, parts, tiles, slices, shares,
        X.shape[0], *s,
    )  # fmt: skip
    rows = empty((0 if part is None else rows_size(part, s),), W.dtype)
    adds = add_shares(W.dtype, area, t, part or NO_SLICE)
    _cuda.launch_sums(adds, size, parts, sums, W, rows, rows.size, slices, shares, s.C, s.O)
    return sums, rows
