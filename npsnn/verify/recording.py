"""Recording a run: a network forward and backward, layer by layer, and everything that it computes kept by name."""

from typing import Any

import numpy as np

from npsnn import walk
from npsnn._check import Array
from npsnn.functional.loss import Loss
from npsnn.network import Sequential, Tape
from npsnn.spec import spec_of
from npsnn.verify.recording_file import Recording as Recording
from npsnn.verify.recording_file import load as load
from npsnn.verify.recording_file import save as save


def record(
    net: Sequential,
    x: Array,
    num_steps: int | None = None,
    *,
    targets: Array | None = None,
    loss_fn: Loss | None = None,
    dspk: Array | None = None,
    dmem: Array | None = None,
) -> Recording:
    """Run `net` forward and backward, layer by layer, and keep everything.

    x and num_steps as in `Sequential.forward`. What goes backward comes from `loss_fn` on `targets`, or is given as
    dspk = dL/dspk_rec and dmem = dL/dmem_rec; without either, only the forward pass is recorded. Errors as those of
    `forward` and `backward`, before anything is recorded.

    Example
    -------
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5))
    >>> run = record(net, np.ones((4, 1, 3), np.float32), dspk=np.ones((4, 1, 2), np.float32))
    >>> sorted(run.arrays)[:6], run.arrays["1.U"].shape
    (['0.bias', '0.dy', '0.weight', '0.y', '1.S', '1.U'], (4, 1, 2))
    """
    spk_rec, mem_rec, tape = net.forward(x, num_steps)
    if loss_fn is not None:
        rec = spk_rec if loss_fn.on == "spk" else mem_rec
        assert rec is not None
        d = loss_fn.value_and_grad(rec, targets)[1]
        dspk, dmem = (d, None) if loss_fn.on == "spk" else (None, d)
    grads = {} if dspk is None and dmem is None else net.backward(tape, dspk, dmem, input_grad=True)
    x = np.array(x, net.dtype)
    arrays: dict[str, Array] = {"x": x, **net.state_dict()}
    y, caches = x[None] if num_steps is not None else x, []
    for done in walk.forward(tape.layers, tape.run, y, tape.before):
        caches.append(done.cache)
        y = done.y
        arrays |= {f"{done.i}.y": y} if done.U is None else {f"{done.i}.U": done.U, f"{done.i}.S": y}
    if grads:
        arrays |= _backward(tape, caches, dspk, dmem, y)
        arrays["grad.x"] = grads.pop("input")
        arrays |= {f"grad.{name}": d for name, d in grads.items()}
    return Recording(tuple(spec_of(layer) for layer in net.layers), num_steps, arrays)


def _backward(
    tape: Tape, caches: list[Any], dspk: Array | None, dmem: Array | None, spk_rec: Array
) -> dict[str, Array]:
    """The gradients of every layer's output, from the last layer down."""
    arrays: dict[str, Array] = {}
    d = np.zeros_like(spk_rec) if dspk is None else np.asarray(dspk, spk_rec.dtype)
    if len(spk_rec) == 1 != len(d):  # a static network without a neuron
        d = d.sum(axis=0, keepdims=True)
    if dmem is not None:
        dmem = arrays[f"{len(tape.layers) - 1}.dmem"] = np.asarray(dmem, spk_rec.dtype)
    for back in walk.backward(tape.layers, tape.run, caches, d, dmem):
        assert back.dy is not None
        arrays |= {f"{back.i}.dy": back.dy} if back.dU is None else {f"{back.i}.dS": back.dy, f"{back.i}.dU": back.dx}
    return arrays
