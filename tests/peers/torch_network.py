"""An npsnn network run by PyTorch: every derivative from autograd, but the spike's, which is written here anew.

A network is described by data, a list of (layer's name, keyword arguments), where a surrogate is (name, arguments).
`build` makes it with npsnn, `run` computes the same thing with torch in float64; they share nothing but the description
and the parameters' values.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

import npsnn
from npsnn import surrogate

torch = pytest.importorskip("torch", reason="needs PyTorch")
F = torch.nn.functional


# --- the spike and its surrogates ----------------------------------------------------------------------------------


class Spike(torch.autograd.Function):
    """H(x) forward, sigma'(x) backward, in x's own dtype."""

    @staticmethod
    def forward(ctx, x, derivative):
        ctx.save_for_backward(x)
        ctx.derivative = derivative
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, dS):
        (x,) = ctx.saved_tensors
        return dS * ctx.derivative(x), None


def fast_sigmoid(x, slope=25):
    return (1 + slope * x.abs()).pow(-2)


def atan(x, alpha=2.0):
    return alpha / (2 * (1 + (math.pi * alpha * x / 2).square()))


def sigmoid(x, slope=25):
    return slope * torch.sigmoid(slope * x) * torch.sigmoid(-slope * x)


def straight_through_estimator(x):
    return torch.ones_like(x)


def triangular(x, threshold=1):
    return threshold * (1 - 2 * (x >= 0).to(x.dtype))


def heaviside(x):
    return torch.heaviside(x, torch.zeros((), dtype=x.dtype))


def spike_rate_escape(x, beta=1, slope=25):
    return slope * torch.exp(-beta * (x - 1).abs())


def LSO(x, slope=0.1):
    return torch.where(x > 0, torch.ones_like(x), torch.full_like(x, slope))


def SFS(x, slope=25, B=1):
    return torch.where(x > B, fast_sigmoid(x, slope), torch.zeros_like(x))


def custom_of_one(x, width):
    return torch.exp(-x.square() / width)


def custom_of_three(x, width):
    """As a user writes it for snnTorch, with the incoming gradient and the spikes: here with gradient 1."""
    return (0.25 + (x > 0).to(x.dtype)) / (width + x.square())


DERIVATIVES = {
    f.__name__: f
    for f in (
        fast_sigmoid, atan, sigmoid, straight_through_estimator, triangular, heaviside, spike_rate_escape, LSO, SFS,
        custom_of_one, custom_of_three,
    )
}  # fmt: skip


def our_surrogate(name, arguments):
    """The same surrogate from npsnn; the two custom ones are written in NumPy here."""
    if name == "custom_of_one":
        return surrogate.custom_surrogate(lambda x: np.exp(-(x * x) / arguments["width"]))
    if name == "custom_of_three":
        return surrogate.custom_surrogate(lambda x, grad, S: grad * (0.25 + S) / (arguments["width"] + x * x))
    return getattr(surrogate, name)(**arguments)


def spike_function(name, arguments):
    """x -> S for snnTorch's or our own neuron: keeps x's dtype, which snnTorch's surrogates do not."""
    return lambda x: Spike.apply(x, lambda x: DERIVATIVES[name](x, **arguments))


# --- the neuron ----------------------------------------------------------------------------------------------------


def leaky(I, beta, theta, spike, reset_mechanism="subtract", detach_reset=True):
    """(S, U) by C1 to C3, each (T, B, *N)."""
    beta = beta.clamp(0, 1)
    U = torch.zeros_like(I[0])
    spk_rec, mem_rec = [], []
    for I_t in I:
        R = spike(U - theta)
        R = R.detach() if detach_reset else R
        if reset_mechanism == "subtract":
            U = (beta * U + I_t) - R * theta
        elif reset_mechanism == "zero":
            U = beta * ((1 - R) * U) + I_t
        else:
            U = beta * U + I_t
        spk_rec.append(spike(U - theta))
        mem_rec.append(U)
    return torch.stack(spk_rec), torch.stack(mem_rec)


# --- the network ---------------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """What torch computed; tensors with their graph."""

    spk_rec: Any  # (T, B, *out), or the last layer's output where it is no neuron
    mem_rec: Any  # (T, B, *out), or None
    params: dict[str, Any]  # the leaves
    x: Any  # the leaf
    neurons: dict[int, tuple[Any, Any, Any]]  # layer -> (S, U, theta)
    currents: dict[str, Any]  # layer -> what its parameters make at each step, (T, B, ...); "input": x at each step


def build(description, **arguments):
    """The npsnn.Sequential of a description."""
    layers = []
    for kind, given in description:
        given = dict(given)
        if "spike_grad" in given:
            given["spike_grad"] = our_surrogate(*given["spike_grad"])
        layers.append(getattr(npsnn, kind)(**given))
    return npsnn.Sequential(*layers, **arguments)


def leaky_neuron(y, given, own):
    """(S, U, theta) of a described neuron; `own` holds those of its constants that are learnt."""
    beta = own.get("beta", tensor(given["beta"]))
    theta = own.get("threshold", tensor(given.get("threshold", 1.0)))
    options = {name: given[name] for name in ("reset_mechanism", "detach_reset") if name in given}
    return *leaky(y, beta, theta, spike_function(*given.get("spike_grad", ("atan", {}))), **options), theta


def run(description, params, x, num_steps=None, neuron=leaky_neuron):
    """The network of a description in torch, with parameters given as arrays: x as npsnn's networks take it.

    `neuron` computes the Leaky layers; it may put another leaf with the same value into `own`.
    """
    leaves = {name: tensor(value).requires_grad_() for name, value in params.items()}
    leaf = tensor(x).requires_grad_()
    y = leaf if num_steps is None else leaf.expand(num_steps, *leaf.shape)
    neurons, currents = {}, {"input": y}
    for i, (kind, given) in enumerate(description):
        own = {name.partition(".")[2]: value for name, value in leaves.items() if name.startswith(f"{i}.")}
        if kind == "Leaky":
            currents[str(i)] = y
            neurons[i] = neuron(y, given, own)
            y = neurons[i][0]
            leaves.update({f"{i}.{name}": value for name, value in own.items()})
        else:
            y = currents[str(i)] = LAYERS[kind](y.flatten(0, 1), given, own).unflatten(0, y.shape[:2])
    mem_rec = neurons[i][1] if i in neurons else None
    return Run(y, mem_rec, leaves, leaf, neurons, currents)


def _conv2d(x, given, own):
    return F.conv2d(x, own["weight"], own.get("bias"), given.get("stride", 1), given.get("padding", 0))


def _max_pool2d(x, given, own):
    return F.max_pool2d(x, given["kernel_size"], given.get("stride"), given.get("padding", 0))


def _avg_pool2d(x, given, own):
    return F.avg_pool2d(x, given["kernel_size"], given.get("stride"), given.get("padding", 0))


LAYERS = {
    "Conv2d": _conv2d,
    "MaxPool2d": _max_pool2d,
    "AvgPool2d": _avg_pool2d,
    "Linear": lambda x, given, own: F.linear(x, own["weight"], own.get("bias")),
    "Flatten": lambda x, given, own: x.flatten(1),
}


def tensor(value):
    """A float64 tensor of its own."""
    return torch.tensor(np.asarray(value), dtype=torch.float64)


# --- the losses ----------------------------------------------------------------------------------------------------


def ce_rate_loss(rec, y):
    return torch.stack([F.cross_entropy(rec_t, y) for rec_t in rec]).mean()


def ce_count_loss(rec, y):
    return F.cross_entropy(rec.sum(0), y)


def ce_max_membrane_loss(rec, y):
    return F.cross_entropy(rec.max(0).values, y)


def mse_count_loss(rec, y, correct_rate=1, incorrect_rate=0):
    T = len(rec)
    return F.mse_loss(rec.sum(0), _of_class(rec, y, int(T * correct_rate), int(T * incorrect_rate))) / T


def mse_membrane_loss(rec, y, on_target=1, off_target=0):
    return F.mse_loss(rec, _of_class(rec, y, on_target, off_target).expand_as(rec))


def l1_rate_sparsity(spk_rec, y, Lambda):
    return Lambda * spk_rec.sum()


def _of_class(rec, y, right, wrong):
    hot = F.one_hot(y, rec.shape[-1]).to(rec.dtype)
    return hot * right + (1 - hot) * wrong


LOSSES = {
    f.__name__: f
    for f in (
        ce_rate_loss, ce_count_loss, ce_max_membrane_loss, mse_count_loss, mse_membrane_loss, l1_rate_sparsity,
    )
}  # fmt: skip


def total_loss(result, y, terms):
    """The sum of terms (name, arguments), each on the recording that its name says."""
    y = torch.tensor(y)
    total = 0.0
    for name, arguments in terms:
        rec = result.mem_rec if "membrane" in name else result.spk_rec
        total = total + LOSSES[name](rec, y, **arguments)
    return total


def gradients(result, loss):
    """name -> array, and "input": zero where the loss does not depend on it."""
    return backward(result, loss)[0]


def backward(result, loss):
    """(the gradients by name, for each the largest entry that any one step of any one sample adds to it).

    A gradient is a sum over steps, samples and places. Where its terms cancel, their size, not the sum's, says how far
    rounding reaches.
    """
    leaves = {**result.params, "input": result.x}
    found = torch.autograd.grad(loss, [*leaves.values(), *result.currents.values()], allow_unused=True)
    leaf_grads, current_grads = found[: len(leaves)], found[len(leaves) :]
    grads = {
        name: np.zeros(leaf.shape) if d is None else d.numpy()
        for (name, leaf), d in zip(leaves.items(), leaf_grads, strict=True)
    }
    largest = {
        layer: 0.0 if d is None else d.abs().max().item()
        for layer, d in zip(result.currents, current_grads, strict=True)
    }
    return grads, {name: largest[name.partition(".")[0]] for name in grads}
