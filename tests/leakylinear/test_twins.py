"""leakylinear: the Numba twin against the law, and what its bits may not depend on (C11)."""

import numpy as np
import pytest

from npsnn import surrogate
from npsnn.leaky.inside import Neurons
from npsnn.leakylinear import reference
from tests.twins import drawn, near, same_bits, same_for_any_number_of_threads, same_signatures, unchanged

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.leakylinear import cpu
from npsnn.leakylinear.cpu import leakylinear_backward, leakylinear_forward
from npsnn.linear.rows import BLOCK, ROWS

GROUP = 6  # rows: few, so that a test needs few steps to fill one
# T, static, B, K, M
CASES = [
    (5, True, 3, 7, 4),
    (4, False, 2, BLOCK + 3, 10),
    (GROUP + 1, False, 3, 5, 2),  # a group of one sample
    (GROUP // 2, True, 7, 20, 17),  # groups of two, and one left over; more outputs than a row's first piece
    (ROWS + 2, False, 1, 3, 2),  # more steps than a partial sum has
    (1, True, 2, 33, 70),
]
GROUPS = CASES[3]


@pytest.fixture(autouse=True)
def few_rows_are_a_group(monkeypatch):
    monkeypatch.setattr(cpu, "GROUP", GROUP)


def draw(case, dtype, reset="subtract", sigma=None, dyadic=False, seed=0, bias=0.25):
    """The neurons, W, b, dY and dU_after."""
    T, static, B, K, M = case
    rng = np.random.default_rng(seed)
    I = drawn(rng, (1 if static else T, B, K), dtype, zeros=0.2, dyadic=dyadic) + np.array(bias, dtype)
    beta, theta = (np.array(0.5, dtype), np.array(0.75, dtype)) if dyadic else (
        rng.random(K).astype(dtype), (0.2 + rng.random(K)).astype(dtype)
    )  # fmt: skip
    U_before = drawn(rng, (B, K), dtype, dyadic=dyadic)
    neurons = Neurons(I, beta, theta, U_before, T, sigma or surrogate.fast_sigmoid(slope=3), reset)
    W, b = drawn(rng, (M, K), dtype, zeros=0, dyadic=dyadic), drawn(rng, (M,), dtype, dyadic=dyadic)
    dY, dU = drawn(rng, (T, B, M), dtype, zeros=0.2, dyadic=dyadic), drawn(rng, (B, K), dtype, dyadic=dyadic)
    return neurons, W, b, dY, dU


def both(op, neurons, W, b, dY, dU):
    """(Y, U_after, dI, dW, db, dU_before)."""
    Y, U, cache = op.leakylinear_forward(neurons, W, b)
    return (Y, U, *op.leakylinear_backward(dY, dU, cache, W, bias=b is not None))


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, ["leakylinear_forward", "leakylinear_backward"])
    assert cpu.LeakyLinearCache is reference.LeakyLinearCache


@pytest.mark.parametrize(
    "case, reset", [(case, "subtract") for case in CASES] + [(CASES[0], "zero"), (CASES[0], "none")], ids=str
)
def test_it_is_near_the_law(case, reset):
    neurons, W, b, dY, dU = draw(case, "float64", reset)
    for bias, dU_after in ((b, dU), (None, None)):
        given = neurons, W, bias, dY, dU_after
        near(both(cpu, *given), both(reference, *given))


@pytest.mark.parametrize("case, dtype", [(CASES[0], "float64"), (CASES[1], "float32")], ids=str)
def test_dyadic_bits_are_the_laws(case, dtype):
    drawing = draw(case, dtype, "subtract", surrogate.straight_through_estimator(), dyadic=True)
    same_bits(both(cpu, *drawing), both(reference, *drawing))


def test_another_surrogate():
    drawing = draw(CASES[0], "float64", sigma=surrogate.atan())
    near(both(cpu, *drawing), both(reference, *drawing))


@pytest.mark.parametrize("bias", [-1.5, 0.25, 3], ids=["few fire", "some fire", "most fire"])
def test_where_few_or_most_neurons_fire(bias):
    drawing = draw((20, False, 3, 100, 40), "float64", bias=bias)
    near(both(cpu, *drawing), both(reference, *drawing))


def test_forward_has_the_bits_of_the_two_ops_one_by_one():
    from npsnn.leaky.cpu import leaky_forward
    from npsnn.linear.cpu import linear_forward

    for bias in (-1.5, 0.25, 3):
        neurons, W, b, *_ = draw((20, False, 3, 100, 40), "float32", bias=bias)
        Y, U, _ = leakylinear_forward(neurons, W, b)
        S, leaky = leaky_forward(*neurons[:4], num_steps=20, sigma=neurons.sigma)
        same_bits((Y.reshape(60, 40), U), (linear_forward(S.reshape(60, 100), W, b)[0], leaky.U[-1]))


def test_bits_do_not_depend_on_threads():
    drawing = draw(GROUPS, "float64")
    same_for_any_number_of_threads(lambda: both(cpu, *drawing))


@pytest.mark.parametrize("case, size", [(CASES[2], 1), (GROUPS, 2)], ids=str)
def test_weight_gradient_is_the_sum_of_the_groups(case, size):
    neurons, W, b, dY, dU = draw(case, "float64")
    *_, dW, db, _ = both(cpu, neurons, W, b, dY, dU)
    dWs, dbs = np.zeros_like(W), np.zeros_like(b)
    for n in range(0, len(neurons.U_before), size):
        mine = slice(n, n + size)
        some = neurons._replace(I=neurons.I[:, mine], U_before=neurons.U_before[mine])
        *_, part, part_b, _ = both(cpu, some, W, b, dY[:, mine], dU[mine])
        dWs, dbs = dWs + part, dbs + part_b
    same_bits((dWs, dbs), (dW, db))


def test_a_sample_does_not_depend_on_its_neighbours():
    neurons, W, b, dY, dU = draw(GROUPS, "float64")
    Y, U, dI, *_, dU_before = both(cpu, neurons, W, b, dY, dU)
    one = neurons._replace(I=neurons.I[:, 2:3], U_before=neurons.U_before[2:3])
    alone = both(cpu, one, W, b, dY[:, 2:3], dU[2:3])
    same_bits((*alone[:3], alone[-1]), (Y[:, 2:3], U[2:3], dI[:, 2:3], dU_before[2:3]))


def test_nothing_given_is_changed():
    neurons, W, b, dY, dU = draw(CASES[1], "float64")
    with unchanged(W, b, *neurons[:4], dY, dU):
        _, _, cache = leakylinear_forward(neurons, W, b)
        leakylinear_backward(dY, dU, cache, W)
