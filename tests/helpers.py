"""What tests of several modules share: derivatives by complex step, and data that has them.

A law takes complex128. One entry of one argument is moved by 1e-30i; the imaginary part of the result, divided by
1e-30, is the derivative. Nothing is subtracted, so the step has no error of its own, and what is left to allow for is
the rounding of two float64 computations of the same number.
"""

import numpy as np
import pytest

from npsnn import _cuda

STEP = 1e-30
# Sums here have at most a few hundred terms, each rounded to 1.1e-16; relative to the largest entry.
ROUNDING = 1e-12


def complex_step(function, *arguments):
    """d function / d argument for each argument; `function` gives a number."""
    gradients = []
    for which, argument in enumerate(arguments):
        gradient = np.zeros(argument.shape)
        for at in np.ndindex(argument.shape):
            moved = [a.astype(np.complex128) for a in arguments]
            moved[which][at] += 1j * STEP
            gradient[at] = np.imag(function(*moved)) / STEP
        gradients.append(gradient)
    return gradients


def close(actual, expected, tolerance=ROUNDING):
    """Same shape, and no entry further off than `tolerance` times the largest of all."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * max(scale, np.finfo(float).tiny))


def distinct(rng, shape):
    """Every number is another, and they lie at least 1/8 apart, in random order: no maximum is in doubt."""
    n = int(np.prod(shape))
    return (rng.permutation(n) - n // 2).reshape(shape) / 8.0


def skip_without_a_device():
    """For tests of the cuda backend: without a GPU or its simulator they are skipped, with the reason."""
    works, why = _cuda.available()
    if not works:
        pytest.skip(f"the cuda backend cannot run here: {why}; NUMBA_ENABLE_CUDASIM=1 simulates it")
