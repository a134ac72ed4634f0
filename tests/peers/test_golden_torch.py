"""The golden vectors in PyTorch: dyadic ones have the same bits in its autograd, certified ones 15 digits.

So they do not only agree with the engine that ships them. The spike and its reset are tests/peers/torch_network.py's.
"""

import pytest

from npsnn.verify import golden
from tests.peers import torch_network as peer

torch = peer.torch
F = torch.nn.functional
pytestmark = pytest.mark.filterwarnings("ignore")
CASES = list(golden.cases())


def boxcar(x):
    return (x.abs() < 0.5).to(x.dtype)


def derivative(spec):
    options = {name: value for name, value in spec.items() if name != "name"}
    f = boxcar if spec["name"] == "boxcar" else peer.DERIVATIVES[spec["name"]]
    return lambda x: f(x, **options)


def network(meta, given):
    """The recordings and gradients of a case by autograd, under the names of its expected arrays."""
    leaves = {
        name: torch.tensor(a, requires_grad=True)
        for name, a in given.items()
        if name not in ("dspk", "dmem", "targets")
    }
    T = meta["num_steps"]
    y = leaves["x"].unsqueeze(0).expand(T, *leaves["x"].shape) if T else leaves["x"]
    mem, states = None, {}
    for i, spec in enumerate(meta["layers"]):
        mem = None
        if spec["type"] == "Leaky":
            U = leaves.setdefault(f"state.{i}", torch.zeros_like(y[0].detach(), requires_grad=True))
            states[f"state.{i}"] = U
            y, mem = leaky(y, spec, i, leaves, U)
        else:
            folded = LAYERS[spec["type"]](y.flatten(0, 1), spec, i, leaves)
            y = folded.unflatten(0, y.shape[:2])
    out = {"spk": y} | ({} if mem is None else {"mem": mem})
    if "loss" in meta:
        value = out["loss"] = loss(meta["loss"], mem if "membrane" in meta["loss"]["name"] else y, given["targets"])
    else:
        value = sum((a * torch.tensor(given[d])).sum() for a, d in ((y, "dspk"), (mem, "dmem")) if d in given)
    value.backward()
    for name, leaf in leaves.items():
        out[f"grad.{'input' if name == 'x' else name}"] = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    return {name: a.detach().numpy() for name, a in out.items()}


def leaky(I, spec, i, leaves, U):
    """(S, U), from a given membrane."""
    beta = leaves.get(f"{i}.beta", torch.tensor(spec["beta"], dtype=I.dtype)).clamp(0, 1)
    theta = leaves.get(f"{i}.threshold", torch.tensor(spec["threshold"], dtype=I.dtype))
    sigma, spikes, membranes = derivative(spec["spike_grad"]), [], []
    for I_t in I:
        R = peer.Spike.apply(U - theta, sigma)
        R = R.detach() if spec["detach_reset"] else R
        if spec["reset_mechanism"] == "subtract":
            U = (beta * U + I_t) - R * theta
        else:
            U = beta * ((1 - R) * U if spec["reset_mechanism"] == "zero" else U) + I_t
        spikes.append(peer.Spike.apply(U - theta, sigma))
        membranes.append(U)
    return torch.stack(spikes), torch.stack(membranes)


def conv2d(x, spec, i, leaves):
    weight, bias = leaves[f"{i}.weight"], leaves.get(f"{i}.bias")
    return F.conv2d(x, weight, bias, tuple(spec["stride"]), tuple(spec["padding"]))


def pool(x, spec, i, leaves):
    function = F.max_pool2d if spec["type"] == "MaxPool2d" else F.avg_pool2d
    return function(x, tuple(spec["kernel_size"]), tuple(spec["stride"]), tuple(spec["padding"]))


LAYERS = {
    "Conv2d": conv2d,
    "MaxPool2d": pool,
    "AvgPool2d": pool,
    "Linear": lambda x, spec, i, leaves: F.linear(x, leaves[f"{i}.weight"], leaves.get(f"{i}.bias")),
    "Flatten": lambda x, spec, i, leaves: x.flatten(1),
}


def loss(spec, rec, targets):
    name, y = spec["name"], torch.tensor(targets)
    T, B, C = rec.shape
    hot = F.one_hot(y, C).to(rec.dtype)
    if name == "ce_rate_loss":
        return F.cross_entropy(rec.flatten(0, 1), y.repeat(T))
    if name == "ce_count_loss":
        return F.cross_entropy(rec.sum(0), y)
    if name == "ce_max_membrane_loss":
        return F.cross_entropy(rec.max(0)[0], y)
    if name == "l1_rate_sparsity":
        return spec["Lambda"] * rec.sum()
    if name == "mse_count_loss":
        on, off = int(T * spec["correct_rate"]), int(T * spec["incorrect_rate"])
        return F.mse_loss(rec.sum(0), hot * on + (1 - hot) * off) / T
    on, off = spec["on_target"], spec["off_target"]
    return F.mse_loss(rec, (hot * on + (1 - hot) * off).expand(T, B, C))


def compute(case):
    op, given = case.meta["op"], case.inputs
    if op == "loss":
        rec = torch.tensor(given["rec"], requires_grad=True)
        value = loss(case.meta["loss"], rec, given["targets"])
        value.backward()
        return {"loss": value.detach().numpy(), "grad.rec": rec.grad.numpy()}
    if op == "surrogate":
        return {"derivative": derivative(case.meta["spike_grad"])(torch.tensor(given["x"])).numpy()}
    if op == "adam":
        return adam(case)
    return network(case.meta, given)


def adam(case):
    meta, p = case.meta, torch.tensor(case.inputs["p"], requires_grad=True)
    options = {name: meta[name] for name in ("lr", "eps", "weight_decay")}
    optimizer = torch.optim.Adam([p], betas=tuple(meta["betas"]), **options)
    for g in case.inputs["g"]:
        p.grad = torch.tensor(g)
        optimizer.step()
    state = optimizer.state[p]
    return {"p": p.detach().numpy(), "m": state["exp_avg"].numpy(), "v": state["exp_avg_sq"].numpy()}


@pytest.mark.parametrize("op", sorted({case.meta["op"] for case in CASES}))
def test_dyadic_vectors_have_the_same_bits(op):
    cases = [case for case in CASES if case.meta["op"] == op and case.meta["kind"] == "dyadic"]
    wrong = [(r.case.name, r.array, r.error) for r in (golden.judge(c, compute(c)) for c in cases) if r.error != 0]
    assert wrong == []
    assert cases or op == "adam"


@pytest.mark.parametrize("op", sorted({case.meta["op"] for case in CASES if case.meta["kind"] == "certified"}))
def test_certified_vectors_to_fifteen_digits(op):
    cases = [case for case in CASES if case.meta["op"] == op and case.meta["kind"] == "certified"]
    wrong = [(r.case.name, r.array, r.error) for r in (golden.judge(c, compute(c)) for c in cases) if not r.ok]
    assert wrong == []
