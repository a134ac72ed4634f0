"""Adam on a network: the law on its one vector, what it refuses, and its state."""

import numpy as np
import pytest

import npsnn
from npsnn.adam.reference import adam_step
from npsnn.optim import Adam


@pytest.fixture
def net(backend):
    return npsnn.Sequential(
        npsnn.Linear(3, 5),
        npsnn.Leaky(0.5, learn_beta=True),
        npsnn.Linear(5, 2),
        backend=backend,
        seed=4,
        dtype=np.float64,
    )


def gradients(rng, net):
    return {name: rng.standard_normal(p.shape) for name, p in net.params.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_are_the_laws(backend, rng, dtype):
    """Bit for bit: no sum is taken, and the twin has the law's order of operations."""
    net = npsnn.Sequential(npsnn.Linear(7, 3), npsnn.Linear(3, 2, bias=False), backend=backend, dtype=dtype)
    optimizer = Adam(net, lr=0.05, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.01)
    p = net.flat_params.copy()
    m, v = np.zeros_like(p), np.zeros_like(p)
    for t in (1, 2, 3):
        grads = {name: rng.standard_normal(q.shape).astype(dtype) for name, q in net.params.items()}
        g = np.concatenate([grads[name].ravel() for name in ("0.weight", "0.bias", "1.weight")])
        optimizer.step(grads)
        adam_step(p, g, m, v, t, lr=0.05, b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.01)
        np.testing.assert_array_equal(net.flat_params, p)
    np.testing.assert_array_equal(optimizer.m, m)
    np.testing.assert_array_equal(optimizer.v, v)
    assert optimizer.t == 3


def test_the_first_step_is_lr_against_the_sign_of_the_gradient(net, rng):
    before, grads = net.state_dict(), gradients(rng, net)
    Adam(net, lr=0.125, eps=0.0).step(grads)
    for name, p in net.params.items():
        np.testing.assert_allclose(p, before[name] - 0.125 * np.sign(grads[name]), rtol=0, atol=1e-15)


def test_the_order_of_the_gradients_does_not_matter(net, rng):
    twin = npsnn.Sequential(*net.layers, backend=net.backend, seed=4, dtype=np.float64)
    grads = gradients(rng, net)
    Adam(net).step(grads)
    Adam(twin).step(dict(reversed(grads.items())))
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_what_is_no_parameters_gradient_is_ignored(net, rng):
    twin = npsnn.Sequential(*net.layers, backend=net.backend, seed=4, dtype=np.float64)
    grads = gradients(rng, net)
    Adam(net).step(grads)
    Adam(twin).step({**grads, "input": np.ones(3), "state": (np.ones(2),)})
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_gradients_are_not_changed_and_params_are_changed_in_place(net, rng):
    grads, view = gradients(rng, net), net.params["2.weight"]
    kept, before = {name: g.copy() for name, g in grads.items()}, view.copy()
    Adam(net, weight_decay=0.1).step(grads)
    for name, g in grads.items():
        np.testing.assert_array_equal(g, kept[name])
    assert (view != before).all()
    assert np.shares_memory(view, net.params["2.weight"])


def test_a_rate_of_zero_changes_nothing(net, rng):
    before = net.flat_params.copy()
    Adam(net, lr=0).step(gradients(rng, net))
    np.testing.assert_array_equal(net.flat_params, before)


def test_resuming_from_a_state_has_the_bits_of_going_on(net, rng):
    steps = [gradients(rng, net) for _ in range(6)]
    optimizer = Adam(net, lr=0.01, betas=(0.7, 0.9), weight_decay=0.1)
    for grads in steps[:3]:
        optimizer.step(grads)
    saved_net, saved = net.state_dict(), optimizer.state_dict()
    for grads in steps[3:]:
        optimizer.step(grads)

    twin = npsnn.Sequential(*net.layers, backend=net.backend, seed=99, dtype=np.float64)
    other = Adam(twin)
    twin.load_state_dict(saved_net)
    other.load_state_dict(saved)
    assert (other.lr, other.betas, other.weight_decay, other.t) == (0.01, (0.7, 0.9), 0.1, 3)
    for grads in steps[3:]:
        other.step(grads)
    np.testing.assert_array_equal(twin.flat_params, net.flat_params)


def test_a_state_is_a_copy_both_ways(net, rng):
    optimizer = Adam(net)
    optimizer.step(gradients(rng, net))
    state = optimizer.state_dict()
    kept = state["m"].copy()
    optimizer.step(gradients(rng, net))
    np.testing.assert_array_equal(state["m"], kept)
    other = Adam(net)
    other.load_state_dict(state)
    other.step(gradients(rng, net))
    np.testing.assert_array_equal(state["m"], kept)
    assert state["t"] == 1


BAD_STATES = {
    "missing": (lambda s: s.pop("v"), ValueError, "Adam state: has "),
    "unknown": (lambda s: s.update(amsgrad=True), ValueError, "Adam state: has "),
    "shape": (lambda s: s.update(m=np.zeros(3)), ValueError, r"Adam state: m has shape \(3,\)"),
    "NaN": (lambda s: s["m"].fill(np.nan), ValueError, "Adam state: m has .* NaN"),
    "negative square": (lambda s: s["v"].fill(-1.0), ValueError, "Adam state: v, a mean of squares"),
    "integers": (lambda s: s.update(m=s["m"].astype(int)), TypeError, "Adam state: m is int64"),
    "negative count": (lambda s: s.update(t=-1), ValueError, "Adam state: t must be at least 0, got -1"),
    "fractional count": (lambda s: s.update(t=1.5), TypeError, "Adam state: t must be an integer, got 1.5"),
    "rate": (lambda s: s.update(lr=-1.0), ValueError, "Adam: lr must be at least 0"),
    "betas": (lambda s: s.update(betas=(0.9, 1.0)), ValueError, r"Adam: betas\[1\] must be in \[0, 1\)"),
    "a name": (lambda s: s.update({0: 1, None: 2}), ValueError, "Adam state: has 0, None, betas, "),
    "complex": (lambda s: s.update(m=s["m"] + 0j), TypeError, "Adam state: m is complex128"),
    "masked": (lambda s: s.update(v=np.ma.masked_array(s["v"], s["v"] > 0)), TypeError, "Adam state: v is a masked"),
    "ragged": (lambda s: s.update(m=[[0.5], 0.5]), TypeError, "Adam state: m is not an array"),
    "endless count": (lambda s: s.update(t=10**400), ValueError, r"Adam state: t must be below 2\*\*63"),
    "endless rate": (lambda s: s.update(lr=10**400), ValueError, "Adam: lr must be finite"),
    "unordered betas": (lambda s: s.update(betas={0.9: 1, 0.99: 2}), ValueError, "Adam: betas must be a pair"),
    "no betas": (lambda s: s.update(betas=None), ValueError, "Adam: betas must be a pair, got None"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_bad_state_is_refused_and_leaves_everything_as_it_was(rng, name):
    net = npsnn.Sequential(npsnn.Linear(3, 2), backend="reference", dtype=np.float64)
    optimizer = Adam(net, lr=0.5)
    optimizer.step(gradients(rng, net))
    before, state = optimizer.state_dict(), optimizer.state_dict()
    spoil, kind, message = BAD_STATES[name]
    spoil(state)
    with pytest.raises(kind, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert before.keys() == after.keys()
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)


ODD = [
    None, "0.5", b"", {}, {0.5: 0.25}, [], [0.5], [0.5, 0.25], (0.5, 0.25), [[0.5], [0.5, 0.25]], len, 1j, True, -1, 0,
    3, 2**63, 10**400, 0.5, 1.5, float("nan"), float("inf"), np.float32(0.5), np.int64(4), np.array(0.5),
    np.array(None), np.ones(8), np.ones(8, np.float32), np.ones(8, ">f8"), np.ones(8, complex), np.ones((8, 1)),
    -np.ones(8), np.full(8, np.nan), np.ma.masked_array(np.ones(8), np.eye(8)[0]), np.ones(8, object), np.ones(0),
]  # fmt: skip
LOADS = {"lr": 7, "betas": 2, "eps": 7, "weight_decay": 7, "t": 3, "m": 4, "v": 3, "amsgrad": 0, None: 0}


@pytest.mark.parametrize("name", LOADS)
def test_a_state_with_any_value_loads_whole_or_is_refused_and_nothing_changed(name):
    """Nor is what was good in it taken over."""
    net, loaded = npsnn.Sequential(npsnn.Linear(3, 2), backend="reference", dtype=np.float64), 0
    other = Adam(net, lr=0.25, betas=(0.5, 0.75), eps=0.125, weight_decay=0.5)
    other.step({"0.weight": np.ones((2, 3)), "0.bias": np.ones(2)})
    for value in ODD:
        optimizer = Adam(net, lr=0.125)
        before = optimizer.state_dict()
        expected = {**other.state_dict(), name: value}
        try:
            optimizer.load_state_dict(expected)
            loaded += 1
        except (ValueError, TypeError) as error:
            assert str(error).startswith("Adam")
            expected = before
        for key, kept in optimizer.state_dict().items():
            np.testing.assert_array_equal(kept, expected[key])
    assert loaded == LOADS[name]


@pytest.mark.parametrize("state", [None, 3, "lr", ["lr", "t"], np.zeros(8)], ids=repr)
def test_a_state_that_is_no_mapping_is_refused(state):
    with pytest.raises(TypeError, match=r"Adam state: must be a state_dict\(\), got "):
        Adam(npsnn.Sequential(npsnn.Linear(3, 2), backend="reference")).load_state_dict(state)


@pytest.mark.parametrize("bad", ["missing", "unknown", "shape", "NaN", "dtype"])
def test_a_bad_gradient_leaves_everything_as_it_was(rng, bad):
    net = npsnn.Sequential(npsnn.Linear(3, 2), backend="reference")
    optimizer = Adam(net)
    grads = {"0.weight": np.ones((2, 3), np.float32), "0.bias": np.ones(2, np.float32)}
    change = {
        "missing": lambda: grads.pop("0.bias"),
        "unknown": lambda: grads.update({"1.bias": np.ones(2, np.float32)}),
        "shape": lambda: grads.update({"0.bias": np.ones((2, 1), np.float32)}),
        "NaN": lambda: grads["0.bias"].fill(np.nan),
        "dtype": lambda: grads.update({"0.bias": np.ones(2)}),
    }
    change[bad]()
    before = net.flat_params.copy()
    with pytest.raises((ValueError, TypeError), match="grads: "):
        optimizer.step(grads)
    np.testing.assert_array_equal(net.flat_params, before)
    assert optimizer.t == 0
    assert not optimizer.m.any()
    assert not optimizer.v.any()


@pytest.mark.parametrize(
    "settings, kind, message",
    [
        ({"lr": -1e-3}, ValueError, "Adam: lr must be at least 0, got -0.001"),
        ({"lr": float("inf")}, ValueError, "Adam: lr must be finite, got inf"),
        ({"lr": "0.1"}, TypeError, "Adam: lr must be a number, got '0.1'"),
        ({"lr": True}, TypeError, "Adam: lr must be a number, got True"),
        ({"betas": 0.9}, ValueError, "Adam: betas must be a pair, got 0.9"),
        ({"betas": (0.9,)}, ValueError, "Adam: betas must be a pair"),
        ({"betas": (1.0, 0.9)}, ValueError, r"Adam: betas\[0\] must be in \[0, 1\), got 1.0"),
        ({"betas": (0.9, -0.1)}, ValueError, r"Adam: betas\[1\] must be at least 0, got -0.1"),
        ({"eps": -1}, ValueError, "Adam: eps must be at least 0, got -1"),
        ({"weight_decay": float("nan")}, ValueError, "Adam: weight_decay must be finite, got nan"),
    ],
)
def test_settings_out_of_range(settings, kind, message):
    with pytest.raises(kind, match=message):
        Adam(npsnn.Sequential(npsnn.Linear(3, 2), backend="reference"), **settings)


def test_a_net_is_asked_for():
    with pytest.raises(TypeError, match="Adam: net must be a Sequential, got dict"):
        Adam({})


def test_a_state_from_before_the_first_step_loads():
    net = npsnn.Sequential(npsnn.Linear(2, 1), backend="reference")
    fresh, other = Adam(net), Adam(net)
    other.step({"0.weight": np.ones((1, 2), np.float32), "0.bias": np.ones(1, np.float32)})
    other.load_state_dict(fresh.state_dict())
    assert other.t == 0 and not other.m.any() and not other.v.any()
