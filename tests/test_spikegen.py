"""The encoders by exact numbers, and what they refuse. tests/peers compares them with snnTorch."""

import numpy as np
import pytest

from npsnn import spikegen
from npsnn.generator import Generator

F32 = np.float32


def test_rate_draws_step_by_step_in_memory_order():
    p = np.array([[0.25, 0.5, 0.75], [0, 1, 0.5]], F32)
    u = Generator(7).uniform(0, 1, (5, 2, 3))
    assert np.array_equal(spikegen.rate(p, num_steps=5, seed=7), u < p)
    assert np.array_equal(spikegen.rate(np.asfortranarray(p), num_steps=5, seed=7), u < p)


def test_rate_takes_a_generator_and_moves_it_on():
    p, generator = np.full(11, 0.5, F32), Generator(3)
    both = np.concatenate([spikegen.rate(p, 2, seed=generator), spikegen.rate(p, 3, seed=generator)])
    assert np.array_equal(both, spikegen.rate(p, 5, seed=3))


def test_rate_clips_after_gain_and_offset():
    x = np.array([0, 0.25, 0.5, 2], F32)
    assert spikegen.rate(x, 2, gain=4, offset=-1).tolist() == [[0, 0, 1, 1]] * 2
    assert spikegen.rate(x.astype(np.float64), 1, gain=4, offset=-1).dtype == np.float64


def test_the_first_spike_time_of_rate():
    ones = np.ones((2, 3), F32)
    static = spikegen.rate(ones, 5, first_spike_time=2)
    assert static.shape == (5, 2, 3)
    assert static.sum(axis=(1, 2)).tolist() == [0, 0, 6, 6, 6]
    varying = spikegen.rate(ones, time_var_input=True, first_spike_time=2)
    assert varying.shape == (4, 3)
    assert varying.sum(axis=1).tolist() == [0, 0, 3, 3]
    assert varying.dtype == F32


def test_latency_linear():
    x = np.array([0, 0.25, 0.5, 0.75, 1])
    spikes = spikegen.latency(x, 9, threshold=0.25, normalize=True, linear=True)
    assert spikes.argmax(axis=0).tolist() == [6, 6, 4, 2, 0]
    assert spikes.sum(axis=0).tolist() == [1] * 5
    clipped = spikegen.latency(x, 9, threshold=0.25, normalize=True, linear=True, clip=True)
    assert clipped.sum(axis=0).tolist() == [0, 1, 1, 1, 1]
    later = spikegen.latency(x, 9, threshold=0.25, tau=4, linear=True, first_spike_time=2)
    assert later.argmax(axis=0).tolist() == [5, 5, 4, 3, 2]


def test_latency_rounds_half_to_even():
    spikes = spikegen.latency(np.array([0.5, 0.75, 0.25]), 5, tau=2 + 4, linear=True)
    assert spikes.argmax(axis=0).tolist() == [3, 2, 4]


def test_the_latency_of_an_image_depends_on_its_neighbours():
    dim, dark = np.array([[0.5, 0.4]]), np.array([[0.02, 0.4]])
    alone = spikegen.latency(dim, 9, normalize=True)[:, 0]
    beside = spikegen.latency(np.concatenate([dim, dark]), 9, normalize=True)[:, 0]
    assert alone.argmax(axis=0).tolist() == [6, 8]
    assert beside.argmax(axis=0).tolist() == [0, 0]


def test_latency_without_num_steps_ends_with_the_last_spike():
    assert spikegen.latency(np.array([0, 1.0]), tau=10, linear=True, bypass=True).shape == (11, 2)


def test_latency_leaves_late_spikes_out_with_bypass():
    spikes = spikegen.latency(np.array([0, 0.5, 1]), 7, tau=10, linear=True, bypass=True)
    assert spikes.sum(axis=0).tolist() == [0, 1, 1]


def test_latency_ramps_up_to_the_spike():
    ramp = spikegen.latency(np.array([0, 1, 0.5]), 5, threshold=0.001, normalize=True, linear=True, interpolate=True)
    assert ramp.T.tolist() == [[0, 0.25, 0.5, 0.75, 1], [1, 0, 0, 0, 0], [0, 0.5, 1, 0, 0]]


def test_delta():
    x = np.array([[1, 2], [1.5, 1], [1.25, 1]])
    assert spikegen.delta(x, 0.5).tolist() == [[1, 1], [1, 0], [0, 0]]
    assert spikegen.delta(x, 0.5, padding=True).tolist() == [[0, 0], [1, 0], [0, 0]]
    assert spikegen.delta(x, 0.25, off_spike=True).tolist() == [[1, 1], [1, -1], [-1, 0]]
    assert spikegen.delta(x.astype(F32)).dtype == F32


def test_nothing_that_comes_in_is_changed():
    x = np.linspace(0, 1, 12, dtype=F32).reshape(3, 4)
    before = x.copy()
    spikegen.rate(x, 3, gain=2, first_spike_time=1)
    spikegen.rate(x, time_var_input=True, first_spike_time=1)
    spikegen.latency(x, 5, normalize=True, clip=True)
    spikegen.latency(x, 5, normalize=True, interpolate=True)
    spikegen.delta(x, padding=True, off_spike=True)
    assert np.array_equal(x, before)


HALF = np.full(3, 0.5, F32)
REFUSED = [
    ("rate", (HALF,), {}, ValueError, "num_steps must be given for static data; .* set time_var_input=True"),
    ("rate", (HALF, 0), {}, ValueError, "num_steps must be at least 1, got 0"),
    ("rate", (HALF, 3), {"first_spike_time": 3}, ValueError, r"first_spike_time must be below num_steps \(3\), got 3"),
    ("rate", (HALF, 3), {"time_var_input": True}, ValueError, "num_steps is the length of time-varying data; .* got 3"),
    ("rate", (F32(0.5),), {"time_var_input": True}, ValueError, r"spikegen.rate: data has shape \(\), expected \(T, "),
    ("rate", (HALF, 3), {"gain": "1"}, TypeError, "gain must be a number, got '1'"),
    ("rate", (HALF, 3), {"seed": -1}, ValueError, "seed must be at least 0, got -1"),
    ("rate", (np.ones(3, np.uint8), 3), {}, TypeError, "spikegen.rate: data is uint8, .* divide by 255"),
    ("rate", (HALF * np.nan, 3), {}, ValueError, "spikegen.rate: data has 3 NaN"),
    ("latency", (HALF,), {}, ValueError, "num_steps must be given; with bypass=True"),
    ("latency", (HALF,), {"bypass": True, "normalize": True}, ValueError, "num_steps must be given; "),
    ("latency", (HALF * 3, 5), {}, ValueError, r"spikegen.latency: data must lie in .*, got values from 1.5 to 1.5"),
    ("latency", (HALF[:0], 5), {}, ValueError, r"spikegen.latency: data must lie in \[0, 1\], got no values"),
    ("latency", (HALF, 5), {"threshold": 0}, ValueError, "threshold must lie between 0 and 1, got 0.0"),
    ("latency", (HALF, 5), {"tau": 0}, ValueError, "tau and epsilon must be positive, got 0.0 and 1e-07"),
    ("latency", (HALF, 5), {"first_spike_time": 5}, ValueError, r"first_spike_time must be below .*, got 5"),
    ("latency", (HALF, 5), {"tau": 20, "linear": True}, ValueError, "is at step 10, num_steps 5 ends at 4: lower"),
    ("latency", (HALF, 5), {"interpolate": True, "on_target": -1}, ValueError, "on_target must not be below"),
    ("latency", (HALF, 5), {"threshold": 0.9, "epsilon": 1e-12}, ValueError, "epsilon 1e-12 vanishes beside"),
    ("delta", (HALF[:0],), {}, ValueError, r"spikegen.delta: data has shape \(0,\), expected \(T, ...\), T >= 1"),
    ("delta", (HALF,), {"threshold": np.inf}, ValueError, "threshold must be finite, got inf"),
    ("delta", (HALF,), {"off_spike": 1}, TypeError, "off_spike must be True or False, got 1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "options", "error", "message"), REFUSED)
def test_what_is_refused(name, arguments, options, error, message):
    with pytest.raises(error, match=message):
        getattr(spikegen, name)(*arguments, **options)
