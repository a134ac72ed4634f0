"""The encoders against snnTorch 1.0.0."""

import itertools

import numpy as np
import pytest

from npsnn import spikegen

torch = pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("snntorch.spikegen", reason="needs snnTorch")


def same(ours, their):
    assert ours.dtype == np.float32
    assert ours.shape == tuple(their.shape)
    assert np.array_equal(ours, their.numpy())


DATA = np.random.default_rng(0).random((3, 7, 5), dtype=np.float32)
DATA[0, 0] = [0, 1, 0.01, 0.5, 0.005]


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(
    "options",
    [{}, {"gain": 2.5}, {"gain": 0.3, "offset": 0.4}, {"gain": 3, "offset": -1}, {"first_spike_time": 4}],
)
def test_rate_static(theirs, seed, options):
    torch.manual_seed(seed)
    expected = theirs.rate(torch.from_numpy(DATA), num_steps=11, **options)
    same(spikegen.rate(DATA, num_steps=11, seed=seed, **options), expected)


@pytest.mark.parametrize("options", [{}, {"first_spike_time": 4}, {"gain": 0.1, "offset": 0.5}])
def test_rate_of_time_varying_data(theirs, options):
    for x in (DATA, DATA.T, 3 * DATA - 1):
        torch.manual_seed(7)
        expected = theirs.rate(torch.from_numpy(x), time_var_input=True, **options)
        same(spikegen.rate(x, time_var_input=True, seed=7, **options), expected)


def test_rate_of_an_image(theirs):
    from npsnn.data import mnist

    image = mnist("test")[3][0]
    torch.manual_seed(1)
    same(spikegen.rate(image, 100, seed=1), theirs.rate(torch.from_numpy(image), 100))


LATENCY = [
    {"normalize": True},
    {"normalize": True, "first_spike_time": 3},
    {"normalize": True, "clip": True, "threshold": 0.3},
    {"normalize": True, "on_target": 1.25, "off_target": 0.25},
    {"normalize": True, "on_target": -1, "off_target": 0.25},
    {"normalize": True, "interpolate": True},
    {"normalize": True, "interpolate": True, "on_target": 1.3, "off_target": -0.2, "first_spike_time": 2},
    {"normalize": True, "threshold": 0.9, "epsilon": 1e-4},
    {"tau": 20, "bypass": True},
    {"tau": 20, "bypass": True, "clip": True, "first_spike_time": 2},
    {"tau": 20, "bypass": True, "interpolate": True},
    {"tau": 0.5},
    {"tau": 0.4, "first_spike_time": 2},
]


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("steps", [9, 16, 57])
@pytest.mark.parametrize("options", LATENCY)
def test_latency(theirs, options, steps, linear):
    expected = theirs.latency(torch.from_numpy(DATA), num_steps=steps, linear=linear, **options)
    same(spikegen.latency(DATA, num_steps=steps, linear=linear, **options), expected)


@pytest.mark.parametrize("linear", [False, True])
def test_latency_makes_its_own_steps(theirs, linear):
    ours = spikegen.latency(DATA, tau=3, bypass=True, linear=linear)
    same(ours, theirs.latency(torch.from_numpy(DATA), tau=3, bypass=True, linear=linear))


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_latency_of_equal_values(theirs, value):
    x = np.full(3, value, np.float32)
    same(spikegen.latency(x, 5, normalize=True), theirs.latency(torch.from_numpy(x), 5, normalize=True))


@pytest.mark.parametrize("x", [DATA, DATA * 4 - 2, np.round(DATA * 10) / 10])
def test_delta(theirs, x):
    for threshold, padding, off_spike in itertools.product((0.1, 0.3, -0.2, 1), (False, True), (False, True)):
        ours = spikegen.delta(x, threshold, padding, off_spike)
        same(ours, theirs.delta(torch.from_numpy(x), threshold, padding, off_spike))
