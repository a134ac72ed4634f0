"""The layers without a memory (floor 2). They call an op of a backend, and compute nothing themselves.

Time and batch are folded together for every one of them: an image is an image, whatever step it belongs to.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.backends import Backend
from npsnn.generator import Generator, init_bounds
from npsnn.layer import Layer, Params, Shape


class Folded(NamedTuple):
    """A cache, and the leading axes (T, B) that were folded for the op."""

    cache: Any
    lead: Shape


class _Weighted(Layer):
    """A layer y = op(x, weight, bias): Conv2d and Linear."""

    takes_spikes = True
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

    def named(self, dW: Array, db: Array | None) -> dict[str, Array]:
        """The gradients by name."""
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
        self.weight_shape = _check.size((self.out_channels, self.in_channels, *self.kernel_size), "weight", "Conv2d")
        self.fan_in = self.in_channels * math.prod(self.kernel_size)

    def out_shape(self, shape: Shape, where: str = "Conv2d") -> Shape:
        """(..., O, H_out, W_out); the last three axes of `shape` must be this layer's channels, height and width."""
        if len(shape) >= 3 and shape[-3] != self.in_channels:
            channels = "1 channel" if shape[-3] == 1 else f"{shape[-3]} channels"
            last = "; channels come before height and width: np.moveaxis(x, -1, -3)"
            hint = last if shape[-1] == self.in_channels else ""
            raise ValueError(f"{where}: input has {channels} (shape {shape}), weight expects {self.in_channels}{hint}")
        return (*shape[:-3], self.out_channels, *_spatial(self, shape, where))

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the op's cache."""
        X, lead = fold(x, 3)
        Y, cache = ops.conv2d.conv2d_forward(
            X, params["weight"], params.get("bias"), stride=self.stride, padding=self.padding
        )
        return Y.reshape(*lead, *Y.shape[1:]), Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx and the gradients of weight and bias."""
        dX, dW, db = ops.conv2d.conv2d_backward(
            fold(dy, 3)[0], cache.cache, params["weight"], bias=self.bias, input_grad=input_grad
        )
        return unfold(dX, cache.lead), self.named(dW, db)

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
        self.weight_shape = _check.size((self.out_features, self.in_features), "weight", "Linear")
        self.fan_in = self.in_features

    def out_shape(self, shape: Shape, where: str = "Linear") -> Shape:
        """(..., out_features)."""
        if not shape or shape[-1] != self.in_features:
            features = shape[-1] if shape else 0
            hint = "; put a Flatten() before it" if math.prod(shape[2:]) == self.in_features else ""
            raise ValueError(
                f"{where}: input has {features} features (shape {shape}), weight expects {self.in_features}{hint}"
            )
        return (*shape[:-1], self.out_features)

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """y and the op's cache."""
        X, lead = fold(x, 1)
        Y, cache = ops.linear.linear_forward(X, params["weight"], params.get("bias"))
        return Y.reshape(*lead, self.out_features), Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx and the gradients of weight and bias."""
        dX, dW, db = ops.linear.linear_backward(
            fold(dy, 1)[0], cache.cache, params["weight"], bias=self.bias, input_grad=input_grad
        )
        return unfold(dX, cache.lead), self.named(dW, db)

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
        X, lead = fold(x, 3)
        Y, cache = ops.pool2d.maxpool2d_forward(X, **self._geometry())
        return Y.reshape(*lead, *Y.shape[1:]), Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx."""
        dX = ops.pool2d.maxpool2d_backward(fold(dy, 3)[0], cache.cache)
        return unfold(dX, cache.lead), {}

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
        X, lead = fold(x, 3)
        Y, cache = ops.pool2d.avgpool2d_forward(X, **self._geometry())
        return Y.reshape(*lead, *Y.shape[1:]), Folded(cache, lead)

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """dx."""
        dX = ops.pool2d.avgpool2d_backward(fold(dy, 3)[0], cache.cache)
        return unfold(dX, cache.lead), {}


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


def fold(x: Array, features: int) -> tuple[Array, Shape]:
    """(..., *features) -> (N, *features), and the axes that were folded."""
    lead = x.shape[: x.ndim - features]
    return x.reshape(-1, *x.shape[len(lead) :]), lead


def unfold(dX: Array | None, lead: Shape) -> Array | None:
    """(N, *features) -> (..., *features)."""
    return None if dX is None else dX.reshape(*lead, *dX.shape[1:])
