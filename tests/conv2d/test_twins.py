"""conv2d: the Numba twin against the law, and what its bits may not depend on (C11)."""

import numpy as np
import pytest

from npsnn.conv2d import reference
from tests.twins import DTYPES, drawn, near, same_bits, same_for_any_number_of_threads, same_signatures, unchanged

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.conv2d import cpu

# N, C, H_in, W_in, O, kernel, stride, padding
CASES = [
    (3, 2, 7, 6, 4, (3, 2), (1, 1), (0, 0)),
    (5, 3, 9, 8, 2, (2, 3), (2, 3), (1, 2)),
    (2, 4, 5, 11, 33, (5, 1), (3, 1), (2, 0)),
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0)),
    (2, 2, 4, 5, 3, (2, 3), (1, 1), (1, 2)),
    (4, 1, 3, 4, 6, (1, 2), (2, 2), (3, 1)),  # outputs that see nothing but padding
    (2, 2, 4, 3, 3, (2, 2), (1, 1), (2, 3)),  # on all four sides
    (2, 3, 8, 7, 5, (2, 2), (3, 4), (0, 0)),  # pixels that no output sees
    (2 * cpu.CHUNK + 6, 2, 4, 5, 3, (2, 3), (1, 1), (1, 0)),  # three chunks
]
CHUNKS = CASES[-1]


def draw(case, dtype, dyadic=False, seed=0, zeros=None):
    """X, W, b, dY and the settings."""
    N, C, H_in, W_in, O, kernel, stride, padding = case
    rng = np.random.default_rng(seed)
    H_out, W_out = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((H_in, W_in), kernel, stride, padding, strict=True))
    X = drawn(rng, (N, C, H_in, W_in), dtype, zeros=0.5 if zeros is None else zeros, dyadic=dyadic)
    W, b = (drawn(rng, shape, dtype, zeros=0, dyadic=dyadic) for shape in ((O, C, *kernel), (O,)))
    dY = drawn(rng, (N, O, H_out, W_out), dtype, zeros=0.75 if zeros is None else zeros, dyadic=dyadic)
    return X, W, b, dY, {"stride": stride, "padding": padding}


def both(op, X, W, b, dY, settings):
    """(Y, dX, dW, db)."""
    Y, cache = op.conv2d_forward(X, W, b, **settings)
    return (Y, *op.conv2d_backward(dY, cache, W, bias=b is not None))


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, ["conv2d_forward", "conv2d_backward"])
    assert cpu.Conv2dCache is reference.Conv2dCache


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_near_the_law(case, dtype):
    X, W, b, dY, settings = draw(case, dtype)
    near(both(cpu, X, W, b, dY, settings), both(reference, X, W, b, dY, settings))
    near(both(cpu, X, W, None, dY, settings), both(reference, X, W, None, dY, settings))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dyadic_bits_are_the_laws(case, dtype):
    drawing = draw(case, dtype, dyadic=True)
    same_bits(both(cpu, *drawing), both(reference, *drawing))


@pytest.mark.parametrize("channels", [(5, 1), (1, 9)], ids=str)
def test_scratch_holds_an_image_and_deltas_without_a_zero(channels):
    """Where the image is the larger of the two lists, and where the deltas are."""
    C, O = channels
    X, W, b, dY, settings = draw((2, C, 4, 5, O, (2, 2), (1, 1), (0, 0)), "float64", zeros=0)
    assert X.all() and dY.all()
    near(both(cpu, X, W, b, dY, settings), both(reference, X, W, b, dY, settings))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(dtype):
    drawing = draw(CHUNKS, dtype)
    same_for_any_number_of_threads(lambda: both(cpu, *drawing))


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_image_does_not_depend_on_its_neighbours(dtype):
    X, W, b, dY, settings = draw(CHUNKS, dtype)
    Y, dX, _, _ = both(cpu, X, W, b, dY, settings)
    for n in (0, 1, len(X) - 1):
        Y_n, dX_n, _, _ = both(cpu, X[n : n + 1], W, b, dY[n : n + 1], settings)
        same_bits((Y_n, dX_n), (Y[n : n + 1], dX[n : n + 1]))
    same_bits(both(cpu, X[::-1].copy(), W, b, dY[::-1].copy(), settings)[:2], (Y[::-1], dX[::-1]))


def test_weight_gradient_is_the_sum_of_the_chunks():
    X, W, b, dY, settings = draw(CHUNKS, "float32")
    chunks = [slice(i, i + cpu.CHUNK) for i in range(0, len(X), cpu.CHUNK)]
    parts = [both(cpu, X[chunk], W, b, dY[chunk], settings)[2:] for chunk in chunks]
    dW, db = parts[0][0].copy(), parts[0][1].copy()
    for part in parts[1:]:
        dW += part[0]
        db += part[1]
    same_bits(both(cpu, X, W, b, dY, settings)[2:], (dW, db))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_given_is_changed_and_backward_repeats(dtype):
    X, W, b, dY, settings = draw(CASES[1], dtype)
    with unchanged(X, W, b, dY):
        Y, cache = cpu.conv2d_forward(X, W, b, **settings)
        assert cache.X is X
        first = cpu.conv2d_backward(dY, cache, W)
        same_bits(cpu.conv2d_backward(dY, cache, W), first)
        same_bits(cpu.conv2d_forward(X, W, b, **settings)[0], Y)


def test_what_is_not_asked_for_is_none():
    X, W, b, dY, settings = draw(CASES[0], "float64")
    _, cache = cpu.conv2d_forward(X, W, b, **settings)
    dX, dW, db = cpu.conv2d_backward(dY, cache, W)
    none, dW_alone, also_none = cpu.conv2d_backward(dY, cache, W, bias=False, input_grad=False)
    assert none is None
    assert also_none is None
    same_bits(dW_alone, dW)
    assert dX is not None
    assert db is not None


def test_memory_order_does_not_matter():
    X, W, b, dY, settings = draw(CASES[1], "float64")
    scattered = [np.asfortranarray(X), np.asfortranarray(W), b, np.asfortranarray(dY)]
    same_bits(both(cpu, *scattered, settings), both(cpu, X, W, b, dY, settings))


def test_no_images():
    X, W, b, dY, settings = draw((0, *CASES[0][1:]), "float64")
    same_bits(both(cpu, X, W, b, dY, settings), both(reference, X, W, b, dY, settings))
