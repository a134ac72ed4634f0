"""leakyconv2d: the Numba twin against the law, and what its bits may not depend on (C11)."""

import numpy as np
import pytest

from npsnn import surrogate
from npsnn.leaky.inside import Neurons
from npsnn.leakyconv2d import reference
from tests.twins import drawn, near, same_bits, same_for_any_number_of_threads, same_signatures, unchanged

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.leakyconv2d import cpu

GROUP = 6  # images: few, so that a test needs few steps to fill one
# T, static, B, C, H, W, O, kernel, stride, padding
CASES = [
    (5, True, 3, 2, 7, 6, 4, (3, 2), (1, 1), (0, 0)),
    (4, False, 2, 3, 6, 9, 17, (2, 3), (2, 3), (1, 2)),
    (GROUP + 1, False, 3, 1, 3, 4, 2, (2, 2), (1, 1), (0, 0)),  # a group of one sample
    (GROUP // 2, True, 7, 1, 3, 3, 2, (2, 2), (1, 1), (1, 1)),  # groups of two, and one left over
    (2, True, 1, 5, 21, 20, 3, (3, 3), (2, 2), (1, 1)),  # more neurons than a block
    (1, True, 2, 2, 5, 5, 70, (5, 5), (1, 1), (2, 0)),
]
GROUPS = CASES[3]


@pytest.fixture(autouse=True)
def few_images_are_a_group(monkeypatch):
    monkeypatch.setattr(cpu, "GROUP", GROUP)


def draw(case, dtype, reset="subtract", sigma=None, dyadic=False, seed=0):
    """The neurons, W, b, dY, dU_after and the settings."""
    T, static, B, C, H, width, O, kernel, stride, padding = case
    rng = np.random.default_rng(seed)
    I = drawn(rng, (1 if static else T, B, C, H, width), dtype, zeros=0.2, dyadic=dyadic) + np.array(0.25, dtype)
    beta, theta = (np.array(0.5, dtype), np.array(0.75, dtype)) if dyadic else (
        rng.random((C, 1, 1)).astype(dtype), (0.2 + rng.random((H, width))).astype(dtype)
    )  # fmt: skip
    U_before = drawn(rng, (B, C, H, width), dtype, dyadic=dyadic)
    neurons = Neurons(I, beta, theta, U_before, T, sigma or surrogate.fast_sigmoid(slope=3), reset)
    W, b = drawn(rng, (O, C, *kernel), dtype, zeros=0, dyadic=dyadic), drawn(rng, (O,), dtype, dyadic=dyadic)
    settings = {"stride": stride, "padding": padding}
    Y, U_after, _ = reference.leakyconv2d_forward(neurons, W, b, **settings)
    dY, dU = (drawn(rng, y.shape, dtype, zeros=0.2, dyadic=dyadic) for y in (Y, U_after))
    return neurons, W, b, dY, dU, settings


def both(op, neurons, W, b, dY, dU, settings):
    """(Y, U_after, dI, dW, db, dU_before)."""
    Y, U, cache = op.leakyconv2d_forward(neurons, W, b, **settings)
    return (Y, U, *op.leakyconv2d_backward(dY, dU, cache, W, bias=b is not None))


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, ["leakyconv2d_forward", "leakyconv2d_backward"])
    assert cpu.LeakyConv2dCache is reference.LeakyConv2dCache


@pytest.mark.parametrize(
    "case, reset", [(case, "subtract") for case in CASES] + [(CASES[0], "zero"), (CASES[0], "none")], ids=str
)
def test_it_is_near_the_law(case, reset):
    neurons, W, b, dY, dU, settings = draw(case, "float64", reset)
    for bias, dU_after in ((b, dU), (None, None)):
        given = neurons, W, bias, dY, dU_after, settings
        near(both(cpu, *given), both(reference, *given))


@pytest.mark.parametrize("case, dtype", [(CASES[0], "float64"), (CASES[1], "float32")], ids=str)
def test_dyadic_bits_are_the_laws(case, dtype):
    drawing = draw(case, dtype, "subtract", surrogate.straight_through_estimator(), dyadic=True)
    same_bits(both(cpu, *drawing), both(reference, *drawing))


def test_the_cache_is_the_laws():
    neurons, W, b, *_, settings = draw(CASES[1], "float64")
    ours, law = (op.leakyconv2d_forward(neurons, W, b, **settings)[2] for op in (cpu, reference))
    assert ours.neurons is law.neurons is neurons and ours[1:] == law[1:]


def test_another_surrogate():
    drawing = draw(CASES[0], "float64", sigma=surrogate.atan())
    near(both(cpu, *drawing), both(reference, *drawing))


@pytest.mark.parametrize("bias", [-1.5, 3], ids=["few fire", "most fire"])
def test_forward_has_the_bits_of_the_two_ops_one_by_one(bias):
    from npsnn.conv2d.cpu import conv2d_forward
    from npsnn.leaky.cpu import leaky_forward

    neurons, W, b, *_, settings = draw(CASES[0], "float32")
    neurons = neurons._replace(I=neurons.I + np.float32(bias))
    Y, U, _ = cpu.leakyconv2d_forward(neurons, W, b, **settings)
    S, leaky = leaky_forward(*neurons[:4], num_steps=neurons.num_steps, sigma=neurons.sigma)
    Y_parts = conv2d_forward(S.reshape(-1, *S.shape[2:]), W, b, **settings)[0]
    same_bits((Y.reshape(Y_parts.shape), U), (Y_parts, leaky.U[-1]))


def test_bits_do_not_depend_on_threads():
    drawing = draw(GROUPS, "float64")
    same_for_any_number_of_threads(lambda: both(cpu, *drawing))


@pytest.mark.parametrize("case, size", [(CASES[2], 1), (GROUPS, 2)], ids=str)
def test_weight_gradient_is_the_sum_of_the_groups(case, size):
    neurons, W, b, dY, dU, settings = draw(case, "float64")
    *_, dW, db, _ = both(cpu, neurons, W, b, dY, dU, settings)
    dWs, dbs = np.zeros_like(W), np.zeros_like(b)
    for n in range(0, len(neurons.U_before), size):
        mine = slice(n, n + size)
        some = neurons._replace(I=neurons.I[:, mine], U_before=neurons.U_before[mine])
        *_, part, part_b, _ = both(cpu, some, W, b, dY[:, mine], dU[mine], settings)
        dWs, dbs = dWs + part, dbs + part_b
    same_bits((dWs, dbs), (dW, db))


def test_a_sample_does_not_depend_on_its_neighbours():
    neurons, W, b, dY, dU, settings = draw(GROUPS, "float64")
    Y, U, dI, *_, dU_before = both(cpu, neurons, W, b, dY, dU, settings)
    one = neurons._replace(I=neurons.I[:, 2:3], U_before=neurons.U_before[2:3])
    alone = both(cpu, one, W, b, dY[:, 2:3], dU[2:3], settings)
    same_bits((*alone[:3], alone[-1]), (Y[:, 2:3], U[2:3], dI[:, 2:3], dU_before[2:3]))


def test_channels_may_lie_last_and_nothing_given_is_changed():
    neurons, W, b, dY, dU, settings = draw(CASES[1], "float64")
    expected = both(cpu, neurons, W, b, dY, dU, settings)
    last = [np.ascontiguousarray(np.moveaxis(x, -3, -1)) for x in (neurons.I, neurons.U_before, dY, dU)]
    I, U_before, dY_last, dU_last = (np.moveaxis(x, -1, -3) for x in last)
    theirs = neurons._replace(I=I, U_before=U_before)
    with unchanged(*last, W, b, *neurons[:4], dY, dU):
        same_bits(both(cpu, theirs, W, b, dY_last, dU_last, settings), expected)
        same_bits(both(cpu, neurons, W, b, dY, dU, settings), expected)
