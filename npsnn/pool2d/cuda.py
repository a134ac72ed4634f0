"""As reference.py, on the device; what differs follows.

- Arrays are npsnn._device's; what comes from the host is sent.
- Forward, a thread owns an output; backward, it owns a pixel, and meets the windows that have it, y, then x ascending.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from npsnn import _cuda
from npsnn._cuda import Kernel
from npsnn._device import DeviceArray, empty, send
from npsnn.pool2d.reference import AvgPool2dCache, MaxPool2dCache, Pair, place_dtype

cuda = _cuda.driver()

Array = Any
Geometry = tuple[Pair, Pair, Pair]  # kernel, stride, padding


@lru_cache
def _max_forward(g: Geometry) -> Kernel:
    (KH, KW), (SH, SW), (PH, PW) = g

    @_cuda.kernel
    def max_forward(total, X, Y, place, H, W, H_out, W_out):  # type: ignore[no-untyped-def]
        at = cuda.grid(1)
        while at < total:
            x, y, n = at % W_out, at // W_out % H_out, at // W_out // H_out
            best, first = X[n * H * W], -1
            for i in range(KH):
                u = y * SH - PH + i
                if u >= 0 and u < H:
                    for j in range(KW):
                        v = x * SW - PW + j
                        if v >= 0 and v < W:
                            here = X[(n * H + u) * W + v]
                            if first < 0 or here > best or (math.isnan(here) and best == best):
                                best, first = here, i * KW + j  # (P1)
            Y[at], place[at] = best, first  # (P2)
            at += cuda.gridsize(1)

    return max_forward


@lru_cache
def _backward(g: Geometry, dtype: Any, average: bool) -> Kernel:
    (KH, KW), (SH, SW), (PH, PW) = g
    kind = np.dtype(dtype).type
    zero, places = kind(0), kind(KH * KW)

    @_cuda.kernel
    def backward(total, dY, place, dX, H, W, H_out, W_out):  # type: ignore[no-untyped-def]
        at = cuda.grid(1)
        while at < total:
            v, u, n, acc = at % W, at // W % H, at // W // H, zero
            for y in range(max(0, -((KH - 1 - u - PH) // SH)), min(H_out - 1, (u + PH) // SH) + 1):
                for x in range(max(0, -((KW - 1 - v - PW) // SW)), min(W_out - 1, (v + PW) // SW) + 1):
                    here = (n * H_out + y) * W_out + x
                    if average:
                        acc += dY[here] / places  # (P5)
                    elif place[here] == (u + PH - y * SH) * KW + v + PW - x * SW:
                        acc += dY[here]  # (P3)
            dX[at] = acc
            at += cuda.gridsize(1)

    return backward


@lru_cache
def _average_forward(g: Geometry, dtype: Any) -> Kernel:
    (KH, KW), (SH, SW), (PH, PW) = g
    kind = np.dtype(dtype).type
    zero, places = kind(0), kind(KH * KW)

    @_cuda.kernel
    def average_forward(total, X, Y, H, W, H_out, W_out):  # type: ignore[no-untyped-def]
        at = cuda.grid(1)
        while at < total:
            x, y, n, acc = at % W_out, at // W_out % H_out, at // W_out // H_out, zero
            for i in range(KH):
                u = y * SH - PH + i
                if u >= 0 and u < H:
                    for j in range(KW):
                        v = x * SW - PW + j
                        if v >= 0 and v < W:
                            acc += X[(n * H + u) * W + v]
            Y[at] = acc / places  # (P4)
            at += cuda.gridsize(1)

    return average_forward


def maxpool2d_forward(X: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> tuple[DeviceArray, MaxPool2dCache]:
    """As reference.maxpool2d_forward."""
    X, g = send(X), (kernel, stride, padding)
    Y = empty(_out_shape(X.shape, g), X.dtype)
    place = empty(Y.shape, place_dtype(kernel))
    _cuda.launch(_max_forward(g), Y.size, X, Y, place, *X.shape[2:], *Y.shape[2:])
    return Y, MaxPool2dCache(place, X.shape, kernel, stride, padding)  # type: ignore[arg-type]


def maxpool2d_backward(dY: Array, cache: MaxPool2dCache) -> DeviceArray:
    """As reference.maxpool2d_backward."""
    place, X_shape, *g = cache
    return _run_backward(send(dY), send(place), X_shape, tuple(g), False)


def avgpool2d_forward(X: Array, *, kernel: Pair, stride: Pair, padding: Pair) -> tuple[DeviceArray, AvgPool2dCache]:
    """As reference.avgpool2d_forward."""
    X, g = send(X), (kernel, stride, padding)
    Y = empty(_out_shape(X.shape, g), X.dtype)
    _cuda.launch(_average_forward(g, X.dtype), Y.size, X, Y, *X.shape[2:], *Y.shape[2:])
    return Y, AvgPool2dCache(X.shape, kernel, stride, padding)


def avgpool2d_backward(dY: Array, cache: AvgPool2dCache) -> DeviceArray:
    """As reference.avgpool2d_backward."""
    X_shape, *g = cache
    dY = send(dY)
    return _run_backward(dY, dY, X_shape, tuple(g), True)


def _run_backward(dY: DeviceArray, place: DeviceArray, X_shape: Any, g: Any, average: bool) -> DeviceArray:
    dX = empty(X_shape, dY.dtype)
    _cuda.launch(_backward(g, dY.dtype, average), dX.size, dY, place, dX, *X_shape[2:], *dY.shape[2:])
    return dX


def _out_shape(shape: tuple[int, ...], g: Geometry) -> tuple[int, ...]:
    spatial = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[2:], *g, strict=True))
    return (*shape[:2], *spatial)
