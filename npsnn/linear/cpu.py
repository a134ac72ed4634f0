"""As reference.py; what differs follows.

- A zero in X or dY is left out: spikes are mostly zeros. What is not zero is listed, a row at a time, and the sums run
  over the list, in rows of padded length that stay in registers (_lanes.py). (So 0 times an infinite or NaN weight is
  0 here and NaN in the law.)
- A thread owns chunks of ROWS rows of Y and dX, and blocks of BLOCK inputs k of dW; no sum crosses threads.
- Order of sums: (D1) k ascending, then the bias; (D2) m ascending; (D3), (D4) n ascending within
  ROWS rows, then their partial sums ascending: two short sums lose fewer digits than one long one.
- Memory: two padded copies of W and one of dW, and a copy of an X or dY that is not contiguous.
"""

from typing import Any

import numpy as np

from npsnn._jit import chunked_jit, jit
from npsnn._lanes import ROUND, SLACK, add_rows, aligned, aligned_zeros, list_nonzero, padded_lanes, row_of, spread_row
from npsnn._threads import parts
from npsnn.linear.reference import LinearCache

Array = np.ndarray[Any, Any]

BLOCK = 64
ROWS = 64


@chunked_jit
def _products(begin, end, X, rows, L, row, b, Y):  # type: ignore[no-untyped-def]
    """Y[n] = b + the sum over k of X[n, k] rows[k]: (D1), and (D2) without a bias."""
    N, K = X.shape
    for chunk in range(begin, end):
        total, listed = aligned(X, L), np.empty(K + SLACK, np.int32)
        for n in range(chunk * ROWS, min((chunk + 1) * ROWS, N)):
            fires = list_nonzero(X[n], 0, K, 0, 1, listed, 0)
            total[:] = 0
            for lane in range(0, L, ROUND * len(row)):
                add_rows(row, rows, lane, L, X[n], 0, listed, 0, fires, total, lane)
            for m in range(Y.shape[1]):
                Y[n, m] = total[m] + b[m]


@chunked_jit
def _weight_gradient(begin, end, dY, X, dWt, L, row):  # type: ignore[no-untyped-def]
    N, K = X.shape
    M = dY.shape[1]
    for block in range(begin, end):
        first, last = block * BLOCK, min((block + 1) * BLOCK, K)
        part, dy = aligned(X, BLOCK * L), aligned(X, L)
        dy[:] = 0
        listed = np.empty(BLOCK + SLACK, np.int32)
        whole = dWt[first * L : last * L]
        whole[:] = 0
        for start in range(0, N, ROWS):
            part[:] = 0
            for n in range(start, min(start + ROWS, N)):
                fires = list_nonzero(X[n], first, last - first, 0, 1, listed, 0)
                dy[:M] = dY[n]
                for lane in range(0, L, ROUND * len(row)):
                    spread_row(row, dy, lane, X[n], first, listed, 0, fires, part, lane, L)
            for q in range(len(whole)):
                whole[q] += part[q]


@jit
def _bias_gradient(dY, db):  # type: ignore[no-untyped-def]
    N, M = dY.shape
    part = np.empty(M, dY.dtype)
    db[:] = 0
    for start in range(0, N, ROWS):
        part[:] = 0
        for n in range(start, min(start + ROWS, N)):
            for m in range(M):
                part[m] += dY[n, m]
        for m in range(M):
            db[m] += part[m]


def linear_forward(X: Array, W: Array, b: Array | None) -> tuple[Array, LinearCache]:
    """As reference.linear_forward."""
    Y = np.empty((X.shape[0], W.shape[0]), X.dtype)
    bias = np.zeros(W.shape[0], X.dtype) if b is None else b
    _products(parts(len(X), ROWS), np.ascontiguousarray(X), *_padded(W.T), bias, Y)  # (D1)
    return Y, LinearCache(X)


def linear_backward(
    dY: Array, cache: LinearCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """As reference.linear_backward."""
    X, dY = np.ascontiguousarray(cache.X), np.ascontiguousarray(dY)
    (M, K), L = W.shape, padded_lanes(W.shape[0])
    dX, db = None, None
    if input_grad:
        dX = np.empty(X.shape, X.dtype)
        _products(parts(len(X), ROWS), dY, *_padded(W), np.zeros(K, X.dtype), dX)  # (D2)
    dWt = aligned(X, K * L)
    _weight_gradient(parts(K, BLOCK), dY, X, dWt, L, row_of(L))  # (D3)
    if bias:
        db = np.empty(M, X.dtype)
        _bias_gradient(dY, db)  # (D4)
    return dX, np.ascontiguousarray(dWt.reshape(K, L)[:, :M].T), db


def _padded(rows: Array) -> tuple[Array, int, tuple[int, ...]]:
    """The rows, each padded with zeros to the same number of lanes, in one flat array; that number, and its pieces."""
    L = padded_lanes(rows.shape[1])
    flat = aligned_zeros((len(rows), L), rows)
    flat[:, : rows.shape[1]] = rows
    return flat.reshape(-1), L, row_of(L)
