"""linear: the Numba twin against the law, and what its bits may not depend on (C11)."""

import numpy as np
import pytest

from npsnn.linear import reference
from tests.twins import DTYPES, drawn, near, same_bits, same_for_any_number_of_threads, same_signatures, unchanged

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn._lanes import multiply_add
from npsnn.linear import cpu

# N, K, M; blocks of K, and runs of N, that are whole, cut, and fewer than one
CASES = [
    (3, 5, 2),
    (1, 1, 1),
    (2 * cpu.ROWS + 7, 2 * cpu.BLOCK + 3, 10),
    (cpu.ROWS + 6, cpu.BLOCK, 33),
    (4, 3, 1),
    (1, 90, 7),
    (2, 3, 8),
    (3, 5, 33),  # a wider row of outputs than of inputs
]


def draw(case, dtype, dyadic=False, zeros=0.5):
    """X, W, b, dY."""
    N, K, M = case
    rng = np.random.default_rng(1)
    X, dY = (drawn(rng, (N, n), dtype, zeros=zeros, dyadic=dyadic) for n in (K, M))
    W, b = drawn(rng, (M, K), dtype, zeros=0, dyadic=dyadic), drawn(rng, (M,), dtype, zeros=0, dyadic=dyadic)
    return X, W, b, dY


def both(op, X, W, b, dY):
    """(Y, dX, dW, db)."""
    Y, cache = op.linear_forward(X, W, b)
    return (Y, *op.linear_backward(dY, cache, W, bias=b is not None))


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, ["linear_forward", "linear_backward"])
    assert cpu.LinearCache is reference.LinearCache


@pytest.mark.parametrize("zeros", [0.5, 0.9])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_near_the_law(case, dtype, zeros):
    X, W, b, dY = draw(case, dtype, zeros=zeros)
    near(both(cpu, X, W, b, dY), both(reference, X, W, b, dY))
    near(both(cpu, X, W, None, dY), both(reference, X, W, None, dY))


def test_scratch_holds_rows_without_a_zero():
    rng = np.random.default_rng(5)
    X, W, b, dY = (rng.standard_normal(n) for n in ((3, 2 * cpu.BLOCK + 1), (2, 2 * cpu.BLOCK + 1), 2, (3, 2)))
    assert X.all() and dY.all()
    near(both(cpu, X, W, b, dY), both(reference, X, W, b, dY))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dyadic_bits_are_the_laws(case, dtype):
    drawing = draw(case, dtype, dyadic=True)
    same_bits(both(cpu, *drawing), both(reference, *drawing))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(dtype):
    drawing = draw(CASES[2], dtype)
    same_for_any_number_of_threads(lambda: both(cpu, *drawing))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_does_not_depend_on_its_neighbours(dtype):
    X, W, b, dY = draw(CASES[3], dtype)
    Y, dX, _, _ = both(cpu, X, W, b, dY)
    for n in (0, 1, len(X) - 1):
        Y_n, dX_n, _, _ = both(cpu, X[n : n + 1], W, b, dY[n : n + 1])
        same_bits((Y_n, dX_n), (Y[n : n + 1], dX[n : n + 1]))
    same_bits(both(cpu, X[::-1].copy(), W, b, dY[::-1].copy())[:2], (Y[::-1], dX[::-1]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_byte_a_spike_has_the_bits_of_numbers(case, dtype):
    for density in (0.1, 0.6):
        X, W, b, dY = draw(case, dtype)
        X = np.random.default_rng(4).random(X.shape) < density
        same_bits(both(cpu, X, W, b, dY), both(cpu, X.astype(dtype), W, b, dY))


@pytest.mark.parametrize("zeros", [0, 0.5, 0.9])
def test_sums_run_in_the_order_stated(zeros):
    """Whether what is not zero is listed (nine tenths of zeros) or all is multiplied."""
    X, W, b, dY = draw(CASES[3], "float32", zeros=zeros)
    Y, dX, dW, db = both(cpu, X, W, b, dY)
    Y_sum, dX_sum, dW_sum, db_sum = (np.zeros_like(a) for a in (Y, dX, dW, db))
    for k in range(X.shape[1]):
        Y_sum = multiply_add(X[:, k, None], W[:, k], Y_sum)
    for m in range(len(W)):
        dX_sum = multiply_add(dY[:, m, None], W[m], dX_sum)
    for start in range(0, len(X), cpu.ROWS):
        dW_part, db_part = np.zeros_like(dW), np.zeros_like(db)
        for n in range(start, min(start + cpu.ROWS, len(X))):
            dW_part = multiply_add(X[n], dY[n, :, None], dW_part)
            db_part += dY[n]
        dW_sum += dW_part
        db_sum += db_part
    same_bits((Y, dX, dW, db), (Y_sum + b, dX_sum, dW_sum, db_sum))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_given_is_changed_and_backward_repeats(dtype):
    X, W, b, dY = draw(CASES[2], dtype)
    with unchanged(X, W, b, dY):
        Y, cache = cpu.linear_forward(X, W, b)
        assert cache.X is X
        first = cpu.linear_backward(dY, cache, W)
        same_bits(cpu.linear_backward(dY, cache, W), first)
        same_bits(cpu.linear_forward(X, W, b)[0], Y)


def test_what_is_not_asked_for_is_none():
    X, W, b, dY = draw(CASES[0], "float64")
    _, cache = cpu.linear_forward(X, W, b)
    dW = cpu.linear_backward(dY, cache, W)[1]
    none, dW_alone, also_none = cpu.linear_backward(dY, cache, W, bias=False, input_grad=False)
    assert none is None
    assert also_none is None
    same_bits(dW_alone, dW)


def test_memory_order_does_not_matter():
    X, W, b, dY = draw(CASES[2], "float64")
    scattered = [np.asfortranarray(X), np.asfortranarray(W), b, np.asfortranarray(dY)]
    same_bits(both(cpu, *scattered), both(cpu, X, W, b, dY))


def test_no_rows():
    drawing = draw((0, 5, 2), "float64")
    same_bits(both(cpu, *drawing), both(reference, *drawing))
