"""One training step and one inference of a network, in npsnn and in snnTorch, from the same weights.

Further engines are in benchmarks/peers.
"""

from typing import Any

import numpy as np

import npsnn
from benchmarks import networks
from benchmarks.networks import Network
from npsnn import functional as SF
from npsnn import optim


class Npsnn:
    """npsnn on one of its backends."""

    def __init__(self, network: Network, backend: str = "cpu") -> None:
        self.network, self.net = network, networks.build(network, backend)
        self.x, self.targets = networks.batch(network)
        self.steps = network.num_steps if network.static else None
        self.criterion, self.optimizer = SF.ce_rate_loss(), optim.Adam(self.net, lr=1e-3)

    def gradients(self) -> tuple[float, dict[str, np.ndarray]]:
        """(loss, gradients), nothing updated."""
        spk_rec, _, tape = self.net.forward(self.x, self.steps)
        loss, dspk = self.criterion.value_and_grad(spk_rec, self.targets)
        return loss, self.net.backward(tape, dspk=dspk)

    def train(self) -> None:
        """One training step."""
        self.optimizer.step(self.gradients()[1])

    def infer(self) -> np.ndarray:
        """The output's spikes."""
        return self.net(self.x, self.steps)[0]


class TorchEngine:
    """What engines on PyTorch share: the weights, the batch, the loss, Adam. A subclass says how it spikes."""

    def __init__(self, network: Network, threads: int = 2) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch, self.network = torch, network
        ours = networks.build(network)
        self.net = torch.nn.Sequential(*(self.module(layer) for layer in ours.layers))
        state = {name: torch.from_numpy(value.copy()) for name, value in ours.params.items()}
        missing = self.net.load_state_dict(state, strict=False).missing_keys
        assert not [name for name in missing if name.endswith(("weight", "bias"))], missing
        x, targets = networks.batch(network)
        self.x, self.targets = torch.from_numpy(x), torch.from_numpy(targets)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-3)

    def library(self) -> Any:
        """Where the layers without a state are from, under PyTorch's names."""
        return self.torch.nn

    def neuron(self, layer: npsnn.Leaky) -> Any:
        """The engine's neuron of these settings."""
        raise NotImplementedError

    def spikes(self) -> Any:
        """(T, B, classes)."""
        raise NotImplementedError

    def loss(self, spk_rec: Any) -> Any:
        """The cross entropy of each step's spikes, averaged over the steps."""
        T = self.network.num_steps
        return self.torch.nn.functional.cross_entropy(spk_rec.flatten(0, 1), self.targets.repeat(T))

    def module(self, layer: Any) -> Any:
        """The layer of the same settings."""
        nn = self.library()
        if isinstance(layer, npsnn.Conv2d):
            sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
            return nn.Conv2d(*sizes, bias=layer.bias)
        if isinstance(layer, npsnn.Linear):
            return nn.Linear(layer.in_features, layer.out_features, layer.bias)
        if isinstance(layer, npsnn.Leaky):
            return self.neuron(layer)
        if isinstance(layer, npsnn.Flatten):
            return nn.Flatten()
        kind = nn.MaxPool2d if isinstance(layer, npsnn.MaxPool2d) else nn.AvgPool2d
        return kind(layer.kernel_size, layer.stride, layer.padding)

    def gradients(self) -> tuple[float, dict[str, np.ndarray]]:
        """(loss, gradients), nothing updated."""
        loss = self.loss(self.spikes())
        self.optimizer.zero_grad()
        loss.backward()
        return loss.item(), {name: p.grad.cpu().numpy().copy() for name, p in self.net.named_parameters()}

    def train(self) -> None:
        """One training step."""
        loss = self.loss(self.spikes())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def infer(self) -> np.ndarray:
        """The output's spikes."""
        with self.torch.no_grad():
            return self.spikes().cpu().numpy()


class SnnTorch(TorchEngine):
    """snnTorch in eager mode, a step of time after the other, with its own loss, as its tutorials do."""

    def __init__(self, network: Network, threads: int = 2) -> None:
        from snntorch import functional

        super().__init__(network, threads)
        self.loss_fn = functional.ce_rate_loss()

    def neuron(self, layer: npsnn.Leaky) -> Any:
        import snntorch as snn
        from snntorch import surrogate

        spike_grad = surrogate.fast_sigmoid(slope=layer.spike_grad.a)
        return snn.Leaky(float(layer.beta), float(layer.threshold), spike_grad, init_hidden=True)

    def step(self, x_t: Any) -> Any:
        """The network's spikes at one step of time."""
        return self.net(x_t)

    def spikes(self) -> Any:
        from snntorch import utils

        utils.reset(self.net)
        steps = [self.x] * self.network.num_steps if self.network.static else self.x
        return self.torch.stack([self.step(x_t) for x_t in steps])

    def loss(self, spk_rec: Any) -> Any:
        return self.loss_fn(spk_rec, self.targets)


def disagreement(a: tuple[float, dict[str, np.ndarray]], b: tuple[float, dict[str, np.ndarray]]) -> float:
    """How far two engines' losses and gradients are apart: the largest relative difference, in the Euclidean norm."""
    (loss_a, grads_a), (loss_b, grads_b) = a, b
    apart = [abs(loss_a - loss_b) / abs(loss_a)]
    flat_a, flat_b = (np.concatenate([g[name].ravel() for name in grads_a]) for g in (grads_a, grads_b))
    return max(*apart, float(np.linalg.norm(flat_a - flat_b) / np.linalg.norm(flat_a)))
