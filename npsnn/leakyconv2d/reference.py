"""Neurons, and the convolution of their spikes, as one op: the law is the composition.

    S, U = leaky(I)                    (L1) to (L3)
    Y    = conv(S, W, b)               (K1), (K2), for every step
    dS, dW, db                         (K3) to (K6), for every step
    dI, dU[-1]                         (L4) to (L7), (L10)

As leakyconvpool2d, without its pool: neither S nor U is kept, only what I was, and backward computes both again. For
neurons whose reset is detached and whose constants are not learnt. Shapes: I (T, B, C, H, W), or (1, B, C, H, W) for an
input shown T times; U_before, U_after (B, C, H, W); Y, dY (T, B, O, H_out, W_out). Twin: cpu.py.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn.conv2d.reference import Conv2dCache, conv2d_backward, conv2d_forward
from npsnn.leaky.inside import Neurons, fire
from npsnn.leaky.reference import leaky_backward

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


class LeakyConv2dCache(NamedTuple):
    """What backward needs of forward."""

    neurons: Neurons
    stride: Pair
    padding: Pair


def leakyconv2d_forward(
    neurons: Neurons, W: Array, b: Array | None, *, stride: Pair, padding: Pair
) -> tuple[Array, Array, LeakyConv2dCache]:
    """(Y, U_after, cache).

    >>> from npsnn import surrogate
    >>> I, at_rest = np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1, 1, 1), np.zeros((1, 1, 1, 1))
    >>> neurons = Neurons(I, np.array(0.5), np.array(1.0), at_rest, 3, surrogate.atan(), "subtract")
    >>> W = np.full((1, 1, 1, 1), 2.0)
    >>> Y, U_after, _ = leakyconv2d_forward(neurons, W, np.array([0.5]), stride=(1, 1), padding=(0, 0))
    >>> Y.ravel(), U_after.item()
    (array([0.5, 2.5, 0.5]), -0.4375)
    """
    S, leaky = fire(neurons)
    Y, _ = conv2d_forward(_images(S), W, b, stride=stride, padding=padding)
    return Y.reshape(*S.shape[:2], *Y.shape[1:]), leaky.U[-1], LeakyConv2dCache(neurons, stride, padding)


def leakyconv2d_backward(
    dY: Array, dU_after: Array | None, cache: LeakyConv2dCache, W: Array, *, bias: bool = True
) -> tuple[Array, Array, Array | None, Array]:
    """(dI, dW, db, dU_before) from dY, dL/d(U_after) (None: zero) and the W of the forward pass.

    >>> from npsnn import surrogate
    >>> I, at_rest = np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1, 1, 1), np.zeros((1, 1, 1, 1))
    >>> sigma, W = surrogate.straight_through_estimator(), np.full((1, 1, 1, 1), 2.0)
    >>> neurons = Neurons(I, np.array(0.5), np.array(1.0), at_rest, 3, sigma, "subtract")
    >>> Y, _, cache = leakyconv2d_forward(neurons, W, None, stride=(1, 1), padding=(0, 0))
    >>> dI, dW, db, dU_before = leakyconv2d_backward(np.ones_like(Y), None, cache, W)
    >>> dI.ravel(), dW.item(), db, dU_before.item()
    (array([3.5, 3. , 2. ]), 1.0, array([3.]), 1.75)
    """
    S, leaky = fire(cache.neurons)
    # Y = conv(S); so:
    dS, dW, db = conv2d_backward(_images(dY), Conv2dCache(_images(S), cache.stride, cache.padding), W, bias=bias)
    assert dS is not None
    # U_after = U[T-1]; so:
    dU = None
    if dU_after is not None:
        dU = np.zeros_like(leaky.U)
        dU[-1] = dU_after
    # S = leaky(I); so:
    dI, _, _, dU_before = leaky_backward(dS.reshape(S.shape), dU, leaky, constants=False)
    return dI, dW, db, dU_before


def _images(x: Array) -> Array:
    """(T, B, ...) as (T B, ...)."""
    return x.reshape(-1, *x.shape[2:])
