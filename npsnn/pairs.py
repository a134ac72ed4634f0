"""Neighbouring layers that a network runs as one (floor 2). Like layers, they call an op and compute nothing.

Those with neurons in them stand in firing.py.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from npsnn._check import Array
from npsnn._memory import Order, back, order_of
from npsnn.backends import Backend
from npsnn.layer import Layer, Params, Shape
from npsnn.layers import Conv2d, Flatten, Folded, Linear, MaxPool2d, fold, unfold


class ConvPool2d(Layer):
    """A convolution and the max-pooling that follows it.

    Its parameters are the convolution's. The law is npsnn/convpool2d/reference.py.

    Example
    -------
    >>> pair = ConvPool2d(Conv2d(1, 2, 3), MaxPool2d(2))
    >>> pair.out_shape((1, 1, 1, 6, 6))
    (1, 1, 2, 2, 2)
    """

    image = takes_spikes = True

    def __init__(self, conv: Conv2d, pool: MaxPool2d) -> None:
        self.conv, self.pool = conv, pool

    def out_shape(self, shape: Shape, where: str = "ConvPool2d") -> Shape:
        """The pool's, of the convolution's."""
        return self.pool.out_shape(self.conv.out_shape(shape, where), where)

    def param_shapes(self) -> dict[str, Shape]:
        """The convolution's."""
        return self.conv.param_shapes()

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the op's cache."""
        X, lead = fold(x, 3)
        pool = (self.pool.kernel_size, self.pool.stride, self.pool.padding)
        Y, cache = ops.convpool2d.convpool2d_forward(
            X, params["weight"], params.get("bias"), stride=self.conv.stride, padding=self.conv.padding, pool=pool
        )
        return Y.reshape(*lead, *Y.shape[1:]), Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx and the gradients of weight and bias."""
        dX, dW, db = ops.convpool2d.convpool2d_backward(
            fold(dy, 3)[0], cache.cache, params["weight"], bias=self.conv.bias, input_grad=input_grad
        )
        return unfold(dX, cache.lead), self.conv.named(dW, db)

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The input, and the places of the maxima."""
        conv = self.conv.cache_bytes(shape, num_steps, dtype)
        return conv + self.pool.cache_bytes(self.conv.out_shape(shape), num_steps, dtype)


class _FlatCache(NamedTuple):
    """The linear layer's cache, and how the features lay in memory."""

    linear: Any
    shape: Shape  # of the input (T, B, *features)
    order: Order


class FlatLinear(Layer):
    """Features flattened, and the dense layer over them, whose columns are put in the features' order in memory.

    So nothing is copied where channels lie last. Its parameters are the linear layer's; the sums over k run in memory's
    order.

    Example
    -------
    >>> FlatLinear(Flatten(), Linear(12, 5)).out_shape((1, 1, 3, 2, 2))
    (1, 1, 5)
    """

    takes_spikes = True

    def __init__(self, flatten: Flatten, linear: Linear) -> None:
        self.flatten, self.linear = flatten, linear

    def out_shape(self, shape: Shape, where: str = "FlatLinear") -> Shape:
        """The linear layer's, of the flattened."""
        return self.linear.out_shape(self.flatten.out_shape(shape, where), where)

    def param_shapes(self) -> dict[str, Shape]:
        """The linear layer's."""
        return self.linear.param_shapes()

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the cache."""
        order = order_of(x)
        y, cache = self.linear.run(in_memory(x, order), columns_of(params, x.shape, order), ops)
        return y, _FlatCache(cache, x.shape, order)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx and the gradients of weight and bias."""
        _, shape, order = cache
        dx, grads = self.linear.run_back(dy, cache.linear, columns_of(params, shape, order), ops, input_grad)
        if dx is not None:
            dx = out_of_memory(dx, shape, order)
        return dx, {**grads, "weight": weight_of_columns(grads["weight"], shape, order)}

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The input."""
        return self.linear.cache_bytes(shape, num_steps, dtype)


def columns_of(params: Params, shape: Shape, order: Order) -> Params:
    """The linear layer's parameters, the weight's columns in that order."""
    W = params["weight"]
    if order == tuple(range(len(order))):
        return params
    return {**params, "weight": W.reshape(-1, 1, *shape[2:]).transpose(order).reshape(W.shape)}


def weight_of_columns(dW: Array, shape: Shape, order: Order) -> Array:
    """What `columns_of` did, undone."""
    there = [shape[axis] for axis in order]
    return dW.reshape(-1, 1, *there[2:]).transpose(back(order)).reshape(dW.shape)


def in_memory(x: Array, order: Order) -> Array:
    """(T, B, *features) as (T, B, K), the features in that order."""
    return x.transpose(order).reshape(*x.shape[:2], math.prod(x.shape[2:]))


def out_of_memory(x: Array, shape: Shape, order: Order) -> Array:
    """(T, B, K) in that order as (T, B, *features), `shape` the input's."""
    there = [shape[axis] for axis in order[2:]]
    return x.reshape(*x.shape[:2], *there).transpose(back(order))
