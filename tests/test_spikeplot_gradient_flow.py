"""spikeplot.gradient_flow: the numbers that are shown, zeros apart, what is refused, and what it leaves alone."""

import numpy as np
import pytest

import npsnn
from npsnn import functional as SF
from npsnn import spikeplot, surrogate, tiles
from npsnn.surrogate import fast_sigmoid

pytest.importorskip("matplotlib", reason='plots need Matplotlib: pip install "npsnn[plot]"')

import matplotlib
from matplotlib.figure import Figure

T, B = 7, 5


def dense(backend="reference", dtype=np.float64, **neuron):
    """Two neuron layers, then a readout without one where `neuron` says nothing else."""
    sg = fast_sigmoid(slope=5)
    net = npsnn.Sequential(
        npsnn.Linear(4, 6), npsnn.Leaky(0.8, 0.6, sg), npsnn.Linear(6, 3), npsnn.Leaky(0.7, 0.5, sg, **neuron),
        backend=backend, dtype=dtype, seed=3,
    )  # fmt: skip
    net.params["0.weight"] *= 3
    net.params["2.weight"] *= 3
    return net


def forward(net, rng, steps=T, batch=B):
    return net.forward(rng.uniform(0, 1.5, (steps, batch, 4)).astype(net.dtype))


def rms(d):
    return np.sqrt((d.astype(np.float64) ** 2).reshape(len(d), -1).mean(axis=1))


def by_hand(net, tape, dspk):
    """dL/dU of both neuron layers, lowest first, by (L5) and (L6) written out again: subtract, reset detached."""
    found = []
    for i, weight in ((3, net.params["2.weight"]), (1, None)):
        layer, U = net.layers[i], tape.neurons()[i].U
        dU, after = np.zeros_like(U), 0.0
        for t in reversed(range(len(U))):
            after = dspk[t] / (1 + 5 * abs(U[t] - layer.threshold)) ** 2 + layer.beta * after
            dU[t] = after
        found.insert(0, dU)
        dspk = None if weight is None else dU @ weight
    return found


def test_what_is_shown_is_the_gradient_of_each_layer_at_each_step(backend, rng):
    net = dense(backend)
    spk_rec, _, tape = forward(net, rng)
    dspk = rng.standard_normal(spk_rec.shape)
    image = spikeplot.gradient_flow(net, tape, dspk)
    expected = [np.log10(rms(dU)) for dU in by_hand(net, tape, dspk)]
    assert not image.get_array().mask.any()
    np.testing.assert_allclose(image.get_array().data, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reset", ["zero", "none"])
def test_a_static_input_long_runs_and_many_chunks(backend, rng, reset):
    """Shown at every step, it has one gradient a step all the same; batches in chunks, steps in blocks."""
    steps, batch = tiles.STEPS + 2, 9
    net = dense(backend, reset_mechanism=reset, detach_reset=False)
    x = rng.uniform(0, 1.5, (batch, 4))
    spk_rec, _, tape = net.forward(x, steps)
    d = rng.standard_normal((2, *spk_rec.shape))
    again = net.forward(np.repeat(x[None], steps, axis=0))[2]
    static, moving = (spikeplot.gradient_flow(net, t, *d).get_array() for t in (tape, again))
    assert static.shape == (2, steps)
    np.testing.assert_allclose(static.data, moving.data, rtol=0, atol=1e-10)
    one = dense("reference", reset_mechanism=reset, detach_reset=False)
    other = spikeplot.gradient_flow(one, one.forward(x, steps)[2], *d).get_array()
    np.testing.assert_allclose(static.data, other.data, rtol=0, atol=1e-10)


def test_the_first_step_of_a_run_is_the_gradient_of_the_membrane_before_it(rng):
    """dL/dU[0] of one layer, asked of `backward` itself: dL/dU[-1] = beta dL/dU[0], where nothing fired before."""
    net = npsnn.Sequential(npsnn.Leaky(0.5, 0.5, fast_sigmoid(5)), backend="reference", dtype=np.float64)
    spk_rec, _, tape = net.forward(rng.uniform(0, 1, (T, B, 4)))
    dspk = rng.standard_normal(spk_rec.shape)
    (before,) = net.backward(tape, dspk, state_grad=True)["state"]
    shown = spikeplot.gradient_flow(net, tape, dspk).get_array()
    np.testing.assert_allclose(shown[0, 0], np.log10(rms(2 * before[None])[0]), rtol=0, atol=1e-12)


def test_zeros_are_apart_from_what_is_small(canvas_of_two, rng):
    """Nothing comes after the loss's last look; what is beneath a surrogate of zeros gets nothing."""
    net = dense(dtype=np.float64)
    spk_rec, _, tape = forward(net, rng)
    dmem = np.zeros_like(spk_rec)
    dmem[2] = 1e-300
    image = spikeplot.gradient_flow(net, tape, dmem=dmem, ax=canvas_of_two[0])
    assert image.get_array().mask.tolist() == [[False] * 3 + [True] * 4] * 2
    np.testing.assert_allclose(image.get_array()[1].compressed(), -300 + np.log10([0.49, 0.7, 1]), atol=1e-12)
    assert image.get_array()[0, 2] < -300
    bad, colours = image.get_cmap().get_bad(), image.get_cmap()(np.linspace(0, 1, 256))
    assert bad[3] == 1 and np.abs(colours - bad).max(axis=1).min() > 0.1
    blind = npsnn.Sequential(
        npsnn.Leaky(0.5), npsnn.Linear(4, 3), npsnn.Leaky(0.5, spike_grad=surrogate.SFS(B=99)), dtype=np.float64
    )
    spk_rec, _, tape = blind.forward(rng.uniform(0, 1, (T, B, 4)))
    image = spikeplot.gradient_flow(blind, tape, np.ones_like(spk_rec), ax=canvas_of_two[1])
    assert image.get_array().mask.all() and image.get_clim() == (-1, 0)
    canvas_of_two[0].figure.canvas.draw()


@pytest.fixture
def canvas_of_two():
    return Figure().subplots(1, 2)


def test_noise_of_the_surrogate_is_that_of_the_run(rng):
    """SSO draws once a run: the map is that of the tape's own draw, at every call."""
    net = npsnn.Sequential(npsnn.Leaky(0.5, spike_grad=surrogate.SSO()), npsnn.Linear(4, 2), dtype=np.float64)
    x = rng.uniform(0, 0.4, (T, B, 4))
    spk_rec, _, tape = net.forward(x)
    maps = [spikeplot.gradient_flow(net, tape, np.ones_like(spk_rec)).get_array() for _ in range(2)]
    np.testing.assert_array_equal(*maps)
    (before,) = net.backward(tape, np.ones_like(spk_rec), state_grad=True)["state"]
    np.testing.assert_allclose(maps[0][0, 0], np.log10(rms(2 * before[None])[0]), rtol=0, atol=1e-12)


def test_a_loss_and_float32(backend, rng):
    net = dense(backend, np.float32)
    spk_rec, _, tape = forward(net, rng)
    dspk = SF.ce_rate_loss().value_and_grad(spk_rec, np.arange(B) % 3)[1]
    shown = spikeplot.gradient_flow(net, tape, dspk).get_array()
    np.testing.assert_allclose(shown.data, [np.log10(rms(dU)) for dU in by_hand(net, tape, dspk)], atol=1e-5)


def test_rows_are_named_and_the_figure_can_be_written(tmp_path, rng):
    net = dense()
    spk_rec, _, tape = forward(net, rng)
    image = spikeplot.gradient_flow(net, tape, np.ones_like(spk_rec), cmap="magma", vmin=-9)
    assert [text.get_text() for text in image.axes.get_yticklabels()] == ["1 Leaky", "3 Leaky"]
    assert image.axes.get_ylim() == (-0.5, 1.5) and image.axes.get_xlim() == (-0.5, T - 0.5)
    assert image.axes.get_xlabel() == "time step"
    assert image.get_cmap().name == "magma" and image.get_clim()[0] == -9
    assert len(image.figure.axes) == 2  # with the colour bar's
    image.figure.savefig(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 0


def test_a_colormap_with_a_colour_for_what_is_bad_keeps_it(canvas_of_two, rng):
    net = dense()
    spk_rec, _, tape = forward(net, rng)
    mine = matplotlib.colormaps["viridis"].with_extremes(bad="red")
    image = spikeplot.gradient_flow(net, tape, np.ones_like(spk_rec), ax=canvas_of_two[0], cmap=mine)
    assert image.get_cmap().get_bad().tolist() == [1, 0, 0, 1]
    assert matplotlib.colormaps["viridis"].get_bad()[3] == 0


def test_one_number_has_room_on_the_scale(canvas_of_two):
    net = npsnn.Sequential(npsnn.Leaky(1.0, 9.0, reset_mechanism="none"), dtype=np.float64)
    spk_rec, _, tape = net.forward(np.zeros((1, 1, 2)))
    image = spikeplot.gradient_flow(net, tape, dmem=np.full_like(spk_rec, 10.0), ax=canvas_of_two[0])
    assert image.get_clim() == (0.5, 1.5)


def test_nothing_else_is_changed(canvas_of_two, rng):
    given, other = canvas_of_two
    other.figure.sca(other)
    net = dense()
    spk_rec, _, tape = forward(net, rng)
    dspk = rng.standard_normal(spk_rec.shape)
    settings, params, kept = dict(matplotlib.rcParams), net.flat_params.copy(), dspk.copy()
    grads = net.backward(tape, dspk)
    image = spikeplot.gradient_flow(net, tape, dspk, ax=given)
    assert image.axes is given and given.figure.axes == [given, other] and not other.has_data()
    assert dict(matplotlib.rcParams) == settings
    np.testing.assert_array_equal(net.flat_params, params)
    np.testing.assert_array_equal(dspk, kept)
    for name, value in net.backward(tape, dspk).items():
        np.testing.assert_array_equal(value, grads[name])


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, r"^gradient_flow: net must be a Sequential, got NoneType$", {"net": None}),
        (TypeError, r"^gradient_flow: tape must be what forward gave, got ndarray$", {"tape": np.ones(3)}),
        (ValueError, r"^gradient_flow: the tape is of another network$", {"net": dense()}),
        (ValueError, r"^gradient_flow: give dspk, dmem or both$", {"dspk": None}),
        (ValueError, r"^dspk has shape \(7, 5, 2\), expected \(7, 5, 3\)$", {"dspk": np.ones((T, B, 2))}),
        (ValueError, r"^dmem has shape \(5, 3\), expected \(7, 5, 3\)$", {"dmem": np.ones((B, 3))}),
        (ValueError, r"^dspk has 105 NaN", {"dspk": np.full((T, B, 3), np.nan)}),
        (TypeError, r"^dspk is int64, the network computes in float64", {"dspk": np.ones((T, B, 3), np.int64)}),
        (TypeError, r"^gradient_flow: ax must be one Matplotlib Axes, got ndarray$", {"ax": np.ones(2)}),
        (ValueError, r"^gradient_flow: 3 Leaky: dL/dU by step has \d inf, first", {"dspk": np.full((T, B, 3), 1e308)}),
    ],
)
def test_errors_come_before_anything_is_drawn(canvas_of_two, rng, error, message, change):
    net = dense()
    net.layers[3].beta = np.array(1.0)
    spk_rec, _, tape = forward(net, rng)
    arguments = {"net": net, "tape": tape, "dspk": np.ones_like(spk_rec), "ax": canvas_of_two[0], **change}
    with pytest.raises(error, match=message):
        spikeplot.gradient_flow(**arguments)
    assert not canvas_of_two[0].has_data()


def test_a_network_without_neurons_is_refused(rng):
    net = npsnn.Sequential(npsnn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"^gradient_flow: net has no neuron layer$"):
        spikeplot.gradient_flow(net, net.forward(np.ones((2, 4), np.float32), 3)[2], np.ones((3, 2, 3), np.float32))
