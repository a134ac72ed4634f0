"""The spike and its surrogate derivatives (floor 0; conventions C2 and C5).

A spike is a step, S = H(x) with x = U - theta, and the step's true derivative is zero wherever it exists. Training
replaces it, in the backward pass only, by a surrogate sigma'(x). This file is the table of those derivatives. Each is a
plain function of a number, `f(x, one, a, b)`, written so that the same source runs on NumPy arrays (the law), inside
Numba (cpu) and inside a CUDA kernel: arithmetic, abs, comparisons and exp, nothing else. a and b are its constants, and
`one` is 1 in the type of x: a literal 1.0 would make a compiled kernel compute float32 in double precision.

A primitive is a function whose derivative is sigma'. It takes no part in training; the proofs use it, because in a
network that "spikes" by the primitive the surrogate gradient is the true one. For complex x, abs and comparisons look
at the real part (C5).
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.generator import Generator

Formula = Callable[[Any, Any, Any, Any], Any]
Primitive = Callable[[Any, float, float], Any]

exp = np.exp  # by a name of its own, because a CUDA kernel has another


# --- derivatives: sigma'(x) of a number, constants one, a and b ----------------------------------------------------


def fast_sigmoid_derivative(x: Any, one: Any, k: Any, _: Any) -> Any:
    """1 / (1 + k|x|)^2: Zenke & Ganguli 2018, SuperSpike, eq. 3."""
    q = k * abs(x) + one
    return one / (q * q)


def atan_derivative(x: Any, one: Any, half: Any, scale: Any) -> Any:
    """(alpha/2) / (1 + (pi alpha x / 2)^2) with half = alpha/2, scale = pi alpha / 2: Fang et al. 2021, eq. 12."""
    q = scale * x
    return half / (one + q * q)


def sigmoid_derivative(x: Any, one: Any, k: Any, _: Any) -> Any:
    """k s(kx) (1 - s(kx)), through e^(-k|x|) <= 1, which cannot overflow: Zenke & Ganguli 2018."""
    e = exp(-k * abs(x))
    return k * e / ((one + e) * (one + e))


def straight_through_derivative(x: Any, one: Any, _: Any, __: Any) -> Any:
    """1 everywhere: Bengio, Leonard & Courville 2013."""
    return (x == x) * one


def triangular_derivative(x: Any, one: Any, threshold: Any, _: Any) -> Any:
    """+threshold below, -threshold at or above: what snnTorch calls triangular."""
    return (x < 0) * threshold - (x >= 0) * threshold


def heaviside_derivative(x: Any, one: Any, _: Any, __: Any) -> Any:
    """The step itself: 1 above threshold, 0 at or below."""
    return (x > 0) * one


def spike_rate_escape_derivative(x: Any, one: Any, beta: Any, k: Any) -> Any:
    """k exp(-beta |x - 1|): snnTorch's, whose peak lies one unit above threshold."""
    return k * exp(-beta * abs(x - one))


def leaky_spike_derivative(x: Any, one: Any, slope: Any, _: Any) -> Any:
    """1 above, `slope` at or below."""
    return (x > 0) * one + (x <= 0) * slope


def sparse_fast_sigmoid_derivative(x: Any, one: Any, k: Any, B: Any) -> Any:
    """The fast sigmoid's where x > B, else 0: Perez-Nieves & Goodman 2021."""
    q = k * abs(x) + one
    return (x > B) * one / (q * q)


# --- primitives: functions whose derivative is the above -----------------------------------------------------------


def _abs(x: Array) -> Array:
    """|x|; for complex x, x times the sign of its real part."""
    return np.where(x.real < 0, -x, x)


def _fast_sigmoid_primitive(x: Array, k: float, _: float) -> Array:
    return x / (1.0 + k * _abs(x))


def _atan_primitive(x: Array, _: float, scale: float) -> Array:
    return np.arctan(scale * x) / np.pi


def _sigmoid_primitive(x: Array, k: float, _: float) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * k * x))


def _straight_through_primitive(x: Array, _: float, __: float) -> Array:
    return x


def _triangular_primitive(x: Array, threshold: float, _: float) -> Array:
    return -threshold * _abs(x)


def _heaviside_primitive(x: Array, _: float, __: float) -> Array:
    return np.where(x.real > 0, x, 0 * x)


def _spike_rate_escape_primitive(x: Array, beta: float, k: float) -> Array:
    y = x - 1.0
    return k / beta * np.where(y.real < 0, -1.0, 1.0) * -np.expm1(-beta * _abs(y))


def _leaky_spike_primitive(x: Array, slope: float, _: float) -> Array:
    return np.where(x.real > 0, x, slope * x)


def _sparse_fast_sigmoid_primitive(x: Array, k: float, B: float) -> Array:
    at_B = B / (1.0 + k * abs(B))
    return np.where(x.real > B, _fast_sigmoid_primitive(x, k, 0.0) - at_B, 0 * x)


# --- the table's rows ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surrogate:
    """One surrogate with its constants: what a neuron is given as `spike_grad`.

    `.derivative(x)` is sigma'(x) on an array, `.primitive(x)` a function with that derivative, where one exists.
    Both keep the dtype of x (float32 or float64; the primitive takes complex128 too).

    Example
    -------
    >>> import numpy as np
    >>> fast_sigmoid(slope=25).derivative(np.array([-0.04, 0.0, 0.12]))
    array([0.25  , 1.    , 0.0625])
    >>> fast_sigmoid(slope=25).primitive(np.array([0.04]))
    array([0.02])
    """

    name: str
    formula: Formula
    a: float = 0.0
    b: float = 0.0
    primitive_formula: Primitive | None = None
    smooth: bool = field(default=False, kw_only=True)  # the proofs' smooth mode: the primitive in place of the spike

    def derivative(self, x: Any, step: int = 0) -> Array:
        """sigma'(x), elementwise, in x's dtype. `step` is the time step; only SSO, which is random, looks at it."""
        x = _real_array(x)
        return np.asarray(self.formula(x, *self.constants(x.dtype)), dtype=x.dtype)

    def constants(self, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
        """(one, a, b) as numbers of `dtype`, for `formula`."""
        return dtype.type(1), dtype.type(self.a), dtype.type(self.b)

    @property
    def compiles(self) -> bool:
        """Whether `formula` is all there is to it, so that a kernel can hold it."""
        return type(self) is Surrogate

    @property
    def has_primitive(self) -> bool:
        """Whether `.primitive` is defined."""
        return self.primitive_formula is not None

    def primitive(self, x: Any) -> Array:
        """A function whose derivative is `.derivative`; ValueError where there is none."""
        if self.primitive_formula is None:
            raise ValueError(f"surrogate {self.name} has no primitive")
        x = np.asarray(x) if np.iscomplexobj(x) else _real_array(x)
        return np.asarray(self.primitive_formula(x, self.a, self.b), dtype=x.dtype)

    def for_run(self) -> "Surrogate":
        """The surrogate to use for one forward pass and its backward: itself, unless it is random."""
        return self

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class ArraySurrogate(Surrogate):
    """A surrogate given as a NumPy function of an array; a compiled backend calls it and reads the result."""

    function: Callable[[Array], Any] | None = None

    def derivative(self, x: Any, step: int = 0) -> Array:
        """sigma'(x) as the function gives it, checked for its shape and cast to x's dtype."""
        x = _real_array(x)
        assert self.function is not None
        y = np.asarray(self.function(x), dtype=x.dtype)
        _check.shape(y, x.shape, "the derivative", f"surrogate {self.name}")
        return y


@dataclass(frozen=True)
class StochasticSurrogate(Surrogate):
    """SSO. One run has one key, so that backward can be repeated; u depends on the key, the step and the position."""

    generator: Generator | None = None
    key: int = 0

    def for_run(self) -> "StochasticSurrogate":
        """A copy with a fresh key from the surrogate's own generator."""
        assert self.generator is not None
        return replace(self, key=self.generator.int64() % 2**32)

    def derivative(self, x: Any, step: int = 0) -> Array:
        """1 above, else (u - 0.5 + mean) variance with u uniform in [0, 1)."""
        x = _real_array(x)
        u = Generator((self.key + step) % 2**32).uniform(0.0, 1.0, x.shape, np.float64)
        return np.asarray(np.where(x > 0, 1.0, (u - 0.5 + self.a) * self.b), dtype=x.dtype)


def _real_array(x: Any) -> Array:
    """Any real number or array as a float array; complex is refused."""
    x = _check.plain(x, "x", "a surrogate's derivative")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"a surrogate's derivative takes real numbers, got {x.dtype}")
    return np.asarray(x, dtype=x.dtype if x.dtype.kind == "f" else np.float64)


def spike(x: Array, sigma: Surrogate, step: int = 0) -> Array:
    """S = H(x): 1 where x > 0, else 0, in x's dtype (C2: x = 0 does not spike).

    For complex x it is H(Re x) + sigma'(Re x) (x - Re x): the imaginary part carries the surrogate's tangent (C5).
    In the smooth mode it is sigma's primitive, whose derivative sigma' truly is.

    >>> spike(np.array([-0.5, 0.0, 0.5]), fast_sigmoid())
    array([0., 0., 1.])
    >>> spike(np.array([0.04 + 1e-30j]), fast_sigmoid(slope=25)).imag
    array([2.5e-31])
    """
    if sigma.smooth:
        return sigma.primitive(x)
    S = (x.real > 0).astype(x.dtype)
    if np.iscomplexobj(x):
        S = S + sigma.derivative(x.real, step) * (x - x.real)
    return np.asarray(S)


def _positive(value: Any, name: str, where: str) -> float:
    number = _check.real(value, name, where)
    if number <= 0:
        raise ValueError(f"surrogate {where}: {name} must be greater than 0, got {value!r}")
    return number


def fast_sigmoid(slope: float = 25) -> Surrogate:
    """Derivative 1/(1 + slope |x|)^2, primitive x/(1 + slope |x|), 1 at 0 (Zenke & Ganguli 2018).

    >>> fast_sigmoid().derivative(0.0)
    array(1.)
    """
    k = _positive(slope, "slope", "fast_sigmoid")
    return Surrogate(f"fast_sigmoid(slope={slope})", fast_sigmoid_derivative, k, 0.0, _fast_sigmoid_primitive)


def atan(alpha: float = 2.0) -> Surrogate:
    """Derivative (alpha/2)/(1 + (pi alpha x/2)^2), primitive arctan(pi alpha x/2)/pi, alpha/2 at 0 (Fang et al. 2021).

    >>> atan().derivative(0.0)
    array(1.)
    """
    a = _positive(alpha, "alpha", "atan")
    return Surrogate(f"atan(alpha={alpha})", atan_derivative, a / 2, np.pi / 2 * a, _atan_primitive)


def sigmoid(slope: float = 25) -> Surrogate:
    """Derivative k s(kx)(1 - s(kx)) with k = slope, finite at every x, primitive s(kx), k/4 at 0.

    >>> sigmoid(slope=25).derivative(np.array([0.0, -1e6]))
    array([6.25, 0.  ])
    """
    k = _positive(slope, "slope", "sigmoid")
    return Surrogate(f"sigmoid(slope={slope})", sigmoid_derivative, k, 0.0, _sigmoid_primitive)


def straight_through_estimator() -> Surrogate:
    """Derivative 1, primitive x (Bengio, Leonard & Courville 2013).

    >>> straight_through_estimator().derivative(-3.0)
    array(1.)
    """
    return Surrogate("straight_through_estimator", straight_through_derivative, 0.0, 0.0, _straight_through_primitive)


def triangular(threshold: float = 1) -> Surrogate:
    """Derivative +threshold below and -threshold at or above, primitive -threshold |x|.

    This is what snnTorch 1.0.0 computes under this name. It is no triangle: it is constant on either side, and
    negative from the threshold upwards.

    >>> triangular().derivative(np.array([-2.0, 0.0, 2.0]))
    array([ 1., -1., -1.])
    """
    h = _positive(threshold, "threshold", "triangular")
    return Surrogate(f"triangular(threshold={threshold})", triangular_derivative, h, 0.0, _triangular_primitive)


def heaviside() -> Surrogate:
    """Derivative H(x), the step itself, primitive max(x, 0), 0 at 0.

    >>> heaviside().derivative(np.array([-1.0, 0.0, 1.0]))
    array([0., 0., 1.])
    """
    return Surrogate("heaviside", heaviside_derivative, 0.0, 0.0, _heaviside_primitive)


def spike_rate_escape(beta: float = 1, slope: float = 25) -> Surrogate:
    """Derivative slope exp(-beta |x - 1|), slope exp(-beta) at 0.

    Its peak is at x = 1, one unit above threshold, as in snnTorch 1.0.0, whose formula was made for U, not U - theta.

    >>> spike_rate_escape().derivative(1.0)
    array(25.)
    """
    b, k = _positive(beta, "beta", "spike_rate_escape"), _positive(slope, "slope", "spike_rate_escape")
    return Surrogate(
        f"spike_rate_escape(beta={beta}, slope={slope})",
        spike_rate_escape_derivative, b, k, _spike_rate_escape_primitive,
    )  # fmt: skip


def LSO(slope: float = 0.1) -> Surrogate:
    """Leaky spike operator: derivative 1 above, `slope` at or below; primitive max(x, 0) + slope min(x, 0).

    >>> LSO().derivative(np.array([-1.0, 0.0, 1.0]))
    array([0.1, 0.1, 1. ])
    """
    k = _check.real(slope, "slope", "surrogate LSO")
    return Surrogate(f"LSO(slope={slope})", leaky_spike_derivative, k, 0.0, _leaky_spike_primitive)


def SFS(slope: float = 25, B: float = 1) -> Surrogate:
    """Sparse fast sigmoid: the fast sigmoid's derivative where x > B, else 0 (Perez-Nieves & Goodman 2021).

    >>> SFS(slope=1, B=0).derivative(np.array([-1.0, 0.0, 1.0]))
    array([0.  , 0.  , 0.25])
    """
    k, b = _positive(slope, "slope", "SFS"), _check.real(B, "B", "surrogate SFS")
    return Surrogate(f"SFS(slope={slope}, B={B})", sparse_fast_sigmoid_derivative, k, b, _sparse_fast_sigmoid_primitive)


def SSO(mean: float = 0, variance: float = 0.2, seed: int = 0) -> Surrogate:
    """Stochastic spike operator: derivative 1 above, else (u - 0.5 + mean) variance, u uniform in [0, 1).

    u comes from the surrogate's own generator, seeded with `seed`: every forward pass draws a key, and the backward
    pass of its tape uses that key, so going backward twice gives the same gradient, and two passes differ.

    >>> float(SSO().derivative(0.5))
    1.0
    >>> bool(abs(SSO().derivative(-0.5)) <= 0.1)
    True
    """
    m, v = _check.real(mean, "mean", "surrogate SSO"), _check.real(variance, "variance", "surrogate SSO")
    name = f"SSO(mean={mean}, variance={variance}, seed={seed})"
    return StochasticSurrogate(name, straight_through_derivative, m, v, None, Generator(seed), seed)


def custom_surrogate(fn: Callable[..., Any]) -> Surrogate:
    """A derivative of your own: `fn(x)` on an array, or snnTorch's form `fn(x, grad, spikes)`, which is linear in grad.

    >>> boxcar = custom_surrogate(lambda x: (np.abs(x) < 0.5) * 1.0)
    >>> boxcar.derivative(np.array([-1.0, 0.0, 1.0]))
    array([0., 1., 0.])
    """
    if not callable(fn):
        raise TypeError(f"custom_surrogate: fn must be callable, got {fn!r}")
    required = [p for p in inspect.signature(fn).parameters.values() if p.default is p.empty]
    if len(required) not in (1, 3):
        raise TypeError(f"custom_surrogate: fn must take (x) or (x, grad, spikes), takes {len(required)} arguments")

    def three(x: Array) -> Any:
        return fn(x, np.ones_like(x), (x > 0).astype(x.dtype))

    function = fn if len(required) == 1 else three
    name = f"custom_surrogate({getattr(fn, '__name__', 'fn')})"
    return ArraySurrogate(name, straight_through_derivative, function=function)
