"""As reference.py; what differs follows.

- A thread owns rows of Y and dX, and blocks of BLOCK inputs k of dW; no sum crosses threads.
- Order of sums: (D1) k ascending, then the bias; (D2) m ascending; (D3), (D4) n ascending within
  ROWS rows, then their partial sums ascending: two short sums lose fewer digits than one long one.
- A zero in X or dY is skipped: it adds nothing, and spikes are mostly zeros. (So 0 times an infinite or NaN weight is 0
  here and NaN in the law.)
- The inner loops run over contiguous rows of W or its transpose, so they vectorise without reordering a sum.
- Memory: a transposed copy of W and of dW, and a copy of an X, dY or W that is not contiguous.
"""

from typing import Any

import numpy as np

from npsnn._jit import jit, parallel_jit, prange
from npsnn.linear.reference import LinearCache

Array = np.ndarray[Any, Any]

BLOCK = 64
ROWS = 64


@parallel_jit
def _forward(X, Wt, b, Y):  # type: ignore[no-untyped-def]
    N, K = X.shape
    M = Y.shape[1]
    for n in prange(N):
        y = Y[n]
        y[:] = 0
        for k in range(K):
            x = X[n, k]
            if x != 0:
                w = Wt[k]
                for m in range(M):
                    y[m] += x * w[m]
        for m in range(M):
            y[m] += b[m]


@parallel_jit
def _input_gradient(dY, W, dX):  # type: ignore[no-untyped-def]
    N, M = dY.shape
    K = W.shape[1]
    for n in prange(N):
        dx = dX[n]
        dx[:] = 0
        for m in range(M):
            d = dY[n, m]
            if d != 0:
                w = W[m]
                for k in range(K):
                    dx[k] += d * w[k]


@parallel_jit
def _weight_gradient(dY, X, dWt):  # type: ignore[no-untyped-def]
    N, K = X.shape
    M = dY.shape[1]
    for block in prange((K + BLOCK - 1) // BLOCK):
        first, last = block * BLOCK, min((block + 1) * BLOCK, K)
        part = np.empty((BLOCK, M), X.dtype)
        dWt[first:last] = 0
        for start in range(0, N, ROWS):
            part[:] = 0
            for n in range(start, min(start + ROWS, N)):
                dy = dY[n]
                for k in range(first, last):
                    x = X[n, k]
                    if x != 0:
                        dw = part[k - first]
                        for m in range(M):
                            dw[m] += x * dy[m]
            for k in range(first, last):
                for m in range(M):
                    dWt[k, m] += part[k - first, m]


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
    _forward(np.ascontiguousarray(X), np.ascontiguousarray(W.T), bias, Y)  # (D1)
    return Y, LinearCache(X)


def linear_backward(
    dY: Array, cache: LinearCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """As reference.linear_backward."""
    X, dY = np.ascontiguousarray(cache.X), np.ascontiguousarray(dY)
    dX, db = None, None
    if input_grad:
        dX = np.empty(X.shape, X.dtype)
        _input_gradient(dY, np.ascontiguousarray(W), dX)  # (D2)
    dWt = np.empty((X.shape[1], W.shape[0]), X.dtype)
    _weight_gradient(dY, X, dWt)  # (D3)
    if bias:
        db = np.empty(W.shape[0], X.dtype)
        _bias_gradient(dY, db)  # (D4)
    return dX, np.ascontiguousarray(dWt.T), db
