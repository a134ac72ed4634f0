"""leakyconvpool2d: the Numba twin against the law, and what its bits may not depend on (C11)."""

import numpy as np
import pytest

from npsnn import surrogate
from npsnn.leaky.inside import Neurons
from npsnn.leakyconvpool2d import reference
from tests.twins import drawn, near, same_bits, same_for_any_number_of_threads, same_signatures, unchanged

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.leakyconvpool2d import cpu
from npsnn.leakyconvpool2d.trains import STEPS

GROUP = 6  # images: few, so that a test needs few steps to fill one
MP2 = ((2, 2), (2, 2), (0, 0))
# T, static, B, C, H, W, O, kernel, stride, padding, pool (kernel, stride, padding)
CASES = [
    (5, True, 3, 2, 7, 6, 4, (3, 2), (1, 1), (0, 0), MP2),
    (4, False, 2, 3, 6, 9, 17, (2, 3), (2, 3), (1, 2), ((3, 2), (1, 1), (1, 1))),  # windows overlap and hang over
    (GROUP + 1, False, 3, 1, 3, 4, 2, (2, 2), (1, 1), (0, 0), MP2),  # a group of one sample
    (GROUP // 2, True, 7, 1, 3, 3, 2, (2, 2), (1, 1), (1, 1), MP2),  # groups of two, and one left over
    (2, True, 1, 1, 10, 4, 1, (2, 2), (1, 1), (0, 0), ((17, 16), (1, 1), (8, 8))),  # places of two bytes
    (1, True, 2, 2, 5, 5, 70, (5, 5), (1, 1), (2, 0), ((2, 1), (2, 1), (0, 0))),
    (STEPS + 3, True, 2, 3, 6, 7, 5, (3, 3), (1, 2), (0, 1), ((2, 2), (3, 3), (0, 0))),  # pixels that no window sees
]
GROUPS = CASES[3]


@pytest.fixture(autouse=True)
def few_images_are_a_group(monkeypatch):
    monkeypatch.setattr(cpu, "GROUP", GROUP)


def draw(case, dtype, reset="subtract", sigma=None, dyadic=False, seed=0):
    """The neurons, W, b, dY, dU_after and the settings."""
    T, static, B, C, H, width, O, kernel, stride, padding, pool = case
    rng = np.random.default_rng(seed)
    I = drawn(rng, (1 if static else T, B, C, H, width), dtype, zeros=0.2, dyadic=dyadic) + np.array(0.25, dtype)
    beta, theta = (np.array(0.5, dtype), np.array(0.75, dtype)) if dyadic else (
        rng.random((C, 1, 1)).astype(dtype), (0.2 + rng.random((H, width))).astype(dtype)
    )  # fmt: skip
    U_before = drawn(rng, (B, C, H, width), dtype, dyadic=dyadic)
    neurons = Neurons(I, beta, theta, U_before, T, sigma or surrogate.fast_sigmoid(slope=3), reset)
    W, b = drawn(rng, (O, C, *kernel), dtype, zeros=0, dyadic=dyadic), drawn(rng, (O,), dtype, dyadic=dyadic)
    settings = {"stride": stride, "padding": padding, "pool": pool}
    Y, U_after, _ = reference.leakyconvpool2d_forward(neurons, W, b, **settings)
    dY, dU = (drawn(rng, y.shape, dtype, zeros=0.2, dyadic=dyadic) for y in (Y, U_after))
    return neurons, W, b, dY, dU, settings


def both(op, neurons, W, b, dY, dU, settings):
    """(Y, U_after, place, dI, dW, db, dU_before)."""
    Y, U, cache = op.leakyconvpool2d_forward(neurons, W, b, **settings)
    return (Y, U, cache.pool.place, *op.leakyconvpool2d_backward(dY, dU, cache, W, bias=b is not None))


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, ["leakyconvpool2d_forward", "leakyconvpool2d_backward"])
    assert cpu.LeakyConvPool2dCache is reference.LeakyConvPool2dCache


@pytest.mark.parametrize(
    "case, reset", [(case, "subtract") for case in CASES] + [(CASES[0], "zero"), (CASES[0], "none")], ids=str
)
def test_it_is_near_the_law(case, reset):
    neurons, W, b, dY, dU, settings = draw(case, "float64", reset)
    for bias, dU_after in ((b, dU), (None, None)):
        given = neurons, W, bias, dY, dU_after, settings
        ours, law = both(cpu, *given), both(reference, *given)
        np.testing.assert_array_equal(ours[2], law[2])
        assert 0 < (law[1] != neurons.U_before).mean()
        near((*ours[:2], *ours[3:]), (*law[:2], *law[3:]))


@pytest.mark.parametrize("case, dtype", [(CASES[0], "float64"), (CASES[1], "float32")], ids=str)
def test_dyadic_bits_are_the_laws(case, dtype):
    drawing = draw(case, dtype, "subtract", surrogate.straight_through_estimator(), dyadic=True)
    same_bits(both(cpu, *drawing), both(reference, *drawing))


def test_the_cache_is_the_laws():
    neurons, W, b, *_, settings = draw(CASES[1], "float64")
    ours, law = (op.leakyconvpool2d_forward(neurons, W, b, **settings)[2] for op in (cpu, reference))
    assert ours.neurons is law.neurons is neurons and ours[1:3] == law[1:3] and ours.pool[1:] == law.pool[1:]


def test_another_surrogate():
    drawing = draw(CASES[0], "float64", sigma=surrogate.atan())
    (*ours, place, a, b, c, d), (*law, theirs, e, f, g, h) = both(cpu, *drawing), both(reference, *drawing)
    np.testing.assert_array_equal(place, theirs)
    near((*ours, a, b, c, d), (*law, e, f, g, h))


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
    Y, U, place, dI, *_, dU_before = both(cpu, neurons, W, b, dY, dU, settings)
    one = neurons._replace(I=neurons.I[:, 2:3], U_before=neurons.U_before[2:3])
    alone = both(cpu, one, W, b, dY[:, 2:3], dU[2:3], settings)
    steps = place.reshape(*Y.shape[:2], *place.shape[1:])
    same_bits((*alone[:2], alone[3], alone[-1]), (Y[:, 2:3], U[2:3], dI[:, 2:3], dU_before[2:3]))
    np.testing.assert_array_equal(alone[2], steps[:, 2])


def test_channels_may_lie_last_and_nothing_given_is_changed():
    neurons, W, b, dY, dU, settings = draw(CASES[1], "float64")
    expected = both(cpu, neurons, W, b, dY, dU, settings)
    last = [np.ascontiguousarray(np.moveaxis(x, -3, -1)) for x in (neurons.I, neurons.U_before, dY, dU)]
    I, U_before, dY_last, dU_last = (np.moveaxis(x, -1, -3) for x in last)
    theirs = neurons._replace(I=I, U_before=U_before)
    with unchanged(*last, W, b, *neurons[:4], dY, dU):
        same_bits(both(cpu, theirs, W, b, dY_last, dU_last, settings), expected)
        same_bits(both(cpu, neurons, W, b, dY, dU, settings), expected)
