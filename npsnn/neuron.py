"""The neuron layer (floor 2): the one layer with a memory, and the only one that knows time. It calls an op too."""

import math
from typing import Any

import numpy as np

from npsnn import _check, _free, backends
from npsnn._check import Array
from npsnn.backends import Backend
from npsnn.generator import Generator
from npsnn.layer import Layer, Params, Shape
from npsnn.surrogate import Surrogate, atan

RESETS = ("subtract", "zero", "none")


class Remembers(Layer):
    """A layer with membranes: it is run for a number of steps, from the membranes before them."""

    remembers = True
    spike_grad: Surrogate

    def neurons_at(self, i: int) -> int:
        """The index of its neurons' layer, if its parameters are layer i's."""
        raise NotImplementedError

    def membranes(self, shape: Shape) -> Shape:
        """(B, *N) for an input of `shape` (T, B, *features)."""
        raise NotImplementedError

    def fire(
        self,
        x: Array,
        params: Params,
        ops: Backend,
        num_steps: int,
        U_before: Array | None = None,
        sigma: Surrogate | None = None,
    ) -> tuple[Array, Any]:
        """y and the op's cache for `num_steps` steps from the membranes U_before (None: at rest).

        `sigma` is the surrogate of a run that is done in pieces; None takes a fresh one.
        """
        raise NotImplementedError

    def after(self, cache: Any) -> Array:
        """(B, *N) the membranes after the last step: an array of their own."""
        raise NotImplementedError

    def back_through(
        self, dy: Array | None, dmem: Array | None, dU_after: Array | None, cache: Any, params: Params, ops: Backend
    ) -> tuple[Array, dict[str, Array], Array]:
        """(dx, grads, dU_before) from dL/dy, dL/dU and dL/d(membranes after the last step)."""
        raise NotImplementedError

    def neurons(self, cache: Any, ops: Backend) -> Any:
        """leaky's cache of its neurons."""
        raise NotImplementedError


class Leaky(Remembers):
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
            raise ValueError(f"Leaky: beta must be in [0, 1], got {_check.said(beta)}")
        if (self.threshold <= 0).any():
            raise ValueError(f"Leaky: threshold must be greater than 0, got {_check.said(threshold)}")
        if reset_mechanism not in RESETS:
            got = _check.said(reset_mechanism)
            raise ValueError(f"Leaky: reset_mechanism must be one of {', '.join(RESETS)}, got {got}")
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

    def check_dtype(self, dtype: Any, where: str = "Leaky") -> None:
        """ValueError where a constant would be another in `dtype`: a threshold 0 or inf, a surrogate's slope too."""
        threshold = _check.said(self.threshold.tolist())
        with np.errstate(over="ignore", under="ignore"):
            theta, constants = self.threshold.astype(dtype), self.spike_grad.constants(np.dtype(dtype))
        if not ((theta > 0) & np.isfinite(theta)).all():
            raise ValueError(f"{where}: threshold is {threshold}, which is 0 or inf in {np.dtype(dtype)}")
        given = (1, self.spike_grad.a, self.spike_grad.b)
        if any(not np.isfinite(own) or (own == 0) != (value == 0) for own, value in zip(constants, given, strict=True)):
            raise ValueError(f"{where}: a constant of {self.spike_grad} is 0 or inf in {np.dtype(dtype)}")

    def out_shape(self, shape: Shape, where: str = "Leaky") -> Shape:
        """The input's; beta and threshold must broadcast against its features."""
        for name, constant in (("beta", self.beta), ("threshold", self.threshold)):
            try:
                fits = constant.ndim == 0 or np.broadcast_shapes(constant.shape, shape[2:]) == shape[2:]
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
        self.check_dtype(x.real.dtype)
        out = (T, *x.shape[1:])
        _free.require(2 * math.prod(out) * x.itemsize, f"Leaky: an output of shape {out}", "take fewer steps")
        params = self._checked_params(params, x.dtype)
        if U_before is not None:
            U_before = self._door(U_before, "U_before", backend)
            _check.shape(U_before, x.shape[1:], "U_before", "Leaky")
        S, cache = self.fire(x, params, backends.load(backend), T, U_before)
        return np.asarray(S, x.dtype), cache

    def y_shape(self, cache: Any) -> Shape:
        """That of the membranes."""
        shape: Shape = cache.U.shape
        return shape

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """S and the op's cache, as many steps as x has."""
        return self.fire(x, params, ops, len(x))

    def neurons_at(self, i: int) -> int:
        """Itself."""
        return i

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
        """S and the op's cache."""
        dtype = x.real.dtype
        S, cache = ops.leaky.leaky_forward(
            x,
            params.get("beta", self.beta.astype(dtype)),
            params.get("threshold", self.threshold.astype(dtype)),
            U_before,
            num_steps=num_steps,
            sigma=self.spike_grad.for_run() if sigma is None else sigma,
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
        shape = self._y_shape(cache)
        _check.shape(dy, shape, "dy", "Leaky")
        if dmem is not None:
            dmem = self._door(dmem, "dmem", backend)
            _check.shape(dmem, shape, "dmem", "Leaky")
        dx, grads, _ = self.fire_back(dy, dmem, cache, backends.load(backend))
        return np.asarray(dx), {name: np.asarray(d) for name, d in grads.items()}

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
        learns = self.learn_beta or self.learn_threshold
        dI, dbeta, dtheta, dU_before = ops.leaky.leaky_backward(dS, dmem, cache, constants=learns)
        grads = {}
        if self.learn_beta:
            grads["beta"] = dbeta
        if self.learn_threshold:
            grads["threshold"] = dtheta
        return dI, grads, dU_before

    def after(self, cache: Any) -> Array:
        """A copy of the last step's."""
        U: Array = cache.U[-1].copy()
        return U

    def back_through(
        self, dy: Array | None, dmem: Array | None, dU_after: Array | None, cache: Any, params: Params, ops: Backend
    ) -> tuple[Array, dict[str, Array], Array]:
        """As `fire_back`, with what follows from the last membrane."""
        if dU_after is not None:
            dmem = np.zeros_like(cache.U) if dmem is None else dmem.copy()
            dmem[-1] += dU_after
        return self.fire_back(dy, dmem, cache, ops)

    def neurons(self, cache: Any, ops: Backend) -> Any:
        """The cache itself."""
        return cache

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
        raise TypeError(f"Leaky: {name} must be a number or an array of numbers, got {_check.said(value)}")
    array = array.astype(np.float64)
    _check.finite(array, name, "Leaky")
    return array
