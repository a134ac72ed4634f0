"""snnTorch 1.0.0 as the comparisons use it.

snnTorch computes in float32 even where it is asked for float64: its surrogates cast the spike, its constants given as
numbers are float32, two of its losses add up in float32. In float64 it is exact to the bit with beta, threshold and the
graded factor given as float64 tensors and a spike function that keeps the dtype (`snn_leaky`, `spike_function`).
"""

import importlib
import warnings

import pytest

from tests.peers import torch_network as peer

torch = pytest.importorskip("torch", reason="needs PyTorch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    snn = pytest.importorskip("snntorch", reason="needs snnTorch")
    snn_backprop = importlib.import_module("snntorch.backprop")
    snn_functional = importlib.import_module("snntorch.functional")
    snn_spikegen = importlib.import_module("snntorch.spikegen")
    snn_spikeplot = importlib.import_module("snntorch.spikeplot")
    snn_surrogate = importlib.import_module("snntorch.surrogate")
    snn_utils = importlib.import_module("snntorch.utils")

marks = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(snn.__version__ != "1.0.0", reason="compared with snnTorch 1.0.0"),
]


# --- the neuron ----------------------------------------------------------------------------------------------------


def snn_leaky(beta, threshold, **arguments):
    """snntorch.Leaky in float64 throughout."""
    given = {"spike_grad": peer.spike_function("atan", {}), "graded_spikes_factor": peer.tensor(1.0)}
    return snn.Leaky(beta=peer.tensor(beta), threshold=peer.tensor(threshold), **{**given, **arguments})


def fire(lif, I):
    """(S, U) of an snnTorch neuron from rest, each (T, B, *N)."""
    mem, steps = torch.zeros_like(I[0]), []
    for I_t in I:
        S, mem = lif(I_t, mem)
        steps.append((S, mem))
    return tuple(torch.stack(rec) for rec in zip(*steps, strict=True))


# --- its surrogates in float64 -------------------------------------------------------------------------------------


def keeping_dtype(function):
    """snnTorch's own autograd function with the spike in x's dtype; backward is theirs, untouched."""

    class Kept(function):
        @staticmethod
        def forward(ctx, x, *constants):
            return function.forward(ctx, x, *constants).to(x.dtype)

    return Kept.apply


def custom_of_one(width):
    return lambda x, grad, S: grad * torch.exp(-x.square() / width)


def custom_of_three(width):
    return lambda x, grad, S: grad * (0.25 + S) / (width + x.square())


# Name -> (their function, its constants in their order). LSO is missing because snnTorch's raises TypeError.
FUNCTIONS = {
    "fast_sigmoid": (snn_surrogate.FastSigmoid, ("slope",)),
    "atan": (snn_surrogate.ATan, ("alpha",)),
    "sigmoid": (snn_surrogate.Sigmoid, ("slope",)),
    "straight_through_estimator": (snn_surrogate.StraightThroughEstimator, ()),
    "triangular": (snn_surrogate.Triangular, ("threshold",)),
    "heaviside": (snn_surrogate.Heaviside, ()),
    "spike_rate_escape": (snn_surrogate.SpikeRateEscape, ("beta", "slope")),
    "SFS": (snn_surrogate.SparseFastSigmoid, ("slope", "B")),
}
CUSTOM = {"custom_of_one": custom_of_one, "custom_of_three": custom_of_three}
SURROGATES = [*FUNCTIONS, *CUSTOM]


def spike_function(name, arguments):
    """x -> S with snnTorch's own surrogate."""
    if name in CUSTOM:
        constants = (CUSTOM[name](**arguments),)
        spike = keeping_dtype(snn_surrogate.CustomSurrogate)
    else:
        function, order = FUNCTIONS[name]
        constants, spike = [arguments[argument] for argument in order], keeping_dtype(function)
    return lambda x: spike(x, *constants)


def neuron(y, given, own):
    """A described Leaky layer run by snntorch.Leaky; its own parameters take the leaves' places."""
    assert given["detach_reset"], "snnTorch's reset is always detached"
    lif = snn_leaky(
        own["beta"].detach() if "beta" in own else given["beta"],
        own["threshold"].detach() if "threshold" in own else given["threshold"],
        spike_grad=spike_function(*given["spike_grad"]),
        learn_beta=given["learn_beta"],
        learn_threshold=given["learn_threshold"],
        reset_mechanism=given["reset_mechanism"],
    )
    own.update({name: getattr(lif, name) for name in own})
    return *fire(lif, y), lif.threshold


# --- its surrogates and losses as they are -------------------------------------------------------------------------


def their_derivative(spike_grad, x):
    x = torch.tensor(x, requires_grad=True)
    S = spike_grad(x)
    S.backward(torch.ones_like(S))
    return S.detach().numpy(), x.grad.numpy()


def their_loss(loss_fn, rec, y):
    """(value, gradient) of an snnTorch loss."""
    rec = torch.tensor(rec, requires_grad=True)
    value = loss_fn(rec, torch.tensor(y))
    value.backward()
    return value.item(), rec.grad.numpy()
