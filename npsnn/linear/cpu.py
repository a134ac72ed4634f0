"""As reference.py; what differs follows.

- Where few of X or dY are not zero, as with spikes, those are listed and the sums run over the list; elsewhere
  everything is multiplied, several rows at a time. The bits are the same either way. (But for 0 times an infinite or
  NaN weight, which is 0 in the one and NaN in the other and in the law.)
- Rows are of padded length, and their sums stay in registers (_lanes.py).
- A thread owns chunks of ROWS rows of Y and dX, and blocks of BLOCK inputs k of dW; no sum crosses threads.
- Order of sums: (D1) k ascending, then the bias; (D2) m ascending; (D3), (D4) n ascending within
  ROWS rows, then their partial sums ascending: two short sums lose fewer digits than one long one.
- Memory: two padded copies of W and one of dW, and a copy of an X or dY that is not contiguous.
"""

from typing import Any

import numpy as np

from npsnn import _buffers
from npsnn._jit import chunked_jit, jit, register_jitable
from npsnn._lanes import (
    ROUND,
    SLACK,
    add_rows,
    add_tile,
    aligned,
    aligned_zeros,
    as_many_as_fit,
    list_nonzero,
    padded_lanes,
    row_of,
    spread_row,
)
from npsnn._threads import parts
from npsnn.linear.reference import LinearCache

Array = np.ndarray[Any, Any]

BLOCK = 64
ROWS = 64
SPARSE = 0.2  # of numbers: where fewer are not zero, a list takes less time than multiplying everything
SPARSE_COLUMNS = 0.1  # the same of (D3), whose rows over m go to memory for every term of a list
ONE = (0,)
SPREAD = (0, 0)  # a piece of the inputs k, for (D3) of any numbers


@register_jitable
def _are_few(X, first, last, share):  # type: ignore[no-untyped-def]
    """Whether less than that share of these rows' numbers are not zero."""
    some = 0
    for n in range(first, last):
        x = X[n]
        for q in range(len(x)):
            some += x[q] != 0
    return some < share * (last - first) * X.shape[1]


@register_jitable
def _products_of_few(x, rows, L, row, listed, total):  # type: ignore[no-untyped-def]
    fires = list_nonzero(x, 0, len(x), 0, 1, listed, 0)
    for lane in range(0, L, ROUND * len(row)):
        add_rows(row, rows, lane, L, x, 0, listed, 0, fires, total, lane)


@chunked_jit
def _products(begin, end, X, rows, L, row, tile, b, Y):  # type: ignore[no-untyped-def]
    """Y[n] = b + the sum over k of X[n, k] rows[k]: (D1), and (D2) without a bias."""
    (N, K), together = X.shape, len(tile)
    for chunk in range(begin, end):
        total, x, listed = aligned(rows, together * L), aligned(rows, together * K), np.empty(K + SLACK, np.int32)
        first, last = chunk * ROWS, min((chunk + 1) * ROWS, N)
        few = _are_few(X, first, last, SPARSE)
        for n in range(first, last, together):
            count = min(together, last - n)
            total[:] = 0
            if few:
                for p in range(count):
                    _products_of_few(X[n + p], rows, L, row, listed, total[p * L : (p + 1) * L])
            else:
                for p in range(count):
                    _put(X[n + p], x[p * K : (p + 1) * K])
                for lane in range(0, L, ROUND * len(row)):
                    add_tile(tile, row, x, 0, K, 1, rows, lane, L, K, total, lane, L)
            for p in range(count):
                _put_sum(total[p * L : (p + 1) * L], b, Y[n + p])


@register_jitable
def _add(part, total):  # type: ignore[no-untyped-def]
    for k in range(len(part)):
        total[k] += part[k]


@register_jitable
def _put(x, numbers):  # type: ignore[no-untyped-def]
    for k in range(len(x)):
        numbers[k] = x[k]


@register_jitable
def _put_sum(total, b, y):  # type: ignore[no-untyped-def]
    for m in range(len(y)):
        y[m] = total[m] + b[m]


@chunked_jit
def _weight_gradient_of_few(begin, end, dY, X, dW, L, row):  # type: ignore[no-untyped-def]
    for block in range(begin, end):
        _spread_few(dY, X, block * BLOCK, min((block + 1) * BLOCK, X.shape[1]), L, row, dW)


@register_jitable
def _spread_few(dY, X, first, last, L, row, dW):  # type: ignore[no-untyped-def]
    """dW[:, first:last], a row over m for each k."""
    (N, M), width = dY.shape, last - first
    part, whole, dy = aligned(dY, BLOCK * L), aligned(dY, BLOCK * L), aligned(dY, L)
    whole[:], dy[:] = 0, 0
    listed = np.empty(BLOCK + SLACK, np.int32)
    for start in range(0, N, ROWS):
        part[:] = 0
        for n in range(start, min(start + ROWS, N)):
            fires = list_nonzero(X[n], first, width, 0, 1, listed, 0)
            _put(dY[n], dy)
            for lane in range(0, L, ROUND * len(row)):
                spread_row(row, dy, lane, X[n], first, listed, 0, fires, part, lane, L)
        for q in range(width * L):
            whole[q] += part[q]
    for m in range(M):
        for k in range(width):
            dW[m, first + k] = whole[k * L + m]


@chunked_jit
def _weight_gradient_of_all(begin, end, dY, X, dW, tile):  # type: ignore[no-untyped-def]
    """A row over k for each m."""
    (N, M), begin, end = dY.shape, begin * BLOCK, min(end * BLOCK, X.shape[1])
    x, part, deltas, together = aligned(dY, ROWS * BLOCK), aligned(dY, M * BLOCK), dY.reshape(-1), len(tile)
    dW[:, begin:end], x[:] = 0, 0
    for start in range(0, N, ROWS):
        terms = min(ROWS, N - start)
        for first in range(begin, end, BLOCK):
            width = min(BLOCK, end - first)
            for n in range(terms):
                _put(X[start + n, first : first + width], x[n * BLOCK : n * BLOCK + width])
            part[:] = 0
            for lane in range(0, BLOCK, ROUND * len(SPREAD)):
                for m in range(0, M - together + 1, together):
                    at = m * BLOCK + lane
                    add_tile(tile, SPREAD, deltas, start * M + m, 1, M, x, lane, BLOCK, terms, part, at, BLOCK)
                for m in range(M - M % together, M):
                    at = m * BLOCK + lane
                    add_tile(ONE, SPREAD, deltas, start * M + m, 0, M, x, lane, BLOCK, terms, part, at, 0)
            for m in range(M):
                _add(part[m * BLOCK : m * BLOCK + width], dW[m, first : first + width])


@jit
def _are_few_of_all(X):  # type: ignore[no-untyped-def]
    return _are_few(X, 0, len(X), SPARSE_COLUMNS)


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
    Y = _buffers.empty((X.shape[0], W.shape[0]), W.dtype)
    bias = np.zeros(W.shape[0], W.dtype) if b is None else b
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
        dX = _buffers.empty(X.shape, W.dtype)
        _products(parts(len(X), ROWS), dY, *_padded(W), np.zeros(K, W.dtype), dX)  # (D2)
    dW = np.empty(W.shape, W.dtype)  # (D3)
    if M > ROUND and _are_few_of_all(X):
        _weight_gradient_of_few(parts(K, BLOCK), dY, X, dW, L, row_of(L))
    else:
        _weight_gradient_of_all(parts(K, BLOCK), dY, X, dW, as_many_as_fit(SPREAD, W.itemsize, 20, M))
    if bias:
        db = np.empty(M, W.dtype)
        _bias_gradient(dY, db)  # (D4)
    return dX, dW, db


def _padded(rows: Array) -> tuple[Array, int, tuple[int, ...], tuple[int, ...]]:
    """The rows, each padded with zeros to as many lanes, in one flat array; how many, their pieces, a tile of them."""
    L = padded_lanes(rows.shape[1])
    flat = aligned_zeros((len(rows), L), rows)
    flat[:, : rows.shape[1]] = rows
    return flat.reshape(-1), L, row_of(L), as_many_as_fit(row_of(L), rows.itemsize, 16, 8)
