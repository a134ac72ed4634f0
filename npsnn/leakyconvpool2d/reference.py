"""Neurons, and the convolution and max-pooling of their spikes, as one op: the law is the composition.

    S, U = leaky(I)                    (L1) to (L3)
    Y    = maxpool(conv(S, W, b))      (K1), (K2), (P1), (P2), for every step
    dS, dW, db                         (P3), then (K3) to (K6), for every step
    dI, dU[-1]                         (L4) to (L7), (L10)

Nothing is new here but what is kept: neither S nor U, only what I was, and backward computes both again. They are the
largest arrays of a network whose first layers are these, and cost little next to the convolution. A backend fuses the
three so that a step's spikes, and the gradient that comes back to them, are used where they were made. For neurons
whose reset is detached and whose constants are not learnt. Shapes: I (T, B, C, H, W), or (1, B, C, H, W) for an input
shown T times; U_before, U_after (B, C, H, W); Y, dY (T, B, O, H_pool, W_pool). Twin: cpu.py.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn.conv2d.reference import Conv2dCache
from npsnn.convpool2d.reference import ConvPool2dCache, convpool2d_backward, convpool2d_forward
from npsnn.leaky.inside import Neurons, fire
from npsnn.leaky.reference import leaky_backward
from npsnn.pool2d.reference import MaxPool2dCache

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


class LeakyConvPool2dCache(NamedTuple):
    """What backward needs of forward."""

    neurons: Neurons
    stride: Pair
    padding: Pair
    pool: MaxPool2dCache  # of all steps, (T B, O, H_pool, W_pool)


def leakyconvpool2d_forward(
    neurons: Neurons, W: Array, b: Array | None, *, stride: Pair, padding: Pair, pool: tuple[Pair, Pair, Pair]
) -> tuple[Array, Array, LeakyConvPool2dCache]:
    """(Y, U_after, cache); `pool` is the pool's (kernel, stride, padding).

    >>> from npsnn import surrogate
    >>> I, at_rest = np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1, 1, 1), np.zeros((1, 1, 1, 1))
    >>> neurons = Neurons(I, np.array(0.5), np.array(1.0), at_rest, 3, surrogate.atan(), "subtract")
    >>> W, pool = np.full((1, 1, 1, 1), 2.0), ((1, 1), (1, 1), (0, 0))
    >>> Y, U_after, _ = leakyconvpool2d_forward(neurons, W, np.array([0.5]), stride=(1, 1), padding=(0, 0), pool=pool)
    >>> Y.ravel(), U_after.item()
    (array([0.5, 2.5, 0.5]), -0.4375)
    """
    S, leaky = fire(neurons)
    Y, cache = convpool2d_forward(_images(S), W, b, stride=stride, padding=padding, pool=pool)
    return (
        Y.reshape(*S.shape[:2], *Y.shape[1:]),
        leaky.U[-1],
        LeakyConvPool2dCache(neurons, stride, padding, cache.pool),
    )


def leakyconvpool2d_backward(
    dY: Array, dU_after: Array | None, cache: LeakyConvPool2dCache, W: Array, *, bias: bool = True
) -> tuple[Array, Array, Array | None, Array]:
    """(dI, dW, db, dU_before) from dY, dL/d(U_after) (None: zero) and the W of the forward pass.

    >>> from npsnn import surrogate
    >>> I, at_rest = np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1, 1, 1), np.zeros((1, 1, 1, 1))
    >>> sigma = surrogate.straight_through_estimator()
    >>> neurons = Neurons(I, np.array(0.5), np.array(1.0), at_rest, 3, sigma, "subtract")
    >>> W, pool = np.full((1, 1, 1, 1), 2.0), ((1, 1), (1, 1), (0, 0))
    >>> Y, _, cache = leakyconvpool2d_forward(neurons, W, None, stride=(1, 1), padding=(0, 0), pool=pool)
    >>> dI, dW, db, dU_before = leakyconvpool2d_backward(np.ones_like(Y), None, cache, W)
    >>> dI.ravel(), dW.item(), db, dU_before.item()
    (array([3.5, 3. , 2. ]), 1.0, array([3.]), 1.75)
    """
    S, leaky = fire(cache.neurons)
    # Y = maxpool(conv(S)); so:
    pair = ConvPool2dCache(Conv2dCache(_images(S), cache.stride, cache.padding), cache.pool)
    dS, dW, db = convpool2d_backward(_images(dY), pair, W, bias=bias)
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
