"""Notes on a batch: a planted fault gives its line, at the layer where it begins, and no other; a healthy run none."""

import re

import numpy as np
import pytest

import npsnn
from npsnn import backprop, health, surrogate
from npsnn import functional as SF
from npsnn.optim import Adam

T, B = 20, 24  # more samples than are looked at step by step


def network(backend="reference", dtype=np.float32, first=None, last=None, hidden=8):
    """Dense, with two neuron layers that fire at a healthy rate."""
    sg = surrogate.fast_sigmoid(slope=5)
    first, last = ({"beta": 0.8, "spike_grad": sg, **(options or {})} for options in (first, last))
    net = npsnn.Sequential(
        npsnn.Linear(4, hidden), npsnn.Leaky(**first), npsnn.Linear(hidden, 3), npsnn.Leaky(**last),
        dtype=dtype, backend=backend, seed=5,
    )  # fmt: skip
    net.params["0.weight"] *= 3
    net.params["2.weight"] *= 3
    return net


def draw(rng, net, static=False):
    return rng.uniform(0, 1.5, (B, 4) if static else (T, B, 4)).astype(net.dtype), T if static else None


def notes(net, x, steps=None, dspk=None, dmem=None):
    """Of one forward pass; the gradient that is not given is that of a loss that reads every step."""
    spk_rec, _, tape = net.forward(x, steps)
    if dspk is None and dmem is None:
        dspk = SF.ce_rate_loss().value_and_grad(spk_rec, np.arange(B) % 3)[1]
    return health.notes(net, tape, dspk, dmem)


def last_step(net, size=1.0):
    d = np.zeros((T, B, 3), net.dtype)
    d[-1] = size
    return d


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_a_healthy_network_has_none(backend, rng, static):
    net = network(backend)
    x, steps = draw(rng, net, static)
    tape = net.forward(x, steps)[2]
    assert all(0.02 < firing.rate < 0.9 for firing in net.firing(tape).values())
    before = net.flat_params.copy()
    assert notes(net, x, steps) == [] and health.notes(net, tape) == []
    d = rng.standard_normal((2, T, B, 3)).astype(np.float32)
    assert notes(net, x, steps, *d) == notes(net, x, steps, dmem=d[0]) == []
    np.testing.assert_array_equal(net.flat_params, before)


def test_a_silent_layer_and_not_those_above_it(backend, rng):
    net = network(backend, first={"threshold": 50.0}, last={"threshold": 50.0})
    x, _ = draw(rng, net)
    rates = [firing.rate for firing in net.firing(net.forward(x)[2]).values()]
    assert rates == [0, 0]
    assert notes(net, x) == [
        "1 Leaky: no neuron fired in this batch; lower its threshold, raise its beta, or scale the weights below it up"
    ]


def test_a_silent_layer_above_one_that_fires(rng):
    net = network(last={"threshold": 50.0})
    (line,) = notes(net, draw(rng, net)[0])
    assert line.startswith("3 Leaky: no neuron fired in this batch; lower its threshold")


def test_a_layer_of_which_few_neurons_fire(rng):
    """One of a hundred; and at one of fifty, and where it is silent altogether, the line is not this one."""
    for firing, expected in ((1, 1), (2, 0)):
        net = network(hidden=100, first={"threshold": np.where(np.arange(100) < firing, 0.1, 90.0)})
        net.params["0.weight"][:2] = 1
        net.params["2.bias"][...] = 0.6
        found = notes(net, draw(rng, net)[0])
        assert len(found) == expected, found
        assert not expected or found[0].startswith("1 Leaky: 99.0% of its neurons never fired in this batch; lower")


def test_a_layer_above_a_dead_one_is_not_named(rng):
    net = network(hidden=100, first={"threshold": np.where(np.arange(100) < 1, 0.1, 90.0)}, last={"threshold": 50.0})
    (line,) = notes(net, draw(rng, net)[0])
    assert line.startswith("1 Leaky: 9")


@pytest.mark.parametrize("layer", [1, 3])
def test_a_saturated_layer(backend, rng, layer):
    net = network(backend)
    net.params[f"{layer - 1}.bias"] += 12
    (line,) = notes(net, draw(rng, net)[0])
    assert line == (
        f"{layer} Leaky: its neurons fired at 100% of the steps; raise its threshold, lower its beta, or scale the "
        "weights below it down"
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_that_vanishes_over_time(backend, rng, dtype):
    """0.2^19 of the last step's; what the layer below gets has vanished already, so it is not named."""
    net = network(backend, dtype, first={"beta": 0.2}, last={"beta": 0.2, "threshold": 0.4})
    x, _ = draw(rng, net)
    expected = (
        r"3 Leaky: its gradient vanishes over time, the first steps' is \de-1\d of the last steps'; raise its beta, "
        r"or take a loss that reads every step \(ce_rate_loss\)"
    )
    for given in ({"dmem": last_step(net)}, {"dspk": last_step(net)}, {"dmem": last_step(net, 1e30)}):
        (line,) = notes(net, x, **given)
        assert re.fullmatch(expected, line)
    slow = network(backend, dtype)  # 0.8^19 is one of seventy
    assert notes(slow, x, dmem=last_step(slow)) == []


def test_it_vanishes_in_the_layer_that_forgets(rng):
    """A static input: its neurons' gradient is a sum over time, and is yet seen by step."""
    net = npsnn.Sequential(npsnn.Linear(4, 8), npsnn.Leaky(0.0), npsnn.Linear(8, 3), backend="reference", seed=5)
    net.params["0.weight"] *= 3
    x, steps = draw(rng, net, static=True)
    (line,) = notes(net, x, steps, dspk=last_step(net))
    assert line.startswith("1 Leaky: its gradient vanishes over time, the first steps' is 0e+00 of the last steps'")


def test_a_gradient_that_is_zero_although_the_loss_is_not(backend, rng):
    sigma = surrogate.SFS(slope=5, B=1e6)  # zero wherever a membrane may be
    net = network(backend, first={"spike_grad": sigma})
    (line,) = notes(net, draw(rng, net)[0])
    assert line.startswith("1 Leaky: its gradient is zero at every step, so nothing is learnt below; take a surrogate")
    net = network(backend, last={"spike_grad": sigma})
    (line,) = notes(net, draw(rng, net)[0])
    assert line.startswith("3 Leaky: its gradient is zero")
    assert notes(net, draw(rng, net)[0], dspk=np.zeros((T, B, 3), np.float32)) == []


def test_weights_of_zero_above_a_layer(rng):
    net = network()
    net.params["2.weight"][...], net.params["2.bias"][...] = 0, 0.7
    (line,) = notes(net, draw(rng, net)[0])
    assert line.startswith("1 Leaky: its gradient is zero at every step")


def test_a_gradient_that_explodes_over_time(backend, rng):
    """Through a reset that is not detached: by beta - theta sigma' = 0.8 - 5 at a step, for steps on end."""
    exploding = {"detach_reset": False, "spike_grad": surrogate.custom_surrogate(lambda x: np.full_like(x, 5))}
    net = network(backend, last=exploding)
    x, _ = draw(rng, net)
    (line,) = notes(net, x)
    assert re.match(r"3 Leaky: its gradient explodes over time, to \de\+1\d times what the steps are given; set", line)
    (line,) = notes(net, x, dmem=last_step(net))
    assert line.startswith("3 Leaky: its gradient explodes over time")
    tame = network(backend, first={"detach_reset": False}, last={"detach_reset": False})
    assert notes(tame, x) == notes(tame, x, dmem=last_step(tame)) == []


def test_a_small_gradient_at_the_last_steps_explodes_nothing(rng):
    net = network(last={"detach_reset": False})
    d = last_step(net, 1e-9)
    d[0] = 1
    assert notes(net, draw(rng, net)[0], dmem=d) == notes(network(), draw(rng, net)[0], dmem=d) == []


def test_a_gradient_that_explodes_from_layer_to_layer(rng):
    net = network()
    net.params["2.weight"][...] = np.where(np.arange(8) < 4, 1e9, -1e9)
    x, _ = draw(rng, net)
    (line,) = notes(net, x, dmem=np.full((T, B, 3), 1e-3, np.float32))
    assert re.match(r"1 Leaky: its gradient is \de\+\d\d times the one above it; scale the weights between", line)


def test_only_the_first_samples_are_looked_at_step_by_step(rng):
    net = network(last={"beta": 0.2})
    d = last_step(net)
    d[0, health.SAMPLES :] = 1  # which the others do not show
    assert len(notes(net, draw(rng, net)[0], dmem=d)) == 1
    d[0, health.SAMPLES - 1] = 1
    assert notes(net, draw(rng, net)[0], dmem=d) == []


@pytest.mark.parametrize("layers", [
    [npsnn.Linear(4, 3)], [npsnn.Leaky(0.5), npsnn.Linear(4, 3)], [npsnn.Leaky(0.5, 0.2)],
    [npsnn.Leaky(0.5, 0.1), npsnn.Linear(4, 3), npsnn.Leaky(0.9, 0.1)],
], ids=str)  # fmt: skip
@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_networks_of_every_form(backend, rng, layers, static):
    """Of one step and two samples too; how they fire is not what is tried here."""
    net = npsnn.Sequential(*layers, backend=backend, seed=1)
    x, steps = draw(rng, net, static)
    d = np.ones(net(x, steps)[0].shape, np.float32)
    found = notes(net, x, steps, dspk=d) + notes(
        net, x[:2] if static else x[:1, :2], 1 if static else None, dspk=d[:1, :2]
    )
    assert not [line for line in found if "gradient" in line]


def test_a_gradient_that_does_not_fit_is_refused(rng):
    net = network()
    tape = net.forward(draw(rng, net)[0])[2]
    with pytest.raises(ValueError, match="dspk has shape"):
        health.notes(net, tape, np.zeros((T, B, 2), np.float32))
    with pytest.raises(ValueError, match="the tape is of another network"):
        health.notes(network(), tape, np.zeros((T, B, 3), np.float32))


def test_a_tape_of_training_will_do(backend, rng):
    """On a device it is there."""
    net = network(backend, first={"threshold": 50.0})
    x = draw(rng, net)[0]
    (batch,) = backprop.batches(net, [(x, np.arange(B) % 3)], Adam(net), SF.ce_rate_loss())
    dspk = SF.ce_rate_loss().value_and_grad(batch.spk_rec, batch.targets)[1]
    (line,) = health.notes(net, batch.tape, dspk)
    assert line.startswith("1 Leaky: no neuron fired")


def test_after_a_failure():
    assert "--check-finite" in health.after_failure("the loss is inf at batch 3, step 0; no update was made from it")
    said = health.after_failure("0 Conv2d: its output is not finite, first inf at step 4, sample 17 of batch 3")
    assert "check_finite" not in said and "--lr" in said
