"""The layers: parameters, shapes and checks (floor 2). They call an op of a backend, and compute nothing themselves.

A layer holds no arrays: its parameters are an argument, its cache a return value, so one layer can serve in several
networks. Arrays are time first, (T, B, *features); time and batch are folded together for every op but the neuron.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check, backends
from npsnn._check import Array
from npsnn.backends import Backend
from npsnn.generator import Generator, init_bounds
from npsnn.surrogate import Surrogate, atan

Params = Mapping[str, Array]
Shape = tuple[int, ...]

RESETS = ("subtract", "zero", "none")


class Layer:
    """What every layer offers; the methods here are those of a layer without parameters."""

    image = False  # whether a sample must be (channels, height, width)

    def init_params(self, generator: Generator, dtype: Any = np.float32) -> dict[str, Array]:
        """Fresh parameters, name -> array, drawn in PyTorch's order (C10)."""
        return {}

    def out_shape(self, shape: Shape, where: str = "") -> Shape:
        """The output's shape (..., *features) for an input of `shape`; ValueError where it does not fit."""
        raise NotImplementedError

    def forward(self, x: Array, params: Params, *, backend: str = "reference") -> tuple[Array, Any]:
        """(y, cache) for x (..., *features); the cache is all that backward needs beside the parameters."""
        backend = backends.resolve(backend)
        x = self._door(x, "x", backend)
        self.out_shape(x.shape, type(self).__name__)
        self._check_params(params, x.dtype)
        return self.run(x, params, backends.load(backend))

    def backward(
        self, dy: Array, cache: Any, params: Params, *, backend: str = "reference"
    ) -> tuple[Array, dict[str, Array]]:
        """(dx, grads) for dy = dL/dy and the same parameters as in forward; grads has the keys of params."""
        backend = backends.resolve(backend)
        dy = self._door(dy, "dy", backend)
        _check.shape(dy, self.y_shape(cache), "dy", type(self).__name__)
        self._check_params(params, dy.dtype)
        dx, grads = self.run_back(dy, cache, params, backends.load(backend), True)
        assert dx is not None
        return dx, grads

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """`forward` behind the door: nothing is checked."""
        raise NotImplementedError

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """`backward` behind the door: nothing is checked; dx may be None where `input_grad` is False."""
        raise NotImplementedError

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """Bytes that the tape keeps for an input of `shape` (T, B, *features), T = 1 where it is static."""
        return 0

    def param_shapes(self) -> dict[str, Shape]:
        """Name -> shape of every parameter."""
        return {}

    def y_shape(self, cache: Any) -> Shape:
        """The shape of the y that came with this cache."""
        raise NotImplementedError

    def _check_params(self, params: Params, dtype: np.dtype[Any]) -> None:
        """Refuse parameters of other names, shapes or dtypes than the layer and its input have."""
        where, expected = type(self).__name__, self.param_shapes()
        if set(params) != set(expected):
            names, wanted = (", ".join(sorted(p)) or "none" for p in (params, expected))
            raise ValueError(f"{where}: params are {names}, expected {wanted}")
        for name, shape in expected.items():
            value = np.asarray(params[name])
            _check.shape(value, shape, name, where)
            if value.dtype != dtype and dtype.kind != "c":
                raise TypeError(f"{where}: {name} is {value.dtype}, the input is {dtype}")

    def _door(self, x: Any, name: str, backend: str) -> Array:
        """x as a finite float array; on the reference backend also as a complex one, for the proof's mode."""
        where = type(self).__name__
        x = _check.plain(x, name, where)
        if x.dtype == np.complex128 and backend == "reference":
            _check.finite(x, name, where)
            return np.ascontiguousarray(x)
        return _check.array(x, x.dtype if x.dtype in _check.FLOATS else np.dtype(np.float32), name, where)


class _Folded(NamedTuple):
    """A cache, and the leading axes (T, B) that were folded for the op."""

    cache: Any
    lead: Shape


class _Weighted(Layer):
    """A layer y = op(x, weight, bias): Conv2d and Linear."""

    weight_shape: Shape
    fan_in: int
    bias: bool

    def init_params(self, generator: Generator, dtype: Any = np.float32) -> dict[str, Array]:
        """PyTorch's default: uniform within 1/sqrt(fan_in), weight first, then bias (C10)."""
        weight_bound, bias_bound = init_bounds(self.fan_in)
        params = {"weight": generator.uniform(-weight_bound, weight_bound, self.weight_shape, dtype)}
        if self.bias:
            params["bias"] = generator.uniform(-bias_bound, bias_bound, (self.weight_shape[0],), dtype)
        return params

    def param_shapes(self) -> dict[str, Shape]:
        """Weight, and bias where there is one."""
        return {"weight": self.weight_shape, **({"bias": self.weight_shape[:1]} if self.bias else {})}

    def y_shape(self, cache: Any) -> Shape:
        """From the input's."""
        return self.out_shape((*cache.lead, *cache.cache.X.shape[1:]))

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The input."""
        return math.prod(shape) * dtype.itemsize

    def _grads(self, dW: Array, db: Array | None) -> dict[str, Array]:
        return {"weight": dW} if db is None else {"weight": dW, "bias": db}


class Conv2d(_Weighted):
    """Two-dimensional convolution, as torch.nn.Conv2d: x (..., C, H, W) -> (..., O, H_out, W_out).

    `kernel_size`, `stride` and `padding` (zeros) are an int or a pair. Parameters: weight (O, C, kh, kw), bias (O,).
    The law is npsnn/conv2d/reference.py.

    Example
    -------
    >>> layer = Conv2d(1, 12, 5)
    >>> layer.out_shape((50, 128, 1, 28, 28))
    (50, 128, 12, 24, 24)
    """

    image = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        bias: bool = True,
    ) -> None:
        self.in_channels = _check.whole(in_channels, "in_channels", 1, "Conv2d")
        self.out_channels = _check.whole(out_channels, "out_channels", 1, "Conv2d")
        self.kernel_size = _check.pair(kernel_size, "kernel_size", 1, "Conv2d")
        self.stride = _check.pair(stride, "stride", 1, "Conv2d")
        self.padding = _check.pair(padding, "padding", 0, "Conv2d")
        self.bias = _check.flag(bias, "bias", "Conv2d")
        self.weight_shape = (self.out_channels, self.in_channels, *self.kernel_size)
        self.fan_in = self.in_channels * math.prod(self.kernel_size)

    def out_shape(self, shape: Shape, where: str = "Conv2d") -> Shape:
        """(..., O, H_out, W_out); the last three axes of `shape` must be this layer's channels, height and width."""
        H_out, W_out = _spatial(self, shape, where)
        if shape[-3] != self.in_channels:
            channels = "1 channel" if shape[-3] == 1 else f"{shape[-3]} channels"
            raise ValueError(f"{where}: input has {channels} (shape {shape}), weight expects {self.in_channels}")
        return (*shape[:-3], self.out_channels, H_out, W_out)

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the op's cache."""
        X, lead = _fold(x, 3)
        Y, cache = ops.conv2d.conv2d_forward(
            X, params["weight"], params.get("bias"), stride=self.stride, padding=self.padding
        )
        return Y.reshape(*lead, *Y.shape[1:]), _Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx and the gradients of weight and bias."""
        dX, dW, db = ops.conv2d.conv2d_backward(
            _fold(dy, 3)[0], cache.cache, params["weight"], bias=self.bias, input_grad=input_grad
        )
        return _unfold(dX, cache.lead), self._grads(dW, db)

    def __repr__(self) -> str:
        extra = "" if self.bias else ", bias=False"
        extra = (f", padding={self.padding}" if self.padding != (0, 0) else "") + extra
        extra = (f", stride={self.stride}" if self.stride != (1, 1) else "") + extra
        return f"Conv2d({self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}{extra})"


class Linear(_Weighted):
    """A dense layer, as torch.nn.Linear: x (..., in_features) -> (..., out_features).

    Parameters: weight (out_features, in_features), bias (out_features,). The law is npsnn/linear/reference.py.

    Example
    -------
    >>> y, cache = Linear(2, 1).forward(np.array([[[1.0, 2.0]]]), {"weight": np.array([[3.0, 4.0]]),
    ...                                                            "bias": np.array([0.5])})
    >>> y
    array([[[11.5]]])
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = _check.whole(in_features, "in_features", 1, "Linear")
        self.out_features = _check.whole(out_features, "out_features", 1, "Linear")
        self.bias = _check.flag(bias, "bias", "Linear")
        self.weight_shape = (self.out_features, self.in_features)
        self.fan_in = self.in_features

    def out_shape(self, shape: Shape, where: str = "Linear") -> Shape:
        """(..., out_features)."""
        if not shape or shape[-1] != self.in_features:
            features = shape[-1] if shape else 0
            raise ValueError(
                f"{where}: input has {features} features (shape {shape}), weight expects {self.in_features}"
            )
        return (*shape[:-1], self.out_features)

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the op's cache."""
        X, lead = _fold(x, 1)
        Y, cache = ops.linear.linear_forward(X, params["weight"], params.get("bias"))
        return Y.reshape(*lead, self.out_features), _Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx and the gradients of weight and bias."""
        dX, dW, db = ops.linear.linear_backward(
            _fold(dy, 1)[0], cache.cache, params["weight"], bias=self.bias, input_grad=input_grad
        )
        return _unfold(dX, cache.lead), self._grads(dW, db)

    def __repr__(self) -> str:
        return f"Linear({self.in_features}, {self.out_features}{'' if self.bias else ', bias=False'})"


class _Pool2d(Layer):
    """What max and average pooling share: the arguments and the shapes."""

    image = True

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        name = type(self).__name__
        self.kernel_size = _check.pair(kernel_size, "kernel_size", 1, name)
        self.stride = self.kernel_size if stride is None else _check.pair(stride, "stride", 1, name)
        self.padding = _check.pair(padding, "padding", 0, name)
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(f"{name}: padding {self.padding} is more than half of kernel_size {self.kernel_size}")

    def out_shape(self, shape: Shape, where: str = "") -> Shape:
        """(..., C, H_out, W_out); a remainder that fills no window is left out, as in PyTorch."""
        return (*shape[:-2], *_spatial(self, shape, where or type(self).__name__))

    def y_shape(self, cache: Any) -> Shape:
        """From the input's."""
        return self.out_shape((*cache.lead, *cache.cache.X_shape[1:]))

    def _geometry(self) -> dict[str, tuple[int, int]]:
        return {"kernel": self.kernel_size, "stride": self.stride, "padding": self.padding}

    def __repr__(self) -> str:
        extra = f", stride={self.stride}" if self.stride != self.kernel_size else ""
        extra += f", padding={self.padding}" if self.padding != (0, 0) else ""
        return f"{type(self).__name__}(kernel_size={self.kernel_size}{extra})"


class MaxPool2d(_Pool2d):
    """Max-pooling, as torch.nn.MaxPool2d: x (..., C, H, W) -> (..., C, H_out, W_out); the first maximum wins (C6).

    `stride=None` means the kernel size. The law is npsnn/pool2d/reference.py.

    Example
    -------
    >>> MaxPool2d(2).forward(np.array([[[1.0, 2.0], [3.0, 4.0]]]), {})[0]
    array([[[4.]]])
    """

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the op's cache."""
        X, lead = _fold(x, 3)
        Y, cache = ops.pool2d.maxpool2d_forward(X, **self._geometry())
        return Y.reshape(*lead, *Y.shape[1:]), _Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx."""
        dX = ops.pool2d.maxpool2d_backward(_fold(dy, 3)[0], cache.cache)
        return _unfold(dX, cache.lead), {}

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The place of each maximum."""
        return math.prod(self.out_shape(shape)) * (1 if math.prod(self.kernel_size) <= 256 else 4)


class AvgPool2d(_Pool2d):
    """Average pooling, as torch.nn.AvgPool2d: the padding's zeros are counted. `stride=None` means the kernel size.

    Example
    -------
    >>> AvgPool2d(2).forward(np.array([[[1.0, 2.0], [3.0, 4.0]]]), {})[0]
    array([[[2.5]]])
    """

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the op's cache."""
        X, lead = _fold(x, 3)
        Y, cache = ops.pool2d.avgpool2d_forward(X, **self._geometry())
        return Y.reshape(*lead, *Y.shape[1:]), _Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx."""
        dX = ops.pool2d.avgpool2d_backward(_fold(dy, 3)[0], cache.cache)
        return _unfold(dX, cache.lead), {}


class Flatten(Layer):
    """(T, B, C, H, W) -> (T, B, C H W): all of a sample's features on one axis, time and batch kept.

    Example
    -------
    >>> Flatten().out_shape((50, 128, 64, 4, 4))
    (50, 128, 1024)
    """

    def out_shape(self, shape: Shape, where: str = "Flatten") -> Shape:
        """(T, B, features)."""
        if len(shape) < 2:
            raise ValueError(f"{where}: input has shape {shape}, expected (T, B, *features)")
        return (*shape[:2], math.prod(shape[2:]))

    def y_shape(self, cache: Any) -> Shape:
        """From the input's."""
        return self.out_shape(cache)

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the shape of x."""
        return x.reshape(self.out_shape(x.shape)), x.shape

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx."""
        return dy.reshape(cache), {}

    def __repr__(self) -> str:
        return "Flatten()"


class Leaky(Layer):
    """Leaky integrate-and-fire neurons, as snntorch.Leaky: currents I (T, B, *N) -> spikes S (T, B, *N).

    `beta` (membrane decay per step, in [0, 1]) and `threshold` (> 0) are a number or an array that broadcasts against
    one sample's features. `spike_grad=None` means `surrogate.atan()`. `reset_mechanism` is "subtract", "zero" or
    "none"; `detach_reset=True` keeps the gradient from flowing through the reset. Learnable constants are parameters
    "beta" and "threshold". The law is npsnn/leaky/reference.py (C1 to C4).

    Example
    -------
    >>> S, cache = Leaky(beta=0.5).forward(np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1), {})
    >>> S.ravel(), cache.U.ravel()
    (array([0., 1., 0.]), array([ 0.75  ,  1.125 , -0.4375]))
    """

    def __init__(
        self,
        beta: Any,
        threshold: Any = 1.0,
        spike_grad: Surrogate | None = None,
        learn_beta: bool = False,
        learn_threshold: bool = False,
        reset_mechanism: str = "subtract",
        detach_reset: bool = True,
    ) -> None:
        self.beta = _constant(beta, "beta")
        self.threshold = _constant(threshold, "threshold")
        if ((self.beta < 0) | (self.beta > 1)).any():
            raise ValueError(f"Leaky: beta must be in [0, 1], got {beta!r}")
        if (self.threshold <= 0).any():
            raise ValueError(f"Leaky: threshold must be greater than 0, got {threshold!r}")
        if reset_mechanism not in RESETS:
            raise ValueError(f"Leaky: reset_mechanism must be one of {', '.join(RESETS)}, got {reset_mechanism!r}")
        if spike_grad is not None and not isinstance(spike_grad, Surrogate):
            raise TypeError(f"Leaky: spike_grad must be a surrogate, such as surrogate.atan(), got {spike_grad!r}")
        self.spike_grad = atan() if spike_grad is None else spike_grad
        self.learn_beta = _check.flag(learn_beta, "learn_beta", "Leaky")
        self.learn_threshold = _check.flag(learn_threshold, "learn_threshold", "Leaky")
        self.reset_mechanism = reset_mechanism
        self.detach_reset = _check.flag(detach_reset, "detach_reset", "Leaky")

    def param_shapes(self) -> dict[str, Shape]:
        """The learnable constants' own."""
        learnable = {"beta": self.learn_beta, "threshold": self.learn_threshold}
        return {name: getattr(self, name).shape for name, learn in learnable.items() if learn}

    def init_params(self, generator: Generator, dtype: Any = np.float32) -> dict[str, Array]:
        """The learnable constants at their given values; nothing is drawn."""
        params = {}
        if self.learn_beta:
            params["beta"] = self.beta.astype(dtype)
        if self.learn_threshold:
            params["threshold"] = self.threshold.astype(dtype)
        return params

    def out_shape(self, shape: Shape, where: str = "Leaky") -> Shape:
        """The input's; beta and threshold must broadcast against its features."""
        for name, constant in (("beta", self.beta), ("threshold", self.threshold)):
            try:
                fits = np.broadcast_shapes(constant.shape, shape[2:]) == shape[2:]
            except ValueError:
                fits = False
            if not fits:
                raise ValueError(
                    f"{where}: {name} has shape {constant.shape}, which does not broadcast against "
                    f"one sample's features {shape[2:]}"
                )
        return shape

    def forward(
        self,
        x: Array,
        params: Params,
        *,
        num_steps: int | None = None,
        U_before: Array | None = None,
        backend: str = "reference",
    ) -> tuple[Array, Any]:
        """(S, cache) for currents x (T, B, *N), or (1, B, *N) shown `num_steps` times; cache.U is the membrane."""
        backend = backends.resolve(backend)
        x = self._door(x, "x", backend)
        if x.ndim < 2:
            raise ValueError(f"Leaky: x has shape {x.shape}, expected (T, B, *features)")
        self.out_shape(x.shape)
        T = len(x) if num_steps is None else _check.whole(num_steps, "num_steps", 1, "Leaky")
        if T != len(x) and len(x) != 1:
            raise ValueError(f"Leaky: x has {len(x)} steps (shape {x.shape}), num_steps is {T}")
        self._check_params(params, x.dtype)
        if U_before is not None:
            U_before = self._door(U_before, "U_before", backend)
            _check.shape(U_before, x.shape[1:], "U_before", "Leaky")
        return self.fire(x, params, backends.load(backend), T, U_before)

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """S and the op's cache, as many steps as x has."""
        return self.fire(x, params, ops, len(x))

    def fire(
        self, x: Array, params: Params, ops: Backend, num_steps: int, U_before: Array | None = None
    ) -> tuple[Array, Any]:
        """S and the op's cache for `num_steps` steps from the membrane U_before (None: at rest)."""
        dtype = x.real.dtype
        S, cache = ops.leaky.leaky_forward(
            x,
            params.get("beta", self.beta.astype(dtype)),
            params.get("threshold", self.threshold.astype(dtype)),
            U_before,
            num_steps=num_steps,
            sigma=self.spike_grad.for_run(),
            reset_mechanism=self.reset_mechanism,
            detach_reset=self.detach_reset,
        )
        return S, cache

    def backward(
        self, dy: Array, cache: Any, params: Params, *, dmem: Array | None = None, backend: str = "reference"
    ) -> tuple[Array, dict[str, Array]]:
        """(dI, grads) for dy = dL/dS and, where given, dmem = dL/dU."""
        backend = backends.resolve(backend)
        dy = self._door(dy, "dy", backend)
        _check.shape(dy, cache.U.shape, "dy", "Leaky")
        if dmem is not None:
            dmem = self._door(dmem, "dmem", backend)
            _check.shape(dmem, cache.U.shape, "dmem", "Leaky")
        dx, grads, _ = self.fire_back(dy, dmem, cache, backends.load(backend))
        return dx, grads

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dI and the gradients of the learnable constants."""
        dx, grads, _ = self.fire_back(dy, None, cache, ops)
        return dx, grads

    def fire_back(
        self, dS: Array | None, dmem: Array | None, cache: Any, ops: Backend
    ) -> tuple[Array, dict[str, Array], Array]:
        """dI, the gradients of the learnable constants, and that of the membrane before the first step."""
        dI, dbeta, dtheta, dU_before = ops.leaky.leaky_backward(dS, dmem, cache)
        grads = {}
        if self.learn_beta:
            grads["beta"] = dbeta
        if self.learn_threshold:
            grads["threshold"] = dtheta
        return dI, grads, dU_before

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """The membranes U."""
        return num_steps * math.prod(shape[1:]) * dtype.itemsize

    def __repr__(self) -> str:
        def text(constant: Array) -> str:
            return f"{constant.item():g}" if constant.ndim == 0 else f"array{constant.shape}"

        extra = ", learn_beta=True" if self.learn_beta else ""
        extra += ", learn_threshold=True" if self.learn_threshold else ""
        extra += f", reset_mechanism={self.reset_mechanism!r}" if self.reset_mechanism != "subtract" else ""
        extra += "" if self.detach_reset else ", detach_reset=False"
        return f"Leaky(beta={text(self.beta)}, threshold={text(self.threshold)}, spike_grad={self.spike_grad}{extra})"


def _constant(value: Any, name: str) -> Array:
    """A neuron's constant as a float64 array of its own, finite."""
    array = _check.plain(value, name, "Leaky")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"Leaky: {name} must be a number or an array of numbers, got {value!r}")
    array = array.astype(np.float64)
    _check.finite(array, name, "Leaky")
    return array


def _spatial(layer: Conv2d | _Pool2d, shape: Shape, where: str) -> tuple[int, int]:
    """(H_out, W_out) of a kernel sliding over the last two axes of `shape`."""
    if len(shape) < 3:
        raise ValueError(f"{where}: input has shape {shape}, expected (..., channels, height, width)")
    sizes = []
    for n, k, s, p in zip(shape[-2:], layer.kernel_size, layer.stride, layer.padding, strict=True):
        if k > n + 2 * p:
            raise ValueError(
                f"{where}: kernel {layer.kernel_size} does not fit input {shape[-2]}x{shape[-1]} "
                f"(padding {layer.padding}, shape {shape})"
            )
        sizes.append((n + 2 * p - k) // s + 1)
    return sizes[0], sizes[1]


def _fold(x: Array, features: int) -> tuple[Array, Shape]:
    """(..., *features) -> (N, *features), and the axes that were folded."""
    lead = x.shape[: x.ndim - features]
    return x.reshape(-1, *x.shape[len(lead) :]), lead


def _unfold(dX: Array | None, lead: Shape) -> Array | None:
    """(N, *features) -> (..., *features)."""
    return None if dX is None else dX.reshape(*lead, *dX.shape[1:])
