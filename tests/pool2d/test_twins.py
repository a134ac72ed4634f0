"""pool2d: the Numba twin against the law, and what its bits may not depend on (C11)."""

import numpy as np
import pytest

from npsnn.pool2d import reference
from tests.twins import DTYPES, drawn, near, same_bits, same_for_any_number_of_threads, same_signatures, unchanged

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.pool2d import cpu

# N, C, H_in, W_in, kernel, stride, padding
CASES = [
    (3, 2, 8, 6, (2, 2), (2, 2), (0, 0)),
    (5, 3, 9, 7, (3, 2), (1, 2), (1, 1)),  # windows that overlap
    (2, 4, 7, 11, (2, 3), (3, 4), (1, 0)),  # and leave gaps
    (1, 1, 1, 1, (1, 1), (1, 1), (0, 0)),
    (4, 1, 1, 5, (2, 4), (2, 1), (1, 2)),
    (3 * cpu.IMAGES + 5, 1, 4, 5, (2, 2), (2, 1), (0, 0)),  # four chunks
    (2, 2, 20, 19, (17, 16), (2, 3), (0, 0)),  # 272 places: int32
]
OPS = ["maxpool2d", "avgpool2d"]


def draw(case, dtype, dyadic=False):
    """X, dY and the settings."""
    N, C, H_in, W_in, kernel, stride, padding = case
    rng = np.random.default_rng(2)
    H_out, W_out = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((H_in, W_in), kernel, stride, padding, strict=True))
    X = drawn(rng, (N, C, H_in, W_in), dtype, dyadic=dyadic)
    dY = drawn(rng, (N, C, H_out, W_out), dtype, dyadic=dyadic)
    return X, dY, {"kernel": kernel, "stride": stride, "padding": padding}


def both(module, op, X, dY, settings):
    """(Y, dX)."""
    Y, cache = getattr(module, f"{op}_forward")(X, **settings)
    return Y, getattr(module, f"{op}_backward")(dY, cache)


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, [f"{op}_{way}" for op in OPS for way in ("forward", "backward")])
    assert cpu.MaxPool2dCache is reference.MaxPool2dCache
    assert cpu.AvgPool2dCache is reference.AvgPool2dCache


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("op", OPS)
def test_it_is_near_the_law(op, case, dtype):
    drawing = draw(case, dtype)
    near(both(cpu, op, *drawing), both(reference, op, *drawing))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES[:-1], ids=str)
def test_dyadic_bits_are_the_laws(case, dtype):
    drawing = draw(case, dtype, dyadic=True)
    same_bits(both(cpu, "maxpool2d", *drawing), both(reference, "maxpool2d", *drawing))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_max_and_its_place_have_the_laws_bits(case, dtype):
    X, _, settings = draw(case, dtype)
    for tied in (X, (X > 0).astype(dtype), np.zeros_like(X), -(X > 0).astype(dtype)):
        Y, cache = cpu.maxpool2d_forward(tied, **settings)
        Y_law, cache_law = reference.maxpool2d_forward(tied, **settings)
        same_bits((Y, cache.place), (Y_law, cache_law.place))
        assert cache[1:] == cache_law[1:]


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan_are_the_laws(dtype):
    X, _, settings = draw(CASES[1], dtype)
    at = np.random.default_rng(3).integers(0, 8, X.shape)
    X = np.select([at == 0, at == 1, at == 2], [np.nan, np.inf, -np.inf], X).astype(dtype)
    Y, cache = cpu.maxpool2d_forward(X, **settings)
    Y_law, cache_law = reference.maxpool2d_forward(X, **settings)
    np.testing.assert_array_equal(Y, Y_law)
    somewhere = Y != -np.inf  # a window of nothing but -inf chooses its first pixel, where the law may choose padding
    np.testing.assert_array_equal(cache.place[somewhere], cache_law.place[somewhere])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_windows_that_hang_over_every_edge(dtype):
    X = np.arange(25.0).reshape(1, 1, 5, 5).astype(dtype)
    X[0, 0, ::2, ::2] = np.nan
    settings = {"kernel": (3, 4), "stride": (1, 1), "padding": (1, 2)}
    Y, cache = cpu.maxpool2d_forward(X, **settings)
    Y_law, cache_law = reference.maxpool2d_forward(X, **settings)
    np.testing.assert_array_equal(Y, Y_law)
    np.testing.assert_array_equal(cache.place, cache_law.place)


@pytest.mark.parametrize("op", OPS)
def test_bits_do_not_depend_on_threads_or_neighbours(op):
    X, dY, settings = draw(CASES[5], "float32")
    same_for_any_number_of_threads(lambda: both(cpu, op, X, dY, settings))
    Y, dX = both(cpu, op, X, dY, settings)
    for n in (0, len(X) - 1):
        same_bits(both(cpu, op, X[n : n + 1], dY[n : n + 1], settings), (Y[n : n + 1], dX[n : n + 1]))


@pytest.mark.parametrize("op", OPS)
def test_nothing_given_is_changed_and_backward_repeats(op):
    X, dY, settings = draw(CASES[1], "float32")
    Y, cache = getattr(cpu, f"{op}_forward")(X, **settings)
    with unchanged(X, dY, getattr(cache, "place", None)):
        backward = getattr(cpu, f"{op}_backward")
        same_bits(backward(dY, cache), backward(dY, cache))
        same_bits(getattr(cpu, f"{op}_forward")(X, **settings)[0], Y)


@pytest.mark.parametrize("op", OPS)
def test_memory_order_does_not_matter(op):
    X, dY, settings = draw(CASES[1], "float32")
    same_bits(both(cpu, op, np.asfortranarray(X), np.asfortranarray(dY), settings), both(cpu, op, X, dY, settings))


@pytest.mark.parametrize("op", OPS)
def test_no_images(op):
    drawing = draw((0, *CASES[0][1:]), "float32")
    same_bits(both(cpu, op, *drawing), both(reference, op, *drawing))
