"""JAX: a compiled training step, its neurons a `lax.scan` over time, on the CPU."""

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import npsnn
from benchmarks import networks
from benchmarks.networks import Network

Params = dict[str, jax.Array]


class Jax:
    """Convolutions, pools and linear layers on the (T B) folded batch, as in MultiStep; Adam written out."""

    def __init__(self, network: Network, threads: int = 2) -> None:
        # XLA sizes its pool of threads by this when the first array is made; without it, by the machine's cores.
        os.environ.setdefault("NPROC", str(threads))
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_default_matmul_precision", "highest")
        ours = networks.build(network)
        self.params: Params = {name: jnp.array(value) for name, value in ours.params.items()}
        zeros = [{name: jnp.zeros_like(value) for name, value in self.params.items()} for _ in range(2)]
        self.state = (self.params, *zeros, jnp.zeros(()))
        self.x, self.targets = (jnp.asarray(array) for array in networks.batch(network))
        self.spikes = jax.jit(partial(spikes, ours.layers, network))
        self.value_and_grad = jax.jit(jax.value_and_grad(partial(loss, ours.layers, network)))
        self.update = jax.jit(partial(update, ours.layers, network))

    def gradients(self) -> tuple[float, dict[str, np.ndarray]]:
        """(loss, gradients), nothing updated."""
        value, grads = self.value_and_grad(self.state[0], self.x, self.targets)
        return float(value), {name: np.asarray(d) for name, d in grads.items()}

    def train(self) -> None:
        """One training step."""
        self.state = jax.block_until_ready(self.update(self.state, self.x, self.targets))

    def infer(self) -> np.ndarray:
        """The output's spikes."""
        return np.asarray(self.spikes(self.state[0], self.x))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def spike(x: jax.Array, a: float) -> jax.Array:
    """S = H(x) with x = U - theta; its derivative is fast_sigmoid's 1/(1 + a|x|)^2."""
    return (x > 0).astype(x.dtype)


@spike.defjvp
def _spike_jvp(a: float, primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    (x,), (dx,) = primals, tangents
    return spike(x, a), dx / (1 + a * jnp.abs(x)) ** 2


def lif(layer: npsnn.Leaky, currents: jax.Array | None, static: jax.Array | None, T: int) -> jax.Array:
    """(T, B, *N) spikes of (T, B, *N) currents, or of a static one that every step sees."""
    beta, theta, a = float(layer.beta), float(layer.threshold), float(layer.spike_grad.a)

    def step(carry: tuple[jax.Array, jax.Array], I_t: jax.Array | None) -> Any:
        U, R = carry
        U = beta * U + (static if I_t is None else I_t) - R * theta
        S = spike(U - theta, a)
        return (U, lax.stop_gradient(S)), S

    rest = jnp.zeros_like(static if currents is None else currents[0])
    return lax.scan(step, (rest, rest), currents, length=T)[1]


def spikes(layers: list[Any], network: Network, params: Params, x: jax.Array) -> jax.Array:
    """(T, B, classes)."""
    T, B = network.num_steps, network.batch
    folded = not network.static
    y = x.reshape(T * B, *x.shape[2:]) if folded else x
    for i, layer in enumerate(layers):
        if isinstance(layer, npsnn.Leaky):
            y = lif(layer, y.reshape(T, B, *y.shape[1:]), None, T) if folded else lif(layer, None, y, T)
            y, folded = y.reshape(T * B, *y.shape[2:]), True
        else:
            y = stateless(layer, params.get(f"{i}.weight"), params.get(f"{i}.bias"), y)
    return y.reshape(T, B, *y.shape[1:])


def stateless(layer: Any, weight: jax.Array | None, bias: jax.Array | None, y: jax.Array) -> jax.Array:
    """A layer other than a neuron, on (N, *features)."""
    if isinstance(layer, npsnn.Flatten):
        return y.reshape(len(y), -1)
    if isinstance(layer, npsnn.Linear):
        y = y @ weight.T
        return y if bias is None else y + bias
    pad = [(p, p) for p in layer.padding]
    if isinstance(layer, npsnn.Conv2d):
        y = lax.conv_general_dilated(y, weight, layer.stride, pad)
        return y if bias is None else y + bias[:, None, None]
    window, stride, pad = (1, 1, *layer.kernel_size), (1, 1, *layer.stride), [(0, 0), (0, 0), *pad]
    if isinstance(layer, npsnn.MaxPool2d):
        return lax.reduce_window(y, -jnp.inf, lax.max, window, stride, pad)
    return lax.reduce_window(y, 0.0, lax.add, window, stride, pad) / np.prod(layer.kernel_size)


def loss(layers: list[Any], network: Network, params: Params, x: jax.Array, targets: jax.Array) -> jax.Array:
    """The cross entropy of each step's spikes, averaged over the steps."""
    log_p = jax.nn.log_softmax(spikes(layers, network, params, x))
    return -jnp.take_along_axis(log_p, targets[None, :, None], axis=-1).mean()


def update(layers: list[Any], network: Network, state: Any, x: jax.Array, targets: jax.Array) -> Any:
    """One step of Adam with PyTorch's defaults: (parameters, first moments, second moments, steps done) after it."""
    params, m, v, n = state
    _, grads = jax.value_and_grad(partial(loss, layers, network))(params, x, targets)
    n = n + 1
    m = {name: 0.9 * m[name] + 0.1 * d for name, d in grads.items()}
    v = {name: 0.999 * v[name] + 0.001 * d * d for name, d in grads.items()}
    rate, scale = 1e-3 / (1 - 0.9**n), 1 / jnp.sqrt(1 - 0.999**n)
    params = {name: p - rate * m[name] / (scale * jnp.sqrt(v[name]) + 1e-8) for name, p in params.items()}
    return params, m, v, n
