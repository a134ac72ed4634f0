"""As reference.py, on the device; what differs follows.

- Arrays are npsnn._device's; what comes from the host is sent. X may be bool, a byte a spike.
- Who owns what, and the orders of sums: device.py, spikes.py, routed.py. No column is ever made.
- In (K2), 0 times an infinite or NaN weight is 0, and NaN in the law.
"""

from typing import Any

from npsnn._device import DeviceArray, send
from npsnn.conv2d.device import run_backward, run_forward
from npsnn.conv2d.geometry import NO_POOL, Geometry
from npsnn.conv2d.reference import Conv2dCache, Pair

Array = Any


def conv2d_forward(
    X: Array, W: Array, b: Array | None, *, stride: Pair, padding: Pair
) -> tuple[DeviceArray, Conv2dCache]:
    """As reference.conv2d_forward."""
    X, W = send(X), send(W)
    Y, _ = run_forward(X, W, b, _geometry(W, stride, padding), None)  # (K1), (K2)
    return Y, Conv2dCache(X, stride, padding)


def conv2d_backward(
    dY: Array, cache: Conv2dCache, W: Array, *, bias: bool = True, input_grad: bool = True
) -> tuple[DeviceArray | None, DeviceArray, DeviceArray | None]:
    """As reference.conv2d_backward."""
    X, W = send(cache.X), send(W)
    g = _geometry(W, cache.stride, cache.padding)
    dX, dW, db = run_backward(send(dY), None, X, W, g, input_grad)  # (K3) to (K6)
    return dX, dW, db if bias else None


def _geometry(W: DeviceArray, stride: Pair, padding: Pair) -> Geometry:
    return Geometry((W.shape[2], W.shape[3]), stride, padding, NO_POOL)
