"""spikeplot.activity: the shares are those of a count by hand, a dead layer is seen, nothing else is touched."""

import numpy as np
import pytest

import npsnn
from npsnn import health, spikeplot

pytest.importorskip("matplotlib", reason='plots need Matplotlib: pip install "npsnn[plot]"')

import matplotlib
from matplotlib.figure import Figure

T, B = 20, 6


def network(backend="reference", threshold=1.0):
    """Of the first layer's ten neurons two get too little, five enough, three so much that they always fire."""
    net = npsnn.Sequential(
        npsnn.Linear(1, 10), npsnn.Leaky(0.5), npsnn.Linear(10, 4), npsnn.Leaky(0.5, threshold), backend=backend
    )
    net.params["0.weight"][...] = 0
    net.params["0.bias"][...] = [0.1, 0.49, 0.7, 0.7, 0.8, 0.8, 0.9, 9, 9, 9]
    return net


def tape_of(net):
    return net.forward(np.ones((B, 1), np.float32), T)[2]


def shares(bars):
    return [b.datavalues.round(12).tolist() for b in bars]


@pytest.fixture
def ax():
    return Figure().subplots()


def test_the_shares_are_those_of_a_count(backend, ax, rng):
    net = network(backend)
    bars = spikeplot.activity(net, tape_of(net), ax)
    assert [share[0] for share in shares(bars)] == [0.2, 0.5, 0.3]
    net.params["0.weight"][...] = 1
    x = rng.normal(0, 2, (T, B, 1)).astype(np.float32)
    tape = net.forward(x)[2]
    silent, active, saturated = shares(spikeplot.activity(net, tape, ax))
    for k, i in enumerate((1, 3)):
        counts = np.zeros(net.layers[i - 1].out_features)
        for step in tape.neurons()[i].S:
            counts += step.sum(axis=0)
        assert silent[k] == pytest.approx((counts == 0).mean())
        assert saturated[k] == pytest.approx((counts > health.SATURATED * T * B).mean())
        assert silent[k] + active[k] + saturated[k] == pytest.approx(1)
        assert silent[k] == pytest.approx(list(net.firing(tape).values())[k].silent)


def test_a_dead_layer_is_one_hatched_bar_and_says_so(backend, ax):
    net = network(backend, threshold=1e6)
    silent, active, saturated = spikeplot.activity(net, tape_of(net), ax)
    assert [s[1] for s in shares((silent, active, saturated))] == [1, 0, 0]
    labels = [text.get_text() for text in ax.get_yticklabels()]
    assert labels[0].startswith("1 Leaky\nrate 0.") and labels[1] == "3 Leaky\nno spike"
    dead = silent.patches[1]
    assert (dead.get_x(), dead.get_width()) == (0, 1) and dead.get_hatch() and dead.get_facecolor()[3] == 0
    assert not active.patches[1].get_hatch()


def test_a_layer_is_all_its_neurons_images_too(ax):
    net = npsnn.Sequential(npsnn.Conv2d(1, 2, 3), npsnn.Leaky(0.5), backend="reference")
    net.params["0.weight"][...] = 0
    net.params["0.bias"][...] = [0, 2]
    bars = spikeplot.activity(net, net.forward(np.ones((B, 1, 5, 5), np.float32), T)[2], ax)
    assert shares(bars) == [[0.5], [0], [0.5]]


def test_bars_follow_each_other_and_a_new_figure_has_a_legend(tmp_path):
    net = network()
    bars = spikeplot.activity(net, tape_of(net), height=0.5)
    ax = bars[0].patches[0].axes
    for k in range(2):
        ends = [(b.patches[k].get_x(), b.patches[k].get_width()) for b in bars]
        assert ends[1][0] == ends[0][1] and ends[2][0] == pytest.approx(ends[0][1] + ends[1][1])
        assert all(b.patches[k].get_height() == 0.5 for b in bars)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["silent", "active", "saturated"]
    ax.figure.savefig(tmp_path / "activity.png")
    assert (tmp_path / "activity.png").stat().st_size > 0


def test_nothing_else_is_changed():
    given, other = Figure().subplots(1, 2)
    other.figure.sca(other)
    net = network()
    tape = tape_of(net)
    settings, before = dict(matplotlib.rcParams), [n.U.copy() for n in tape.neurons().values()]
    spikeplot.activity(net, tape, ax=given)
    assert given.has_data() and not other.has_data() and given.get_legend() is None
    assert dict(matplotlib.rcParams) == settings
    for U, neurons in zip(before, tape.neurons().values(), strict=True):
        np.testing.assert_array_equal(U, neurons.U)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, r"^activity: net must be a Sequential, got list$", {"net": []}),
        (TypeError, r"^activity: tape must be what forward gave, got tuple$", {"tape": ()}),
        (ValueError, r"^activity: the tape is of another network$", {"net": network()}),
        (TypeError, r"^activity: ax must be one Matplotlib Axes, got Figure$", {"ax": Figure()}),
    ],
)
def test_errors_come_before_anything_is_drawn(ax, error, message, change):
    net = network()
    with pytest.raises(error, match=message):
        spikeplot.activity(**{"net": net, "tape": tape_of(net), "ax": ax, **change})
    assert not ax.has_data()


def test_a_network_without_neurons_is_refused():
    net = npsnn.Sequential(npsnn.Linear(1, 3))
    with pytest.raises(ValueError, match=r"^activity: net has no neuron layer$"):
        spikeplot.activity(net, net.forward(np.ones((2, 1), np.float32), 3)[2])
