"""A network in training on a device (floor 3).

Its parameters and Adam's moments go there once a run: they stay for as long as the optimiser lives, and go again only
where the host's were changed. They come back whenever the host shall see them; between, a batch's images go and a few
numbers come. The network's own arrays are those of the last time that it was brought back.
"""

import weakref
from typing import Any, NamedTuple

import numpy as np

from npsnn import tiles
from npsnn._check import Array, labels
from npsnn._device import DeviceArray, lies_there, send
from npsnn.adam.cuda import rates, update
from npsnn.functional import cuda as losses
from npsnn.functional.loss import Loss
from npsnn.network import Sequential, State, Tape
from npsnn.neuron import Remembers
from npsnn.optim import Adam
from npsnn.parameters import FlatParams
from npsnn.replays import Place, Replays


class There(NamedTuple):
    """What of an optimiser and its network is on the device from one epoch to the next."""

    all: DeviceArray  # parameters, m and v
    host: Array  # what the host's were when they last were the same
    replays: Replays


_left: "weakref.WeakKeyDictionary[Adam, There]" = weakref.WeakKeyDictionary()


class Resident:
    """One network and its optimiser on the device, from the first step to `bring_back`."""

    def __init__(self, net: Sequential, optimizer: Adam) -> None:
        self.net, self.optimizer = net, optimizer
        host = np.concatenate([net.flat_params, optimizer.m, optimizer.v])
        there = _left.get(optimizer)
        if there is None or there.host.tobytes() != host.tobytes():
            there = There(send(host), host, Replays())
        self._all, self.replays = there.all, there.replays

    def bring_back(self) -> None:
        """The parameters and moments, into the network's and the optimiser's own arrays."""
        host = np.asarray(self._all)
        P = self.net.flat_params.size
        self.net.flat_params[...], self.optimizer.m[...], self.optimizer.v[...] = host.reshape(3, P)
        _left[self.optimizer] = There(self._all, host, self.replays)
        lies_there(self.net._params, self.net.flat_params, self._all[:P].copy())  # for who asks the network itself

    def step(
        self, criterion: Any, regularization: Any, x: Array, num_steps: int | None, state: State | None, targets: Array
    ) -> tuple[float, Array, Tape]:
        """(loss, spk_rec, tape) of one update; FloatingPointError where something is not finite.

        Whatever is raised, also by Ctrl-C, parameters and moments are those before.
        """
        x, T = self.net._door(x, num_steps)
        o, t, terms = self.optimizer, self.optimizer.t, [term for term in (criterion, regularization) if term]
        before, shape = self.net._checked_state(x.shape, T, None)
        before = before if state is None else state.U
        y = labels(targets, shape[1], shape[2]) if any(map(_on_the_device, terms)) else np.zeros(0, np.int64)
        # What samples add to each term, and whether a gradient is not finite.
        report = np.zeros(len(terms) * shape[1] + 1, self.net.dtype)
        known = 0.0  # of the loss, on the host

        def work(
            all_before: DeviceArray, x: DeviceArray, y: DeviceArray, report: DeviceArray, rates: DeviceArray
        ) -> Any:
            nonlocal known
            tape, spk, mem = self._forward(all_before, x, T, num_steps is not None, before)
            known, up = self._losses(terms, spk, mem, y, targets, report)
            self._backward(tape, up, report[len(report) - 1 :], rates)
            return tape, spk

        key = (x.shape, T, num_steps is not None, *map(_same_launches, (*terms, *self.net.layers)))
        adam = rates(t + 1, o.lr, o.betas, o.eps, o.weight_decay, self.net.dtype)
        hosts = x, y, report, adam
        may_be_recorded = state is None and all(map(_on_the_device, terms))
        place = self.replays.place(key, self._all, hosts) if may_be_recorded else Place(self._all, hosts)
        try:
            o.t += 1
            tape, spk = self.replays.step(key, place, work) if may_be_recorded else work(*place.inputs)
            value = _judged(known, np.asarray(place.inputs[3]))
            return value, np.asarray(spk, self.net.dtype), tape
        except BaseException:
            place.restore()
            o.t = t
            raise

    def _losses(
        self, terms: list[Any], spk: Any, mem: Any, y: DeviceArray, targets: Any, report: DeviceArray
    ) -> tuple[float, dict[str, Any]]:
        """(what is known of the loss on the host, the gradient of all terms on spikes and membranes)."""
        B, known = spk.shape[1], 0.0
        up: dict[str, Any] = {"spk": None, "mem": None}
        for k, term in enumerate(terms):
            rec = spk if term.on == "spk" else mem
            if _on_the_device(term):
                values = report[k * B : (k + 1) * B]
                d = losses.value_and_grad(term.name, term.numbers, rec, y, self.net.dtype, values)
            else:
                value, host = term.value_and_grad(np.asarray(rec, self.net.dtype), targets)
                known, d = known + value, send(np.asarray(host, self.net.dtype))
            up[term.on] = d if up[term.on] is None else up[term.on] + d
        return known, up

    def _forward(
        self, flat: DeviceArray, x: DeviceArray, T: int, static: bool, before: tuple[Any, ...]
    ) -> tuple[Tape, DeviceArray, DeviceArray | None]:
        """The tape and the recordings, on the device."""
        net = self.net
        params = FlatParams(flat[: net.flat_params.size], net._params.slots)  # type: ignore[arg-type]
        run = net._run(params, x.shape, T)
        y, prefix = tiles.forward_items(run, range(run.lead), x, True)  # type: ignore[arg-type]
        spk, mem, block, after = tiles.forward_block(run, y, before, 0, T, True)
        chunk = tiles.Chunk(prefix, y, (block,))
        tape = Tape(net.layers, params, run, (chunk,), T, static, spk.shape, State(x.shape[1], after))
        return tape, spk, mem  # type: ignore[return-value]

    def _backward(self, tape: Tape, up: dict[str, Any], bad: DeviceArray, rates: DeviceArray) -> None:
        """The gradients, and Adam's update from them."""
        lowest = self.net._lowest_with_params()
        upstream = tiles.Upstream(up["spk"], up["mem"], (None,) * len(tape.state.U), lowest, False)
        grads = tiles.backward_chunk(tape.run, tape.chunks[0], 0, upstream).params
        P = self.net.flat_params.size
        for start, g in self._pieces(grads):
            p, m, v = (self._all[k * P + start : k * P + start + g.size] for k in range(3))
            update(p, g, m, v, bad, rates)

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


def _on_the_device(term: Any) -> bool:
    return isinstance(term, Loss) and term.name in losses.LOSSES


def _same_launches(part: Any) -> Any:
    """What of a loss or a layer decides the launches of a step, and what they are given."""
    if isinstance(part, Remembers):
        fixed = tuple(np.asarray(getattr(part, name, 0)).tobytes() for name in ("beta", "threshold"))
        return fixed, part.spike_grad, getattr(part, "reset_mechanism", ""), getattr(part, "detach_reset", False)
    return (part.name, part.numbers) if _on_the_device(part) else id(part)


def _judged(known: float, report: Array) -> float:
    """The loss, with what the samples add to it; FloatingPointError where it or a gradient is not finite."""
    value = known + float(report[:-1].sum())
    if not np.isfinite(value):
        raise FloatingPointError(f"the loss is {value}")
    if report[-1]:
        raise FloatingPointError("a gradient is not finite")
    return value
