"""a * b + c with one rounding, against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest

from npsnn._fused import multiply_add


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1, 2.0**-24, 2.0**30])
def test_it_is_the_exact_result_rounded(dtype, scale):
    rng = np.random.default_rng(0)
    a, b, c = (rng.standard_normal(2000).astype(dtype) for _ in range(3))
    c *= dtype(scale)
    for got, *terms in zip(multiply_add(a, b, c), a, b, c, strict=True):
        x, y, z = map(Fraction, map(float, terms))
        exact = x * y + z
        below, above = (Fraction(float(np.nextafter(got, dtype(side)))) for side in (-np.inf, np.inf))
        assert abs(Fraction(float(got)) - exact) <= min(exact - below, above - exact)


@pytest.mark.parametrize(("dtype", "bits"), [(np.float32, 23), (np.float64, 52)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_beside_the_middle_of_two_numbers_is_rounded_once(dtype, bits, sign):
    """The product is a hair below half a unit of `c`: rounded to the half first, it goes to the even neighbour."""
    tiny = dtype(2.0**-bits)
    a, b = dtype(0.5) * (1 - tiny), 1 + tiny
    c = dtype(sign * (2**bits + 1))
    assert multiply_add(np.array([a]), b, c).item() == c
    assert multiply_add(np.array([dtype(0.5) * (1 + 2 * tiny)]), b, c).item() == c + 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infinities_nan_and_the_sign_of_zero(dtype):
    inf, nan = np.inf, np.nan
    a, b, c = (
        np.array(x, dtype)
        for x in ([inf, inf, 1, nan, 0, -0.0, 1], [2, 0, 1, 1, -1, 0, -1], [1, 1, -inf, 0, -0.0, 0, 1])
    )
    expected = np.array([inf, nan, -inf, nan, -0.0, 0, 0], dtype)
    got = multiply_add(a, b, c)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(np.signbit(got[4:]), np.signbit(expected[4:]))
