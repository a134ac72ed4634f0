"""Random networks, npsnn against PyTorch autograd in float64 on the same parameters and data.

Each combination of reset, detached or not, and surrogate has a test of its own, which draws networks whose first neuron
has that combination. After a failure hypothesis prints a small network that still fails (`draw_network.py`); what is
compared, and how closely, stands in `compare_network.py`.
"""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.peers import torch_network as peer
from tests.peers.compare_network import TIE, check, fingerprint, margin, run_torch
from tests.peers.draw_network import LOSSES, RESETS, SURROGATES, Case, drawn, id_of, networks, pair

torch = pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = pytest.mark.filterwarnings("ignore")

COMBINATIONS = [(reset, surrogate) for reset in RESETS for surrogate in SURROGATES]
EACH, WITHOUT_NEURONS = 36, 100
SEEN = defaultdict(list)  # the first neuron's combination -> what `check` gave
TIED = []  # margins of the networks that were left out


@pytest.mark.parametrize("first", COMBINATIONS, ids=id_of)
@drawn(EACH)
@given(data=st.data())
def test_networks(first, data):
    SEEN[first].append(check(data.draw(networks(first)), TIED))


@drawn(WITHOUT_NEURONS)
@given(networks(None))
def test_networks_without_neurons(case):
    SEEN[None].append(check(case, TIED))


# --- what was drawn ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seen():
    """All that the tests above compared."""
    if set(SEEN) != {*COMBINATIONS, None}:
        pytest.skip("not every test of networks was run")
    return [item for items in SEEN.values() for item in items]


@pytest.fixture(scope="module")
def cases(seen):
    return [case for case, _, _ in seen]


def of_kind(cases, kind):
    return [made for case in cases for name, made in case.description if name == kind]


def test_at_least_two_thousand_networks_were_compared(cases):
    assert len({fingerprint(case) for case in cases}) >= 2000
    assert all(len(SEEN[first]) >= EACH for first in COMBINATIONS)


def test_few_were_left_out_because_rounding_decides_a_spike(cases):
    assert len(TIED) <= 0.02 * len(cases)


@pytest.mark.parametrize("off", [0.0, 1e-13, -1e-13, 1e-9])
def test_a_membrane_near_its_threshold_is_noticed(off):
    neuron = ("Leaky", {"beta": 0.5, "threshold": 1.0})
    case = Case([neuron], {}, np.array([[0.25, 1 + off]]), 1, np.array([0]), [("ce_rate_loss", {})])
    assert margin(run_torch(case)[0]) == pytest.approx(abs(off), abs=1e-15)
    assert (abs(off) <= TIE) == (off != 1e-9)


def test_every_reset_surrogate_and_loss_occurs(cases):
    neurons = of_kind(cases, "Leaky")
    both = Counter((made["reset_mechanism"], made["detach_reset"], made["spike_grad"][0]) for made in neurons)
    losses = Counter(term[0] for case in cases for term in case.terms)
    assert len(both) == len(COMBINATIONS) and min(both.values()) >= EACH
    assert set(losses) == set(peer.LOSSES) and min(losses.values()) >= 100
    # Every loss behind every reset and every surrogate:
    pairs = Counter((case.terms[0][0], *first) for first in COMBINATIONS for case, _, _ in SEEN[first])
    resets, surrogates = Counter(), Counter()
    for (loss, reset, surrogate), n in pairs.items():
        resets[loss, reset] += n
        surrogates[loss, surrogate] += n
    assert len(resets) == len(LOSSES) * len(RESETS) and min(resets.values()) >= 10
    assert len(surrogates) == len(LOSSES) * len(SURROGATES) and min(surrogates.values()) >= 5


def test_every_kind_of_layer_and_input_occurs(cases):
    kinds = Counter(kind for case in cases for kind, _ in case.description)
    counts = Counter(sum(kind == "Leaky" for kind, _ in case.description) for case in cases)
    assert set(kinds) == {"Conv2d", "MaxPool2d", "AvgPool2d", "Flatten", "Linear", "Leaky"}
    assert min(kinds.values()) >= 200
    assert set(counts) == {0, 1, 2, 3} and min(counts.values()) >= 50
    convs, neurons = of_kind(cases, "Conv2d"), of_kind(cases, "Leaky")
    pools = of_kind(cases, "MaxPool2d") + of_kind(cases, "AvgPool2d")
    for several in (
        [made for made in convs if len(set(pair(made["kernel_size"]))) == 2],
        [made for made in convs if len(set(pair(made["stride"]))) == 2],
        [made for made in convs if len(set(pair(made["padding"]))) == 2],
        [made for made in convs if pair(made["stride"]) != (1, 1)],
        [made for made in convs if pair(made["padding"]) != (0, 0)],
        [made for made in convs if made["bias"]],
        [made for made in convs if not made["bias"]],
        [made for made in of_kind(cases, "Linear") if made["bias"]],
        [made for made in of_kind(cases, "Linear") if not made["bias"]],
        [made for made in pools if made["stride"] is not None],
        [made for made in pools if made["padding"] != (0, 0)],
        [case for case in cases if case.num_steps is None],
        [case for case in cases if case.num_steps is not None],
        [case for case in cases if case.description[-1][0] != "Leaky"],
        [made for made in neurons if made["learn_beta"] and made["learn_threshold"]],
        [made for made in neurons if np.ndim(made["beta"]) and made["learn_beta"]],
        [made for made in neurons if np.ndim(made["threshold"]) and made["learn_threshold"]],
        [made for made in neurons if np.ndim(made["beta"]) == 3],
        [made for made in neurons if np.any(np.equal(made["beta"], 0)) or np.any(np.equal(made["beta"], 1))],
    ):
        assert len(several) >= 100


def test_learnt_constants_leave_their_range_in_some(cases):
    params = [item for case in cases for item in case.params.items()]
    assert sum(name.endswith("beta") and (v < 0).any() for name, v in params) >= 30
    assert sum(name.endswith("beta") and (v > 1).any() for name, v in params) >= 30
    assert sum(name.endswith("beta") and ((v == 0) | (v == 1)).any() for name, v in params) >= 30
    assert sum(name.endswith("threshold") and (v < 0).any() for name, v in params) >= 30


def test_the_networks_spike_and_learn(seen):
    assert sum(all(0.05 <= rate <= 0.6 for rate in rates) for _, rates, _ in seen) >= 0.7 * len(seen)
    assert sum(any(alive) for _, _, alive in seen) >= 0.9 * len(seen)
    # The rest have a layer that no surrogate reaches, such as heaviside's below its threshold.
    assert sum(all(alive) for _, _, alive in seen) >= 0.5 * len(seen)
