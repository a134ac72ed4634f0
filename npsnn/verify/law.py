"""A network run by the law on arrays of any kind, complex ones too: what the proofs differentiate."""

from typing import NamedTuple

import numpy as np

from npsnn import _check, backends
from npsnn._check import Array
from npsnn.functional.loss import Loss
from npsnn.layer import Layer
from npsnn.leaky.reference import leaky_forward
from npsnn.network import Sequential, State, Tape
from npsnn.neuron import Leaky
from npsnn.surrogate import Surrogate


class Problem(NamedTuple):
    """A run as a function of its arrays: what stays the same when one of them is moved."""

    layers: tuple[Layer, ...]
    sigmas: dict[int, Surrogate]  # of each neuron layer, with the key of the run where it is random
    num_steps: int
    static: bool


class Gradients(NamedTuple):
    """A run in float64, and its gradients by the hand-written backward."""

    net: Sequential
    tape: Tape
    arrays: dict[str, Array]  # all that the loss depends on
    grads: dict[str, Array]  # by the same names
    loss: float


def gradients(
    net: Sequential, x: Array, targets: Array, loss_fn: Loss, num_steps: int | None, state: State | None = None
) -> Gradients:
    """Forward and backward of `net`, which computes in float64: of every parameter, the input, the first membranes."""
    x = np.array(_check.array(x, np.dtype(np.float64), "x"))
    spk_rec, mem_rec, tape = net.forward(x, num_steps, state=in_double_state(state))
    if loss_fn.on == "mem" and mem_rec is None:
        raise ValueError(f"{loss_fn.name} reads the membrane, and the last layer, {net.layers[-1]!r}, has none")
    rec = spk_rec if loss_fn.on == "spk" else mem_rec
    loss, drec = loss_fn.value_and_grad(rec, targets)
    dspk, dmem = (drec, None) if loss_fn.on == "spk" else (None, drec)
    grads = net.backward(tape, dspk, dmem, input_grad=True, state_grad=True)
    for i, dU_before in zip(tape.neurons(), grads.pop("state"), strict=True):
        grads[f"state.{i}"] = dU_before
    return Gradients(net, tape, arrays_of(net, tape, x), grads, loss)


def problem_of(tape: Tape) -> Problem:
    """The run that a tape recorded."""
    sigmas = {i: neurons.sigma for i, neurons in tape.neurons().items()}
    return Problem(tape.layers, sigmas, tape.num_steps, tape.static)


def arrays_of(net: Sequential, tape: Tape, x: Array) -> dict[str, Array]:
    """All that the run depends on: every parameter by name, `"input"`, and `"state.2"` for the membranes before it."""
    arrays = {**net.state_dict(), "input": x}
    return {**arrays, **{f"state.{i}": neurons.U_before for i, neurons in tape.neurons().items()}}


def run(problem: Problem, arrays: dict[str, Array]) -> tuple[Array, Array | None]:
    """(spk_rec, mem_rec), each (T, B, *out), of the law on these arrays."""
    ops = backends.load("reference")
    x = arrays["input"][None] if problem.static else arrays["input"]
    mem_rec = None
    for i, layer in enumerate(problem.layers):
        params = {name: arrays[f"{i}.{name}"] for name in layer.param_shapes()}
        if isinstance(layer, Leaky):
            x, cache = leaky_forward(
                x,
                params.get("beta", layer.beta),
                params.get("threshold", layer.threshold),
                arrays[f"state.{i}"],
                num_steps=problem.num_steps,
                sigma=problem.sigmas[i],
                reset_mechanism=layer.reset_mechanism,
                detach_reset=layer.detach_reset,
            )
            mem_rec = cache.U
        else:
            x, _ = layer.run(x, params, ops)
            mem_rec = None
    if len(x) != problem.num_steps:
        x = np.repeat(x, problem.num_steps, axis=0)
    return x, mem_rec


def in_double(net: Sequential, layers: tuple[Layer, ...], backend: str) -> Sequential:
    """A float64 network of `layers` with the parameters of `net`, which is not changed."""
    double = Sequential(*layers, dtype=np.float64, backend=backend)
    double.flat_params[...] = net.flat_params
    return double


def in_double_state(state: State | None) -> State | None:
    """A state in float64; None stays at rest."""
    if state is None:
        return None
    return State(state.batch_size, tuple(None if U is None else U.astype(np.float64) for U in state.U))
