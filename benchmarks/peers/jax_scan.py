"""JAX: a compiled training step, its neurons a `lax.scan` over time, on the CPU."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import npsnn
from benchmarks import networks
from benchmarks.networks import Network

Apply = Callable[[dict[str, Any], Any], Any]


class Jax:
    """Convolutions, pools and linear layers on the (T B) folded batch, as in MultiStep, and Adam written out."""

    def __init__(self, network: Network, threads: int = 2) -> None:
        # What XLA sizes its pool of threads by, when its first array is made; without it, the cores of the machine.
        os.environ.setdefault("NPROC", str(threads))
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        import jax

        self.jax = jax
        ours = networks.build(network)
        self.params = {name: jax.numpy.array(value) for name, value in ours.params.items()}
        zeros = {name: jax.numpy.zeros_like(value) for name, value in self.params.items()}
        self.moments, self.steps_done = (zeros, zeros), 0
        self.x, self.targets = (jax.numpy.asarray(array) for array in networks.batch(network))
        self._spikes = jax.jit(partial(spikes, ours.layers, network))
        self._value_and_grad = jax.jit(jax.value_and_grad(partial(loss, ours.layers, network)))
        self._train = jax.jit(partial(train, ours.layers, network), donate_argnums=(0, 1))

    def gradients(self) -> tuple[float, dict[str, np.ndarray]]:
        """(loss, gradients), nothing updated."""
        value, grads = self._value_and_grad(self.params, self.x, self.targets)
        return float(value), {name: np.asarray(d) for name, d in grads.items()}

    def train(self) -> None:
        """One training step."""
        self.steps_done += 1
        self.params, self.moments = self._train(self.params, self.moments, self.steps_done, self.x, self.targets)
        self.jax.block_until_ready(self.params)

    def infer(self) -> np.ndarray:
        """The output's spikes."""
        return np.asarray(self._spikes(self.params, self.x))
