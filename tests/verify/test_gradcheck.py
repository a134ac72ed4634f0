"""Complex step at its goal for every combination, and failing for each small fault of the subtle list (test_subtle)."""

import itertools
import os

import numpy as np
import pytest

import npsnn
from npsnn import _cuda, data, surrogate, training
from npsnn import functional as SF
from npsnn.verify import central_differences, gradcheck
from npsnn.verify.gradcheck import OF_ENTRY, OF_LARGEST

SURROGATES = {
    "fast_sigmoid": lambda: surrogate.fast_sigmoid(slope=5),
    "atan": lambda: surrogate.atan(),
    "sigmoid": lambda: surrogate.sigmoid(slope=4),
    "straight_through_estimator": lambda: surrogate.straight_through_estimator(),
    "triangular": lambda: surrogate.triangular(threshold=0.5),
    "heaviside": lambda: surrogate.heaviside(),
    "spike_rate_escape": lambda: surrogate.spike_rate_escape(slope=0.5),
    "LSO": lambda: surrogate.LSO(),
    "SFS": lambda: surrogate.SFS(slope=2, B=-0.45),
    "SSO": lambda: surrogate.SSO(seed=3),
    "custom": lambda: surrogate.custom_surrogate(lambda x: 1 / (1 + x * x)),
}
WITH_PRIMITIVE = [name for name, make in SURROGATES.items() if make().has_primitive]
RESETS = ("subtract", "zero", "none")
STEPS = (1, 2, 10, 100)
LOSSES = {
    "ce_rate_loss": SF.ce_rate_loss(),
    "ce_count_loss": SF.ce_count_loss(),
    "ce_max_membrane_loss": SF.ce_max_membrane_loss(),
    "mse_count_loss": SF.mse_count_loss(0.8, 0.1),
    "mse_membrane_loss": SF.mse_membrane_loss(1.1, -0.3),
    "l1_rate_sparsity": SF.l1_rate_sparsity(0.01),
}
NEURONS = list(itertools.product(SURROGATES, RESETS, (True, False), STEPS))
# Where the primitive is unbounded, U (1 - P(U - theta)) grows doubly exponentially in t: "zero" overflows by T = 10.
UNBOUNDED = ("straight_through_estimator", "triangular", "heaviside", "LSO")
SMOOTH = [
    (name, reset, detach, T)
    for name, reset, detach, T in NEURONS
    if name in WITH_PRIMITIVE and T <= (2 if reset == "zero" and name in UNBOUNDED else 10)
]
IMAGES = list(itertools.product(("max", "average", "overlapping"), LOSSES, RESETS, (True, False)))


def dense(sigma, reset, detach, backend="reference"):
    """Two neuron layers, every constant learnable, one of them a constant a neuron."""
    neuron = {"spike_grad": sigma, "reset_mechanism": reset, "detach_reset": detach}
    return npsnn.Sequential(
        npsnn.Linear(3, 4), npsnn.Leaky(0.8, 0.9, learn_beta=True, learn_threshold=True, **neuron),
        npsnn.Linear(4, 2, bias=False), npsnn.Leaky([0.6, 0.95], [0.5, 1.1], learn_beta=True, **neuron),
        dtype=np.float64, backend=backend, seed=4,
    )  # fmt: skip


def lively(net, rng):
    """The network with weights that make its neurons fire."""
    for name, value in net.params.items():
        if name.endswith("weight"):
            value[...] = rng.uniform(-0.5, 1.2, value.shape)
    return net


def image_net(pool, reset, detach, backend="reference"):
    """Convolutions with stride, padding and without; each kind of pool; time-varying input."""
    neuron = {"spike_grad": surrogate.fast_sigmoid(5), "reset_mechanism": reset, "detach_reset": detach}
    pools = {
        "max": npsnn.MaxPool2d(2),
        "average": npsnn.AvgPool2d((2, 1)),
        "overlapping": npsnn.MaxPool2d((3, 2), stride=(1, 2), padding=(1, 0)),
    }
    layers = [
        npsnn.Conv2d(1, 2, (3, 2), stride=(1, 2), padding=(0, 1)), pools[pool], npsnn.Leaky(0.7, **neuron),
        npsnn.Conv2d(2, 1, (2, 1), bias=False), npsnn.Leaky(0.5, learn_threshold=True, **neuron), npsnn.Flatten(),
    ]  # fmt: skip
    shape = (1, 1, 1, 6, 5)
    for layer in layers:
        shape = layer.out_shape(shape)
    return npsnn.Sequential(
        *layers, npsnn.Linear(shape[-1], 3), npsnn.Leaky(0.9, **neuron), dtype=np.float64, backend=backend, seed=1
    )


def test_at_least_300_combinations_are_checked():
    assert len(NEURONS) + len(IMAGES) >= 300
    assert set(STEPS) == {1, 2, 10, 100} and len(SURROGATES) == 11 and len(LOSSES) == 6


def test_the_bounds_are_those_promised():
    assert OF_LARGEST == 1e-13 and OF_ENTRY == 1e-11


@pytest.mark.parametrize("name, reset, detach, T", NEURONS)
def test_every_surrogate_reset_and_length(name, reset, detach, T, rng):
    net = lively(dense(SURROGATES[name](), reset, detach), rng)
    x = rng.uniform(-0.5, 1.5, (2, 3))
    if (name, reset, detach, T) == ("straight_through_estimator", "zero", False, 100):
        x *= 0.25  # a step multiplies its gradient by beta (1 - R - U): at larger U, 100 steps overflow
    report = gradcheck(net, x, np.array([1, 0]), SF.mse_membrane_loss(), T)
    assert report.ok, f"\n{report}"
    assert {a.name for a in report.arrays} == {*net.params, "input", "state.1", "state.3"}
    assert report.arrays[0].entries == 12 and report.num_steps == T


@pytest.mark.parametrize("pool, loss, reset, detach", IMAGES)
def test_every_layer_and_loss(pool, loss, reset, detach, rng):
    net = lively(image_net(pool, reset, detach), rng)
    report = gradcheck(net, rng.uniform(0, 2, (3, 2, 1, 6, 5)), np.array([2, 0]), LOSSES[loss])
    assert report.ok, f"\n{report}"
    assert max(a.largest for a in report.arrays) > 1e-3


@pytest.mark.parametrize("name, reset, detach, T", SMOOTH)
def test_smooth_mode_by_complex_step_and_by_central_differences(name, reset, detach, T, rng):
    net = lively(dense(SURROGATES[name](), reset, detach), rng)
    x, y = rng.uniform(-0.5, 1.5, (2, 3)), np.array([1, 0])
    report = gradcheck(net, x, y, SF.mse_count_loss(0.7, 0.2), T, smooth=True)
    assert report.ok and report.smooth, f"\n{report}"
    for row in central_differences(net, x, y, SF.mse_count_loss(0.7, 0.2), T):
        assert row.ok, row


@pytest.mark.parametrize("reset, detach", list(itertools.product(RESETS, (True, False))))
@pytest.mark.parametrize("name", SURROGATES)
def test_the_cpu_backend_too(name, reset, detach, rng):
    pytest.importorskip("numba", reason='the cpu backend needs Numba: pip install "npsnn[fast]"')
    net = lively(dense(SURROGATES[name](), reset, detach, "cpu"), rng)
    report = gradcheck(net, rng.uniform(-0.5, 1.5, (7, 2, 3)), np.array([1, 0]), SF.ce_rate_loss())
    assert report.ok and report.backend == "cpu", f"\n{report}"


def test_neurons_fire_and_rest_in_the_networks_checked(rng):
    rates = []
    for _ in range(100):
        net = lively(dense(surrogate.atan(), "subtract", True), rng)
        _, _, tape = net.forward(rng.uniform(-0.5, 1.5, (2, 3)), 10)
        rates.append([layer.rate for layer in net.firing(tape).values()])
    alive = ((np.array(rates) > 0) & (np.array(rates) < 1)).all(axis=1)
    assert alive.mean() > 0.8


def small(**neuron):
    return npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5, **neuron), backend="reference", seed=2)


X, Y = np.linspace(-1, 2, 6).reshape(2, 3).astype(np.float32), np.array([0, 1])


def test_a_float32_network_is_checked_in_double_and_left_as_it_was():
    net = small()
    before = net.flat_params.copy()
    report = gradcheck(net, X, Y, SF.ce_rate_loss(), 4)
    assert report.ok and net.dtype == np.float32
    np.testing.assert_array_equal(net.flat_params, before)


def test_large_arrays_are_checked_in_random_directions():
    report = gradcheck(small(), X, Y, SF.ce_rate_loss(), 4, most=3, directions=7)
    counts = {a.name: (a.entries, a.directions) for a in report.arrays}
    assert counts == {"0.weight": (0, 7), "0.bias": (2, 0), "input": (0, 7), "state.1": (0, 7)}
    assert report.ok, f"\n{report}"


def test_the_initial_state_is_where_the_run_starts():
    net = small(detach_reset=False)
    state = npsnn.State(2, (np.full((2, 2), 6.5, np.float32),))
    a, b = (gradcheck(net, X, Y, SF.mse_membrane_loss(), 4, state=s) for s in (state, None))
    assert a.ok and b.ok
    assert a.loss != b.loss


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "input", "state"])
@pytest.mark.parametrize("most", [2000, 0], ids=["entries", "directions"])
def test_a_wrong_gradient_is_found_and_named(monkeypatch, name, most):
    """Wrong by one part in 1e9 in one entry."""
    true = npsnn.Sequential.backward

    def wrong(self, *args, **kwargs):
        grads = true(self, *args, **kwargs)
        target = grads[name][0] if name == "state" else grads[name]
        largest = np.unravel_index(np.abs(target).argmax(), target.shape)
        target[largest] *= 1 + 1e-9
        return grads

    monkeypatch.setattr(npsnn.Sequential, "backward", wrong)
    report = gradcheck(small(), X, Y, SF.ce_rate_loss(), 4, most=most)
    expected = "state.1" if name == "state" else name
    assert not report.ok and report.worst.name == expected
    assert [a.name for a in report.arrays if report.excess(a) > 1] == [expected]
    assert report.worst.by_hand != report.worst.by_step
    text = str(report)
    assert "FAILED" in text and expected in text and repr(report.worst.by_hand) in text


def test_nan_is_no_pass():
    report = gradcheck(small(), X, Y, SF.ce_rate_loss(), 4)
    for field in ("difference", "entry_error"):
        row = report.arrays[0]._replace(**{field: float("nan")})
        wrong = report._replace(arrays=(row, *report.arrays[1:]))
        assert report.ok and not wrong.ok and wrong.worst is row


def test_what_cannot_be_checked_is_refused():
    net = small()
    with pytest.raises(ValueError, match="has no primitive, so it has no smooth mode"):
        gradcheck(small(spike_grad=surrogate.SSO()), X, Y, SF.ce_rate_loss(), 4, smooth=True)
    with pytest.raises(ValueError, match="mse_membrane_loss reads the membrane, and the last layer"):
        gradcheck(npsnn.Sequential(npsnn.Linear(3, 2)), X, Y, SF.mse_membrane_loss(), 4)
    with pytest.raises(ValueError, match="directions must be at least 1, got 0"):
        gradcheck(net, X, Y, SF.ce_rate_loss(), 4, directions=0)
    with pytest.raises(TypeError, match="x is int64"):
        gradcheck(net, np.ones((2, 3), int), Y, SF.ce_rate_loss(), 4)


def test_the_smooth_mode_is_refused_by_a_compiled_backend():
    pytest.importorskip("numba", reason='the cpu backend needs Numba: pip install "npsnn[fast]"')
    from dataclasses import replace

    layer = npsnn.Leaky(0.5, spike_grad=replace(surrogate.atan(), smooth=True))
    with pytest.raises(ValueError, match="the smooth mode is for the reference backend"):
        layer.forward(np.ones((2, 1, 1)), {}, backend="cpu")


def test_the_whole_tutorial_network_in_random_directions(backend):
    if backend == "cuda" and _cuda.SIMULATED and os.environ.get("NPSNN_WHOLE") != "1":
        pytest.skip("five minutes in the simulator: with NPSNN_WHOLE=1")
    net = training.build(training.Settings(backend=backend), seed=0)
    for name, value in net.params.items():
        if name.endswith("weight"):
            value *= 2  # so that all three layers fire from the start
    images = data.mnist("train")
    report = gradcheck(net, images.images()[:2], images.targets[:2], SF.ce_rate_loss(), 12, most=10, directions=2)
    assert report.ok, f"\n{report}"
    assert {a.name: (a.entries, a.directions) for a in report.arrays}["3.weight"] == (0, 2)
    assert all(a.largest > 0 for a in report.arrays)
