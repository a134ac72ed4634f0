"""A network in training on a device (floor 3).

Its parameters and Adam's moments go there once, and come back once; between, a batch's images go and a few numbers
come. The network's own arrays are those of the last time that it was brought back.
"""

from typing import Any

import numpy as np

from npsnn import tiles
from npsnn._check import Array, labels
from npsnn._device import DeviceArray, copy_into, send
from npsnn.adam.cuda import update
from npsnn.functional import cuda as losses
from npsnn.functional.loss import Loss
from npsnn.network import Sequential, State, Tape
from npsnn.optim import Adam
from npsnn.parameters import FlatParams


class Resident:
    """One network and its optimiser on the device, from the first step to `bring_back`."""

    def __init__(self, net: Sequential, optimizer: Adam) -> None:
        self.net, self.optimizer = net, optimizer
        self._all = send(np.concatenate([net.flat_params, optimizer.m, optimizer.v]))

    def bring_back(self) -> None:
        """The parameters and moments, into the network's and the optimiser's own arrays."""
        self.net.flat_params[...], self.optimizer.m[...], self.optimizer.v[...] = np.asarray(self._all).reshape(3, -1)

    def step(
        self, criterion: Any, regularization: Any, x: Array, num_steps: int | None, state: State | None, targets: Array
    ) -> tuple[float, Array, Tape]:
        """(loss, spk_rec, tape) of one update; FloatingPointError where something is not finite.

        Whatever is raised, also by Ctrl-C, parameters and moments are those before.
        """
        x, T = self.net._door(x, num_steps)
        before, t = self._all.copy(), self.optimizer.t
        try:
            tape, spk, mem = self._forward(before, x, T, num_steps is not None, state)
            value = self._update(tape, spk, mem, targets, [term for term in (criterion, regularization) if term])
            return value, np.asarray(spk, self.net.dtype), tape
        except BaseException:
            copy_into(self._all, before)
            self.optimizer.t = t
            raise

    def _update(self, tape: Tape, spk: Any, mem: Any, targets: Array, terms: list[Any]) -> float:
        """The loss; the gradients of its terms, added up, have made their update."""
        B, value = spk.shape[1], 0.0
        upstream: dict[str, Any] = {"spk": None, "mem": None}
        report = send(np.zeros(len(terms) * B + 1, self.net.dtype))  # what samples add to each term; what is not finite
        for k, term in enumerate(terms):
            known, d = self._loss(term, spk if term.on == "spk" else mem, targets, report[k * B : (k + 1) * B])
            value += known
            upstream[term.on] = d if upstream[term.on] is None else upstream[term.on] + d
        self._backward(tape, upstream["spk"], upstream["mem"], report[len(terms) * B :])
        sums = np.asarray(report)
        value += float(sums[:-1].sum())
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        if sums[-1]:
            raise FloatingPointError("a gradient is not finite")
        return value

    def _forward(
        self, flat: DeviceArray, x: Array, T: int, static: bool, state: State | None
    ) -> tuple[Tape, DeviceArray, DeviceArray | None]:
        """The tape and the recordings, on the device."""
        net = self.net
        before = net._checked_state(x.shape, T, None)[0] if state is None else state.U
        params = FlatParams(flat[: net.flat_params.size], net._params.slots)  # type: ignore[arg-type]
        run = net._run(params, x.shape, T)
        y, prefix = tiles.forward_items(run, range(run.lead), send(x), True)  # type: ignore[arg-type]
        spk, mem, block, after = tiles.forward_block(run, y, before, 0, T, True)
        chunk = tiles.Chunk(prefix, y, (block,))
        tape = Tape(net.layers, params, run, (chunk,), T, static, spk.shape, State(x.shape[1], after))
        return tape, spk, mem  # type: ignore[return-value]

    def _loss(self, term: Any, rec: Any, targets: Any, values: DeviceArray) -> tuple[float, DeviceArray]:
        """(what is known of the loss on the host, its gradient); what the samples add goes into values (B,)."""
        if isinstance(term, Loss) and term.name in losses.LOSSES:
            y = labels(targets, rec.shape[1], rec.shape[2])
            return 0.0, losses.value_and_grad(term.name, term.numbers, rec, y, self.net.dtype, values)
        value, d = term.value_and_grad(np.asarray(rec, self.net.dtype), targets)
        return value, send(np.asarray(d, self.net.dtype))

    def _backward(self, tape: Tape, dspk: Any, dmem: Any, bad: DeviceArray) -> None:
        """The gradients, and Adam's update from them."""
        up = tiles.Upstream(dspk, dmem, (None,) * len(tape.state.U), self.net._lowest_with_params(), False)
        grads = tiles.backward_chunk(tape.run, tape.chunks[0], 0, up).params
        P, o = self.net.flat_params.size, self.optimizer
        o.t += 1
        for start, g in self._pieces(grads):
            p, m, v = (self._all[k * P + start : k * P + start + g.size] for k in range(3))
            update(p, g, m, v, o.t, bad, lr=o.lr, b1=o.betas[0], b2=o.betas[1], eps=o.eps, weight_decay=o.weight_decay)

    def _pieces(self, grads: dict[str, Any]) -> list[tuple[int, DeviceArray]]:
        """Where each gradient lies in the flat vector, a weight's and its bias's in one piece where they are one."""
        pieces: list[tuple[int, DeviceArray]] = []
        for slot in self.net._params.slots:
            g = send(grads[f"{slot.layer}.{slot.name}"]).reshape(-1)
            start, last = pieces[-1] if pieces else (0, g)
            if pieces and g._owner is last._owner and start + last.size == slot.start:
                pieces[-1] = (start, DeviceArray(g._owner.flat, (last.size + g.size,), g._owner))
            else:
                pieces.append((slot.start, g))
        return pieces
