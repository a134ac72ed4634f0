"""The neuron's law: vectors by hand, ties, constants, and the backward pass against complex-step derivatives."""

import itertools

import numpy as np
import pytest

import npsnn
from npsnn import surrogate
from npsnn.leaky.reference import leaky_backward, leaky_forward

# Membranes and spikes for I = 0.8 at every step, beta = 0.5, theta = 1 (decimal: U = 1.0 at step 4 hangs on rounding,
# which is why it is compared to 1e-15) and their like in exact binary fractions, where equality is asked for.
BY_HAND = [
    ("subtract", 0.8, [0.8, 1.2, 0.4, 1.0, 1.3, 0.45], [0, 1, 0, 0, 1, 0]),
    ("zero", 0.8, [0.8, 1.2, 0.8, 1.2], [0, 1, 0, 1]),
    ("none", 0.8, [0.8, 1.2, 1.4, 1.5, 1.55, 1.575], [0, 1, 1, 1, 1, 1]),
    ("subtract", 0.75, [0.75, 1.125, 0.3125, 0.90625, 1.203125, 0.3515625], [0, 1, 0, 0, 1, 0]),
    ("zero", 0.75, [0.75, 1.125, 0.75, 1.125], [0, 1, 0, 1]),
    ("none", 0.75, [0.75, 1.125, 1.3125, 1.40625, 1.453125], [0, 1, 1, 1, 1]),
]


def run(I, beta=0.5, theta=1.0, dtype=np.float64, **options):
    """S and the cache for currents of one neuron, one sample."""
    options = {"num_steps": len(I), "sigma": surrogate.fast_sigmoid(), **options}
    I = np.array(I, dtype).reshape(len(I), 1, 1)
    return leaky_forward(I, np.array(beta, dtype), np.array(theta, dtype), **options)


@pytest.mark.parametrize("reset, I, U, S", BY_HAND, ids=[f"{r}-{i}" for r, i, *_ in BY_HAND])
def test_by_hand(reset, I, U, S):
    S_ours, cache = run([I] * len(U), reset_mechanism=reset)
    assert S_ours.ravel().tolist() == S
    if I == 0.75:
        assert cache.U.ravel().tolist() == U
    np.testing.assert_allclose(cache.U.ravel(), U, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exactly_at_threshold_is_no_spike(dtype):
    S, cache = run([0.75, 0.625, 0.5, 0.75], dtype=dtype)
    assert cache.U.ravel().tolist() == [0.75, 1.0, 1.0, 1.25]
    assert S.ravel().tolist() == [0, 0, 0, 1]
    above = np.nextafter(dtype(1), dtype(2))
    assert run([above], dtype=dtype)[0].item() == 1


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_learnt_threshold_below_zero_resets_from_the_first_step(backend):
    if backend == "cpu":
        pytest.importorskip("numba", reason="the cpu backend needs Numba")
    layer = npsnn.Leaky(0.5, learn_threshold=True)
    net = npsnn.Sequential(layer, backend=backend, dtype=np.float64)
    net.load_state_dict({"0.threshold": np.array(-0.5)})
    # U[-1] = 0 lies above -0.5, so R[0] = 1 and U[0] = I + 0.5; then U = 0.5 U + I - R (-0.5).
    S, U = net(np.array([0.25, -2.0, 0.0]).reshape(3, 1, 1))
    assert U.ravel().tolist() == [0.75, -1.125, -0.5625]
    assert S.ravel().tolist() == [1, 0, 0]


def test_beta_is_clipped():
    assert run([1.0, 1.0], beta=1.25, reset_mechanism="none")[1].U.ravel().tolist() == [1.0, 2.0]
    assert run([1.0, 1.0], beta=-0.25, reset_mechanism="none")[1].U.ravel().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("beta, passes", [(-0.25, False), (0.0, True), (0.5, True), (1.0, True), (1.25, False)])
def test_betas_gradient_passes_from_0_to_1_both_included(beta, passes):
    _, cache = run([0.5, 0.5, 0.5], beta=beta, reset_mechanism="none")
    dbeta = leaky_backward(None, np.ones((3, 1, 1)), cache)[1]
    assert (dbeta != 0) == passes


def test_the_last_step_of_a_long_silence_still_knows_the_first():
    _, cache = run([1.0, 0.0, 0.0, 0.0], reset_mechanism="none")
    dmem = np.array([0.0, 0.0, 0.0, 1.0]).reshape(4, 1, 1)
    dI, dbeta, _, dU_before = leaky_backward(None, dmem, cache)
    assert dI.ravel().tolist() == [0.125, 0.25, 0.5, 1.0]
    assert dbeta == 0.25 + 0.25 + 0.25  # d(beta^3)/dbeta = 3 beta^2
    assert dU_before.item() == 0.0625


def test_a_static_input_is_the_same_input_at_every_step():
    rng = np.random.default_rng(3)
    I = rng.standard_normal((1, 2, 3)) + 1
    options = {"num_steps": 5, "sigma": surrogate.atan()}
    beta, theta = np.array(0.75), np.array([1.0, 0.5, 2.0])
    S, cache = leaky_forward(I, beta, theta, **options)
    S2, cache2 = leaky_forward(np.repeat(I, 5, axis=0), beta, theta, **options)
    dS = rng.standard_normal(S.shape)
    np.testing.assert_array_equal(S, S2)
    d, d2 = leaky_backward(dS, None, cache), leaky_backward(dS, None, cache2)
    assert d[0].shape == (1, 2, 3)
    np.testing.assert_allclose(d[0][0], d2[0].sum(axis=0), rtol=1e-14)
    for a, b in zip(d[1:], d2[1:], strict=True):
        np.testing.assert_array_equal(a, b)


# --- one neuron through time, backward by hand -----------------------------------------------------------------------

# beta = 1/2, theta = 1, U[-1] = 1/4, and currents such that U = 3/4, 5/4, 1/4, 7/4, so R = 0, 0, 1, 0. The slope is 4:
# sigma' = 1/4, 1/4, 1/16, 1/16, and 1/16 at t = -1. With dS = 1, -2, 12, 8 every number is a binary fraction; each dU
# reads g + dmem + carried, from the last step to the first.
CURRENTS = {
    "subtract": [5 / 8, 7 / 8, 5 / 8, 13 / 8],
    "zero": [5 / 8, 7 / 8, 1 / 4, 13 / 8],
    "none": [5 / 8, 7 / 8, -3 / 8, 13 / 8],
}
TABLES = {
    # dU[3] = 1/2 - 1, dU[2] = 3/4 - 1/4, dU[1] = -1/2 + 1/2 + 1/4, dU[0] = 1/4 + 1/8
    ("subtract", True): ([0, 1 / 2, 0, -1], [3 / 8, 1 / 4, 1 / 2, -1 / 2], 25 / 32, -3 / 2, 3 / 16),
    ("none", True): ([0, 1 / 2, 0, -1], [3 / 8, 1 / 4, 1 / 2, -1 / 2], 25 / 32, -1, 3 / 16),
    # dU[2] carries nothing to dU[1], which was reset: dU[1] = -1/2 + 3/4
    ("zero", True): ([0, 3 / 4, 0, -1], [3 / 8, 1 / 4, 1 / 2, -1 / 2], 5 / 32, -1, 3 / 16),
    # dR[3] = 1/2: g[2] = (12 + 1/2)/16; dR[2] = -17/32: g[1] = (-2 - 17/32)/4; dR[1] = -17/128; dR[0] = -145/512
    ("subtract", False): (
        [0, 1 / 2, 0, -1], [145 / 512, 17 / 128, 17 / 32, -1 / 2], 1453 / 2048, -11295 / 8192, 1015 / 8192,
    ),
    # dR[3] = 1/16: g[2] = 193/256; dR[2] = -5/8 129/256: g[1] = -4741/8192; dR[1] = -3/8 1403/8192; dR[0] = -1/8 dU[0]
    ("zero", False): (
        [0, 3 / 4, 0, -1], [83775 / 262144, 1403 / 8192, 129 / 256, -1 / 2],
        83775 / 2**20 + 3 / 4 * 1403 / 8192 - 1 / 8,
        -(-83775 / 2**25 + 61327 / 2**18 - 4741 / 8192 + 193 / 256 + 1 / 2), 83775 * 63 / 2**25,
    ),
}  # fmt: skip


@pytest.mark.parametrize("reset, detach", TABLES)
def test_backward_by_hand(reset, detach):
    dmem, dU, dbeta, dtheta, dU_before = TABLES[reset, detach]
    I, d, dS = (np.reshape(a, (4, 1, 1)) * 1.0 for a in (CURRENTS[reset], dmem, [1, -2, 12, 8]))
    options = {"sigma": surrogate.fast_sigmoid(slope=4), "reset_mechanism": reset, "detach_reset": detach}
    S, cache = leaky_forward(I, np.array(0.5), np.array(1.0), np.full((1, 1), 0.25), num_steps=4, **options)
    assert cache.U.ravel().tolist() == [3 / 4, 5 / 4, 1 / 4, 7 / 4]
    assert S.ravel().tolist() == [0, 1, 0, 1]
    ours = leaky_backward(dS, d, cache)
    assert ours[0].ravel().tolist() == dU
    assert (ours[1], ours[2], ours[3].item()) == (dbeta, dtheta, dU_before)


# --- complex step: the surrogate gradient of the run with hard spikes (C5), h = 1e-30 ------------------------------

H = 1e-30
SURROGATES = [
    surrogate.fast_sigmoid(slope=3),
    surrogate.atan(),
    surrogate.sigmoid(slope=4),
    surrogate.straight_through_estimator(),
    surrogate.triangular(),
    surrogate.heaviside(),
    surrogate.spike_rate_escape(slope=2),
    surrogate.LSO(),
    surrogate.SFS(slope=2, B=-0.5),
    surrogate.SSO(seed=3).for_run(),
    surrogate.custom_surrogate(lambda x: 1 / (1 + x * x)),
]
CONSTANTS = {
    "scalar": ((), ()),
    "per neuron": ((3,), (2, 3)),
    "per channel": ((2, 1), (2, 1)),
    "stretched": ((1, 3), (1,)),
}
COMBINATIONS = list(itertools.product(("subtract", "zero", "none"), (True, False), CONSTANTS))


def complex_step_gradients(arguments, options, dS, dmem):
    """dL/d(argument) for L = sum dS S + sum dmem U, one complex forward pass an entry."""
    gradients = []
    for which in range(len(arguments)):
        gradient = np.zeros(arguments[which].shape)
        for at in np.ndindex(gradient.shape):
            shifted = [a.astype(np.complex128) for a in arguments]
            shifted[which][at] += 1j * H
            S, cache = leaky_forward(*shifted, **options)
            gradient[at] = ((dS * S).sum() + (dmem * cache.U).sum()).imag / H
        gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("sigma", SURROGATES, ids=str)
@pytest.mark.parametrize("reset, detach, constants", COMBINATIONS)
def test_backward_is_the_complex_step_derivative(reset, detach, constants, sigma):
    rng = np.random.default_rng(11)
    T, B, N = 5, 2, (2, 3)
    beta_shape, theta_shape = CONSTANTS[constants]
    I = rng.standard_normal((T, B, *N)) + 0.7
    beta, theta = rng.uniform(0.2, 0.9, beta_shape), rng.uniform(0.5, 1.5, theta_shape)
    U_before = rng.standard_normal((B, *N))
    options = {"num_steps": T, "sigma": sigma, "reset_mechanism": reset, "detach_reset": detach}
    dS, dmem = rng.standard_normal(I.shape), rng.standard_normal(I.shape)

    S, cache = leaky_forward(I, beta, theta, U_before, **options)
    assert 0.2 < S.mean() < 0.8
    by_hand = leaky_backward(dS, dmem, cache)
    by_step = complex_step_gradients([I, beta, theta, U_before], options, dS, dmem)
    # 1e-13 of the largest: five steps of double arithmetic. The complex step itself has no error of its own.
    for d, expected, name in zip(by_hand, by_step, ("I", "beta", "theta", "U_before"), strict=True):
        np.testing.assert_allclose(d, expected, rtol=0, atol=1e-13 * max(1, np.abs(expected).max()), err_msg=name)


def test_the_real_part_of_a_complex_run_is_the_real_run():
    rng = np.random.default_rng(2)
    I = rng.standard_normal((6, 2, 4)) + 0.7
    beta, theta = np.array(0.75), np.array(1.0)
    options = {"num_steps": 6, "sigma": surrogate.atan(), "detach_reset": False}
    S, cache = leaky_forward(I, beta, theta, **options)
    S2, cache2 = leaky_forward(I + 1j * H, beta + 0j, theta + 0j, **options)
    np.testing.assert_array_equal(S2.real, S)
    np.testing.assert_array_equal(cache2.U.real, cache.U)


@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_both_ends_of_beta_carry_the_tangent(reset, end):
    rng = np.random.default_rng(3)
    I, theta, U_before = rng.standard_normal((4, 2, 3)) + 0.7, np.array(0.75), rng.standard_normal((2, 3))
    options = {"num_steps": 4, "sigma": surrogate.atan(), "reset_mechanism": reset, "detach_reset": False}
    dS, dmem = rng.standard_normal(I.shape), rng.standard_normal(I.shape)
    _, cache = leaky_forward(I, np.array(end), theta, U_before, **options)
    _, dbeta, _, _ = leaky_backward(dS, dmem, cache)
    _, expected, _, _ = complex_step_gradients([I, np.array(end), theta, U_before], options, dS, dmem)
    assert expected != 0
    np.testing.assert_allclose(dbeta, expected, rtol=1e-13)


@pytest.mark.parametrize("T", [1, 2, 3])
def test_a_static_input_of_few_steps(T):
    I = np.array([[[0.5, 0.75, 1.5]]])
    options = {"num_steps": T, "sigma": surrogate.atan(), "detach_reset": False}
    d = np.arange(3.0 * T).reshape(T, 1, 3)
    S, cache = leaky_forward(I, np.array(0.5), np.array(1.0), **options)
    S_long, cache_long = leaky_forward(np.repeat(I, T, axis=0), np.array(0.5), np.array(1.0), **options)
    np.testing.assert_array_equal(S, S_long)
    np.testing.assert_array_equal(cache.U, cache_long.U)
    dI, dI_long = leaky_backward(d, None, cache)[0], leaky_backward(d, None, cache_long)[0]
    assert dI.shape == (1, 1, 3)
    np.testing.assert_allclose(dI, dI_long.sum(axis=0, keepdims=True), rtol=1e-15)
