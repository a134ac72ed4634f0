"""Forward-mode sensitivities equal backpropagation through time to rounding."""

import itertools

import numpy as np
import pytest

import npsnn
from npsnn import surrogate
from npsnn.verify import rtrl
from tests.helpers import close
from tests.verify.test_gradcheck import RESETS, SURROGATES, dense, image_net, lively

# Two float64 computations of the same number, in different orders; relative to the array's largest entry.
ROUNDING = 1e-13


def both(net, x, num_steps, rng):
    """(by BPTT, by RTRL) for random upstream gradients of spikes and membranes."""
    spk_rec, _, tape = net.forward(x, num_steps)
    dspk, dmem = rng.standard_normal(spk_rec.shape), rng.standard_normal(spk_rec.shape)
    by_bptt = net.backward(tape, dspk, dmem, state_grad=True)
    neurons = [i for i, layer in enumerate(net.layers) if isinstance(layer, npsnn.Leaky)]
    by_bptt |= {f"state.{i}": d for i, d in zip(neurons, by_bptt.pop("state"), strict=True)}
    return by_bptt, rtrl(net, x, num_steps, dspk, dmem)


@pytest.mark.parametrize("reset, detach", list(itertools.product(RESETS, (True, False))))
@pytest.mark.parametrize("name", [n for n in SURROGATES if n != "SSO"])
def test_rtrl_is_bptt_for_every_neuron(name, reset, detach, rng):
    net = lively(dense(SURROGATES[name](), reset, detach), rng)
    by_bptt, by_rtrl = both(net, rng.uniform(-0.5, 1.5, (2, 3)), 20, rng)
    assert by_rtrl.keys() == by_bptt.keys()
    for key, expected in by_bptt.items():
        close(by_rtrl[key], expected, ROUNDING)


@pytest.mark.parametrize(
    "pool, reset, detach", list(itertools.product(("max", "average", "overlapping"), RESETS, (True, False)))
)
def test_rtrl_is_bptt_through_every_layer(pool, reset, detach, rng):
    net = lively(image_net(pool, reset, detach), rng)
    by_bptt, by_rtrl = both(net, rng.uniform(0, 2, (5, 2, 1, 6, 5)), None, rng)
    for key, expected in by_bptt.items():
        close(by_rtrl[key], expected, ROUNDING)


def test_beta_beyond_its_range_has_no_sensitivity(rng):
    net = lively(dense(surrogate.atan(), "subtract", False), rng)
    net.params["1.beta"], net.params["3.beta"] = np.array(1.5), np.array([-0.5, 1.0])
    by_bptt, by_rtrl = both(net, rng.uniform(-0.5, 1.5, (2, 3)), 6, rng)
    assert by_rtrl["1.beta"] == 0 and by_rtrl["3.beta"][0] == 0 != by_rtrl["3.beta"][1]
    for key, expected in by_bptt.items():
        close(by_rtrl[key], expected, ROUNDING)


def test_a_network_without_neurons(rng):
    net = npsnn.Sequential(npsnn.Linear(3, 2), dtype=np.float64, backend="reference")
    x, dspk = rng.standard_normal((4, 2, 3)), rng.standard_normal((4, 2, 2))
    by_bptt = net.backward(net.forward(x)[2], dspk)
    by_rtrl = rtrl(net, x, dspk=dspk)
    for key, expected in by_bptt.items():
        close(by_rtrl[key], expected, ROUNDING)


def test_what_it_does_not_take_is_refused():
    net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5, spike_grad=surrogate.SSO()), backend="reference")
    x = np.ones((1, 3), np.float32)
    with pytest.raises(ValueError, match="is random"):
        rtrl(net, x, 2, dspk=np.ones((2, 1, 2)))
    net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5), backend="reference")
    with pytest.raises(ValueError, match=r"dspk has shape \(3, 1, 2\), expected \(2, 1, 2\)"):
        rtrl(net, x, 2, dspk=np.ones((3, 1, 2)))


def test_a_layer_without_a_rule_is_refused():
    class Twice(npsnn.layer.Layer):
        def out_shape(self, shape, where=""):
            return shape

        def run(self, x, params, ops):
            return 2 * x, None

    net = npsnn.Sequential(npsnn.Linear(3, 2), Twice(), npsnn.Leaky(0.5), backend="reference")
    with pytest.raises(TypeError, match=r"rtrl: no forward-mode rule for <.*Twice"):
        rtrl(net, np.ones((1, 3), np.float32), 2, dspk=np.ones((2, 1, 2)))
