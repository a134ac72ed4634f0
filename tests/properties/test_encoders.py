"""What holds for every encoder, and every plot's data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npsnn import Generator, spikegen, spikeplot
from tests.properties.drawing import DRAWN, POWERS, from_seed, perfect, pick, recordings, whole
from tests.twins import same_bits, unchanged


@from_seed
def intensities(rng):
    """(array in [0, 1], steps, seed); half of them on a grid, so that there are ends and ties."""
    shape = pick(rng, (3,), (2, 3), (2, 1, 4), (1,))
    x = pick(rng, rng.integers(0, 5, shape) / 4, rng.random(shape))
    return x.astype(pick(rng, np.float32, np.float64)), whole(rng, 2, 7), whole(rng, 0, 2**32 - 1)


@DRAWN
@given(intensities)
def test_rate_codes_keep_their_data_and_fire_by_chance_alone_between_zero_and_one(drawn):
    x, T, seed = drawn
    with unchanged(x):
        S, moving = spikegen.rate(x, T, seed=seed), spikegen.rate(x, time_var_input=True, seed=seed)
    for spikes, shape in ((S, (T, *x.shape)), (moving, x.shape)):
        assert spikes.shape == shape and spikes.dtype == x.dtype and set(np.unique(spikes)) <= {0, 1}
    assert not S[:, x == 0].any() and S[:, x == 1].all()
    same_bits(spikegen.rate(x, T, seed=Generator(seed)), S)
    same_bits(spikegen.rate(x, T, first_spike_time=1, seed=seed)[1:], S[1:])


@DRAWN
@given(intensities, st.booleans(), st.booleans())
def test_latency_codes_keep_their_data_and_fire_once_the_larger_the_earlier(drawn, linear, normalize):
    x, T, _ = drawn
    with unchanged(x):
        S = spikegen.latency(x, T, linear=linear, normalize=normalize, bypass=True)
    assert S.shape == (T, *x.shape) and S.dtype == x.dtype and set(np.unique(S)) <= {0, 1}
    assert (S.sum(axis=0) == 1).all() if normalize else (S.sum(axis=0) <= 1).all()
    time = np.where(S.any(axis=0), S.argmax(axis=0), T).ravel()  # T: after the last step
    assert (np.diff(time[np.argsort(x.ravel(), kind="stable")]) <= 0).all()


@DRAWN
@given(intensities, POWERS)
def test_delta_codes_keep_their_data_and_follow_its_sign_and_scale(drawn, factor):
    x, _, _ = drawn
    x = np.cumsum(x - x.dtype.type(0.5), axis=0, dtype=x.dtype)
    with unchanged(x):
        S = spikegen.delta(x, 0.25, off_spike=True)
        up = spikegen.delta(x, 0.25, padding=True)
    assert S.shape == x.shape and S.dtype == up.dtype == x.dtype
    assert set(np.unique(S)) <= {-1, 0, 1} and not up[0].any()
    np.testing.assert_array_equal(up[1:], np.maximum(S[1:], 0))
    np.testing.assert_array_equal(spikegen.delta(-x, 0.25, off_spike=True), -S)
    np.testing.assert_array_equal(spikegen.delta(x.dtype.type(factor) * x, factor * 0.25, off_spike=True), S)


@settings(DRAWN, max_examples=5)
@given(recordings)
def test_plots_keep_their_data(drawn):
    pytest.importorskip("matplotlib", reason='plots need Matplotlib: pip install "npsnn[plot]"')
    from matplotlib.figure import Figure

    rec, y, _ = drawn
    U, S, names = rec[:, 0], perfect(rec, y)[:, 0], [str(n) for n in range(rec.shape[2])]
    with unchanged(U, S, rec):
        for moving in (True, False):
            fig = Figure()
            film = spikeplot.spike_count(S, fig, fig.subplots(), names, animate=moving)
            if moving:
                film._draw_was_started = True  # an animation that is never drawn warns
                for frame in film.new_frame_seq():
                    film._func(frame)
        spikeplot.raster(S, Figure().subplots())
        spikeplot.traces(U, S, dim=(1, rec.shape[2]))
        fig = Figure()
        spikeplot.animator(rec, fig, fig.subplots())._draw_was_started = True
