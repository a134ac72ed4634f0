"""Recordings made by snnTorch itself, held against npsnn's by `compare`."""

import numpy as np
import pytest

import npsnn
from npsnn import surrogate
from npsnn.verify.compare import compare
from npsnn.verify.recording import Recording, record
from tests.peers import snntorch_peer as theirs

torch = theirs.torch
pytestmark = theirs.marks
T, B, BETAS = 30, 3, (0.5, 0.75)


def networks(rng, detach=True, reset="subtract", dtype="float64"):
    """(npsnn's network, its recording, x, dspk, dmem)."""
    layers = []
    for beta, width in zip(BETAS, ((4, 6), (6, 2)), strict=True):
        lif = npsnn.Leaky(beta, 1.0, surrogate.atan(), reset_mechanism=reset, detach_reset=detach)
        layers += [npsnn.Linear(*width), lif]
    net = npsnn.Sequential(*layers, dtype=dtype, backend="reference", seed=1)
    for name, value in net.params.items():
        value[...] = rng.uniform(-0.3, 0.9, value.shape) if name.endswith("weight") else value
    x = rng.uniform(0, 1.5, (T, B, 4)).astype(dtype)
    dspk, dmem = rng.standard_normal((2, T, B, 2)).astype(dtype)
    return net, record(net, x, dspk=dspk, dmem=dmem), x, dspk, dmem


def snntorch_recording(net, x, dspk, dmem, tensor=theirs.peer.tensor, **arguments):
    """What snnTorch computes with the same weights, by its own autograd, under the names of a recording."""
    weights = {name: tensor(value).requires_grad_() for name, value in net.params.items()}
    kept, rows = {}, {}
    mems = [torch.zeros(1, dtype=tensor(x).dtype)] * 2
    if tensor is theirs.peer.tensor:
        lifs = [theirs.snn_leaky(beta, 1.0, **arguments) for beta in BETAS]
    else:
        lifs = [theirs.snn.Leaky(beta=beta, spike_grad=theirs.snn_surrogate.atan(), **arguments) for beta in BETAS]
    for x_t in tensor(x).requires_grad_():
        y = x_t
        for k, lif in enumerate(lifs):
            y = torch.nn.functional.linear(y, weights[f"{2 * k}.weight"], weights[f"{2 * k}.bias"])
            rows.setdefault(f"{2 * k}.y", []).append(y)
            y, mems[k] = lif(y, mems[k])
            rows.setdefault(f"{2 * k + 1}.S", []).append(y)
            rows.setdefault(f"{2 * k + 1}.U", []).append(mems[k])
    for steps in rows.values():
        for step in steps:
            step.retain_grad()
    loss = (torch.stack(rows["3.S"]) * tensor(dspk)).sum() + (torch.stack(rows["3.U"]) * tensor(dmem)).sum()
    loss.backward()
    for name, steps in rows.items():
        kept[name] = np.stack([step.detach().numpy() for step in steps])
    for k in (0, 1):
        kept[f"{2 * k}.dy"] = kept[f"{2 * k + 1}.dU"] = np.stack([y.grad.numpy() for y in rows[f"{2 * k}.y"]])
    kept |= {f"grad.{name}": value.grad.numpy() for name, value in weights.items()}
    return Recording((), None, {"x": x, **kept})


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_snntorch_in_float64_is_the_same(reset, rng):
    net, A, *given = networks(rng, reset=reset)
    found = compare(A, snntorch_recording(net, *given, reset_mechanism=reset))
    assert found.verdict == "same", str(found)
    assert {"0.y", "1.U", "1.S", "1.dU", "3.U", "grad.0.weight"} <= set(found.compared)
    assert 0.1 < A.arrays["1.S"].mean() < 0.9


def test_snntorch_in_float32_is_the_same_but_for_ties(rng):
    net, A, *given = networks(rng, dtype="float32")
    found = compare(A, snntorch_recording(net, *given, torch.tensor))
    assert found.verdict in ("same", "tie"), str(found)


@pytest.mark.parametrize(("ours", "theirs_has", "words"), [
    ("zero", {"reset_mechanism": "subtract"}, 'Reset "subtract" for "zero"'),
    ("subtract", {"reset_mechanism": "zero"}, 'Reset "zero" for "subtract"'),
    ("subtract", {"reset_mechanism": "none"}, 'Reset "none" for "subtract"'),
    ("subtract", {"reset_mechanism": "subtract", "reset_delay": False}, "one step early"),
    ("zero", {"reset_mechanism": "zero", "reset_delay": False}, "one step early"),
])  # fmt: skip
def test_another_setting_of_snntorch_is_named(ours, theirs_has, words, rng):
    net, A, *given = networks(rng, reset=ours)
    found = compare(A, snntorch_recording(net, *given, **theirs_has))
    assert found.verdict == "meaning" and found.place.layer == 1
    assert any(words in text for text in found.explanations), str(found)


def test_another_surrogate_of_snntorch_is_named(rng):
    net, A, *given = networks(rng)
    sigma = theirs.peer.spike_function("fast_sigmoid", {"slope": 25})
    found = compare(A, snntorch_recording(net, *given, spike_grad=sigma))
    assert found.place.array == "3.dU"
    assert found.explanations == ("Surrogate fast_sigmoid(slope=25.0) for atan(alpha=2.0)",), str(found)


def test_a_reset_that_is_not_detached_is_named(rng):
    """npsnn attached, snnTorch as it is: detached."""
    net, A, *given = networks(rng, detach=False)
    found = compare(A, snntorch_recording(net, *given))
    assert found.place.array == "3.dU" and found.explanations == ("The reset is detached",), str(found)
