"""Neighbouring layers that a network runs as one (floor 2). Like layers, they call an op and compute nothing."""

import math
from typing import Any, NamedTuple

import numpy as np

from npsnn._check import Array
from npsnn._memory import Order, back, order_of
from npsnn.backends import Backend
from npsnn.layer import Layer, Params, Shape
from npsnn.layers import Conv2d, Flatten, Folded, Linear, MaxPool2d, fold, unfold
from npsnn.leaky.inside import Neurons
from npsnn.neuron import Leaky, Remembers
from npsnn.surrogate import Surrogate


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


class _FiringCache(NamedTuple):
    """The op's cache, and the membranes after the last step."""

    op: Any
    U_after: Array


class LeakyConvPool2d(Remembers):
    """Neurons, and the convolution and max-pooling of their spikes, for neurons that `fits`.

    Its parameters are the convolution's. The law is npsnn/leakyconvpool2d/reference.py.

    Example
    -------
    >>> three = LeakyConvPool2d(Leaky(beta=0.5), ConvPool2d(Conv2d(1, 2, 3), MaxPool2d(2)))
    >>> three.out_shape((1, 1, 1, 6, 6)), three.membranes((1, 1, 1, 6, 6)), three.neurons_at(4)
    ((1, 1, 2, 2, 2), (1, 1, 6, 6), 3)
    """

    image = True

    def __init__(self, leaky: Leaky, pair: ConvPool2d) -> None:
        self.leaky, self.pair, self.spike_grad = leaky, pair, leaky.spike_grad

    @staticmethod
    def fits(leaky: Leaky) -> bool:
        """Whether these neurons are such as the op is for."""
        return (
            leaky.detach_reset
            and not leaky.param_shapes()
            and leaky.spike_grad.compiles
            and not leaky.spike_grad.smooth
        )

    def out_shape(self, shape: Shape, where: str = "LeakyConvPool2d") -> Shape:
        """The pool's, of the convolution's."""
        return self.pair.out_shape(self.leaky.out_shape(shape, where), where)

    def param_shapes(self) -> dict[str, Shape]:
        """The convolution's."""
        return self.pair.param_shapes()

    def neurons_at(self, i: int) -> int:
        """Just before the convolution."""
        return i - 1

    def membranes(self, shape: Shape) -> Shape:
        """The input's, of one step."""
        return shape[1:]

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
        beta, theta = (constant.astype(x.dtype) for constant in (self.leaky.beta, self.leaky.threshold))
        U_before = np.zeros(x.shape[1:], x.dtype) if U_before is None else U_before
        neurons = Neurons(x, beta, theta, U_before, num_steps, self.spike_grad, self.leaky.reset_mechanism)
        conv, pool = self.pair.conv, self.pair.pool
        y, U_after, cache = ops.leakyconvpool2d.leakyconvpool2d_forward(
            neurons, params["weight"], params.get("bias"),
            stride=conv.stride, padding=conv.padding, pool=(pool.kernel_size, pool.stride, pool.padding),
        )  # fmt: skip
        return y, _FiringCache(cache, U_after)

    def after(self, cache: Any) -> Array:
        """As the op gave them."""
        U: Array = cache.U_after
        return U

    def back_through(
        self, dy: Array | None, dmem: Array | None, dU_after: Array | None, cache: Any, params: Params, ops: Backend
    ) -> tuple[Array, dict[str, Array], Array]:
        """dx, the gradients of weight and bias, and that of the membranes before; there is no dmem."""
        conv = self.pair.conv
        dI, dW, db, dU_before = ops.leakyconvpool2d.leakyconvpool2d_backward(
            dy, dU_after, cache.op, params["weight"], bias=conv.bias
        )
        return dI, conv.named(dW, db), dU_before

    def neurons(self, cache: Any, ops: Backend) -> Any:
        """Computed again."""
        I, beta, theta, U_before, num_steps, sigma, reset = cache.op.neurons
        return ops.leaky.leaky_forward(
            I, beta, theta, U_before, num_steps=num_steps, sigma=sigma, reset_mechanism=reset
        )[1]

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The currents, as many as are given, and for every step the places of the maxima."""
        places = self.pair.pool.cache_bytes(self.pair.conv.out_shape((1, *shape[1:])), 1, dtype)
        return math.prod(shape) * dtype.itemsize + num_steps * places


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
        y, cache = self.linear.run(_in_memory(x, order), _columns(params, x.shape, order), ops)
        return y, _FlatCache(cache, x.shape, order)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx and the gradients of weight and bias."""
        _, shape, order = cache
        dx, grads = self.linear.run_back(dy, cache.linear, _columns(params, shape, order), ops, input_grad)
        if dx is not None:
            dx = _out_of_memory(dx, shape, order)
        return dx, {**grads, "weight": _weight_of_columns(grads["weight"], shape, order)}

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The input."""
        return self.linear.cache_bytes(shape, num_steps, dtype)


def _columns(params: Params, shape: Shape, order: Order) -> Params:
    """The linear layer's parameters, the weight's columns in that order."""
    W = params["weight"]
    if order == tuple(range(len(order))):
        return params
    return {**params, "weight": W.reshape(-1, 1, *shape[2:]).transpose(order).reshape(W.shape)}


def _weight_of_columns(dW: Array, shape: Shape, order: Order) -> Array:
    """What `_columns` did, undone."""
    there = [shape[axis] for axis in order]
    return dW.reshape(-1, 1, *there[2:]).transpose(back(order)).reshape(dW.shape)


def _in_memory(x: Array, order: Order) -> Array:
    """(T, B, *features) as (T, B, K), the features in that order."""
    return x.transpose(order).reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _out_of_memory(x: Array, shape: Shape, order: Order) -> Array:
    """(T, B, K) in that order as (T, B, *features), `shape` the input's."""
    there = [shape[axis] for axis in order[2:]]
    return x.reshape(*x.shape[:2], *there).transpose(back(order))


class _FlatFiringCache(NamedTuple):
    """The op's cache, the membranes after the last step, the input (T or 1, B, *features) and its order in memory."""

    op: Any
    U_after: Array
    x: Array
    U_before: Array
    order: Order


class LeakyLinear(Remembers):
    """Neurons, and the dense layer over their spikes, flattened or not; for neurons and layers that `fits`.

    Its parameters are the linear layer's. The law is npsnn/leakylinear/reference.py.

    Example
    -------
    >>> two = LeakyLinear(Leaky(beta=0.5), FlatLinear(Flatten(), Linear(12, 5)))
    >>> two.out_shape((1, 1, 3, 2, 2)), two.membranes((1, 1, 3, 2, 2)), two.neurons_at(4)
    ((1, 1, 5), (1, 3, 2, 2), 2)
    """

    FEW = 64  # outputs, at most: the op has a gradient of W for each of the groups it works on

    def __init__(self, leaky: Leaky, dense: Linear | FlatLinear) -> None:
        self.leaky, self.dense, self.spike_grad = leaky, dense, leaky.spike_grad
        self.linear = dense.linear if isinstance(dense, FlatLinear) else dense

    @staticmethod
    def fits(leaky: Leaky, linear: Linear) -> bool:
        """Whether they are such as the op is for."""
        return LeakyConvPool2d.fits(leaky) and linear.out_features <= LeakyLinear.FEW

    def out_shape(self, shape: Shape, where: str = "LeakyLinear") -> Shape:
        """The linear layer's, of the flattened."""
        return self.dense.out_shape(self.leaky.out_shape(shape, where), where)

    def param_shapes(self) -> dict[str, Shape]:
        """The linear layer's."""
        return self.linear.param_shapes()

    def neurons_at(self, i: int) -> int:
        """Before the linear layer, and the flattening one if there is one."""
        return i - 2 if isinstance(self.dense, FlatLinear) else i - 1

    def membranes(self, shape: Shape) -> Shape:
        """The input's, of one step."""
        return shape[1:]

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
        U_before = np.zeros(x.shape[1:], x.dtype) if U_before is None else U_before
        beta, theta = (
            c if c.ndim == 0 else _in_memory(np.broadcast_to(c, (1, 1, *features)), order)[0, 0]
            for c in (constant.astype(x.dtype) for constant in (self.leaky.beta, self.leaky.threshold))
        )
        neurons = Neurons(
            _in_memory(x, order), beta, theta, _in_memory(U_before[None], order)[0],
            num_steps, self.spike_grad, self.leaky.reset_mechanism,
        )  # fmt: skip
        columns = _columns(params, x.shape, order)
        y, U, cache = ops.leakylinear.leakylinear_forward(neurons, columns["weight"], columns.get("bias"))
        return y, _FlatFiringCache(cache, _out_of_memory(U[None], x.shape, order)[0], x, U_before, order)

    def after(self, cache: Any) -> Array:
        """As the op gave them."""
        U: Array = cache.U_after
        return U

    def back_through(
        self, dy: Array | None, dmem: Array | None, dU_after: Array | None, cache: Any, params: Params, ops: Backend
    ) -> tuple[Array, dict[str, Array], Array]:
        """dx, the gradients of weight and bias, and that of the membranes before; there is no dmem."""
        op, _, x, _, order = cache
        if dU_after is not None:
            dU_after = _in_memory(dU_after[None], order)[0]
        W = _columns(params, x.shape, order)["weight"]
        dI, dW, db, dU = ops.leakylinear.leakylinear_backward(dy, dU_after, op, W, bias=self.linear.bias)
        grads = self.linear.named(_weight_of_columns(dW, x.shape, order), db)
        return _out_of_memory(dI, x.shape, order), grads, _out_of_memory(dU[None], x.shape, order)[0]

    def neurons(self, cache: Any, ops: Backend) -> Any:
        """Computed again."""
        return self.leaky.fire(cache.x, {}, ops, cache.op.neurons.num_steps, cache.U_before, self.spike_grad)[1]

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The currents, as many as are given."""
        return math.prod(shape) * dtype.itemsize


def pair_up(layers: tuple[Layer, ...], fuse: bool = False) -> tuple[tuple[int, Layer], ...]:
    """(index, layer) of what a network runs: its layers, and some together, under the index of the one with parameters.

    `fuse` also puts neurons together with what follows them: a convolution and its pool, or a dense layer.

    >>> layers = Conv2d(1, 2, 3), MaxPool2d(2), Leaky(0.5), Conv2d(2, 2, 3), MaxPool2d(2), Flatten(), Linear(8, 2)
    >>> [(i, type(layer).__name__) for i, layer in pair_up(layers)]
    [(0, 'ConvPool2d'), (2, 'Leaky'), (3, 'ConvPool2d'), (6, 'FlatLinear')]
    >>> [(i, type(layer).__name__) for i, layer in pair_up(layers, fuse=True)]
    [(0, 'ConvPool2d'), (3, 'LeakyConvPool2d'), (6, 'FlatLinear')]
    >>> layers = Linear(5, 9), Leaky(0.5), Linear(9, 2), Leaky(0.5)
    >>> [(i, type(layer).__name__) for i, layer in pair_up(layers, fuse=True)]
    [(0, 'Linear'), (2, 'LeakyLinear'), (3, 'Leaky')]
    """
    run: list[tuple[int, Layer]] = []
    for i, layer in enumerate(layers):
        last = run[-1][1] if run else None
        if isinstance(layer, MaxPool2d) and isinstance(last, Conv2d):
            pair, before = ConvPool2d(last, layer), run[-2][1] if len(run) > 1 else None
            if fuse and isinstance(before, Leaky) and LeakyConvPool2d.fits(before):
                run[-2:] = [(i - 1, LeakyConvPool2d(before, pair))]
            else:
                run[-1] = (i - 1, pair)
        elif isinstance(layer, Linear):
            dense: Linear | FlatLinear = layer
            if isinstance(last, Flatten):
                run.pop()
                dense = FlatLinear(last, layer)
            before = run[-1][1] if run else None
            if fuse and isinstance(before, Leaky) and LeakyLinear.fits(before, layer):
                run.pop()
                run.append((i, LeakyLinear(before, dense)))
            else:
                run.append((i, dense))
        else:
            run.append((i, layer))
    return tuple(run)
