"""The input gradient of a convolution on the device, an image a block: (K5), (K6) from deltas at their places.

To each place of a window of the pool belong the deltas whose maximum came from there, and zeros for all other channels:
a small matrix product with the weights, (K5). A group of LANES threads owns windows, a thread of it sums of (c, i, j),
in registers, for every place of them. The image, in shared memory, is given these sums in the end, a window and a place
at a time, (K6).

Order of sums: (K5) o ascending, every place for itself; (K6) windows in rows, of a window its places ascending.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from npsnn import _cuda
from npsnn._cuda import LANES, SIMULATED, Kernel
from npsnn._device import DeviceArray, empty, index, integer, quotient
from npsnn.conv2d.geometry import Geometry, Sizes

cuda = _cuda.driver()

GROUPS, OUTPUTS = (2, 8) if SIMULATED else (4, 64)  # of a block; channels whose deltas are in shared memory together
SUMS, EACH = (80, 20) if SIMULATED else (80, 10)  # of a thread; and of these for a window and a place, at most
ROOM = 24_576  # bytes of an image


class Slice(NamedTuple):
    """What of an image a block has."""

    channels: int
    pixels: int
    each: int  # sums of a thread for a window and a place
    windows: int  # of a group
    even: bool  # all slices are alike

    @property
    def pitch(self) -> int:
        """Of a row of weights: every thread has one for each of its sums, and every row begins where a line does."""
        return self.each * LANES


NO_SLICE = Slice(1, 1, 1, 1, True)


def slice_of(g: Geometry, dtype: Any, s: Sizes) -> Slice | None:
    """None where a channel is more than a block has room for, or a window of the pool has more places."""
    area, places = g.kernel[0] * g.kernel[1], g.pool[0][0] * g.pool[0][1]
    most = min(ROOM // (s.H * s.W * np.dtype(dtype).itemsize), min(EACH, SUMS // places) * LANES // area)
    if not most:
        return None
    channels = -(-s.C // -(-s.C // most))
    each = -(-channels * area // LANES)
    return Slice(channels, channels * s.H * s.W, each, max(1, SUMS // (EACH * places)), s.C % channels == 0)


@lru_cache
def arrange(dtype: Any, area: int, part: Slice) -> Any:
    """rows[at], of rows[slice, o, (c, i, j)] zero where a thread has no weight."""
    zero, channels, pitch = np.dtype(dtype).type(0), part.channels, part.pitch

    @_cuda.device
    def arrange(W, at, C, O):  # type: ignore[no-untyped-def]
        first, o, k = at // pitch // O * channels, at // pitch % O, at % pitch
        return W[index((o * C + first) * area + k)] if k < min(channels, C - first) * area else zero

    return arrange


@lru_cache
def arranged(dtype: Any, area: int, part: Slice) -> Kernel:
    """All of `rows`."""
    arrange_ = arrange(dtype, area, part)

    @_cuda.kernel
    def arranged(total, W, rows, C, O):  # type: ignore[no-untyped-def]
        at = cuda.grid(1)
        while at < total:
            rows[at] = arrange_(W, at, C, O)
            at += cuda.gridsize(1)

    return arranged


def rows_size(part: Slice, s: Sizes) -> int:
    """Of the weights, arranged."""
    return -(-s.C // part.channels) * s.O * part.pitch


@lru_cache
def input_gradient(g: Geometry, dtype: Any, pooled: bool, part: Slice) -> Kernel:
    """(K5), (K6)."""
    kind = np.dtype(dtype).type
    (KH, KW), (SH, SW), (PH, PW), ((QH, QW), (TH, TW), (RH, RW)) = g
    channels, room, each, own, even = part
    area, places, threads, zero, pitch = KH * KW, QH * QW, GROUPS * LANES, kind(0), part.pitch
    together, rows_of_own, full = GROUPS * own, own * places, channels * area if even else 0
    sums, rows_of_all, inside = rows_of_own * each, together * places, (PH, PW, RH, RW) == (0, 0, 0, 0)
    at_once = max(1, OUTPUTS * SUMS // (EACH * rows_of_own))
    deltas = rows_of_all * at_once

    @_cuda.kernel
    def input_gradient(  # type: ignore[no-untyped-def]
        total, dY, place, weights, dX, slices, C, H, W, O, H_conv, W_conv, H_out, W_out
    ):
        image = cuda.shared.array(room, kind)
        d = cuda.shared.array(deltas, kind)
        pixel = cuda.shared.array(pitch, integer)
        acc = cuda.local.array(sums, kind)
        w = cuda.local.array(each, kind)
        lane, group, block = integer(cuda.threadIdx.x), integer(cuda.threadIdx.y), cuda.blockIdx.x
        me, cells = integer(group * LANES + lane), H_out * W_out
        while block < total:
            n = block // slices
            slice_ = block - n * slices
            first = slice_ * channels
            count = integer(min(C - first, channels))
            size = integer(count * H * W)
            for k in range(me, size, integer(threads)):
                image[index(k)] = zero
            for k in range(me, integer(pitch), integer(threads)):
                pixel[index(k)] = (k // area * H + k // KW % KH) * W + k % KW if k < count * area else -1
            for start in range(0, cells, together):
                for k in range(sums):
                    acc[k] = zero
                for begin in range(0, O, at_once):
                    outputs, row = integer(min(O - begin, at_once)), (slice_ * O + begin) * pitch + lane
                    cuda.syncthreads()
                    for k in range(me, integer(together * at_once), integer(threads)):
                        o, window = integer(k // together), integer(k % together)
                        here, delta = 0, zero
                        if o < outputs and start + window < cells:
                            source = index((n * O + begin + o) * cells + start + window)
                            delta = dY[source]
                            if pooled:
                                here = int(place[source])
                        for q in range(places):
                            d[index(k * places + q)] = delta if here == q else zero  # (P3)
                    cuda.syncthreads()
                    slot, end = integer(group * rows_of_own), integer(outputs * rows_of_all)
                    while slot < end:
                        for r in range(each):
                            w[r] = weights[index(row + r * LANES)]
                        for k in range(rows_of_own):
                            delta = d[index(slot + k)]
                            for r in range(each):
                                acc[k * each + r] += delta * w[r]  # (K5)
                        row += pitch
                        slot = integer(slot + rows_of_all)
                for turn in range(GROUPS):
                    for k in range(rows_of_own):
                        cell, q = start + turn * own + k // places, k % places
                        if cell < cells:  # of all threads
                            cuda.syncthreads()
                        if group == turn and cell < cells:
                            y, x = quotient(cell, W_out)
                            u, v = (y * TH - RH + q // QW) * SH - PH, (x * TW - RW + q % QW) * SW - PW
                            corner = integer(u * W + v)
                            for r in range(each):
                                at = r * LANES + lane
                                to = pixel[index(at)]
                                if (r + 1) * LANES <= full or to >= 0:
                                    i, j = u + at // KW % KH, v + at % KW
                                    if inside or ((i >= 0) & (i < H) & (j >= 0) & (j < W)):
                                        image[index(to + corner)] += acc[k * each + r]  # (K6)
            cuda.syncthreads()
            for k in range(me, size, integer(threads)):
                dX[index((n * C + first) * (H * W) + k)] = image[index(k)]
            cuda.syncthreads()
            block += cuda.gridDim.x

    return input_gradient


def run_input_gradient(
    dY: DeviceArray, place: Any, X_shape: tuple[int, ...], W: DeviceArray, rows: Any, g: Geometry, s: Sizes, part: Slice
) -> DeviceArray:
    """dX; `rows` None: the weights are yet to be arranged."""
    if rows is None:
        rows = empty((rows_size(part, s),), W.dtype)
        _cuda.launch(arranged(W.dtype, g.kernel[0] * g.kernel[1], part), rows.size, W, rows, s.C, s.O)
    dX, slices, pooled = empty(X_shape, W.dtype), -(-s.C // part.channels), place is not None
    kernel = input_gradient(g, W.dtype, pooled, part)
    _cuda.launch_blocks(
        kernel, X_shape[0] * slices, GROUPS, dY, place if pooled else dY, rows, dX, slices, *s
    )  # fmt: skip
    return dX
