"""Convolution and the max-pooling that follows it, as one op: the law is the composition.

    Y  = maxpool(conv(X, W, b))        (K1), (K2), then (P1), (P2)
    dX, dW, db                         (P3), then (K3) to (K6)

Nothing is new here but the name. A backend fuses the two because three of four outputs of the convolution are thrown
away by a 2x2 pool, and three of four deltas that come back are zero. Shapes as in conv2d and pool2d, X (N, C, H_in,
W_in), Y (N, O, H_pool, W_pool). Twin: cpu.py.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn.conv2d.reference import Conv2dCache, conv2d_backward, conv2d_forward
from npsnn.pool2d.reference import MaxPool2dCache, maxpool2d_backward, maxpool2d_forward

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]


class ConvPool2dCache(NamedTuple):
    """What backward needs of forward."""

    conv: Conv2dCache
    pool: MaxPool2dCache


def convpool2d_forward(
    X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair, pool: tuple[Pair, Pair, Pair]
) -> tuple[Array, ConvPool2dCache]:
    """Y and the cache; `pool` is the pool's (kernel, stride, padding).

    >>> X = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> pool = ((2, 2), (2, 2), (0, 0))
    >>> convpool2d_forward(X, np.full((1, 1, 1, 1), 2.0), np.array([0.5]), stride=(1, 1), padding=(0, 0), pool=pool)[0]
    array([[[[8.5]]]])
    """
    Y, conv = conv2d_forward(X, W, b, stride=stride, padding=padding)
    Y, chosen = maxpool2d_forward(Y, kernel=pool[0], stride=pool[1], padding=pool[2])
    return Y, ConvPool2dCache(conv, chosen)


def convpool2d_backward(
    dY: Array, cache: ConvPool2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """(dX, dW, db) from dY and the W of the forward pass; dX and db are None where not asked for.

    >>> X, W = np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.full((1, 1, 1, 1), 2.0)
    >>> pool = ((2, 2), (2, 2), (0, 0))
    >>> _, cache = convpool2d_forward(X, W, None, stride=(1, 1), padding=(0, 0), pool=pool)
    >>> dX, dW, db = convpool2d_backward(np.array([[[[3.0]]]]), cache, W)
    >>> dX[0, 0], dW.item(), db
    (array([[0., 0.],
           [0., 6.]]), 12.0, array([3.]))
    """
    # Y = maxpool(conv(X)); so:
    return conv2d_backward(maxpool2d_backward(dY, cache.pool), cache.conv, W, bias=bias, input_grad=input_grad)
