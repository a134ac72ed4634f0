"""As reference.py, on the device; what differs is what differs in conv2d/cuda.py.

The convolution's output and its deltas are never whole: a thread has the outputs of a window of the pool, and a delta
is met where its maximum came from.
"""

from typing import Any

from npsnn._device import DeviceArray, send
from npsnn.conv2d.device import run_backward, run_forward
from npsnn.conv2d.geometry import Geometry, sizes
from npsnn.conv2d.reference import Conv2dCache
from npsnn.convpool2d.reference import ConvPool2dCache, Pair
from npsnn.pool2d.reference import MaxPool2dCache, place_dtype

Array = Any


def convpool2d_forward(
    X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair, pool: tuple[Pair, Pair, Pair]
) -> tuple[DeviceArray, ConvPool2dCache]:
    """As reference.convpool2d_forward."""
    X, W = send(X), send(W)
    g = Geometry((W.shape[2], W.shape[3]), stride, padding, pool)
    place: Any
    Y, place = run_forward(X, W, b, g, place_dtype(pool[0]))  # (K1), (K2), (P1), (P2)
    s = sizes(X.shape, W.shape[0], g)
    chosen = MaxPool2dCache(place, (X.shape[0], s.O, s.H_conv, s.W_conv), *pool)
    return Y, ConvPool2dCache(Conv2dCache(X, stride, padding), chosen)


def convpool2d_backward(
    dY: Array, cache: ConvPool2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[DeviceArray | None, DeviceArray, DeviceArray | None]:
    """As reference.convpool2d_backward."""
    (X, stride, padding), (place, _, *pool_of) = cache
    pool: Any = tuple(pool_of)
    W = send(W)
    g = Geometry((W.shape[2], W.shape[3]), stride, padding, pool)
    dX, dW, db = run_backward(send(dY), send(place), send(X), W, g, input_grad)  # (P3), (K3) to (K6)
    return dX, dW, db if bias else None
