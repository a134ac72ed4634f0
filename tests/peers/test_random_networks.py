"""Random networks, npsnn against PyTorch autograd in float64 on the same parameters and data.

Network number n is drawn from seed n, and its reset, surrogate and loss go through all combinations as n counts up.
Spikes are equal. Anything else is within 1e-11 of the largest entry of torch's array (`close`): a gradient's small
entries are differences of large terms, so each entry cannot be held to its own size. To look at network n alone:
`describe(n)` and `torch_result(n)`.
"""

import importlib.util
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

import npsnn
from tests.peers import torch_network as peer

torch = pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_numba_thread")]

NETWORKS = 300
TOLERANCE = 1e-11
TIE = 1e-12
needs_numba = pytest.mark.skipif(not importlib.util.find_spec("numba"), reason="needs Numba")
BACKENDS = ["reference", pytest.param("cpu", marks=needs_numba)]

RESETS = [(mechanism, detached) for mechanism in ("subtract", "zero", "none") for detached in (True, False)]
SURROGATES = list(peer.DERIVATIVES)
LOSSES = [name for name in peer.LOSSES if name != "l1_rate_sparsity"]


# --- drawing -------------------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """One network with its data and loss."""

    description: list[tuple[str, dict[str, Any]]]
    params: dict[str, Any]
    x: Any
    num_steps: int | None  # None: x varies in time
    targets: Any
    terms: list[tuple[str, dict[str, Any]]]  # the loss and, in some, the regulariser


class Draw:
    """A description as it grows: its layers so far and one sample's shape after them."""

    def __init__(self, rng, number):
        self.rng, self.number = rng, number
        self.layers, self.shape = [], ()

    def chance(self, p):
        return bool(self.rng.random() < p)

    def whole(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def choice(self, options):
        return options[self.whole(0, len(options) - 1)]

    def either(self, low, high):
        """An int or a pair."""
        return self.whole(low, high) if self.chance(0.4) else (self.whole(low, high), self.whole(low, high))

    def add(self, kind, **given):
        self.layers.append((kind, given))

    def slide(self, kernel, stride, padding):
        for axis, (k, s, p) in enumerate(zip(pair(kernel), pair(stride), pair(padding), strict=True), start=1):
            out = (self.shape[axis] + 2 * p - k) // s + 1
            self.shape = (*self.shape[:axis], out, *self.shape[axis + 1 :])

    def conv(self):
        kernel, stride, padding = self.either(1, min(3, *self.shape[1:])), self.either(1, 2), self.either(0, 1)
        out_channels = self.whole(1, 4)
        self.add(
            "Conv2d", in_channels=self.shape[0], out_channels=out_channels, kernel_size=kernel, stride=stride,
            padding=padding, bias=self.chance(0.6),
        )  # fmt: skip
        self.shape = (out_channels, *self.shape[1:])
        self.slide(kernel, stride, padding)

    def pool(self):
        kernel = self.either(1, min(3, *self.shape[1:]))
        padding = tuple(self.whole(0, k // 2) for k in pair(kernel))
        stride = None if self.chance(0.5) else self.either(1, 2)
        kind = self.choice(["MaxPool2d", "AvgPool2d"])
        self.add(kind, kernel_size=kernel, stride=stride, padding=padding)
        self.slide(kernel, kernel if stride is None else stride, padding)

    def linear(self, out_features):
        self.add("Linear", in_features=self.shape[0], out_features=out_features, bias=self.chance(0.6))
        self.shape = (out_features,)

    def leaky(self):
        """The n-th network's first neuron has the n-th combination, every further one the next."""
        index = self.number + sum(kind == "Leaky" for kind, _ in self.layers)
        mechanism, detached = RESETS[index % len(RESETS)]
        name = SURROGATES[index // len(RESETS) % len(SURROGATES)]
        self.add(
            "Leaky",
            beta=self.constant(lambda: self.choice([0.0, 1.0, *self.rng.uniform(0.1, 0.95, 6)])),
            threshold=self.constant(lambda: self.rng.uniform(0.6, 1.4)),
            spike_grad=(name, self.surrogate_arguments(name)),
            learn_beta=self.chance(0.5),
            learn_threshold=self.chance(0.5),
            reset_mechanism=mechanism,
            detach_reset=detached,
        )

    def constant(self, draw):
        """A number, or one a neuron, a channel or a column."""
        shapes = [(), self.shape, self.shape[-1:], (self.shape[0],) + (1,) * (len(self.shape) - 1)]
        shape = self.choice([(), *shapes])
        return np.reshape([draw() for _ in range(int(np.prod(shape)))], shape)[()]

    def surrogate_arguments(self, name):
        uniform = self.rng.uniform
        return {
            "fast_sigmoid": lambda: {"slope": uniform(1, 25)},
            "atan": lambda: {"alpha": uniform(0.5, 4)},
            "sigmoid": lambda: {"slope": uniform(1, 25)},
            "triangular": lambda: {"threshold": uniform(0.2, 1)},
            "spike_rate_escape": lambda: {"beta": uniform(0.5, 2), "slope": uniform(0.2, 2)},
            "LSO": lambda: {"slope": uniform(0.05, 0.5)},
            "SFS": lambda: {"slope": uniform(1, 25), "B": uniform(-0.5, 0.2)},
            "custom_of_one": lambda: {"width": uniform(0.1, 1)},
            "custom_of_three": lambda: {"width": uniform(0.5, 1)},
        }.get(name, dict)()


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def draw_layers(draw, classes):
    """Zero to two blocks of convolution, then one or two dense layers; one to three neurons, every 30th time none."""
    if draw.number % 30 == 29:
        draw_without_neurons(draw, classes)
        return
    neurons = 0
    if len(draw.shape) == 3:
        if draw.chance(0.1):
            draw.pool()
        for _ in range(draw.whole(1, 2)):
            draw.conv()
            pool_at = draw.choice(["before", "after", "never"])
            if pool_at == "before":
                draw.pool()
            draw.leaky()
            neurons += 1
            if pool_at == "after":
                draw.pool()
        draw.add("Flatten")
        draw.shape = (int(np.prod(draw.shape)),)
    elif draw.chance(0.2):
        draw.leaky()  # on the input itself
        neurons += 1
    if neurons == 0 or (neurons == 1 and draw.chance(0.3)):
        draw.linear(draw.whole(2, 8))
        draw.leaky()
        neurons += 1
    draw.linear(classes)
    if draw.chance(0.8):
        draw.leaky()


def draw_without_neurons(draw, classes):
    if len(draw.shape) == 3:
        draw.conv()
        draw.pool()
        draw.add("Flatten")
        draw.shape = (int(np.prod(draw.shape)),)
    draw.linear(classes)


def firing_params(rng, description, x, num_steps):
    """Parameters with which every neuron layer fires at 5 to 60 %, where ten draws find some."""
    net = peer.build(description, dtype=np.float64, backend="reference")
    for _ in range(10):
        params = draw_params(rng, net)
        with torch.no_grad():
            rates = firing_rates(peer.run(description, params, x, num_steps))
        if all(0.05 <= rate <= 0.6 for rate in rates):
            break
    return params


def firing_rates(result):
    return [S.mean().item() for S, _, _ in result.neurons.values()]


def draw_params(rng, net):
    """Weights that give currents of about the threshold's size."""
    params = {}
    for name, value in net.params.items():
        kind = name.partition(".")[2]
        if kind == "weight":
            gain = rng.uniform(1.5, 4.0)
            params[name] = rng.normal(0.3, gain, value.shape) / np.sqrt(value[0].size)
        elif kind == "bias":
            params[name] = rng.uniform(-0.2, 0.6, value.shape)
        else:
            params[name] = learnt(rng, kind, value)
    return params


def learnt(rng, kind, value):
    """A learnable constant, in some networks where training may take it: beta out of [0, 1], theta below 0."""
    value = value.copy()
    if kind == "beta" and rng.random() < 0.2:
        value += rng.uniform(-0.8, 0.8, value.shape)
    if kind == "threshold" and rng.random() < 0.1:
        value -= rng.uniform(0.0, 2.0, value.shape)
    return value


def draw_terms(draw):
    fires = draw.layers[-1][0] == "Leaky"
    name = LOSSES[draw.number % len(LOSSES)]
    if not fires:
        name = draw.choice([loss for loss in LOSSES if "membrane" not in loss])
    arguments = {
        "mse_count_loss": lambda: {"correct_rate": draw.rng.random(), "incorrect_rate": 0.4 * draw.rng.random()},
        "mse_membrane_loss": lambda: {"on_target": draw.rng.normal(1), "off_target": draw.rng.normal(0)},
    }.get(name, dict)()
    price = [("l1_rate_sparsity", {"Lambda": draw.rng.uniform(0.001, 0.1)})] if draw.chance(0.4) else []
    return [(name, arguments), *price]


@cache
def describe(number):
    """Network `number`."""
    rng = np.random.default_rng(number)
    draw = Draw(rng, number)
    sample = (draw.whole(1, 3), draw.whole(4, 8), draw.whole(4, 8)) if draw.chance(0.7) else (draw.whole(1, 6),)
    draw.shape = sample
    classes, T, B = draw.whole(2, 5), draw.whole(1, 12), draw.whole(1, 4)
    draw_layers(draw, classes)
    static = draw.chance(0.5)
    x = rng.uniform(0, 1.5, (B, *sample) if static else (T, B, *sample))
    num_steps = T if static else None
    terms = draw_terms(draw)
    params = firing_params(rng, draw.layers, x, num_steps)
    return Case(draw.layers, params, x, num_steps, rng.integers(0, classes, B), terms)


# --- comparing -----------------------------------------------------------------------------------------------------


@cache
def torch_result(number):
    """(torch's run, its loss, its gradients by name)."""
    case = describe(number)
    result = peer.run(case.description, case.params, case.x, case.num_steps)
    loss = peer.total_loss(result, case.targets, case.terms)
    return result, loss.item(), peer.gradients(result, loss)


def ours(case, backend):
    """(spk_rec, mem_rec, tape, loss, gradients) of npsnn."""
    net = peer.build(case.description, dtype=np.float64, backend=backend)
    for name, value in case.params.items():
        net.params[name][...] = value
    spk_rec, mem_rec, tape = net.forward(case.x, case.num_steps)
    loss, cotangents = 0.0, {"spk": np.zeros_like(spk_rec), "mem": None}
    for name, arguments in case.terms:
        term = getattr(npsnn.functional, name)(**arguments)
        value, d = term.value_and_grad(spk_rec if term.on == "spk" else mem_rec, case.targets)
        loss += value
        cotangents[term.on] = d if cotangents[term.on] is None else cotangents[term.on] + d
    grads = net.backward(tape, dspk=cotangents["spk"], dmem=cotangents["mem"], input_grad=True)
    return spk_rec, mem_rec, tape, loss, grads


def error(ours, theirs):
    """The largest difference as a share of the largest entry; 0 where both are zero throughout."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs).max()
    return 0.0 if difference == 0 else float(difference / max(np.abs(theirs).max(), np.finfo(float).tiny))


def close(ours, theirs, what):
    assert error(ours, theirs) < TOLERANCE, f"{what} differs by {error(ours, theirs):.1e} of its largest entry"


def same_spikes(S, S_torch, U_torch, theta, what):
    """Equal; if not, say how far from the threshold the first difference lies: below TIE it is a rounding tie."""
    wrong = np.not_equal(S, S_torch)
    if wrong.any():
        t = int(np.argmax(wrong.reshape(len(S), -1).any(axis=1)))
        margin = np.abs(U_torch - theta)[t][wrong[t]]
        raise AssertionError(f"{what}: {wrong.sum()} spikes differ, first at step {t}, |U - theta| = {margin}")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("number", range(NETWORKS))
def test_network(number, backend):
    case = describe(number)
    result, loss_torch, grads_torch = torch_result(number)
    spk_rec, mem_rec, tape, loss, grads = ours(case, backend)
    for i, (S, U, theta) in result.neurons.items():
        S, U, theta = (a.detach().numpy() for a in (S, U, theta))
        same_spikes(np.greater(tape.caches[i].U, tape.caches[i].theta), S, U, theta, f"{i} Leaky")
        close(tape.caches[i].U, U, f"{i} Leaky: U")
    if result.mem_rec is None:
        assert mem_rec is None
        close(spk_rec, result.spk_rec.detach().numpy(), "the output")
    else:
        assert np.array_equal(spk_rec, result.spk_rec.detach().numpy())
        close(mem_rec, result.mem_rec.detach().numpy(), "mem_rec")
    close(loss, loss_torch, "the loss")
    assert set(grads) == set(grads_torch)
    for name, d in grads_torch.items():
        close(grads[name], d, f"the gradient of {name}")


# --- what was drawn ------------------------------------------------------------------------------------------------


def neurons():
    return [given for n in range(NETWORKS) for kind, given in describe(n).description if kind == "Leaky"]


def test_every_reset_surrogate_and_loss_occurs():
    resets = Counter((given["reset_mechanism"], given["detach_reset"]) for given in neurons())
    surrogates = Counter(given["spike_grad"][0] for given in neurons())
    both = Counter((given["reset_mechanism"], given["detach_reset"], given["spike_grad"][0]) for given in neurons())
    losses = Counter(term[0] for n in range(NETWORKS) for term in describe(n).terms)
    assert set(resets) == set(RESETS) and min(resets.values()) >= 50
    assert set(surrogates) == set(SURROGATES) and min(surrogates.values()) >= 30
    assert len(both) == len(RESETS) * len(SURROGATES) and min(both.values()) >= 4
    assert set(losses) == set(peer.LOSSES) and min(losses.values()) >= 30


def test_every_kind_of_layer_and_input_occurs():
    layers = [layer for n in range(NETWORKS) for layer in describe(n).description]
    kinds = Counter(kind for kind, _ in layers)
    convs = [given for kind, given in layers if kind == "Conv2d"]
    pools = [given for kind, given in layers if "Pool" in kind]
    counts = Counter(sum(kind == "Leaky" for kind, _ in describe(n).description) for n in range(NETWORKS))
    assert set(kinds) == {"Conv2d", "MaxPool2d", "AvgPool2d", "Flatten", "Linear", "Leaky"}
    assert min(kinds.values()) >= 60
    assert set(counts) == {0, 1, 2, 3} and min(counts.values()) >= 10
    for several in (
        [given for given in convs if len(set(pair(given["kernel_size"]))) == 2],
        [given for given in convs if pair(given["stride"]) != (1, 1)],
        [given for given in convs if pair(given["padding"]) != (0, 0)],
        [given for given in convs if given["bias"]],
        [given for given in convs if not given["bias"]],
        [given for given in pools if given["stride"] is not None],
        [given for given in pools if given["padding"] != (0, 0)],
        [n for n in range(NETWORKS) if describe(n).num_steps is None],
        [n for n in range(NETWORKS) if describe(n).num_steps is not None],
        [n for n in range(NETWORKS) if describe(n).description[-1][0] != "Leaky"],
        [given for given in neurons() if np.ndim(given["beta"]) and given["learn_beta"]],
        [given for given in neurons() if np.ndim(given["threshold"]) and given["learn_threshold"]],
    ):
        assert len(several) >= 30


def test_learnt_constants_leave_their_range_in_some():
    params = [item for n in range(NETWORKS) for item in describe(n).params.items()]
    assert sum(name.endswith("beta") and ((v < 0) | (v > 1)).any() for name, v in params) >= 10
    assert sum(name.endswith("beta") and ((v == 0) | (v == 1)).any() for name, v in params) >= 10
    assert sum(name.endswith("threshold") and (v < 0).any() for name, v in params) >= 5


def test_the_networks_spike_and_learn():
    rates = [firing_rates(torch_result(n)[0]) for n in range(NETWORKS)]
    assert sum(all(0.05 <= rate <= 0.6 for rate in network) for network in rates) >= 0.85 * NETWORKS
    alive = [[np.abs(d).max() > 0 for d in torch_result(n)[2].values()] for n in range(NETWORKS)]
    assert sum(map(any, alive)) >= 0.98 * NETWORKS
    assert sum(map(all, alive)) >= 0.7 * NETWORKS  # the rest have a layer that no surrogate reaches, such as heaviside


def test_no_membrane_is_so_near_its_threshold_that_rounding_decides():
    for n in range(NETWORKS):
        for i, (_, U, theta) in torch_result(n)[0].neurons.items():
            assert (U - theta).abs().min() > TIE, f"network {n}, {i} Leaky"


# --- training ------------------------------------------------------------------------------------------------------


TRAINED = [
    ("Conv2d", {"in_channels": 1, "out_channels": 3, "kernel_size": 3}),
    ("MaxPool2d", {"kernel_size": 2}),
    ("Leaky", {"beta": 0.6, "learn_beta": True, "spike_grad": ("fast_sigmoid", {"slope": 5})}),
    ("Flatten", {}),
    ("Linear", {"in_features": 27, "out_features": 4}),
    ("Leaky", {"beta": 0.8, "learn_threshold": True, "spike_grad": ("atan", {})}),
]


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("backend", BACKENDS)
def test_ten_steps_of_adam(backend, weight_decay):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 2, (6, 1, 8, 8)), rng.integers(0, 4, 6)
    net = peer.build(TRAINED, dtype=np.float64, backend=backend, seed=3)
    weights = {name: peer.tensor(value).requires_grad_() for name, value in net.params.items()}
    settings = {"lr": 0.02, "weight_decay": weight_decay}
    adam, torch_adam = npsnn.optim.Adam(net, **settings), torch.optim.Adam(weights.values(), **settings)
    loss_fn, losses = npsnn.functional.ce_rate_loss(), []
    for _ in range(10):
        spk_rec, _, tape = net.forward(x, num_steps=8)
        loss, dspk = loss_fn.value_and_grad(spk_rec, y)
        adam.step(net.backward(tape, dspk=dspk))
        losses.append((loss, torch_step(weights, torch_adam, x, y)))
        for name, value in weights.items():
            close(net.params[name], value.detach().numpy(), name)
    mine, theirs = np.array(losses).T
    close(mine, theirs, "the losses")
    assert mine[-1] < mine[0] - 0.05


def torch_step(weights, optimizer, x, y):
    values = {name: value.detach().numpy() for name, value in weights.items()}
    result = peer.run(TRAINED, values, x, num_steps=8)
    loss = peer.ce_rate_loss(result.spk_rec, torch.tensor(y))
    found = peer.gradients(result, loss)
    for name, value in weights.items():
        value.grad = peer.tensor(found[name])
    optimizer.step()
    return loss.item()
