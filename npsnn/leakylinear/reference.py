"""Neurons, and the dense layer over their spikes, as one op: the law is the composition.

    S, U = leaky(I)            (L1) to (L3)
    Y    = linear(S, W, b)     (D1), for every step
    dS, dW, db                 (D2) to (D4), for every step
    dI, dU[-1]                 (L4) to (L7), (L10)

Nothing is new here but what is kept: neither S nor U, only what I was, and backward computes both again. A backend
fuses the two so that a sample's spikes, and the gradient that comes back to them, are used where they were made, and
never lie in memory for a whole batch. For neurons whose reset is detached and whose constants are not learnt. Shapes:
I (T, B, K), or (1, B, K) for an input shown T times; U_before, U_after (B, K); W (M, K); Y, dY (T, B, M). Twin: cpu.py.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn.leaky.inside import Neurons, fire
from npsnn.leaky.reference import leaky_backward
from npsnn.linear.reference import LinearCache, linear_backward, linear_forward

Array = np.ndarray[Any, Any]


class LeakyLinearCache(NamedTuple):
    """What backward needs of forward."""

    neurons: Neurons


def leakylinear_forward(neurons: Neurons, W: Array, b: Array | None) -> tuple[Array, Array, LeakyLinearCache]:
    """(Y, U_after, cache).

    >>> from npsnn import surrogate
    >>> I, at_rest = np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1), np.zeros((1, 1))
    >>> neurons = Neurons(I, np.array(0.5), np.array(1.0), at_rest, 3, surrogate.atan(), "subtract")
    >>> Y, U_after, _ = leakylinear_forward(neurons, np.array([[2.0]]), np.array([0.5]))
    >>> Y.ravel(), U_after.item()
    (array([0.5, 2.5, 0.5]), -0.4375)
    """
    S, leaky = fire(neurons)
    Y = linear_forward(_rows(S), W, b)[0]
    return Y.reshape(*S.shape[:2], len(W)), leaky.U[-1], LeakyLinearCache(neurons)


def leakylinear_backward(
    dY: Array, dU_after: Array | None, cache: LeakyLinearCache, W: Array, *, bias: bool = True
) -> tuple[Array, Array, Array | None, Array]:
    """(dI, dW, db, dU_before) from dY, dL/d(U_after) (None: zero) and the W of the forward pass.

    >>> from npsnn import surrogate
    >>> I, at_rest = np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1), np.zeros((1, 1))
    >>> sigma, W = surrogate.straight_through_estimator(), np.array([[2.0]])
    >>> neurons = Neurons(I, np.array(0.5), np.array(1.0), at_rest, 3, sigma, "subtract")
    >>> Y, _, cache = leakylinear_forward(neurons, W, None)
    >>> dI, dW, db, dU_before = leakylinear_backward(np.ones_like(Y), None, cache, W)
    >>> dI.ravel(), dW.item(), db, dU_before.item()
    (array([3.5, 3. , 2. ]), 1.0, array([3.]), 1.75)
    """
    S, leaky = fire(cache.neurons)
    # Y = linear(S); so:
    dS, dW, db = linear_backward(_rows(dY), LinearCache(_rows(S)), W, bias=bias)
    assert dS is not None
    # U_after = U[T-1]; so:
    dU = None
    if dU_after is not None:
        dU = np.zeros_like(leaky.U)
        dU[-1] = dU_after
    # S = leaky(I); so:
    dI, _, _, dU_before = leaky_backward(dS.reshape(S.shape), dU, leaky, constants=False)
    return dI, dW, db, dU_before


def _rows(x: Array) -> Array:
    """(T, B, ...) as (T B, ...)."""
    return x.reshape(-1, x.shape[-1])
