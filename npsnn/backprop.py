"""Training loops: backpropagation through time, whole or truncated (floor 4)."""

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.network import Sequential, State, Tape
from npsnn.neuron import Leaky
from npsnn.nonfinite import NonFiniteError
from npsnn.optim import Adam


class Batch(NamedTuple):
    """One batch after its update, or its last one."""

    loss: float  # mean over its steps
    spk_rec: Array  # (T, B, classes)
    targets: Array  # (B,)
    tape: Tape  # of its last K steps
    settle: Callable[[], None]  # bring network and optimiser up to date, where they are trained on a device


class DivergedError(ValueError):
    """A loss or a gradient that is not finite; no update was made from it."""


def BPTT(
    net: Sequential,
    loader: Iterable[tuple[Array, Array]],
    optimizer: Adam,
    criterion: Any,
    num_steps: int | None = None,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Any = None,
    progress: bool = False,
) -> float:
    """One epoch of backpropagation through time, one update a batch; the mean loss over the batches.

    `loader` gives (data, targets). With `time_var=True` the data varies in time, (T, B, *features), or (B, T,
    *features) with `time_first=False`; with `time_var=False` it is static, (B, *features), shown `num_steps` times.
    `criterion` is a loss of `npsnn.functional`, `regularization` is added to it. `progress=True` shows a bar (tqdm).
    Every batch starts at rest. ValueError for arguments that contradict each other, an empty loader, a loss that is
    not finite. snnTorch's `backprop.BPTT` means the same.

    Example
    -------
    >>> import numpy as np
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5), seed=0, dtype=np.float64)
    >>> data = [(np.ones((4, 3)), np.array([0, 1, 1, 1]))]
    >>> loss = BPTT(net, data, npsnn.optim.Adam(net), npsnn.functional.ce_rate_loss(), num_steps=5, time_var=False)
    >>> round(loss, 4)
    0.6412
    """
    return _epoch(net, loader, optimizer, criterion, num_steps, time_var, time_first, regularization, progress, None)


def TBPTT(
    net: Sequential,
    loader: Iterable[tuple[Array, Array]],
    optimizer: Adam,
    criterion: Any,
    num_steps: int | None = None,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Any = None,
    progress: bool = False,
    *,
    K: int,
) -> float:
    """As `BPTT`, truncated: an update every K steps, through which no gradient passes; the membranes go on.

    Each piece's loss is the criterion on that piece alone, and a batch's loss is their mean weighted by steps, so a
    remainder of T mod K steps counts as what it is. K equal to T is `BPTT`.

    Example
    -------
    >>> import numpy as np
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5), seed=0, dtype=np.float64)
    >>> data = [(np.ones((5, 4, 3)), np.array([0, 1, 1, 1]))]
    >>> loss = TBPTT(net, data, npsnn.optim.Adam(net), npsnn.functional.ce_rate_loss(), K=2)
    >>> round(loss, 4)
    0.6412
    """
    return _epoch(net, loader, optimizer, criterion, num_steps, time_var, time_first, regularization, progress, K)


def batches(
    net: Sequential,
    loader: Iterable[tuple[Array, Array]],
    optimizer: Adam,
    criterion: Any,
    num_steps: int | None = None,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Any = None,
    K: int | None = None,
) -> Iterator[Batch]:
    """The loop behind `BPTT` and `TBPTT`, a batch at a time: for who wants to look at each. Arguments as there."""
    _check_arguments(net, criterion, num_steps, time_var, time_first, K)
    return _batches(net, loader, optimizer, criterion, num_steps, time_first, regularization, K)


def _batches(
    net: Sequential,
    loader: Iterable[tuple[Array, Array]],
    optimizer: Adam,
    criterion: Any,
    num_steps: int | None,
    time_first: bool,
    regularization: Any,
    K: int | None,
) -> Iterator[Batch]:
    with _stepping(net, optimizer, criterion, regularization) as (step, settle):
        for i, (data, targets) in enumerate(loader):
            x = data if time_first else np.swapaxes(data, 0, 1)
            T = x.shape[0] if num_steps is None else num_steps
            if T == 0:
                raise ValueError(f"batch {i} has no step (shape {data.shape})")
            if K is not None and K > T:
                raise ValueError(f"K is {K}, batch {i} has {T} steps")
            loss, state, recordings = 0.0, None, []
            for start in range(0, T, K or T):
                steps = min(K or T, T - start)
                piece = x if num_steps is not None else x[start : start + steps]
                try:
                    value, spk_rec, tape = step(piece, None if num_steps is None else steps, state, targets)
                except FloatingPointError as error:
                    raise DivergedError(f"{error} at batch {i}, step {start}; no update was made from it") from None
                except NonFiniteError as error:
                    raise DivergedError(f"{error.after(start)} of batch {i}; no update was made from it") from None
                state = tape.state
                loss += value * steps / T
                recordings.append(spk_rec)
            yield Batch(loss, np.concatenate(recordings), targets, tape, settle)


Step = Callable[[Array, int | None, State | None, Array], tuple[float, Array, Tape]]


@contextmanager
def _stepping(
    net: Sequential, optimizer: Adam, criterion: Any, regularization: Any
) -> Iterator[tuple[Step, Callable[[], None]]]:
    """(step, settle): step(x, num_steps, state, targets) -> (loss, spk_rec, tape), FloatingPointError if not finite."""
    remembers = any(isinstance(layer, Leaky) for layer in net.layers)  # without, a static output is one step's
    if net.backend == "cuda" and net.memory_budget is None and remembers and not net.check_finite:
        from npsnn.resident import Resident

        there = Resident(net, optimizer)
        try:
            yield partial(there.step, criterion, regularization), there.bring_back
        finally:
            there.bring_back()
        return

    def step(x: Array, num_steps: int | None, state: State | None, targets: Array) -> tuple[float, Array, Tape]:
        spk_rec, mem_rec, tape = net.forward(x, num_steps, state=state)
        if not all(np.isfinite(rec).all() for rec in (spk_rec, mem_rec) if rec is not None):
            raise FloatingPointError("what the last layer gives is not finite")
        value, dspk, dmem = _value_and_grads(criterion, regularization, spk_rec, mem_rec, targets)
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        try:
            grads = net.backward(tape, dspk=dspk, dmem=dmem)
        except NonFiniteError:
            raise
        except ValueError as error:  # of shapes and dtypes that were computed here, only NaN and inf can be wrong
            raise FloatingPointError(str(error)) from None
        optimizer.step(grads)
        return value, spk_rec, tape

    yield step, lambda: None


def _epoch(
    net: Sequential,
    loader: Iterable[tuple[Array, Array]],
    optimizer: Adam,
    criterion: Any,
    num_steps: int | None,
    time_var: bool,
    time_first: bool,
    regularization: Any,
    progress: bool,
    K: int | None,
) -> float:
    show = _bar() if progress else None
    steps = batches(net, loader, optimizer, criterion, num_steps, time_var, time_first, regularization, K)
    bar: Any = show(steps, total=len(loader) if isinstance(loader, Sized) else None) if show else steps
    losses = []
    for batch in bar:
        losses.append(batch.loss)
        if show:
            bar.set_postfix(loss=f"{batch.loss:.3f}")
    if not losses:
        raise ValueError("the loader gave no batch")
    return math.fsum(losses) / len(losses)


def _value_and_grads(
    criterion: Any, regularization: Any, spk_rec: Array, mem_rec: Array | None, targets: Array
) -> tuple[float, Array | None, Array | None]:
    """The loss with its price, and its gradients on the spikes and on the membranes; None where it reads neither."""
    total, grads = 0.0, {"spk": None, "mem": None}
    for term in (criterion, regularization):
        if term is not None:
            value, d = term.value_and_grad(spk_rec if term.on == "spk" else mem_rec, targets)
            total += value
            grads[term.on] = d if grads[term.on] is None else grads[term.on] + d
    return total, grads["spk"], grads["mem"]


def _check_arguments(
    net: Sequential, criterion: Any, num_steps: int | None, time_var: bool, time_first: bool, K: int | None
) -> None:
    if K is not None:
        _check.whole(K, "K")
    if not hasattr(criterion, "value_and_grad"):
        raise TypeError(f"criterion must be a loss, such as functional.ce_rate_loss(), got {criterion!r}")
    if criterion.on == "mem" and not isinstance(net.layers[-1], Leaky):
        raise ValueError(f"{criterion.name} reads the membrane, but the last layer is {net.layers[-1]!r}")
    if time_var and num_steps is not None:
        raise ValueError("num_steps is for static data: leave it out, or set time_var=False")
    if not time_var:
        if num_steps is None:
            raise ValueError("time_var=False needs num_steps, how often the data is shown")
        _check.whole(num_steps, "num_steps")
        if not time_first:
            raise ValueError("time_first=False is for data that varies in time: static data has no time axis")
        if K is not None and K > num_steps:
            raise ValueError(f"K is {K}, num_steps is {num_steps}")


def _bar() -> Callable[..., Any]:
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError('npsnn: a progress bar needs tqdm: pip install "npsnn[all]"') from None
    return tqdm  # type: ignore[no-any-return]
