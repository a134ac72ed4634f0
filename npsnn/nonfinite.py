"""Where a run first holds NaN or inf: the layer, the step and the sample (floor 2).

A network with `check_finite` is run layer by layer before it is run as usual, and everything between its layers is
looked at. The first is, forward, that of the smallest step, of these the lowest layer, of these the smallest sample:
where one who computes a step at a time would meet it. Backward it is that of the last step, of these the highest layer,
of these the smallest sample; of neurons the gradient of the spikes comes before that of the membranes. What a static
input is before the first neuron has one step, 0.

Chunks of samples are taken as the network's own tiles, but all are looked at, so where they are cut has no influence.
"""

import numpy as np

from npsnn import walk
from npsnn._check import Array
from npsnn.layer import where
from npsnn.tiles import Membranes, Run, Upstream

Place = tuple[int, ...]  # what comes first is smallest
Found = tuple[Place, "NonFiniteError"]


class NonFiniteError(ValueError):
    """A value inside a run that is NaN or inf: what it belongs to, and where.

    >>> str(NonFiniteError("0 Conv2d: its output", "inf", 4, 17))
    '0 Conv2d: its output is not finite, first inf at step 4, sample 17'
    """

    def __init__(self, what: str, value: str, step: int, sample: int) -> None:
        super().__init__(what, value, step, sample)
        self.what, self.value, self.step, self.sample = what, value, step, sample

    def __str__(self) -> str:
        return f"{self.what} is not finite, first {self.value} at step {self.step}, sample {self.sample}"

    def after(self, steps: int) -> "NonFiniteError":
        """The same, in a sequence of which the run is a piece with so many steps before it."""
        return NonFiniteError(self.what, self.value, self.step + steps, self.sample)


def forward(layers: walk.Layers, run: Run, x: Array, before: Membranes) -> None:
    """Look at every layer's output and every neuron's membranes; NonFiniteError names the first that is not finite.

    x (T or 1, B, *features) and the membranes before it are those of the run.
    """
    found: list[Found] = []
    with np.errstate(all="ignore"):
        for begin, end in run.cuts.samples:
            mine = slice(begin, end)
            for done in walk.forward(layers, run, x[:, mine], _of(before, mine)):
                a, what = (done.y, "output") if done.U is None else (done.U, "membrane")
                error = _first(a, f"{where(layers, done.i)}: its {what}", begin)
                if error:
                    found.append(((error.step, done.i, error.sample), error))
    _report(found)


def backward(layers: walk.Layers, run: Run, x: Array, before: Membranes, up: Upstream, lowest: int) -> None:
    """Look at the gradient of every output and membrane, down to that of the layer `lowest`; as `forward`."""
    if lowest == len(layers):
        return
    found: list[Found] = []
    with np.errstate(all="ignore"):
        for begin, end in run.cuts.samples:
            mine = slice(begin, end)
            caches = [done.cache for done in walk.forward(layers, run, x[:, mine], _of(before, mine))]
            dspk, dmem = (None if d is None else d[:, mine] for d in (up.dspk, up.dmem))
            for back in walk.backward(layers, run, caches, dspk, dmem, _of(up.dafter, mine)):
                if back.i < lowest:
                    break
                dx = back.dx if up.input_grad and back.i == 0 else None
                for k, (what, d) in enumerate((("output", back.dy), ("membrane", back.dU), ("input", dx))):
                    name = f"{where(layers, back.i)}: the gradient of its {what}"
                    error = None if d is None else _first(d, name, begin, last=True)
                    if error:
                        found.append(((-error.step, -back.i, k, error.sample), error))
    _report(found)


def _first(a: Array, what: str, begin: int, last: bool = False) -> NonFiniteError | None:
    """What is first in a (T, B, ...), from the last step on where `last`; its samples count from `begin`."""
    bad = ~np.isfinite(a)
    if not bad.any():
        return None
    steps, samples = np.nonzero(bad.reshape(*a.shape[:2], -1).any(axis=2))
    t = int(steps[-1] if last else steps[0])
    b = int(samples[steps == t][0])
    value = a[t, b][bad[t, b]][0]
    return NonFiniteError(what, "NaN" if np.isnan(value) else str(value), t, begin + b)


def _of(membranes: Membranes, samples: slice) -> Membranes:
    return tuple(None if U is None else U[samples] for U in membranes)


def _report(found: list[Found]) -> None:
    if found:
        raise min(found, key=lambda f: f[0])[1]
