"""a * b + c with one rounding, in plain arithmetic (floor 0).

Processors and PyTorch's random generator multiply and add so. NumPy cannot, and so it is put together here from
products and sums whose rounding errors are computed exactly.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def multiply_add(a: Any, b: Any, c: Any) -> Array:
    """a * b + c of float32 or float64 arrays, rounded once; float64 up to 1e300, and errors above 1e-300.

    >>> x = np.array([1 + 2.0**-30])
    >>> x * x - 1 - 2.0**-29, multiply_add(x, x, np.array([-1 - 2.0**-29])) == 2.0**-60
    (array([0.]), array([ True]))
    """
    with np.errstate(invalid="ignore", over="ignore"):
        rounded_twice = a * b + c
        fused = _float32(a, b, c) if rounded_twice.dtype == np.float32 else _float64(a, b, c)
    return np.where(np.isfinite(rounded_twice) & (fused != 0), fused, rounded_twice)  # of 0, its sign


def _float32(a: Any, b: Any, c: Any) -> Array:
    """The product of two float32 is exact in float64."""
    product = np.multiply(a, b, dtype=np.float64)
    return _odd_sum(product, np.asarray(c, np.float64)).astype(np.float32)


def _float64(a: Any, b: Any, c: Any) -> Array:
    """Boldo & Melquiond 2008, "Emulation of FMA", algorithm Fmac."""
    product, product_error = _two_product(a, b)
    small, small_error = _two_sum(product_error, c)
    large, large_error = _two_sum(product, small)
    fused: Array = large + _odd_sum(small_error, large_error)
    return fused


def _odd_sum(a: Array, b: Any) -> Array:
    """a + b rounded to the odd neighbour where inexact: rounding that once more is as good as rounding once."""
    total, error = _two_sum(a, b)
    total = np.asarray(total)
    even = (total.view(np.int64) & 1) == 0
    return np.where((error != 0) & even, np.nextafter(total, np.copysign(np.inf, error)), total)


def _two_sum(a: Array, b: Any) -> tuple[Array, Array]:
    """a + b and its rounding error, exactly (Knuth)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _two_product(a: Array, b: Any) -> tuple[Array, Array]:
    """a * b and its rounding error, exactly (Dekker)."""
    product = a * b
    a_high, a_low = _halves(a)
    b_high, b_low = _halves(b)
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _halves(a: Any) -> tuple[Any, Any]:
    """a as a sum of two numbers of 26 bits each (Veltkamp)."""
    shifted = (2.0**27 + 1) * a
    high = shifted - (shifted - a)
    return high, a - high
