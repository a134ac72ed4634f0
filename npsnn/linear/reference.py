"""The dense layer: the law.

    Y[n, m]  = sum over k of X[n, k] W[m, k] + b[m]      (D1)
    dX[n, k] = sum over m of dY[n, m] W[m, k]            (D2)
    dW[m, k] = sum over n of dY[n, m] X[n, k]            (D3)
    db[m]    = sum over n of dY[n, m]                    (D4)

Shapes: X (N, K), W (M, K), b (M,) or None, Y (N, M); N counts rows, whatever time step or sample they belong to.
float32, float64 or complex128. Twin: cpu.py.
"""

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, Any]


class LinearCache(NamedTuple):
    """What backward needs of forward."""

    X: Array  # (N, K)


def linear_forward(X: Array, W: Array, b: Array | None) -> tuple[Array, LinearCache]:
    """Y and the cache, by (D1).

    One product a row, never one for all: its bits then do not depend on the rows beside it.

    >>> linear_forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), np.array([0.5]))[0]
    array([[11.5]])
    """
    Y = np.matmul(X[:, None, :], W.T)[:, 0, :]  # (D1)
    if b is not None:
        Y = Y + b
    return Y, LinearCache(X)


def linear_backward(
    dY: Array, cache: LinearCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """(dX, dW, db) by (D2) to (D4), from dY and the W of the forward pass; dX and db are None where not asked for.

    >>> W = np.array([[3.0, 4.0]])
    >>> _, cache = linear_forward(np.array([[1.0, 2.0]]), W, None)
    >>> linear_backward(np.array([[2.0]]), cache, W)
    (array([[6., 8.]]), array([[2., 4.]]), array([2.]))
    """
    # (D1) Y = X W^T + b; so:
    dX = dY @ W if input_grad else None  # (D2)
    dW = dY.T @ cache.X  # (D3)
    db = dY.sum(axis=0) if bias else None  # (D4)
    return dX, dW, db
