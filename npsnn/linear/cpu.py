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
from npsnn._jit import chunked_jit, jit
from npsnn._lanes import ROUND, padded_lanes, row_of
from npsnn._threads import parts
from npsnn.linear.reference import LinearCache
from npsnn.linear.rows import (
    BLOCK,
    ROWS,
    SPARSE_COLUMNS,
    are_few,
    bias_gradient,
    columns_of_all,
    columns_of_few,
    columns_tile,
    padded,
    products,
    products_room,
)

Array = np.ndarray[Any, Any]


@chunked_jit
def _products(begin, end, X, rows, L, row, tile, b, Y):  # type: ignore[no-untyped-def]
    room = products_room(rows, X.shape[1], L, tile)
    for chunk in range(begin, end):
        products(X, chunk * ROWS, min((chunk + 1) * ROWS, len(X)), rows, L, row, tile, b, Y, room)


@chunked_jit
def _weight_gradient_of_few(begin, end, dY, X, dW, L, row):  # type: ignore[no-untyped-def]
    for block in range(begin, end):
        columns_of_few(dY, X, block * BLOCK, min((block + 1) * BLOCK, X.shape[1]), L, row, dW)


@chunked_jit
def _weight_gradient_of_all(begin, end, dY, X, dW, tile):  # type: ignore[no-untyped-def]
    columns_of_all(dY, X, begin * BLOCK, min(end * BLOCK, X.shape[1]), tile, dW)


@jit
def _are_few_of_all(X):  # type: ignore[no-untyped-def]
    return are_few(X, 0, len(X), SPARSE_COLUMNS)


@jit
def _bias_gradient(dY, db):  # type: ignore[no-untyped-def]
    bias_gradient(dY, db)


def linear_forward(X: Array, W: Array, b: Array | None) -> tuple[Array, LinearCache]:
    """As reference.linear_forward."""
    Y = _buffers.empty((X.shape[0], W.shape[0]), W.dtype)
    bias = np.zeros(W.shape[0], W.dtype) if b is None else b
    _products(parts(len(X), ROWS), np.ascontiguousarray(X), *padded(W.T), bias, Y)  # (D1)
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
        _products(parts(len(X), ROWS), dY, *padded(W), np.zeros(K, W.dtype), dX)  # (D2)
    dW = np.empty(W.shape, W.dtype)  # (D3)
    if M > ROUND and _are_few_of_all(X):
        _weight_gradient_of_few(parts(K, BLOCK), dY, X, dW, L, row_of(L))
    else:
        _weight_gradient_of_all(parts(K, BLOCK), dY, X, dW, columns_tile(M, W.itemsize))
    if bias:
        db = np.empty(M, W.dtype)
        _bias_gradient(dY, db)  # (D4)
    return dX, dW, db
