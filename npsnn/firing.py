"""Neurons, and the layer over their spikes, which a network runs as one (floor 2): neither U nor S is kept."""

import math
from typing import Any, NamedTuple

import numpy as np

from npsnn._check import Array
from npsnn._memory import Order, order_of
from npsnn.backends import Backend
from npsnn.layer import Params, Shape
from npsnn.layers import Conv2d, Linear
from npsnn.leaky.inside import Neurons
from npsnn.neuron import Leaky, Remembers
from npsnn.pairs import ConvPool2d, FlatLinear, columns_of, in_memory, out_of_memory, weight_of_columns
from npsnn.surrogate import Surrogate


def fits(leaky: Leaky) -> bool:
    """Whether these neurons are such as the ops are for."""
    return leaky.detach_reset and not leaky.param_shapes() and leaky.spike_grad.compiles and not leaky.spike_grad.smooth


class _Cache(NamedTuple):
    """The op's cache, and the membranes after the last step."""

    op: Any
    U_after: Array


def _neurons(leaky: Leaky, x: Array, num_steps: int, U_before: Array | None) -> Neurons:
    """The neurons with currents x, at rest where no membranes are given."""
    beta, theta = (constant.astype(x.dtype) for constant in (leaky.beta, leaky.threshold))
    U_before = np.zeros(x.shape[1:], x.dtype) if U_before is None else U_before
    return Neurons(x, beta, theta, U_before, num_steps, leaky.spike_grad, leaky.reset_mechanism)


class _Firing(Remembers):
    """What all of them share."""

    def membranes(self, shape: Shape) -> Shape:
        """The input's, of one step."""
        return shape[1:]

    def after(self, cache: Any) -> Array:
        """As the op gave them."""
        U: Array = cache.U_after
        return U


class LeakyConv2d(_Firing):
    """Neurons, and the convolution of their spikes, for neurons that `fits`.

    Its parameters are the convolution's. The law is npsnn/leakyconv2d/reference.py.

    Example
    -------
    >>> two = LeakyConv2d(Leaky(beta=0.5), Conv2d(1, 2, 3))
    >>> two.out_shape((1, 1, 1, 6, 6)), two.membranes((1, 1, 1, 6, 6)), two.neurons_at(4)
    ((1, 1, 2, 4, 4), (1, 1, 6, 6), 3)
    """

    image = True

    def __init__(self, leaky: Leaky, conv: Conv2d) -> None:
        self.leaky, self.conv, self.spike_grad = leaky, conv, leaky.spike_grad

    def out_shape(self, shape: Shape, where: str = "LeakyConv2d") -> Shape:
        """The convolution's."""
        return self.conv.out_shape(self.leaky.out_shape(shape, where), where)

    def param_shapes(self) -> dict[str, Shape]:
        """The convolution's."""
        return self.conv.param_shapes()

    def neurons_at(self, i: int) -> int:
        """Just before the convolution."""
        return i - 1

    def fire(
        self,
        x: Array,
        params: Params,
        ops: Backend,
        num_steps: int,
        U_before: Array | None = None,
        sigma: Surrogate | None = None,
    ) -> tuple[Array, Any]:
        """y and the cache."""
        y, U_after, cache = self._forward(_neurons(self.leaky, x, num_steps, U_before), params, ops)
        return y, _Cache(cache, U_after)

    def _forward(self, neurons: Neurons, params: Params, ops: Backend) -> Any:
        return ops.leakyconv2d.leakyconv2d_forward(
            neurons, params["weight"], params.get("bias"), stride=self.conv.stride, padding=self.conv.padding
        )

    def back_through(
        self, dy: Array | None, dmem: Array | None, dU_after: Array | None, cache: Any, params: Params, ops: Backend
    ) -> tuple[Array, dict[str, Array], Array]:
        """dx, the gradients of weight and bias, and that of the membranes before; there is no dmem."""
        dI, dW, db, dU_before = self._backward(ops)(dy, dU_after, cache.op, params["weight"], bias=self.conv.bias)
        return dI, self.conv.named(dW, db), dU_before

    def _backward(self, ops: Backend) -> Any:
        return ops.leakyconv2d.leakyconv2d_backward

    def neurons(self, cache: Any, ops: Backend) -> Any:
        """Computed again."""
        I, beta, theta, U_before, num_steps, sigma, reset = cache.op.neurons
        return ops.leaky.leaky_forward(
            I, beta, theta, U_before, num_steps=num_steps, sigma=sigma, reset_mechanism=reset
        )[1]

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The currents, as many as are given."""
        return math.prod(shape) * dtype.itemsize


class LeakyConvPool2d(LeakyConv2d):
    """The same with a max-pooling after the convolution. The law is npsnn/leakyconvpool2d/reference.py.

    Example
    -------
    >>> from npsnn.layers import MaxPool2d
    >>> three = LeakyConvPool2d(Leaky(beta=0.5), ConvPool2d(Conv2d(1, 2, 3), MaxPool2d(2)))
    >>> three.out_shape((1, 1, 1, 6, 6)), three.membranes((1, 1, 1, 6, 6)), three.neurons_at(4)
    ((1, 1, 2, 2, 2), (1, 1, 6, 6), 3)
    """

    def __init__(self, leaky: Leaky, pair: ConvPool2d) -> None:
        super().__init__(leaky, pair.conv)
        self.pool = pair.pool

    def out_shape(self, shape: Shape, where: str = "LeakyConvPool2d") -> Shape:
        """The pool's, of the convolution's."""
        return self.pool.out_shape(super().out_shape(shape, where), where)

    def _forward(self, neurons: Neurons, params: Params, ops: Backend) -> Any:
        pool = (self.pool.kernel_size, self.pool.stride, self.pool.padding)
        return ops.leakyconvpool2d.leakyconvpool2d_forward(
            neurons, params["weight"], params.get("bias"), stride=self.conv.stride, padding=self.conv.padding, pool=pool
        )

    def _backward(self, ops: Backend) -> Any:
        return ops.leakyconvpool2d.leakyconvpool2d_backward

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The currents, and for every step the places of the maxima."""
        places = self.pool.cache_bytes(self.conv.out_shape((1, *shape[1:])), 1, dtype)
        return super().cache_bytes(shape, num_steps, dtype) + num_steps * places


class _FlatCache(NamedTuple):
    """The op's cache, the membranes after the last step, the input (T or 1, B, *features) and its order in memory."""

    op: Any
    U_after: Array
    x: Array
    U_before: Array
    order: Order


class LeakyLinear(_Firing):
    """Neurons, and the dense layer over their spikes, flattened or not; for neurons that `fits`.

    Its parameters are the linear layer's. The law is npsnn/leakylinear/reference.py.

    Example
    -------
    >>> from npsnn.layers import Flatten
    >>> two = LeakyLinear(Leaky(beta=0.5), FlatLinear(Flatten(), Linear(12, 5)))
    >>> two.out_shape((1, 1, 3, 2, 2)), two.membranes((1, 1, 3, 2, 2)), two.neurons_at(4)
    ((1, 1, 5), (1, 3, 2, 2), 2)
    """

    FEW = 64  # outputs, at most: the op has a gradient of W for each of the groups it works on

    def __init__(self, leaky: Leaky, dense: Linear | FlatLinear) -> None:
        self.leaky, self.dense, self.spike_grad = leaky, dense, leaky.spike_grad
        self.linear = dense.linear if isinstance(dense, FlatLinear) else dense

    @staticmethod
    def has_few_outputs(dense: Linear | FlatLinear) -> bool:
        """Whether the layer is such as the op is for."""
        return (dense.linear if isinstance(dense, FlatLinear) else dense).out_features <= LeakyLinear.FEW

    def out_shape(self, shape: Shape, where: str = "LeakyLinear") -> Shape:
        """The linear layer's, of the flattened."""
        return self.dense.out_shape(self.leaky.out_shape(shape, where), where)

    def param_shapes(self) -> dict[str, Shape]:
        """The linear layer's."""
        return self.linear.param_shapes()

    def neurons_at(self, i: int) -> int:
        """Before the linear layer, and the flattening one if there is one."""
        return i - 2 if isinstance(self.dense, FlatLinear) else i - 1

    def fire(
        self,
        x: Array,
        params: Params,
        ops: Backend,
        num_steps: int,
        U_before: Array | None = None,
        sigma: Surrogate | None = None,
    ) -> tuple[Array, Any]:
        """y and the cache."""
        order, features = order_of(x), x.shape[2:]
        own = _neurons(self.leaky, x, num_steps, U_before)
        beta, theta = (
            c if c.ndim == 0 else in_memory(np.broadcast_to(c, (1, 1, *features)), order)[0, 0]
            for c in (own.beta, own.theta)
        )
        flat_before = in_memory(own.U_before[None], order)[0]
        neurons = own._replace(I=in_memory(x, order), beta=beta, theta=theta, U_before=flat_before)
        columns = columns_of(params, x.shape, order)
        y, U, cache = ops.leakylinear.leakylinear_forward(neurons, columns["weight"], columns.get("bias"))
        return y, _FlatCache(cache, out_of_memory(U[None], x.shape, order)[0], x, own.U_before, order)

    def back_through(
        self, dy: Array | None, dmem: Array | None, dU_after: Array | None, cache: Any, params: Params, ops: Backend
    ) -> tuple[Array, dict[str, Array], Array]:
        """dx, the gradients of weight and bias, and that of the membranes before; there is no dmem."""
        op, _, x, _, order = cache
        if dU_after is not None:
            dU_after = in_memory(dU_after[None], order)[0]
        W = columns_of(params, x.shape, order)["weight"]
        dI, dW, db, dU = ops.leakylinear.leakylinear_backward(dy, dU_after, op, W, bias=self.linear.bias)
        grads = self.linear.named(weight_of_columns(dW, x.shape, order), db)
        return out_of_memory(dI, x.shape, order), grads, out_of_memory(dU[None], x.shape, order)[0]

    def neurons(self, cache: Any, ops: Backend) -> Any:
        """Computed again."""
        return self.leaky.fire(cache.x, {}, ops, cache.op.neurons.num_steps, cache.U_before, self.spike_grad)[1]

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The currents, as many as are given."""
        return math.prod(shape) * dtype.itemsize
