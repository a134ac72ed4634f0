"""snnTorch 1.0.0 itself, run beside npsnn: the same numbers.

How snnTorch is brought to compute in float64 stands in `snntorch_peer.py`; where npsnn differs on purpose, in
`test_differences.py`; more of the neuron, the losses and the accuracies, drawn at random, in `test_random_snntorch.py`.
"""

import importlib.util
import math

import numpy as np
import pytest

import npsnn
from npsnn import backprop, functional, surrogate
from tests.peers import snntorch_peer
from tests.peers import torch_network as peer
from tests.peers.snntorch_peer import (
    fire,
    snn,
    snn_backprop,
    snn_functional,
    snn_leaky,
    snn_surrogate,
    snn_utils,
    their_derivative,
    their_loss,
    torch,
)

pytestmark = snntorch_peer.marks

needs_numba = pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="needs Numba")
BACKENDS = ["reference", pytest.param("cpu", marks=needs_numba)]
RESETS = ["subtract", "zero", "none"]


# --- the neuron ----------------------------------------------------------------------------------------------------


def constants(kind):
    rng = np.random.default_rng(5)
    return (0.9, 1.0) if kind == "scalar" else (rng.uniform(0, 1, 7), rng.uniform(0.3, 1.5, 7))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("kind", ["scalar", "one a neuron"])
def test_leaky_in_float64_bit_for_bit(kind, reset, backend):
    beta, threshold = constants(kind)
    I = np.random.default_rng(0).normal(0.4, 0.7, (40, 5, 7))
    S, U = (rec.numpy() for rec in fire(snn_leaky(beta, threshold, reset_mechanism=reset), peer.tensor(I)))
    S_ours, cache = npsnn.Leaky(beta, threshold, reset_mechanism=reset).forward(I, {}, backend=backend)
    assert 0.05 < S.mean() < 0.9
    assert np.array_equal(S_ours, S)
    assert np.array_equal(cache.U, U)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("beta", [0.0, 1.0, -0.25, 1.25])
def test_beta_is_clipped_and_its_gradient_too(beta, reset):
    I = np.random.default_rng(1).normal(0.4, 0.7, (10, 3, 4))
    lif = snn_leaky(beta, 1.0, reset_mechanism=reset, learn_beta=True)
    S, U = fire(lif, peer.tensor(I))
    (S.sum() + U.square().sum()).backward()
    layer = npsnn.Leaky(0.5, reset_mechanism=reset, learn_beta=True)
    S_ours, cache = layer.forward(I, {"beta": np.array(beta)})
    _, grads = layer.backward(np.ones_like(S_ours), cache, {}, dmem=2 * cache.U)
    assert np.array_equal(S_ours, S.detach()) and np.array_equal(cache.U, U.detach())
    np.testing.assert_allclose(grads["beta"], lif.beta.grad, rtol=1e-13)
    assert (lif.beta.grad == 0) == (not 0 <= beta <= 1)


@pytest.mark.parametrize("reset", RESETS)
def test_a_learnt_threshold_below_zero(reset):
    """Its neurons fire at rest, and are reset in the first step."""
    I = np.random.default_rng(2).normal(-0.2, 0.7, (12, 3, 4))
    lif = snn_leaky(0.8, -0.3, reset_mechanism=reset, learn_threshold=True)
    S, U = fire(lif, peer.tensor(I))
    (S.sum() + U.square().sum()).backward()
    layer = npsnn.Leaky(0.8, reset_mechanism=reset, learn_threshold=True)
    S_ours, cache = layer.forward(I, {"threshold": np.array(-0.3)})
    _, grads = layer.backward(np.ones_like(S_ours), cache, {}, dmem=2 * cache.U)
    assert np.array_equal(S_ours, S.detach()) and np.array_equal(cache.U, U.detach())
    np.testing.assert_allclose(grads["threshold"], lif.threshold.grad, rtol=1e-13)


# --- the surrogates ------------------------------------------------------------------------------------------------

X = np.concatenate([np.linspace(-1.7, 1.7, 2001), np.random.default_rng(3).normal(0, 0.3, 2000), [0.0]]).astype("f4")
SAME = [
    ("fast_sigmoid", {}),
    ("fast_sigmoid", {"slope": 3}),
    ("atan", {}),
    ("atan", {"alpha": 0.7}),
    ("straight_through_estimator", {}),
    ("triangular", {}),
    ("triangular", {"threshold": 0.3}),
    ("heaviside", {}),
    ("spike_rate_escape", {}),
    ("spike_rate_escape", {"beta": 2, "slope": 0.5}),
    ("SFS", {}),
    ("SFS", {"slope": 3, "B": 0.25}),
]


def ulps(a, b):
    """How many float32 apart, at most."""
    spacing = np.spacing(np.maximum(np.abs(a), np.abs(b)).astype(np.float32))
    return float((np.abs(a.astype(np.float64) - b) / spacing).max())


@pytest.mark.parametrize(("name", "arguments"), SAME)
def test_surrogates_in_float32(name, arguments):
    S, theirs = their_derivative(getattr(snn_surrogate, name)(**arguments), X)
    ours = getattr(surrogate, name)(**arguments).derivative(X)
    assert ours.dtype == np.float32
    assert np.array_equal(surrogate.spike(X, surrogate.heaviside()), S)
    assert ulps(ours, theirs) <= 2


@pytest.mark.parametrize("slope", [3, 25])
def test_sigmoid_in_float32_where_theirs_is_finite(slope):
    """Two writings of one function: each a few roundings from the true value, theirs and ours by other roundings."""
    _, theirs = their_derivative(snn_surrogate.sigmoid(slope=slope), X)
    ours = surrogate.sigmoid(slope=slope).derivative(X)
    e = np.exp(-np.abs((np.float32(slope) * X).astype(np.float64)))
    true = slope * e / (1 + e) ** 2
    assert max(ulps(ours, true), ulps(theirs, true)) <= 5
    assert ulps(ours[X >= 0], theirs[X >= 0]) <= 4


def test_a_custom_surrogate_written_for_snntorch():
    def torch_form(x, grad, S):
        return grad * (0.5 + S) / (1 + abs(x)) ** 2

    _, theirs = their_derivative(snn_surrogate.custom_surrogate(torch_form), X)
    assert ulps(surrogate.custom_surrogate(torch_form).derivative(X), theirs) <= 2


def test_sso_above_the_threshold_and_within_its_bounds_below():
    torch.manual_seed(0)
    for derivative in (their_derivative(snn_surrogate.SSO(), X)[1], surrogate.SSO().derivative(X)):
        assert (derivative[X > 0] == 1).all()
        below = derivative[X <= 0]
        assert np.abs(below).max() <= 0.1 and below.std() > 0.05


# --- losses and accuracies -----------------------------------------------------------------------------------------


def recordings(dtype, T=9, B=6, C=5):
    rng = np.random.default_rng(4)
    S = (rng.random((T, B, C)) < 0.3).astype(dtype)
    return S, rng.normal(0.5, 1, (T, B, C)).astype(dtype), rng.integers(0, C, B)


LOSSES = [
    ("ce_rate_loss", {}),
    ("ce_count_loss", {}),
    ("ce_max_membrane_loss", {}),
    ("mse_count_loss", {}),
    ("mse_count_loss", {"correct_rate": 0.7, "incorrect_rate": 0.3}),
    ("mse_membrane_loss", {}),
    ("mse_membrane_loss", {"on_target": 1.5, "off_target": 0.25}),
    ("mse_membrane_loss", {"on_target": -1, "off_target": 1}),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "arguments"), LOSSES)
def test_losses_and_their_gradients(name, arguments, dtype):
    S, U, y = recordings(dtype)
    loss_fn = getattr(functional, name)(**arguments)
    rec = S if loss_fn.on == "spk" else U
    value, d = loss_fn.value_and_grad(rec, y)
    their_value, their_d = their_loss(getattr(snn_functional, name)(**arguments), rec, y)
    # ce_rate and mse_membrane add up in float32 whatever they are given, and scale the gradient by float32(1/T).
    exact = dtype == "float64" and name not in ("ce_rate_loss", "mse_membrane_loss")
    rtol = 1e-13 if exact else 1e-6
    assert d.dtype == dtype
    assert value == pytest.approx(their_value, rel=rtol)
    np.testing.assert_allclose(d, their_d, rtol=0, atol=rtol * np.abs(their_d).max())


# --- networks: weights, state dicts --------------------------------------------------------------------------------


def with_learnables(learn):
    """The same small network twice, with other weights; theirs has learnt the constants in `learn`, name -> value."""
    torch.manual_seed(3)
    options = {"learn_beta": "beta" in learn, "learn_threshold": "threshold" in learn}
    last = {"beta": 0.7, "threshold": 0.8, "reset_mechanism": "zero"}
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 6), snn.Leaky(beta=0.9, init_hidden=True, **options),
        torch.nn.Linear(6, 3), snn.Leaky(init_hidden=True, output=True, **last),
    )  # fmt: skip
    ours = npsnn.Sequential(
        npsnn.Linear(5, 6), npsnn.Leaky(beta=0.9, **options),
        npsnn.Linear(6, 3), npsnn.Leaky(**last),
        seed=8, backend="reference",
    )  # fmt: skip
    with torch.no_grad():
        theirs[2].weight.mul_(4)
        for name, value in learn.items():
            getattr(theirs[1], name).fill_(value)
    return theirs, ours


def run_theirs(net, x, num_steps):
    """(spk_rec, mem_rec) of an snnTorch Sequential with hidden states and `output=True`."""
    snn_utils.reset(net)
    steps = [net(x) for _ in range(num_steps)]
    return tuple(torch.stack(rec) for rec in zip(*steps, strict=True))


@pytest.mark.parametrize("learn", [{}, {"beta": 0.6}, {"threshold": 0.4}, {"beta": 1.25, "threshold": -0.3}])
def test_a_state_dict_of_snntorch_loads(learn):
    theirs, ours = with_learnables(learn)
    assert {"1.graded_spikes_factor", "1.reset_mechanism_val", "1.beta", "1.threshold"} < set(theirs.state_dict())
    result = ours.load_state_dict(theirs.state_dict())
    assert result.missing_keys == [] and result.unexpected_keys == []
    for name, value in dict(theirs.named_parameters()).items():
        assert np.array_equal(ours.params[name], value.detach().numpy()), name
    assert set(ours.params) == set(dict(theirs.named_parameters()))
    x = 4 * torch.rand(16, 5)
    spk_rec, mem_rec = run_theirs(theirs, x, 10)
    S, U = ours(x.numpy(), num_steps=10)
    assert 0.05 < S.mean() < 0.9
    assert np.array_equal(S, spk_rec.detach().numpy())
    np.testing.assert_allclose(U, mem_rec.detach().numpy(), atol=1e-5)


def test_a_state_dict_of_another_neuron_is_refused():
    theirs, _ = with_learnables({})
    for last in (
        npsnn.Leaky(beta=0.6, threshold=0.8, reset_mechanism="zero"),
        npsnn.Leaky(beta=0.7, threshold=0.9, reset_mechanism="zero"),
        npsnn.Leaky(beta=0.7, threshold=0.8),
    ):
        ours = npsnn.Sequential(
            npsnn.Linear(5, 6), npsnn.Leaky(0.9), npsnn.Linear(6, 3), last, backend="reference"
        )  # fmt: skip
        before = ours.state_dict()
        with pytest.raises(ValueError, match=r"state dict: 3\."):
            ours.load_state_dict(theirs.state_dict())
        assert all(np.array_equal(ours.params[name], value) for name, value in before.items())


# --- the tutorial's network ----------------------------------------------------------------------------------------


def their_tutorial():
    """12C5-MP2-64C5-MP2-1024FC10 of snnTorch's tutorial 6."""
    torch.manual_seed(0)
    spike_grad = snn_surrogate.fast_sigmoid(slope=25)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 5), torch.nn.MaxPool2d(2), snn.Leaky(beta=0.5, spike_grad=spike_grad, init_hidden=True),
        torch.nn.Conv2d(12, 64, 5), torch.nn.MaxPool2d(2), snn.Leaky(beta=0.5, spike_grad=spike_grad, init_hidden=True),
        torch.nn.Flatten(), torch.nn.Linear(64 * 4 * 4, 10),
        snn.Leaky(beta=0.5, spike_grad=spike_grad, init_hidden=True, output=True),
    )  # fmt: skip


def our_tutorial(backend):
    def leaky():
        return npsnn.Leaky(beta=0.5, spike_grad=surrogate.fast_sigmoid(slope=25))

    return npsnn.Sequential(
        npsnn.Conv2d(1, 12, 5), npsnn.MaxPool2d(2), leaky(),
        npsnn.Conv2d(12, 64, 5), npsnn.MaxPool2d(2), leaky(),
        npsnn.Flatten(), npsnn.Linear(64 * 4 * 4, 10), leaky(),
        seed=0, backend=backend,
    )  # fmt: skip


def louder(theirs, ours):
    """The same network with three times the weights behind the first layer, so that its output fires at once."""
    with torch.no_grad():
        for i in (3, 7):
            theirs[i].weight.mul_(3)
    ours.load_state_dict(theirs.state_dict())


def images(batch, seed=0):
    """Bright dots on black, (B, 1, 28, 28)."""
    rng = np.random.default_rng(seed)
    x = rng.random((batch, 1, 28, 28)) * (rng.random((batch, 1, 28, 28)) < 0.5)
    return (4 * x).astype(np.float32), rng.integers(0, 10, batch)


def membranes(net, x, num_steps):
    """(T, B, *N) of every neuron layer of an snnTorch network."""
    found = {i: [] for i, layer in enumerate(net) if isinstance(layer, snn.Leaky)}
    snn_utils.reset(net)
    with torch.no_grad():
        for _ in range(num_steps):
            net(x)
            for i, rec in found.items():
                rec.append(net[i].mem.numpy().copy())
    return {i: np.stack(rec) for i, rec in found.items()}


def test_the_tutorials_weights_are_the_same_bits():
    theirs = their_tutorial().state_dict()
    ours = our_tutorial("reference").params
    assert [theirs[name].numpy().tobytes() for name in ours] == [value.tobytes() for value in ours.values()]


@pytest.mark.parametrize("loud", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_tutorials_network_fires_alike(backend, loud):
    """In float32 the order of a sum may decide a spike, but only within 1e-5 of the threshold; then the sample goes
    its own way, and is compared no further."""
    x, _ = images(8)
    their_net, net = their_tutorial(), our_tutorial(backend)
    if loud:
        louder(their_net, net)
    theirs = membranes(their_net, torch.tensor(x), 5)
    neurons = net.forward(x, num_steps=5)[2].neurons()
    alike = np.ones(len(x), bool)
    for t in range(5):
        for i, U_theirs in theirs.items():
            U, U_t = neurons[i].U[t, alike].reshape(alike.sum(), -1), U_theirs[t, alike].reshape(alike.sum(), -1)
            differs = (U > 1) ^ (U_t > 1)
            assert (np.abs(U_t - 1)[differs] < 1e-5).all(), f"step {t}, {i} Leaky"
            np.testing.assert_allclose(U, U_t, atol=1e-5)
            alike[alike] = ~differs.any(axis=1)
    assert alike.sum() >= 6
    assert all(0.01 < (U > 1).mean() < 0.6 for i, U in theirs.items() if loud or i < 8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_tutorials_first_three_training_losses(backend):
    theirs, ours = their_tutorial(), our_tutorial(backend)
    louder(theirs, ours)
    their_adam, adam = torch.optim.Adam(theirs.parameters(), lr=1e-2), npsnn.optim.Adam(ours, lr=1e-2)
    their_loss_fn, loss_fn = snn_functional.ce_rate_loss(), functional.ce_rate_loss()
    losses = []
    for step in range(3):
        x, y = images(8, seed=step)
        spk_rec, _ = run_theirs(theirs, torch.tensor(x), 5)
        their_value = their_loss_fn(spk_rec, torch.tensor(y))
        their_adam.zero_grad()
        their_value.backward()
        their_adam.step()
        spk_rec, _, tape = ours.forward(x, num_steps=5)
        value, dspk = loss_fn.value_and_grad(spk_rec, y)
        adam.step(ours.backward(tape, dspk=dspk))
        losses.append((value, their_value.item()))
    mine, their = np.array(losses).T
    np.testing.assert_allclose(mine, their, rtol=1e-4)
    assert len(set(mine.tolist())) == 3


# --- the loop ------------------------------------------------------------------------------------------------------


def small_pair(backend):
    """(theirs, ours): the same float32 network with the same weights."""
    torch.manual_seed(1)
    spike_grad = snn_surrogate.fast_sigmoid(slope=5)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(6, 12), snn.Leaky(beta=0.8, spike_grad=spike_grad, init_hidden=True),
        torch.nn.Linear(12, 3), snn.Leaky(beta=0.8, spike_grad=spike_grad, init_hidden=True, output=True),
    )  # fmt: skip
    sigma = surrogate.fast_sigmoid(slope=5)
    ours = npsnn.Sequential(
        npsnn.Linear(6, 12), npsnn.Leaky(0.8, spike_grad=sigma),
        npsnn.Linear(12, 3), npsnn.Leaky(0.8, spike_grad=sigma),
        backend=backend,
    )  # fmt: skip
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def batches(shape):
    rng = np.random.default_rng(9)
    return [(rng.uniform(0, 3, shape).astype(np.float32), rng.integers(0, 3, 4)) for _ in range(3)]


LOOPS = [
    ("ce_rate_loss", {}, None),
    ("ce_count_loss", {}, 1e-3),
    ("ce_max_membrane_loss", {}, None),
    ("mse_count_loss", {"correct_rate": 0.8, "incorrect_rate": 0.2}, None),
    ("mse_membrane_loss", {}, 1e-3),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("name", "arguments", "price"), LOOPS)
def test_bptt_over_an_epoch_of_static_batches(name, arguments, price, backend):
    theirs, ours = small_pair(backend)
    data = batches((4, 6))
    reg = functional.l1_rate_sparsity(price) if price else None
    their_reg = snn_functional.l1_rate_sparsity(price) if price else False
    mean = backprop.BPTT(
        ours, data, npsnn.optim.Adam(ours, lr=0.01), getattr(functional, name)(**arguments),
        num_steps=8, time_var=False, regularization=reg,
    )  # fmt: skip
    their_mean = snn_backprop.BPTT(
        theirs, [(torch.tensor(x), torch.tensor(y)) for x, y in data], torch.optim.Adam(theirs.parameters(), lr=0.01),
        getattr(snn_functional, name)(**arguments), num_steps=8, time_var=False, regularization=their_reg,
    )  # fmt: skip
    assert mean == pytest.approx(their_mean.item(), rel=1e-6)
    assert math.isfinite(mean) and mean > 0
    for parameter, value in theirs.named_parameters():
        np.testing.assert_allclose(ours.params[parameter], value.detach().numpy(), atol=1e-5)
