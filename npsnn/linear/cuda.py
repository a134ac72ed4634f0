"""As reference.py, on the device; what differs follows.

- Arrays are npsnn._device's; what comes from the host is sent. X may be bool, a byte a spike.
- LANES threads own EACH numbers of a row of Y, a thread a number of dX; GROUPS threads of a block own one of dW or db,
  ROWS rows at a time.
- Order of sums: (D1) k LANES apart, then the lanes, then the bias; (D2) m ascending; (D3), (D4) n ascending within ROWS
  rows, those a group apart, then the groups as a tree.
- 0 times an infinite or NaN weight is 0, and NaN in the law.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from npsnn import _cuda
from npsnn._cuda import GROUPS, LANES, Kernel, absent
from npsnn._device import DeviceArray, add_groups, constant, empty, index, send
from npsnn.linear.reference import LinearCache

cuda = _cuda.driver()

Array = Any

ROWS, EACH = 64, 10


@lru_cache
def _products(dtype: Any, spikes: bool, each: int, even: bool) -> Kernel:
    """(D1); `even`: M is a multiple of `each`."""
    kind = np.dtype(dtype).type
    zero, nothing, row = kind(0), absent(kind, spikes), LANES + 1  # one more, so that lanes read different banks
    size = GROUPS * each * row

    @_cuda.kernel
    def products(total, X, W, b, Y, N, K, M):  # type: ignore[no-untyped-def]
        shares, acc = cuda.shared.array(size, kind), cuda.local.array(each, kind)
        lane, group, block, tiles = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x, (M + each - 1) // each
        while block < total:
            n, first = block // tiles * GROUPS + group, block % tiles * each
            for r in range(each):
                acc[r] = zero
            if n < N:
                for k in range(lane, K, LANES):
                    number = X[index(n * K + k)]
                    if number == nothing:
                        continue
                    for r in range(each):
                        if even or first + r < M:
                            if spikes:
                                acc[r] += W[index((first + r) * K + k)]
                            else:
                                acc[r] += number * W[index((first + r) * K + k)]
            for r in range(each):
                shares[(group * each + r) * row + lane] = acc[r]
            cuda.syncthreads()
            if n < N:
                for r in range(lane, min(each, M - first), LANES):
                    y = zero
                    for k in range(LANES):
                        y += shares[(group * each + r) * row + k]
                    Y[n * M + first + r] = y + b[first + r]
            cuda.syncthreads()
            block += cuda.gridDim.x

    return products


@lru_cache
def _input_gradient(dtype: Any) -> Kernel:
    """(D2)."""
    zero = np.dtype(dtype).type(0)

    @_cuda.kernel
    def input_gradient(total, dY, W, dX, K, M):  # type: ignore[no-untyped-def]
        at = cuda.grid(1)
        while at < total:
            n, k, acc = at // K, at % K, zero
            for m in range(M):
                acc += dY[n * M + m] * W[m * K + k]
            dX[at] = acc
            at += cuda.gridsize(1)

    return input_gradient


@lru_cache
def _weight_gradient(dtype: Any, spikes: bool) -> Kernel:
    """(D3), then (D4): sums[(m, k)], and after all of them sums[m]."""
    kind = np.dtype(dtype).type
    zero, nothing = kind(0), absent(kind, spikes)

    @_cuda.kernel
    def weight_gradient(total, dY, X, sums, N, K, M):  # type: ignore[no-untyped-def]
        shares = cuda.shared.array((GROUPS, LANES), kind)
        lane, group, block = cuda.threadIdx.x, cuda.threadIdx.y, cuda.blockIdx.x
        while block * LANES < total:
            at, mine = block * LANES + lane, zero
            if at < total:
                m, k = at // K, at % K
                if at >= M * K:
                    m = at - M * K
                for start in range(group * ROWS, N, GROUPS * ROWS):
                    part = zero
                    for n in range(start, min(start + ROWS, N)):
                        if at >= M * K:
                            part += dY[n * M + m]  # (D4)
                        else:
                            number = X[n * K + k]
                            if number == nothing:
                                continue
                            if spikes:
                                part += dY[n * M + m]  # (D3)
                            else:
                                part += dY[n * M + m] * number
                    mine += part
            shares[group, lane] = mine
            add_groups(shares, lane, group)
            if group == 0 and at < total:
                sums[at] = shares[0, lane]
            cuda.syncthreads()
            block += cuda.gridDim.x

    return weight_gradient


def linear_forward(X: Array, W: Array, b: Array | None) -> tuple[DeviceArray, LinearCache]:
    """As reference.linear_forward."""
    X, W = send(X), send(W)
    (M, K), N = W.shape, X.shape[0]
    Y, bias = empty((N, M), W.dtype), constant(np.zeros(M, W.dtype)) if b is None else send(b)
    tiles = -(-M // EACH)
    each = -(-M // tiles)
    kernel = _products(W.dtype, X.dtype == np.bool_, each, M % each == 0)
    _cuda.launch_blocks(kernel, -(-N // GROUPS) * tiles, GROUPS, X, W, bias, Y, N, K, M)
    return Y, LinearCache(X)


def linear_backward(
    dY: Array, cache: LinearCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[DeviceArray | None, DeviceArray, DeviceArray | None]:
    """As reference.linear_backward; dW and db lie side by side."""
    dY, X, W = send(dY), send(cache.X), send(W)
    (M, K), N, dX = W.shape, X.shape[0], None
    if input_grad:
        dX = empty((N, K), W.dtype)
        _cuda.launch(_input_gradient(W.dtype), N * K, dY, W, dX, K, M)
    sums = empty((M * K + M,), W.dtype)
    _cuda.launch_sums(_weight_gradient(W.dtype, X.dtype == np.bool_), sums.size, dY, X, sums, N, K, M)
    return dX, sums[: M * K].reshape(W.shape), sums[M * K :] if bias else None
