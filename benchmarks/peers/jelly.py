"""SpikingJelly in multi-step mode."""

from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron

import npsnn
from benchmarks.engines import TorchEngine
from benchmarks.networks import Network
from benchmarks.peers.multistep import Spike


class Node(neuron.SimpleBaseNode):
    """SpikingJelly's base node with npsnn's dynamics: its own LIF node resets before the decay, this one after it."""

    def __init__(self, layer: npsnn.Leaky) -> None:
        super().__init__(float(layer.threshold), v_reset=None, detach_reset=True)
        self.beta, self.a = float(layer.beta), float(layer.spike_grad.a)

    def neuronal_charge(self, x: torch.Tensor) -> None:
        if isinstance(self.v, float):
            self.v = x
        else:
            R = (self.v.detach() > self.v_threshold).to(x.dtype)
            self.v = self.beta * self.v + x - R * self.v_threshold

    def neuronal_fire(self) -> torch.Tensor:
        return Spike.apply(self.v, self.v_threshold, self.a)

    def neuronal_reset(self, spike: torch.Tensor) -> None:
        """The next charge does it."""


class SpikingJelly(TorchEngine):
    """Its layers on the folded batch; what stands before the first neurons sees a static input once, on B."""

    node: type[Any] = Node

    def __init__(self, network: Network, threads: int = 2) -> None:
        super().__init__(network, threads)
        first = next(i for i, module in enumerate(self.net) if isinstance(module, self.node)) if network.static else 0
        self.once, self.rest = self.net[:first], self.net[first:]
        functional.set_step_mode(self.rest, "m")

    def library(self) -> Any:
        return layer

    def neuron(self, layer: npsnn.Leaky) -> Any:
        return Node(layer)

    def spikes(self) -> torch.Tensor:
        functional.reset_net(self.net)
        y = self.once(self.x)
        return self.rest(y.expand(self.network.num_steps, *y.shape) if self.network.static else y)


class OwnNeurons(SpikingJelly):
    """With its own LIF nodes, on a GPU one Triton kernel, whose reset precedes the decay: another model."""

    node = neuron.LIFNode

    def neuron(self, layer: npsnn.Leaky) -> Any:
        tau, theta = 1 / (1 - float(layer.beta)), float(layer.threshold)
        return neuron.LIFNode(tau, decay_input=False, v_threshold=theta, v_reset=None, detach_reset=True, step_mode="m")
