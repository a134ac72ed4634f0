"""What the compiled dense layers do to rows of X and dY, and how they lay out the weights.

Shared by linear/cpu.py and leakylinear/cpu.py, which own the loops over chunks and say what the orders of sums are.
"""

from typing import Any

import numpy as np

from npsnn._jit import borrows, register_jitable
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
from npsnn._sums import add_to

Array = np.ndarray[Any, Any]

BLOCK = 64
ROWS = 64
SPARSE = 0.2  # of numbers: where fewer are not zero, a list takes less time than multiplying everything
SPARSE_COLUMNS = 0.1  # the same of (D3), whose rows over m go to memory for every term of a list
ONE = (0,)
SPREAD = (0, 0)  # a piece of the inputs k, for (D3) of any numbers


@borrows
def are_few(X, first, last, share):  # type: ignore[no-untyped-def]
    """Whether less than that share of these rows' numbers are not zero."""
    some = 0
    for n in range(first, last):
        x = X[n]
        for q in range(len(x)):
            some += x[q] != 0
    return some < share * (last - first) * X.shape[1]


@borrows
def _products_of_few(x, rows, L, row, listed, total):  # type: ignore[no-untyped-def]
    fires = list_nonzero(x, 0, len(x), 0, 1, listed, 0)
    for lane in range(0, L, ROUND * len(row)):
        add_rows(row, rows, lane, L, x, 0, listed, 0, fires, total, lane)


@register_jitable
def products_room(rows, K, L, tile):  # type: ignore[no-untyped-def]
    """What `products` of K inputs is worked in: the sums, the numbers, the list."""
    together = len(tile)
    return aligned(rows, together * L), aligned(rows, together * K), np.empty(K + SLACK, np.int32)


@borrows
def products(X, first, last, rows, L, row, tile, b, Y, room):  # type: ignore[no-untyped-def]
    """Y[n] = b + the sum over k of X[n, k] rows[k], n from `first` to `last`: (D1), and (D2) without a bias."""
    if are_few(X, first, last, SPARSE):
        total, _, listed = room
        for n in range(first, last):
            total[:L] = 0
            _products_of_few(X[n], rows, L, row, listed, total[:L])
            _put_sum(total[:L], b, Y[n])
    else:
        products_of_all(X, first, last, rows, L, row, tile, b, Y, room)


@borrows
def products_of_all(X, first, last, rows, L, row, tile, b, Y, room):  # type: ignore[no-untyped-def]
    """The same, of any numbers."""
    K, together, (total, x, _) = X.shape[1], len(tile), room
    for n in range(first, last, together):
        count = min(together, last - n)
        total[:] = 0
        for p in range(count):
            _put(X[n + p], x[p * K : (p + 1) * K])
        for lane in range(0, L, ROUND * len(row)):
            add_tile(tile, row, x, 0, K, 1, rows, lane, L, K, total, lane, L)
        for p in range(count):
            _put_sum(total[p * L : (p + 1) * L], b, Y[n + p])


@borrows
def _put(x, numbers):  # type: ignore[no-untyped-def]
    for k in range(len(x)):
        numbers[k] = x[k]


@borrows
def _put_sum(total, b, y):  # type: ignore[no-untyped-def]
    for m in range(len(y)):
        y[m] = total[m] + b[m]


@register_jitable
def columns_of_few(dY, X, first, last, L, row, dW):  # type: ignore[no-untyped-def]
    """(D3): dW[:, first:last] of few X, a row over m for each k."""
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


@register_jitable
def columns_of_all(dY, X, begin, end, tile, dW):  # type: ignore[no-untyped-def]
    """(D3): dW[:, begin:end], a row over k for each m."""
    (N, M), together = dY.shape, len(tile)
    x, part, deltas = aligned(dY, ROWS * BLOCK), aligned(dY, M * BLOCK), dY.reshape(-1)
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
                add_to(part[m * BLOCK : m * BLOCK + width], dW[m, first : first + width])


@register_jitable
def bias_gradient(dY, db):  # type: ignore[no-untyped-def]
    """(D4)."""
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


def columns_tile(M: int, itemsize: int) -> tuple[int, ...]:
    """The tile of `columns_of_all` for M outputs: of few sizes, for each is compiled.

    >>> [len(columns_tile(M, 8)) for M in (1, 4, 5, 10)]
    [1, 1, 5, 5]
    """
    fit = len(as_many_as_fit(SPREAD, itemsize, 20, M))
    return (0,) * max(size for size in (1, 5, 10) if size <= fit)


def padded(rows: Array) -> tuple[Array, int, tuple[int, ...], tuple[int, ...]]:
    """The rows, each padded with zeros to as many lanes, in one flat array; how many, their pieces, a tile of them."""
    L = padded_lanes(rows.shape[1])
    flat = aligned_zeros((len(rows), L), rows)
    flat[:, : rows.shape[1]] = rows
    return flat.reshape(-1), L, row_of(L), as_many_as_fit(row_of(L), rows.itemsize, 16, 8)
