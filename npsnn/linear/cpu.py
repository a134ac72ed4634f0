"""As reference.py; what differs follows.

- A thread owns rows of Y and dX, and blocks of BLOCK inputs k of dW; no sum crosses threads.
- Order of sums: (D1) k ascending, then the bias; (D2) m ascending; (D3), (D4) n ascending.
- A zero in X or dY is skipped: it adds nothing, and spikes are mostly zeros.
- The inner loops run over contiguous rows of W or its transpose, so they vectorise without reordering a sum.
- Memory: a transposed copy of W, and of dW.
"""

from typing import Any

import numpy as np

from npsnn._jit import jit, parallel_jit, prange
from npsnn.linear.reference import LinearCache

Array = np.ndarray[Any, Any]

BLOCK = 64


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
        dWt[first:last] = 0
        for n in range(N):
            dy = dY[n]
            for k in range(first, last):
                x = X[n, k]
                if x != 0:
                    dw = dWt[k]
                    for m in range(M):
                        dw[m] += x * dy[m]


@jit
def _bias_gradient(dY, db):  # type: ignore[no-untyped-def]
    db[:] = 0
    for n in range(dY.shape[0]):
        for m in range(dY.shape[1]):
            db[m] += dY[n, m]


def linear_forward(X: Array, W: Array, b: Array | None) -> tuple[Array, LinearCache]:
    """As reference.linear_forward."""
    Y = np.empty((X.shape[0], W.shape[0]), X.dtype)
    bias = np.zeros(W.shape[0], X.dtype) if b is None else b
    _forward(X, np.ascontiguousarray(W.T), bias, Y)  # (D1)
    return Y, LinearCache(X)


def linear_backward(
    dY: Array, cache: LinearCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """As reference.linear_backward."""
    X, dX, db = cache.X, None, None
    if input_grad:
        dX = np.empty(X.shape, X.dtype)
        _input_gradient(dY, W, dX)  # (D2)
    dWt = np.empty((X.shape[1], W.shape[0]), X.dtype)
    _weight_gradient(dY, X, dWt)  # (D3)
    if bias:
        db = np.empty(W.shape[0], X.dtype)
        _bias_gradient(dY, db)  # (D4)
    return dX, np.ascontiguousarray(dWt.T), db
