"""Random networks whose neurons are snnTorch's own Leaky with snnTorch's own surrogates, in float64.

Drawn and compared as in `test_random_networks.py`; snnTorch's part is in `snntorch_peer.py`. Its losses are compared
by themselves below, on drawn recordings: two of them add up in float32, so no gradient through them is good to 1e-11.
"""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npsnn import functional
from tests.peers import snntorch_peer as theirs
from tests.peers.compare_network import check, fingerprint
from tests.peers.draw_network import drawn, id_of, networks

torch = theirs.torch
pytestmark = theirs.marks

RESETS = [(mechanism, True) for mechanism in ("subtract", "zero", "none")]
COMBINATIONS = [(reset, surrogate) for reset in RESETS for surrogate in theirs.SURROGATES]
EACH = 30
SEEN, TIED = defaultdict(list), []


@pytest.mark.parametrize("first", COMBINATIONS, ids=id_of)
@drawn(EACH)
@given(data=st.data())
def test_networks(first, data):
    case = data.draw(networks(first, RESETS, theirs.SURROGATES))
    SEEN[first].append(check(case, TIED, theirs.neuron)[0])


def test_at_least_three_hundred_networks_were_compared():
    if set(SEEN) != set(COMBINATIONS):
        pytest.skip("not every test of networks was run")
    cases = [case for items in SEEN.values() for case in items]
    assert len({fingerprint(case) for case in cases}) >= 600
    assert len(TIED) <= 0.02 * len(cases)
    neurons = [made for case in cases for kind, made in case.description if kind == "Leaky"]
    for several in (
        [made for made in neurons if made["learn_beta"]],
        [made for made in neurons if made["learn_threshold"]],
        [made for made in neurons if np.ndim(made["beta"])],
        [made for made in neurons if np.ndim(made["threshold"])],
        [case for case in cases if case.num_steps is None],
        [case for case in cases if case.num_steps is not None],
    ):
        assert len(several) >= 50
    params = [item for case in cases for item in case.params.items()]
    assert sum(name.endswith("beta") and ((v < 0) | (v > 1)).any() for name, v in params) >= 10
    assert sum(name.endswith("threshold") and (v < 0).any() for name, v in params) >= 10


# --- losses, the regulariser, accuracies ---------------------------------------------------------------------------

RATES = {"correct_rate": st.floats(0, 1), "incorrect_rate": st.floats(0, 1)}
# An off target below both zero and the on target is a difference (test_differences.py).
TARGETS = {"on_target": st.floats(-2, 2), "off_target": st.floats(0, 2)}
LOSSES = {
    "ce_rate_loss": {},
    "ce_count_loss": {},
    "ce_max_membrane_loss": {},
    "mse_count_loss": RATES,
    "mse_membrane_loss": TARGETS,
}
IN_FLOAT32 = ("ce_rate_loss", "mse_membrane_loss")  # and their gradient is scaled by float32(1/T)


@st.composite
def recordings(draw):
    """(S, U, y): spikes at a drawn rate, silence and steady firing among them."""
    T, B, C = draw(st.integers(1, 9)), draw(st.integers(1, 6)), draw(st.integers(2, 6))
    rate = draw(st.sampled_from([0.0, 0.05, 0.3, 0.7, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    S = (rng.random((T, B, C)) < rate).astype(np.float64)
    return S, rng.normal(0.5, 1, (T, B, C)), rng.integers(0, C, B)


@pytest.mark.parametrize("name", LOSSES)
@drawn(100)
@given(recording=recordings(), data=st.data())
def test_losses(name, recording, data):
    S, U, y = recording
    arguments = data.draw(st.fixed_dictionaries(LOSSES[name]))
    loss_fn = getattr(functional, name)(**arguments)
    rec = S if loss_fn.on == "spk" else U
    value, d = loss_fn.value_and_grad(rec, y)
    value_theirs, d_theirs = theirs.their_loss(getattr(theirs.snn_functional, name)(**arguments), rec, y)
    tolerance = 1e-6 if name in IN_FLOAT32 else 1e-13
    size = max(1.0, float(np.abs(rec).sum(0).max()))
    assert value == pytest.approx(value_theirs, rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(d, d_theirs, rtol=0, atol=tolerance * size)


@drawn(100)
@given(recordings(), st.floats(0, 1))
def test_the_regulariser(recording, Lambda):
    S, _, _ = recording
    rec = torch.tensor(S, requires_grad=True)
    value = theirs.snn_functional.l1_rate_sparsity(Lambda=Lambda)(rec)
    value.backward()
    value_ours, d = functional.l1_rate_sparsity(Lambda=Lambda).value_and_grad(S)
    assert value_ours == pytest.approx(value.item(), rel=1e-14)
    assert np.array_equal(d, rec.grad.numpy())


@pytest.mark.parametrize("name", ["accuracy_rate", "accuracy_temporal"])
@drawn(100)
@given(recording=recordings())
def test_accuracies(name, recording):
    S, _, y = recording
    expected = getattr(theirs.snn_functional, name)(torch.tensor(S), torch.tensor(y))
    assert getattr(functional, name)(S, y) == pytest.approx(float(expected), abs=1e-12)
