"""Each row of "Where npsnn differs from snnTorch 1.0.0 on purpose" in docs/other_libraries.md, both sides of it.

One test a row, in the rows' order: `row("...")` names the row by the words it begins with.
"""

import math
import re
from pathlib import Path

import numpy as np
import pytest

import npsnn
from npsnn import functional, spikegen, spikeplot, surrogate
from npsnn.backprop import TBPTT
from npsnn.data import ImageDataset
from npsnn.utils import data_subset, valid_split
from tests.peers import snntorch_peer
from tests.peers.snntorch_peer import (
    snn,
    snn_backprop,
    snn_functional,
    snn_spikegen,
    snn_spikeplot,
    snn_surrogate,
    snn_utils,
    their_derivative,
    their_loss,
    torch,
)

pytestmark = snntorch_peer.marks

PAGE = Path(__file__).parents[2] / "docs" / "other_libraries.md"
SHOWN = []  # the rows that have a test, in order


def row(beginning):
    def mark(test):
        SHOWN.append(beginning)
        return test

    return mark


def test_every_row_has_a_test_and_every_test_a_row():
    table = re.search(r"^## Where npsnn differs .*?(?=^## )", PAGE.read_text("utf-8") + "\n## ", re.M | re.S)[0]
    rows = re.findall(r"^\| (?!snnTorch 1\.0\.0 \||---)(.*)$", table, re.M)
    assert len(rows) == len(SHOWN) == len(set(SHOWN))
    for text, beginning in zip(rows, SHOWN, strict=True):
        assert text.startswith(beginning)


# --- surrogates and dtypes -----------------------------------------------------------------------------------------


@row("`mse_membrane_loss(off_target=-1)` uses 0")
def test_an_off_target_below_the_on_target():
    y = np.array([1, 0])
    perfect = np.where(np.arange(3) == y[:, None], 1.0, -1.0)[None].repeat(4, axis=0)
    value, d = functional.mse_membrane_loss(on_target=1, off_target=-1).value_and_grad(perfect, y)
    assert value == 0 and not d.any()
    their_value, their_d = their_loss(snn_functional.mse_membrane_loss(on_target=1, off_target=-1), perfect, y)
    assert their_value == pytest.approx(2 / 3) and their_d.any()
    # Theirs is the loss with off_target = 0:
    assert functional.mse_membrane_loss(on_target=1, off_target=0)(perfect, y) == pytest.approx(their_value)


@row("`sigmoid` surrogate is NaN")
def test_a_sigmoid_far_below_the_threshold():
    far = np.array([-2.0, -3.4, -3.6, -10.0], np.float32)
    _, theirs = their_derivative(snn_surrogate.sigmoid(), far)
    ours = surrogate.sigmoid().derivative(far)
    assert np.isnan(theirs[2:]).all() and np.isfinite(ours).all()
    assert (theirs[:2] == 0).all()  # (e + 1)^2 has overflowed already
    np.testing.assert_allclose(ours, 25 * np.exp(25 * far.astype(np.float64)), rtol=1e-5, atol=1e-37)


@row("`LSO` raises TypeError")
def test_lso():
    x = np.array([-1, 0, 0.5], np.float32)
    with pytest.raises(TypeError):
        their_derivative(snn_surrogate.LSO(), x)
    assert np.array_equal(surrogate.LSO().derivative(x), np.array([0.1, 0.1, 1], np.float32))


@row("spikes are float32 whatever the network is")
def test_spikes_have_the_networks_dtype():
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), snn.Leaky(0.9, init_hidden=True)).double()
    x = torch.ones(1, 2, dtype=torch.float64)
    assert theirs(x).dtype == torch.float32
    assert theirs[1].beta.item() == 0.8999999761581421
    with pytest.raises(RuntimeError, match="dtype"):
        torch.nn.Sequential(theirs, torch.nn.Linear(3, 2).double())(x)
    layers = npsnn.Linear(2, 3), npsnn.Leaky(0.9), npsnn.Linear(3, 2), npsnn.Leaky(0.9)
    ours = npsnn.Sequential(*layers, dtype="float64", backend="reference")
    spk_rec, mem_rec, tape = ours.forward(x.numpy(), num_steps=2)
    assert spk_rec.dtype == mem_rec.dtype == np.float64
    assert tape.chunks[0].blocks[0].caches[0].beta == 0.9


@row("`ce_rate_loss` and `mse_membrane_loss` add up in float32")
def test_losses_have_the_recordings_precision():
    rng = np.random.default_rng(0)
    U, y = rng.normal(size=(50, 4, 3)), rng.integers(0, 3, 4)
    for name in ("ce_rate_loss", "mse_membrane_loss"):
        rec = U if "membrane" in name else (U > 0).astype(float)
        value, d = getattr(functional, name)().value_and_grad(rec, y)
        their_value, their_d = their_loss(getattr(snn_functional, name)(), rec, y)
        exact = exact_loss(name, rec, y)
        assert abs(value - exact) < 1e-15 < 1e-9 < abs(their_value - exact) < 1e-6
        assert 1e-9 < np.abs(their_d - d).max() / np.abs(d).max() < 1e-7


def exact_loss(name, rec, y):
    """The loss by torch in float64 throughout."""
    rec, y = torch.tensor(rec), torch.tensor(y)
    if name == "ce_rate_loss":
        return torch.nn.functional.cross_entropy(rec.flatten(0, 1), y.repeat(len(rec))).item()
    hot = torch.nn.functional.one_hot(y, rec.shape[-1]).double()
    return (rec - hot).square().mean().item()


@row("`spikegen.latency` gives float32")
def test_latency_has_the_datas_dtype():
    x = np.array([0.2, 0.9])
    assert snn_spikegen.latency(torch.tensor(x), 5, normalize=True).dtype == torch.float32
    assert spikegen.latency(x, 5, normalize=True).dtype == np.float64


# --- the loop ------------------------------------------------------------------------------------------------------


def silent_pair():
    """(theirs, ours): no weights, so no spikes, and every step's ce_rate_loss is log 3."""
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), snn.Leaky(0.5, init_hidden=True, output=True))
    for parameter in theirs.parameters():
        torch.nn.init.zeros_(parameter)
    ours = npsnn.Sequential(npsnn.Linear(2, 3), npsnn.Leaky(0.5))
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def epochs(x, y, **options):
    """(theirs, ours): each a function that runs an epoch of TBPTT over one batch and gives the mean loss."""
    their_net, net = silent_pair()

    def theirs():
        optimizer = torch.optim.Adam(their_net.parameters(), lr=0.0)
        batches = [(torch.tensor(x), torch.tensor(y))]
        return snn_backprop.TBPTT(their_net, batches, optimizer, snn_functional.ce_rate_loss(), **options).item()

    def ours():
        return TBPTT(net, [(x, y)], npsnn.optim.Adam(net, lr=1e-9), functional.ce_rate_loss(), **options)

    return theirs, ours


@row("`TBPTT` fails on time-varying data")
def test_tbptt_on_data_that_varies():
    theirs, ours = epochs(np.ones((4, 2, 2), np.float32), np.array([0, 1]), K=2)
    with pytest.raises(UnboundLocalError, match="K_flag"):
        theirs()
    assert ours() == pytest.approx(math.log(3), rel=1e-6)


@row("`TBPTT` divides a remainder")
def test_tbptt_with_a_remainder():
    options = {"num_steps": 5, "time_var": False, "K": 2}
    theirs, ours = epochs(np.ones((2, 2), np.float32), np.array([0, 1]), **options)
    # Two pieces of two steps count 2/5 each; the fifth step counts 1/1.
    assert theirs() == pytest.approx(1.8 * math.log(3), rel=1e-6)
    assert ours() == pytest.approx(math.log(3), rel=1e-6)


# --- plots ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pyplot():
    pytest.importorskip("matplotlib", reason="needs Matplotlib").use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")
    pyplot.rcdefaults()


def bars(collection):
    """The lengths of the horizontal bars."""
    return [float(segment[1, 0]) for segment in collection.get_segments()]


@row("`spike_count`'s animation leaves out the last step")
def test_the_last_step_of_the_animation(pyplot):
    spikes = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])  # neuron 1 fires in the last step alone
    fig, ax = pyplot.subplots()
    theirs = snn_spikeplot.spike_count(torch.tensor(spikes), fig, ax, ["0", "1"], animate=True, gridshader=False)
    last = [artist for artist in theirs._framedata[-1] if hasattr(artist, "get_segments")]
    assert [bars(collection) for collection in last] == [[1, 0]]
    theirs._draw_was_started = True  # or it warns that nobody has looked at it
    fig, ax = pyplot.subplots()
    ours = spikeplot.spike_count(spikes, fig, ax, ["0", "1"], animate=True, gridshader=False)
    frames = list(ours.new_frame_seq())
    artists = ours._func(frames[-1])
    ours._draw_was_started = True
    assert len(frames) == 4
    assert bars(artists[0]) == [1, 1]


@row("`traces` in a grid that is too small")
def test_traces_in_a_grid_too_small(pyplot):
    data = np.zeros((5, 3))
    snn_spikeplot.traces(torch.tensor(data), dim=(1, 2))
    assert len(pyplot.gcf().axes) == 2  # the third neuron is not drawn
    with pytest.raises(ValueError, match="dim"):
        spikeplot.traces(data, dim=(1, 2))


# --- datasets and state --------------------------------------------------------------------------------------------


class Theirs:
    def __init__(self):
        self.data, self.targets = np.arange(6), np.arange(6)

    def __len__(self):
        return len(self.data)


def our_dataset():
    return ImageDataset(np.zeros((6, 1, 1), np.uint8), np.arange(6))


@row("`data_subset` and `valid_split` change the datasets")
def test_smaller_datasets_are_new_ones():
    whole = Theirs()
    assert snn_utils.data_subset(whole, 3) is whole and len(whole) == 2
    train, val = Theirs(), Theirs()
    snn_utils.valid_split(train, val, 0.5)
    assert len(train) == len(val) == 3
    ours = our_dataset()
    assert len(data_subset(ours, 3)) == 2
    assert [len(part) for part in valid_split(ours, ours, 0.5)] == [3, 3]
    assert len(ours) == 6


@row("`data_subset` with more subsets than samples")
def test_more_subsets_than_samples():
    assert len(snn_utils.data_subset(Theirs(), 7)) == 0
    with pytest.raises(ValueError, match="subset must be at most 6"):
        data_subset(our_dataset(), 7)


@row("state lives in the neuron, and `utils.reset`")
def test_state_belongs_to_a_run():
    ours, x = npsnn.Sequential(npsnn.Linear(1, 1), npsnn.Leaky(0.5), seed=1), np.ones((1, 1, 1), np.float32)
    mine, another = (torch.nn.Sequential(snn.Leaky(0.5, init_hidden=True)) for _ in range(2))
    mine(torch.full((1, 1), 0.5))
    assert mine[0].mem.item() == 0.5
    snn_utils.reset(another)
    assert mine[0].mem.item() == 0
    first, again = ours.forward(x), ours.forward(x)
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(ours.forward(x, state=first[2].state)[1], first[1])


@row("a membrane of another shape is replaced by zeros")
def test_a_membrane_of_another_shape():
    _, mem = snn.Leaky(0.5)(torch.zeros(2, 3), torch.ones(2))
    assert not mem.any()
    with pytest.raises(ValueError, match="U_before"):
        npsnn.Leaky(0.5).forward(np.zeros((1, 2, 3)), {}, U_before=np.ones(2))


@row("`reset_mechanism` set on a neuron")
def test_a_reset_mechanism_set_later():
    theirs = snn.Leaky(0.5)
    theirs.reset_mechanism = "none"
    mem = torch.zeros(1)
    for _ in range(2):
        _, mem = theirs(torch.full((1,), 1.5), mem)
    assert mem.item() == 1.25  # (0.5 * 1.5 + 1.5) - 1: still "subtract"
    ours = npsnn.Leaky(0.5)
    ours.reset_mechanism = "none"
    _, cache = ours.forward(np.full((2, 1, 1), 1.5), {})
    assert cache.U[1].item() == 2.25
