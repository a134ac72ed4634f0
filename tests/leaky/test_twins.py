"""leaky: the Numba twin against the law, and what its bits may not depend on (C11).

The forward pass has the law's bits. So has the backward pass where the surrogate is made of arithmetic alone; NumPy's
exp and Numba's differ in the last bit.
"""

import dataclasses
import itertools

import numpy as np
import pytest

from npsnn import surrogate
from npsnn.leaky import reference
from tests.twins import DTYPES, drawn, near, same_bits, same_for_any_number_of_threads, same_signatures, unchanged

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.leaky import cpu

RESETS = ["subtract", "zero", "none"]
ARITHMETIC = {
    "fast_sigmoid": surrogate.fast_sigmoid(3),
    "atan": surrogate.atan(),
    "straight_through": surrogate.straight_through_estimator(),
    "triangular": surrogate.triangular(),
    "heaviside": surrogate.heaviside(),
    "LSO": surrogate.LSO(),
    "SFS": surrogate.SFS(),
}
EXPONENTIAL = {"sigmoid": surrogate.sigmoid(3), "spike_rate_escape": surrogate.spike_rate_escape()}
RECORDED = {
    "SSO": surrogate.SSO(seed=5).for_run(),
    "custom": surrogate.custom_surrogate(lambda x: np.exp(-x * x)),
}
T, B, N = 6, 3, (5, 13, 23)  # M = 4485: two blocks and a part of one


def draw(dtype, *, static=False, num_steps=T, seed=6):
    """I, beta, theta, U_before, dS, dmem: a decay a neuron, some clipped, and a threshold a channel."""
    rng = np.random.default_rng(seed)
    I = drawn(rng, (1 if static else num_steps, B, *N), dtype, zeros=0.2) + np.dtype(dtype).type(0.5)
    beta = rng.uniform(-0.2, 1.2, N).astype(dtype)
    beta.flat[:2] = 0, 1
    theta = rng.uniform(0.5, 1.5, (N[0], 1, 1)).astype(dtype)
    U_before, dS, dmem = (drawn(rng, shape, dtype) for shape in ((B, *N), (num_steps, B, *N), (num_steps, B, *N)))
    return I, beta, theta, U_before, dS, dmem


def both(op, I, beta, theta, U_before, dS, dmem, **settings):
    """(S, U, dI, dbeta, dtheta, dU_before)."""
    settings = {"num_steps": T, "sigma": ARITHMETIC["fast_sigmoid"], **settings}
    S, cache = op.leaky_forward(I, beta, theta, U_before, **settings)
    return (S.astype(cache.U.dtype), cache.U, *op.leaky_backward(dS, dmem, cache))


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, ["leaky_forward", "leaky_backward"])
    assert cpu.LeakyCache is reference.LeakyCache


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("static", [False, True], ids=["varying", "static"])
@pytest.mark.parametrize("reset", RESETS)
def test_forward_has_the_laws_bits(reset, static, dtype):
    I, beta, theta, U_before, _, _ = draw(dtype, static=static)
    for U_start in (U_before, None):
        settings = {"num_steps": T, "sigma": surrogate.atan(), "reset_mechanism": reset, "detach_reset": False}
        S, cache = cpu.leaky_forward(I, beta, theta, U_start, **settings)
        S_law, law = reference.leaky_forward(I, beta, theta, U_start, **settings)
        assert S.dtype == bool
        same_bits((S.astype(dtype), *cache[:4]), (S_law, *law[:4]))
        assert cache[4:] == law[4:]
        assert 0.1 < S.mean() < 0.9


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_backward_has_the_laws_bits(name, dtype):
    for static, reset, detach in itertools.product((False, True), RESETS, (True, False)):
        drawing = draw(dtype, static=static)
        settings = {"sigma": ARITHMETIC[name], "reset_mechanism": reset, "detach_reset": detach}
        same_bits(both(cpu, *drawing, **settings), both(reference, *drawing, **settings))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", EXPONENTIAL)
def test_backward_is_near_the_law(name, dtype):
    drawing = draw(dtype)
    for reset, detach in itertools.product(RESETS, (True, False)):
        settings = {"sigma": EXPONENTIAL[name], "reset_mechanism": reset, "detach_reset": detach}
        near(both(cpu, *drawing, **settings), both(reference, *drawing, **settings))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", RECORDED)
def test_a_surrogate_that_does_not_compile_has_the_laws_bits(name, dtype):
    drawing = draw(dtype)
    for reset, detach in itertools.product(RESETS, (True, False)):
        settings = {"sigma": RECORDED[name], "reset_mechanism": reset, "detach_reset": detach}
        same_bits(both(cpu, *drawing, **settings), both(reference, *drawing, **settings))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["fast_sigmoid", "triangular", "SSO"])
def test_without_the_constants_gradients_the_rest_has_the_laws_bits(name, dtype):
    sigma = (ARITHMETIC | RECORDED)[name]
    for static, reset, detach in itertools.product((False, True), RESETS, (True, False)):
        I, beta, theta, U_before, dS, dmem = draw(dtype, static=static)
        settings = {"num_steps": T, "sigma": sigma, "reset_mechanism": reset, "detach_reset": detach}
        for given in ((dS, dmem), (None, dmem), (dS, None)):
            ours, law = (
                op.leaky_backward(*given, op.leaky_forward(I, beta, theta, U_before, **settings)[1], constants=False)
                for op in (cpu, reference)
            )
            assert ours[1] is ours[2] is law[1] is law[2] is None
            same_bits(ours, law)


def test_more_neurons_than_a_block_holds_and_a_cut_block():
    rng = np.random.default_rng(2)
    N = 2 * cpu.BLOCK + 3
    I, dS = rng.normal(0.5, 1, (3, 1, N)), rng.normal(size=(3, 1, N))
    drawing = (I, np.array(0.9), np.array(1.0), None, dS, None)
    ours, law = (both(op, *drawing, num_steps=3) for op in (cpu, reference))
    same_bits(ours[:3], law[:3])
    settings = {"num_steps": 3, "sigma": ARITHMETIC["fast_sigmoid"]}
    caches = [op.leaky_forward(I, np.array(0.9), np.array(1.0), **settings)[1] for op in (cpu, reference)]
    same_bits(
        *(op.leaky_backward(dS, None, c, constants=False) for op, c in zip((cpu, reference), caches, strict=True))
    )


def test_images_whose_channels_lie_last_stay_so():
    I, beta, theta, U_before, dS, dmem = draw("float64")
    last = np.ascontiguousarray(np.moveaxis(I, 2, -1))
    last = np.moveaxis(last, -1, 2)
    same_bits(both(cpu, last, beta, theta, U_before, dS, dmem), both(cpu, I, beta, theta, U_before, dS, dmem))
    S, cache = cpu.leaky_forward(last, beta, theta, U_before, num_steps=T, sigma=surrogate.atan())
    dI = cpu.leaky_backward(dS, dmem, cache)[0]
    for x in (S, cache.U, dI):
        assert np.moveaxis(x, 2, -1).flags.c_contiguous


def test_a_delta_that_is_none_is_zero():
    I, beta, theta, U_before, dS, dmem = draw("float64")
    zero = np.zeros_like(dS)
    for given, same in (((dS, None), (dS, zero)), ((None, dmem), (zero, dmem)), ((None, None), (zero, zero))):
        same_bits(both(cpu, I, beta, theta, U_before, *given), both(cpu, I, beta, theta, U_before, *same))


@pytest.mark.parametrize("shape", [(), (1,), (23,), (13, 23), (5, 1, 1), (1, 13, 1), (5, 13, 23)], ids=str)
def test_constants_broadcast_as_in_the_law(shape):
    I, _, _, U_before, dS, dmem = draw("float64")
    rng = np.random.default_rng(7)
    beta, theta = rng.uniform(0.1, 0.9, shape), rng.uniform(0.5, 1.5, shape)
    results = [both(op, I, beta, theta, U_before, dS, dmem) for op in (cpu, reference)]
    same_bits(*results)
    assert results[0][3].shape == results[0][4].shape == shape


def test_one_step_and_one_neuron():
    rng = np.random.default_rng(8)
    for T_, N_ in ((1, (1,)), (1, (4,)), (9, (1,))):
        I, dS = rng.normal(size=(2, T_, 1, *N_))
        drawing = (I, np.array(0.9), np.array(0.3), None, dS, None)
        same_bits(both(cpu, *drawing, num_steps=T_), both(reference, *drawing, num_steps=T_))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of a helping thread, where nothing is compiled
@pytest.mark.parametrize("reset", RESETS)
def test_infinite_membranes_are_the_laws(reset):
    I, beta, theta, U_before, dS, dmem = draw("float64")
    I.flat[::7], I.flat[::11] = np.inf, -np.inf
    for detach in (True, False):
        settings = {"reset_mechanism": reset, "detach_reset": detach}
        with np.errstate(invalid="ignore"):
            law = both(reference, I, beta, theta, U_before, dS, dmem, **settings)
            twin = both(cpu, I, beta, theta, U_before, dS, dmem, **settings)
        for a, e in zip(twin, law, strict=True):
            np.testing.assert_array_equal(a, e)


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_by_step_is_the_sequence(dtype):
    I, beta, theta, U, _, _ = draw(dtype)
    settings = {"sigma": surrogate.atan(), "reset_mechanism": "zero"}
    S, cache = cpu.leaky_forward(I, beta, theta, U, num_steps=T, **settings)
    for t in range(T):
        S_t, cache_t = cpu.leaky_forward(I[t : t + 1], beta, theta, U, num_steps=1, **settings)
        U = cache_t.U[0]
        same_bits((S_t[0], U), (S[t], cache.U[t]))


def test_a_static_input_is_the_same_input_at_every_step():
    I, beta, theta, U_before, dS, dmem = draw("float64", static=True)
    S, U, dI, *rest = both(cpu, I, beta, theta, U_before, dS, dmem)
    S_t, U_t, dI_t, *rest_t = both(cpu, np.repeat(I, T, axis=0), beta, theta, U_before, dS, dmem)
    total = np.zeros_like(dI)
    for t in range(T - 1, -1, -1):  # the order stated
        total[0] += dI_t[t]
    same_bits((S, U, dI, *rest), (S_t, U_t, total, *rest_t))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads_or_neighbours(dtype):
    I, beta, theta, U_before, dS, dmem = draw(dtype)
    same_for_any_number_of_threads(lambda: both(cpu, I, beta, theta, U_before, dS, dmem))
    S, U, dI, _, _, dU = both(cpu, I, beta, theta, U_before, dS, dmem)
    for b in range(B):
        one = slice(b, b + 1)
        S_b, U_b, dI_b, _, _, dU_b = both(cpu, I[:, one], beta, theta, U_before[one], dS[:, one], dmem[:, one])
        same_bits((S_b, U_b, dI_b, dU_b), (S[:, one], U[:, one], dI[:, one], dU[one]))


@pytest.mark.parametrize("name", ["fast_sigmoid", "SSO"])
def test_nothing_given_is_changed_and_backward_repeats(name):
    I, beta, theta, U_before, dS, dmem = draw("float64")
    sigma = (ARITHMETIC | RECORDED)[name]
    with unchanged(I, beta, theta, U_before, dS, dmem):
        S, cache = cpu.leaky_forward(I, beta, theta, U_before, num_steps=T, sigma=sigma)
        with unchanged(S, cache.U, cache.U_before):
            same_bits(cpu.leaky_backward(dS, dmem, cache), cpu.leaky_backward(dS, dmem, cache))


def test_memory_order_does_not_matter():
    I, beta, theta, U_before, dS, dmem = draw("float64")
    scattered = [np.asfortranarray(a) for a in (I, beta, theta, U_before)]
    same_at_every_step = np.broadcast_to(dS[0], dS.shape)
    same_bits(
        both(cpu, *scattered, same_at_every_step, np.asfortranarray(dmem)),
        both(cpu, I, beta, theta, U_before, same_at_every_step.copy(), dmem),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
@pytest.mark.parametrize("reset", RESETS)
def test_a_membrane_at_its_threshold_does_not_spike(reset, detach, dtype):
    """U is 1, theta, at the first step, from 1 before it: no spike, no reset, in forward and backward (C2)."""
    I, U_before = np.array([0.5, 0.25, 0.75]).reshape(3, 1, 1).astype(dtype), np.ones((1, 1), dtype)
    beta, theta, d = (np.array(v, dtype) for v in (0.5, 1.0, 1.0))
    d = np.broadcast_to(d, I.shape)
    settings = {"num_steps": 3, "sigma": surrogate.LSO(0.25), "reset_mechanism": reset, "detach_reset": detach}
    ours = both(cpu, I, beta, theta, U_before, d, d, **settings)
    same_bits(ours, both(reference, I, beta, theta, U_before, d, d, **settings))
    assert ours[1].ravel().tolist() == [1, 0.75, 1.125] and ours[0].ravel().tolist() == [0, 0, 1]


@pytest.mark.parametrize("static", [False, True], ids=["varying", "static"])
@pytest.mark.parametrize("num_steps", [1, 2])
def test_one_step_and_two(num_steps, static):
    drawing = draw("float64", static=static, num_steps=num_steps)
    same_bits(both(cpu, *drawing, num_steps=num_steps), both(reference, *drawing, num_steps=num_steps))


def test_the_smooth_mode_is_refused():
    sigma = dataclasses.replace(surrogate.atan(), smooth=True)
    with pytest.raises(ValueError, match="the smooth mode is for the reference backend"):
        cpu.leaky_forward(np.ones((1, 1, 1)), np.array(0.5), np.array(1.0), num_steps=1, sigma=sigma)
