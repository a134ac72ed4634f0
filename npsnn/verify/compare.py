"""Where two recordings part, and why: `npsnn compare A B`.

Forward first, from the lowest layer up, in each layer from the first step on; then the gradients, from the last layer
down, in each from the last step back: so nothing that is compared before it can have caused the first difference. A
spike that differs because rounding put a membrane on the other side of its threshold is a tie: the sample is set aside,
and the search goes on in the others.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from npsnn._check import Array
from npsnn.verify.explain import equation, explanations
from npsnn.verify.recording import Recording

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}  # of an array's largest entry


class Place(NamedTuple):
    """One number of a recording: its array, and where in it, as far as the array has these axes."""

    array: str
    layer: int | None
    step: int | None
    sample: int | None
    neuron: tuple[int, ...]  # within a sample; for a parameter, all of its index
    a: float
    b: float

    def __str__(self) -> str:
        parts = [] if self.layer is None else [f"layer {self.layer}"]
        parts += [] if self.step is None else [f"step {self.step}", f"sample {self.sample}"]
        return f"{self.array}: {', '.join([*parts, f'neuron {list(self.neuron)}'])}: A has {self.a!r}, B has {self.b!r}"


class Comparison(NamedTuple):
    """What `compare` found."""

    verdict: str  # "same", "tie" (rounding decided a spike) or "meaning"
    place: Place | None  # the first difference of meaning, or the first tie
    ties: tuple[Place, ...]  # one for each sample that was set aside
    equation: str  # of the layer, at the place, with its numbers
    explanations: tuple[str, ...]  # the misreadings that give all of B there
    compared: tuple[str, ...]
    only_one: tuple[str, ...]  # arrays that one recording lacks

    def __str__(self) -> str:
        lines = [f"compared {len(self.compared)} arrays; in one recording only: {', '.join(self.only_one) or 'none'}"]
        if self.place is None:
            return "\n".join([*lines, "same: no difference beyond rounding"])
        if self.ties:
            lines.append(f"{len(self.ties)} samples set aside: rounding decided a spike; the first: {self.ties[0]}")
        if self.verdict == "tie":
            return "\n".join([*lines, self.equation, "a rounding tie, and no other difference"])
        lines += [f"they part at {self.place}", self.equation, "a difference of meaning"]
        lines += [f"explains all of B here: {text}" for text in self.explanations]
        if not self.explanations:
            lines.append("no known misreading explains it; what went into this layer is the same in both")
        return "\n".join(lines)


class _Pair(NamedTuple):
    """One array of both recordings, in double, of one shape, and what counts as rounding."""

    a: Array
    b: Array
    allowed: float


def compare(A: Recording, B: Recording, tolerance: float | None = None) -> Comparison:
    """Hold B against A, which must say what the network is.

    `tolerance` is what counts as rounding, as a share of an array's largest entry (default: 1e-12 where both are
    float64, 1e-5 where one is float32). ValueError where the two have no array in common, or arrays of other shapes.

    Example
    -------
    >>> import npsnn
    >>> from npsnn.verify.recording import record
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5), dtype="float64")
    >>> A = record(net, np.ones((4, 1, 3)), dspk=np.ones((4, 1, 2)))
    >>> B = A._replace(arrays={**A.arrays, "1.U": A.arrays["1.U"] * 1.01})
    >>> compare(A, A).verdict, compare(A, B).place.array
    ('same', '1.U')
    """
    if not A.layers:
        raise ValueError("A does not say what the network is: its recording.json needs layers")
    pairs = _pairs(A, B, tolerance)
    compared, only_one = tuple(pairs), tuple(sorted(set(A.arrays) ^ set(B.arrays)))
    aside = np.zeros(_samples(A), bool)
    ties: list[Place] = []
    for group, backward in _order(A, pairs):
        if aside.any() and _has_no_samples(group[0]):
            continue  # a sum over samples, some of which are set aside
        while (place := _first(group, pairs, aside, backward)) is not None:
            if not _is_tie(place, A, pairs):
                why = tuple(explanations(place.array, A, B, {n: p.allowed for n, p in pairs.items()}, ~aside))
                text = equation(place.array, place.layer, place.step, place.sample, place.neuron, A, B)
                return Comparison("meaning", place, tuple(ties), text, why, compared, only_one)
            ties.append(place)
            aside[place.sample] = True
    if ties:
        first = ties[0]
        text = equation(first.array, first.layer, first.step, first.sample, first.neuron, A, B)
        return Comparison("tie", first, tuple(ties), text, (), compared, only_one)
    return Comparison("same", None, (), "", (), compared, only_one)


def _pairs(A: Recording, B: Recording, tolerance: float | None) -> dict[str, _Pair]:
    """The arrays that both have, by name."""
    pairs = {}
    for name in A.arrays:
        if name in B.arrays:
            a, b = A.arrays[name], B.arrays[name]
            share = TOLERANCE["float32" if np.float32 in (a.dtype, b.dtype) else "float64"]
            share = share if tolerance is None else tolerance
            a, b = _same_shape(name, np.asarray(a, np.float64), np.asarray(b, np.float64))
            pairs[name] = _Pair(a, b, share * float(np.abs(a).max(initial=0.0)))
    if not pairs:
        raise ValueError("the two recordings have no array in common")
    return pairs


def _same_shape(name: str, a: Array, b: Array) -> tuple[Array, Array]:
    """Both with as many steps: what is the same at every step may be recorded once, its gradient as the sum (C12)."""
    if a.shape != b.shape and a.ndim == b.ndim and a.shape[1:] == b.shape[1:] and 1 in (len(a), len(b)):
        if name.rpartition(".")[2].startswith("d"):
            a, b = a.sum(axis=0, keepdims=True), b.sum(axis=0, keepdims=True)
        else:
            a, b = np.broadcast_arrays(a, b)
    if a.shape != b.shape:
        raise ValueError(f"{name} has shape {a.shape} in A and {b.shape} in B")
    return a, b


def _samples(A: Recording) -> int:
    """How many samples were run."""
    if "x" in A.arrays:
        return int(A.arrays["x"].shape[0 if A.num_steps is not None else 1])
    return next((a.shape[1] for name, a in A.arrays.items() if not _has_no_samples(name)), 1)


def _has_no_samples(name: str) -> bool:
    """Whether an array is a parameter or its gradient."""
    return name.rpartition(".")[2] in ("weight", "bias", "beta", "threshold")


def _order(A: Recording, pairs: dict[str, _Pair]) -> Iterator[tuple[list[str], bool]]:
    """Groups of arrays that are looked at together, in the order in which one can cause another; backward or not."""
    layers = range(len(A.layers))
    given = ["x", *(f"{i}.{name}" for i in layers for name in ("weight", "bias", "beta", "threshold"))]
    up = [[f"{i}.U", f"{i}.S", f"{i}.y"] for i in layers]
    down = [group for i in reversed(layers) for group in ([f"{i}.dS", f"{i}.dmem", f"{i}.dy"], [f"{i}.dU"])]
    sums = [f"grad.{i}.{name}" for i in reversed(layers) for name in ("weight", "bias", "beta", "threshold")]
    for groups, backward in (
        ([[name] for name in given], False), (up, False), (down, True), ([["grad.x"], *([s] for s in sums)], False),
    ):  # fmt: skip
        for group in groups:
            present = [name for name in group if name in pairs]
            if present:
                yield present, backward


def _first(group: list[str], pairs: dict[str, _Pair], aside: Array, backward: bool) -> Place | None:
    """The first place where one of the arrays differs, in time forward or backward, in samples not set aside."""
    found = []
    for order, name in enumerate(group):
        a, b, allowed = pairs[name]
        different = (a != b) if name.endswith(".S") else ~(np.abs(a - b) <= allowed)
        axis = _sample_axis(name, a)
        if axis is not None and len(aside) == a.shape[axis]:
            different = different & ~aside.reshape(-1, *(1,) * (a.ndim - axis - 1))
        if different.any():
            at = tuple(int(i) for i in np.argwhere(different)[0])
            if backward:
                last = int(np.flatnonzero(different.reshape(len(a), -1).any(axis=1))[-1])
                at = (last, *(int(i) for i in np.argwhere(different[last])[0]))
            step = (-at[0] if backward else at[0]) if axis == 1 else 0
            found.append(((step, at[1:] if axis == 1 else at, order), _place(name, at, axis, a, b)))
    return min(found, key=lambda entry: entry[0])[1] if found else None


def _sample_axis(name: str, a: Array) -> int | None:
    """1 for arrays over time, 0 for a static input and its gradient, None for parameters."""
    if _has_no_samples(name):
        return None
    return 1 if name not in ("x", "grad.x") or a.ndim in (3, 5) else 0


def _place(name: str, at: tuple[int, ...], axis: int | None, a: Array, b: Array) -> Place:
    digits = [part for part in name.split(".") if part.isdecimal()]
    layer = int(digits[0]) if digits else None
    step = at[0] if axis == 1 else None
    sample = None if axis is None else at[axis]
    return Place(name, layer, step, sample, at[0 if axis is None else axis + 1 :], float(a[at]), float(b[at]))


def _is_tie(place: Place, A: Recording, pairs: dict[str, _Pair]) -> bool:
    """Whether a spike differs where the membranes agree, and are at the threshold but for rounding.

    Where both membranes are the threshold exactly, the spike is a matter of meaning (C2).
    """
    if not place.array.endswith(".S"):
        return False
    i, at = place.layer, (place.step, place.sample, *place.neuron)
    name = f"{i}.U"
    if name not in A.arrays or i is None:
        return False
    theta = A.arrays.get(f"{i}.threshold", np.asarray(A.layers[i]["threshold"]))
    U = A.arrays[name].astype(np.float64)
    x_a = U[at] - np.broadcast_to(theta, U.shape[2:])[place.neuron]
    if name not in pairs:
        return bool(0 != abs(x_a) <= TOLERANCE["float32"] * np.abs(U).max())
    x_b = x_a + pairs[name].b[at] - pairs[name].a[at]
    return bool(max(abs(x_a), abs(x_b)) <= pairs[name].allowed and (x_a != 0 or x_b != 0))
