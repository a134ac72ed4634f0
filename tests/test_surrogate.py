"""The table of surrogates: values by formulas written again, primitives, the whole range of float32, randomness."""

import dataclasses
import math

import numpy as np
import pytest

from npsnn import surrogate
from npsnn.generator import Generator
from npsnn.surrogate import spike
from tests.helpers import STEP

# Each surrogate with its derivative written again on Python floats, and the value at 0 that the documents give.
TABLE = {
    "fast_sigmoid": (surrogate.fast_sigmoid(slope=3), lambda x: (1 + 3 * math.fabs(x)) ** -2, 1),
    "atan": (surrogate.atan(alpha=3.0), lambda x: 1.5 / (1 + (1.5 * math.pi * x) ** 2), 1.5),
    "sigmoid": (surrogate.sigmoid(slope=5), lambda x: 5 / (4 * math.cosh(2.5 * x) ** 2), 1.25),
    "straight_through": (surrogate.straight_through_estimator(), lambda x: 1, 1),
    "triangular": (surrogate.triangular(threshold=0.75), lambda x: 0.75 if x < 0 else -0.75, -0.75),
    "heaviside": (surrogate.heaviside(), lambda x: 1 if x > 0 else 0, 0),
    "spike_rate_escape": (
        surrogate.spike_rate_escape(beta=2, slope=7), lambda x: 7 * math.exp(-2 * math.fabs(x - 1)), 7 * math.exp(-2),
    ),
    "LSO": (surrogate.LSO(slope=0.25), lambda x: 1 if x > 0 else 0.25, 0.25),
    "SFS": (surrogate.SFS(slope=3, B=-0.5), lambda x: (1 + 3 * math.fabs(x)) ** -2 if x > -0.5 else 0, 1),
}  # fmt: skip
DEFAULTS = {
    "fast_sigmoid": surrogate.fast_sigmoid(), "atan": surrogate.atan(), "sigmoid": surrogate.sigmoid(),
    "straight_through": surrogate.straight_through_estimator(), "triangular": surrogate.triangular(),
    "heaviside": surrogate.heaviside(), "spike_rate_escape": surrogate.spike_rate_escape(), "LSO": surrogate.LSO(),
    "SFS": surrogate.SFS(), "SSO": surrogate.SSO(), "custom": surrogate.custom_surrogate(lambda x: 1 / (1 + np.abs(x))),
}  # fmt: skip
POINTS = np.array([-7.0, -1.5, -0.5, -0.25, -1e-9, 0.0, 1e-9, 0.3, 0.999, 1.0, 1.25, 6.5])


@pytest.mark.parametrize("name", TABLE)
def test_derivative_equals_the_formula_written_again(name):
    sigma, formula, at_zero = TABLE[name]
    # A handful of operations and one exp or cosh: a few ulp.
    np.testing.assert_allclose(sigma.derivative(POINTS), [formula(x) for x in POINTS.tolist()], rtol=4e-15)
    np.testing.assert_allclose(sigma.derivative(0.0), at_zero, rtol=4e-15)


def test_the_defaults_at_zero():
    expected = {"fast_sigmoid": 1, "atan": 1, "sigmoid": 6.25, "straight_through": 1, "triangular": -1, "heaviside": 0,
                "spike_rate_escape": 25 / math.e, "LSO": 0.1, "SFS": 0}  # fmt: skip
    for name, value in expected.items():
        assert DEFAULTS[name].derivative(0.0) == pytest.approx(value, rel=1e-15), name


@pytest.mark.parametrize("name", TABLE)
def test_the_primitives_derivative_is_the_derivative_by_complex_step(name):
    sigma = TABLE[name][0]
    x = np.delete(POINTS, POINTS == -0.5)  # where SFS jumps
    assert sigma.has_primitive
    # One complex tanh or expm1 beside one real exp: their errors, and at x = 6.5 what tanh's distance from 1 loses.
    slopes = sigma.primitive(x + 1j * STEP).imag / STEP
    np.testing.assert_allclose(slopes, sigma.derivative(x), rtol=1e-13, atol=1e-15)
    # Complex division and expm1 round otherwise than real ones.
    np.testing.assert_allclose(sigma.primitive(x + 0j).real, sigma.primitive(x), rtol=4e-15, atol=4e-16)


@pytest.mark.parametrize("name", TABLE)
def test_the_primitive_is_continuous_and_the_integral_of_the_derivative(name):
    """Ten thousand midpoints from -2 to 2; error of the rule: h^2 f''/24 where smooth, h f at a jump, h = 4e-4."""
    sigma = TABLE[name][0]
    edges = np.linspace(-2, 2, 10001)
    middle = (edges[1:] + edges[:-1]) / 2
    integral = np.concatenate([[0.0], np.cumsum(sigma.derivative(middle))]) * 4e-4
    primitive = sigma.primitive(edges)
    np.testing.assert_allclose(primitive - primitive[0], integral, rtol=0, atol=4e-4)


def test_primitives_by_hand():
    assert surrogate.fast_sigmoid(slope=3).primitive(np.array([-1.0, 0, 1])).tolist() == [-0.25, 0, 0.25]
    assert surrogate.atan(alpha=2).primitive(1 / math.pi) == pytest.approx(0.25, rel=1e-15)
    assert surrogate.sigmoid(slope=5).primitive(0.0) == 0.5
    assert surrogate.heaviside().primitive(np.array([-3.0, 2])).tolist() == [0, 2]
    assert surrogate.LSO(slope=0.25).primitive(np.array([-4.0, 2])).tolist() == [-1, 2]
    assert surrogate.SFS(slope=3, B=1).primitive(np.array([1.0, 5])).tolist() == [0, 5 / 16 - 1 / 4]


def whole_range(dtype):
    """Both signs of every power of two that the type holds, subnormals included, the largest number, and zero."""
    info = np.finfo(dtype)
    least = int(np.log2(float(info.smallest_subnormal)))
    powers = np.ldexp(dtype(1), np.arange(least, info.maxexp)).astype(dtype)
    x = np.concatenate([powers, powers * dtype(1.5), [info.max, info.tiny]]).astype(dtype)
    return np.concatenate([-x, [dtype(0)], x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", DEFAULTS)
def test_finite_over_the_whole_range(name, dtype):
    x = whole_range(dtype)
    assert np.isfinite(x).all()
    with np.errstate(over="ignore", under="ignore"):  # k |x| may overflow on the way to a slope of 0
        y = DEFAULTS[name].derivative(x)
    assert y.dtype == dtype
    assert np.isfinite(y).all()
    assert (np.abs(y) <= 25).all()


@pytest.mark.parametrize("name", DEFAULTS)
def test_dtype_and_shape_are_kept(name):
    sigma = DEFAULTS[name]
    for dtype in (np.float32, np.float64):
        for shape in ((), (1,), (3, 1, 2), (0, 4)):
            x = np.full(shape, -0.25, dtype)
            y = sigma.derivative(x)
            assert (y.dtype, y.shape) == (dtype, shape)
            if sigma.has_primitive:
                z = sigma.primitive(x)
                assert (z.dtype, z.shape) == (dtype, shape)
            assert (x == -0.25).all()
    assert sigma.derivative([1, -2]).dtype == np.float64


@pytest.mark.parametrize("name", [name for name in TABLE if name not in ("sigmoid", "spike_rate_escape")])
def test_float32_is_float64_rounded(name):
    """Arithmetic alone: three operations of float32, 2^-24 each."""
    sigma = TABLE[name][0]
    x = POINTS.astype(np.float32)
    np.testing.assert_allclose(sigma.derivative(x), sigma.derivative(x.astype(float)), rtol=4 * 2.0**-24)


# --- the spike ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_spike_is_strictly_above(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([-np.inf, -1, -tiny, -0.0, 0.0, tiny, 1, np.inf, np.nan], dtype)
    S = spike(x, surrogate.atan())
    assert S.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 0]
    assert S.dtype == dtype


@pytest.mark.parametrize("name", TABLE)
def test_a_complex_spike_carries_the_surrogates_tangent(name):
    sigma = TABLE[name][0]
    S = spike(POINTS + 3j * STEP, sigma)
    np.testing.assert_array_equal(S.real, spike(POINTS, sigma))
    np.testing.assert_allclose(S.imag, 3 * STEP * sigma.derivative(POINTS), rtol=1e-15)


# --- SSO ------------------------------------------------------------------------------------------------------------


def test_sso_is_1_above_and_within_its_bounds_below():
    x = np.linspace(-3, 3, 2001)
    y = surrogate.SSO(mean=0.25, variance=0.5, seed=4).derivative(x)
    assert (y[x > 0] == 1).all()
    below = y[x <= 0]
    assert (below >= -0.125).all()
    assert (below < 0.375).all()
    # The mean of 1001 numbers uniform over 0.5: standard error 0.5 / sqrt(12 * 1001) = 0.0046; four of them.
    assert abs(below.mean() - 0.125) < 0.0184
    assert len(np.unique(below)) > 990


def test_sso_is_reproducible_by_seed():
    x = -np.ones((5, 7))
    first, again, other = surrogate.SSO(seed=3), surrogate.SSO(seed=3), surrogate.SSO(seed=4)
    for _ in range(3):
        a, b, c = first.for_run(), again.for_run(), other.for_run()
        assert a.key == b.key != c.key
        np.testing.assert_array_equal(a.derivative(x, 6), b.derivative(x, 6))
        np.testing.assert_array_equal(a.derivative(x, 6), a.derivative(x, 6))


def test_sso_keys_wrap_at_32_bits():
    x, sigma = -np.ones(9), surrogate.SSO(seed=3)
    last = dataclasses.replace(sigma, key=2**32 - 1)
    np.testing.assert_array_equal(last.derivative(x, 1), dataclasses.replace(sigma, key=0).derivative(x, 0))
    assert all(0 <= sigma.for_run().key < 2**32 for _ in range(60))


def test_sso_differs_between_runs_steps_and_positions():
    x, sigma = -np.ones(9), surrogate.SSO(seed=3)
    one, two = sigma.for_run(), sigma.for_run()
    draws = [one.derivative(x, 0), one.derivative(x, 1), two.derivative(x, 0), one.derivative(x, -1)]
    assert len(np.unique(draws)) == 4 * 9


# --- custom surrogates ----------------------------------------------------------------------------------------------


def test_a_custom_surrogate_of_one_argument():
    def bump(x, width=2.0):
        return np.exp(-width * x * x)

    sigma = surrogate.custom_surrogate(bump)
    np.testing.assert_array_equal(sigma.derivative(POINTS), np.exp(-2.0 * POINTS * POINTS))
    assert str(sigma) == "custom_surrogate(bump)"
    assert not sigma.has_primitive


def test_a_custom_surrogate_in_snntorchs_form():
    """fn(x, grad, spikes): x is the membrane's distance from threshold, spikes what the step gave."""
    sigma = surrogate.custom_surrogate(lambda x, grad, spikes: grad * (2 * spikes + 0.5 * (1 - spikes)) * (x != 7))
    assert sigma.derivative(np.array([-1.0, 0.0, 3.0, 7.0])).tolist() == [0.5, 0.5, 2.0, 0.0]


def test_a_custom_surrogate_keeps_float32():
    assert (
        surrogate.custom_surrogate(lambda x: x.astype(float) * 3).derivative(np.ones(2, np.float32)).dtype == np.float32
    )
    assert surrogate.custom_surrogate(lambda x: np.abs(x) < 2).derivative(np.ones(2)).tolist() == [1, 1]


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: surrogate.custom_surrogate(0.5), TypeError, "fn must be callable, got 0.5"),
        (lambda: surrogate.custom_surrogate(lambda: 1), TypeError, "takes 0 arguments"),
        (lambda: surrogate.custom_surrogate(lambda x, grad: x), TypeError, "takes 2 arguments"),
        (lambda: surrogate.custom_surrogate(lambda x: x.sum()).derivative(np.ones(3)), ValueError, r"shape \(\)"),
        (lambda: surrogate.custom_surrogate(np.abs).primitive(1.0), ValueError, "has no primitive"),
        (lambda: surrogate.SSO().primitive(1.0), ValueError, "has no primitive"),
        (lambda: surrogate.atan().derivative(np.ones(2) + 1j), TypeError, "takes real numbers, got complex128"),
        (lambda: surrogate.atan().derivative("a"), TypeError, "takes real numbers"),
        (lambda: surrogate.fast_sigmoid(slope=-1), ValueError, "slope must be greater than 0, got -1"),
        (lambda: surrogate.sigmoid(slope=float("nan")), ValueError, "slope must be finite, got nan"),
        (lambda: surrogate.atan(alpha="2"), TypeError, "alpha must be a number, got '2'"),
        (lambda: surrogate.triangular(threshold=0), ValueError, "threshold must be greater than 0, got 0"),
        (lambda: surrogate.spike_rate_escape(beta=0), ValueError, "beta must be greater than 0, got 0"),
        (lambda: surrogate.spike_rate_escape(slope=True), TypeError, "slope must be a number, got True"),
        (lambda: surrogate.LSO(slope=np.inf), ValueError, "slope must be finite, got inf"),
        (lambda: surrogate.SFS(B=None), TypeError, "B must be a number, got None"),
        (lambda: surrogate.SSO(variance=np.nan), ValueError, "variance must be finite, got nan"),
        (lambda: surrogate.SSO(seed=0.5), TypeError, "seed must be an integer, got 0.5"),
    ],
)
def test_refusals(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_a_surrogate_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        surrogate.atan().a = 3.0


def test_its_name_says_its_settings():
    assert str(surrogate.atan()) == "atan(alpha=2.0)"
    assert str(surrogate.SFS(slope=3, B=-0.5)) == "SFS(slope=3, B=-0.5)"
    assert str(surrogate.SSO(seed=8)) == "SSO(mean=0, variance=0.2, seed=8)"


# --- what the mutants showed to be untested -------------------------------------------------------------------------


def test_the_noise_of_a_run_is_the_generators_own():
    """The key is the generator's next number, the noise at step t that of a generator seeded with key + t."""
    x = -np.ones(1000)
    key = Generator(3).int64() % 2**32
    sigma = surrogate.SSO(mean=0.25, variance=0.5, seed=3).for_run()
    for step in (0, 1, 5):
        u = Generator((key + step) % 2**32).uniform(0.0, 1.0, x.shape, np.float64)
        np.testing.assert_array_equal(sigma.derivative(x, step), (u - 0.5 + 0.25) * 0.5)


def test_only_a_formula_alone_compiles():
    assert surrogate.atan().compiles and surrogate.LSO().compiles
    assert not surrogate.SSO().compiles and not surrogate.custom_surrogate(np.abs).compiles


def test_the_primitive_of_an_integer_is_a_float():
    y = surrogate.fast_sigmoid(slope=1).primitive(np.array([1, -3]))
    assert y.dtype == np.float64 and y.tolist() == [0.5, -0.75]


def test_a_custom_surrogate_is_told_where_the_spikes_are():
    sigma = surrogate.custom_surrogate(lambda x, grad, spikes: grad * spikes)
    assert sigma.derivative(np.array([-1.0, 0.0, 0.5, 2.0])).tolist() == [0, 0, 1, 1]
