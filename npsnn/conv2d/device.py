"""The kernels of conv2d/cuda.py and convpool2d/cuda.py: a convolution, with and without the max-pooling after it.

Without a pool every output pixel is a window of its own. Geometry is compiled in, sizes are arguments. Arrays are flat,
in the order of their axes. What is spikes goes to spikes.py, and deltas go to routed.py; here are the kernels for
numbers, and for shapes that these two do not take.

    forward          a thread owns a pooled output; it meets every pixel of its windows once, and what is zero costs
                     nothing: o is the fastest of a thread's indices, so that neighbours find the same pixels zero
    weight_gradient  a block owns a sum, its threads share images and windows; the last O sums are (K4)
    input_gradient   a thread owns a pixel of TILE channels; a delta is met at the places that its maximum came from

Orders of sums: (K2) c, i, j ascending, then the bias; (K3), (K4) images and the pixels of each in rows, LANES * GROUPS
apart, then the groups, then the lanes; (K5), (K6) y, x, o ascending.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from npsnn import _cuda
from npsnn._cuda import GROUPS, LANES, Kernel, absent
from npsnn._device import DeviceArray, constant, empty, index, quotient, send
from npsnn.conv2d import routed, spikes
from npsnn.conv2d.geometry import Geometry, sizes

cuda = _cuda.driver()

TILE = 4


@lru_cache
def forward(g: Geometry, dtype: Any, of_spikes: bool, pooled: bool) -> Kernel:
    """(K2), and (P1), (P2) where `pooled`."""
    kind = np.dtype(dtype).type
    (KH, KW), (SH, SW), (PH, PW), ((QH, QW), (TH, TW), (RH, RW)) = g
    tall, wide, places = (QH - 1) * SH + KH, (QW - 1) * SW + KW, QH * QW
    zero, nothing = kind(0), absent(kind, of_spikes)

    @_cuda.kernel
    def forward(total, X, weight, b, Y, place, C, H, W, O, H_conv, W_conv, H_out, W_out):  # type: ignore[no-untyped-def]
        acc = cuda.local.array(places, kind)
        at = cuda.grid(1)
        while at < total:
            o, x, y, n = at % O, at // O % W_out, at // O // W_out % H_out, at // O // W_out // H_out
            for q in range(places):
                acc[q] = zero
            # (K1), (K2)
            for c in range(C):
                for down in range(tall):
                    u = (y * TH - RH) * SH - PH + down
                    if u >= 0 and u < H:
                        for right in range(wide):
                            v = (x * TW - RW) * SW - PW + right
                            if v >= 0 and v < W:
                                number = X[((n * C + c) * H + u) * W + v]
                                if number == nothing:
                                    continue
                                for p in range(QH):
                                    i = down - p * SH
                                    if i >= 0 and i < KH:
                                        for q in range(QW):
                                            j = right - q * SW
                                            if j >= 0 and j < KW:
                                                w = weight[((o * C + c) * KH + i) * KW + j]
                                                if of_spikes:
                                                    acc[p * QW + q] += w
                                                else:
                                                    acc[p * QW + q] += number * w
            # (P1), (P2)
            best, first = zero, -1
            for p in range(QH):
                if y * TH - RH + p >= 0 and y * TH - RH + p < H_conv:
                    for q in range(QW):
                        if x * TW - RW + q >= 0 and x * TW - RW + q < W_conv:
                            here = acc[p * QW + q] + b[o]
                            if first < 0 or here > best or (math.isnan(here) and best == best):
                                best, first = here, p * QW + q
            out = ((n * O + o) * H_out + y) * W_out + x
            Y[out] = best
            if pooled:
                place[out] = first
            at += cuda.gridsize(1)

    return forward


@lru_cache
def weight_gradient(g: Geometry, dtype: Any, of_spikes: bool, pooled: bool) -> Kernel:
    """(K3), then (K4): sums[(o, c, i, j)], and after all of them sums[o]."""
    kind = np.dtype(dtype).type
    (KH, KW), (SH, SW), (PH, PW), ((_, QW), (TH, TW), (RH, RW)) = g
    zero, nothing = kind(0), absent(kind, of_spikes)

    @_cuda.kernel
    def weight_gradient(total, dY, place, X, sums, N, C, H, W, O, H_conv, W_conv, H_out, W_out):  # type: ignore[no-untyped-def]
        shares = cuda.shared.array((GROUPS, LANES), kind)
        lane, group, at, weights = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x, O * C * KH * KW
        images, cells = quotient(GROUPS * LANES, H_out * W_out)
        down, right = quotient(cells, W_out)
        while at < total:
            i, j, c, o, mine = at // KW % KH, at % KW, at // KW // KH % C, at // (C * KH * KW), zero
            if at >= weights:
                o = at - weights
            n, cell = quotient(group * LANES + lane, H_out * W_out)
            y, x = quotient(cell, W_out)
            while n < N:
                here = index(((n * O + o) * H_out + y) * W_out + x)
                if at >= weights:
                    mine += dY[here]  # (K4)
                else:
                    first = 0
                    if pooled:
                        first = int(place[here])  # (P3)
                    u = (y * TH - RH + first // QW) * SH - PH + i
                    v = (x * TW - RW + first % QW) * SW - PW + j
                    if u >= 0 and u < H and v >= 0 and v < W:
                        number = X[index(((n * C + c) * H + u) * W + v)]
                        delta = dY[here]
                        if not of_spikes:
                            delta *= number
                        mine += zero if number == nothing else delta  # (K3)
                x, y, n = x + right, y + down, n + images
                if x >= W_out:
                    x, y = x - W_out, y + 1
                if y >= H_out:
                    y, n = y - H_out, n + 1
            shares[group, lane] = mine
            cuda.syncthreads()
            if group == 0:
                for k in range(1, GROUPS):
                    mine += shares[k, lane]
                shares[0, lane] = mine
            cuda.syncthreads()
            if group == 0 and lane == 0:
                for k in range(1, LANES):
                    mine += shares[0, k]
                sums[at] = mine
            cuda.syncthreads()
            at += cuda.gridDim.x

    return weight_gradient


@lru_cache
def input_gradient(g: Geometry, dtype: Any, pooled: bool) -> Kernel:
    """(K5), (K6), from deltas at their places."""
    kind = np.dtype(dtype).type
    (KH, KW), (SH, SW), (PH, PW), ((QH, QW), (TH, TW), (RH, RW)) = g
    zero = kind(0)

    @_cuda.kernel
    def input_gradient(total, dY, place, weight, dX, C, H, W, O, H_conv, W_conv, H_out, W_out):  # type: ignore[no-untyped-def]
        acc, tiles = cuda.local.array(TILE, kind), (C + TILE - 1) // TILE
        at = cuda.grid(1)
        while at < total:
            v, u, tile, n = at % W, at // W % H, at // W // H % tiles, at // W // H // tiles
            for c in range(TILE):
                acc[c] = zero
            # those outputs of the convolution whose window has the pixel, and those windows of the pool that have them
            top, bottom = max(0, -((KH - 1 - u - PH) // SH)), min(H_conv - 1, (u + PH) // SH)
            left, right = max(0, -((KW - 1 - v - PW) // SW)), min(W_conv - 1, (v + PW) // SW)
            for y in range(max(0, -((QH - 1 - top - RH) // TH)), min(H_out - 1, (bottom + RH) // TH) + 1):
                for x in range(max(0, -((QW - 1 - left - RW) // TW)), min(W_out - 1, (right + RW) // TW) + 1):
                    for o in range(O):
                        here, first = ((n * O + o) * H_out + y) * W_out + x, 0
                        if pooled:
                            first = int(place[here])  # (P3)
                        i = u + PH - (y * TH - RH + first // QW) * SH
                        j = v + PW - (x * TW - RW + first % QW) * SW
                        if i >= 0 and i < KH and j >= 0 and j < KW:
                            d = dY[here]
                            for c in range(TILE):
                                if tile * TILE + c < C:
                                    acc[c] += d * weight[((o * C + tile * TILE + c) * KH + i) * KW + j]  # (K5), (K6)
            for c in range(TILE):
                if tile * TILE + c < C:
                    dX[((n * C + tile * TILE + c) * H + u) * W + v] = acc[c]
            at += cuda.gridsize(1)

    return input_gradient


def run_forward(
    X: DeviceArray, W: DeviceArray, b: Any, g: Geometry, place_dtype: Any | None
) -> tuple[DeviceArray, DeviceArray | None]:
    """Y, and the places of the maxima where there is a dtype for them."""
    s = sizes(X.shape, W.shape[0], g)
    Y = empty((X.shape[0], s.O, s.H_out, s.W_out), W.dtype)
    place = None if place_dtype is None else empty(Y.shape, place_dtype)
    bias = constant(np.zeros(s.O, W.dtype)) if b is None else send(b)
    if X.dtype == np.bool_ and spikes.has_words(g):
        spikes.run_forward(X, W, bias, Y, place, g, s)
    else:
        kernel = forward(g, W.dtype, X.dtype == np.bool_, place is not None)
        _cuda.launch(kernel, Y.size, X, W, bias, Y, Y if place is None else place, *s)
    return Y, place


def run_backward(
    dY: DeviceArray, place: DeviceArray | None, X: DeviceArray, W: DeviceArray, g: Geometry, input_grad: bool
) -> tuple[DeviceArray | None, DeviceArray, DeviceArray]:
    """dX, dW and db, the last two side by side."""
    s, dtype, places, rows = sizes(X.shape, W.shape[0], g), W.dtype, dY if place is None else place, None
    part = routed.slice_of(g, dtype, s) if input_grad else None
    tile = spikes.tile_of(g, dtype, s) if X.dtype == np.bool_ else None
    if tile:
        sums, rows = spikes.run_weight_gradient(dY, place, X, W, g, s, tile, part)
    else:
        sums = empty((W.size + s.O,), dtype)
        kernel = weight_gradient(g, dtype, X.dtype == np.bool_, place is not None)
        _cuda.launch_blocks(kernel, sums.size, GROUPS, dY, places, X, sums, X.shape[0], *s)
    dX = None
    if part:
        dX = routed.run_input_gradient(dY, place, X.shape, W, rows, g, s, part)
    elif input_grad:
        dX = empty(X.shape, dtype)
        threads = X.shape[0] * -(-s.C // TILE) * s.H * s.W
        _cuda.launch(input_gradient(g, dtype, place is not None), threads, dY, places, W, dX, *s)
    return dX, sums[: W.size].reshape(W.shape), sums[W.size :]
