"""One golden case: its inputs, its exact outputs, and the files they become."""

import io
import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import mpmath
import numpy as np

from tests.golden import model
from tests.golden.exact import Bits, Exact, gradients, sizes

DOUBLE, SINGLE = 53, 24
SMALLEST_MARGIN = 2.0**-40
# A certified value must be met to 15 digits of what is added up to it: 1e-15 is 4.5 units of 2^-52.
CERTIFIED_ULP = 4
DIGITS = 40
CANCELLED = 1e-90  # of the sizes of its terms: below it a value of a hundred digits is noise


class Case(NamedTuple):
    """A name, what case.json says, and the arrays; `exact` holds the exact values of a certified case as text."""

    name: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    exact: dict[str, Any]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """(path, bytes) of each file of the case's folder."""
        yield f"{self.name}/case.json", to_json(self.meta)
        for name, array in self.arrays.items():
            file = io.BytesIO()
            little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
            np.lib.format.write_array(file, little.reshape(array.shape), version=(1, 0), allow_pickle=False)
            yield f"{self.name}/{name}.npy", file.getvalue()
        if self.exact:
            yield f"{self.name}/exact.json", to_json(self.exact)


class TooManyBitsError(ValueError):
    """A dyadic case whose sums do not fit a double: draw another."""


def to_json(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, separators=(",", ":")) + "\n").encode()


def network(
    name: str, kind: str, op: str, layers: list[dict], params: dict, x, num_steps: int | None, *,
    state: dict | None = None, dspk=None, dmem=None, loss: tuple | None = None, level: str = "",
) -> Case:  # fmt: skip
    """A run of a network: recordings, and the gradients of everything it depends on, for dspk and dmem or a loss."""
    inputs = {"x": x, **params, **{f"state.{i}": U for i, U in (state or {}).items()}}
    arrays = {n: Exact(model.fractions(v)) for n, v in inputs.items()}
    for i, shape in neuron_shapes(layers, x, num_steps).items():
        arrays.setdefault(f"state.{i}", Exact(model.fractions(np.zeros(shape))))
    Bits.start()
    spk, mem, margins = model.run(layers, arrays, num_steps)
    expected = {"spk": spk.value} | ({} if mem is None else {"mem": mem.value})
    meta: dict[str, Any] = {"layers": layers, "num_steps": num_steps}
    given = {f"in.{n}": np.asarray(v, float) for n, v in inputs.items()}
    if loss is None:
        upstream = [(a, model.fractions(d)) for a, d in ((spk, dspk), (mem, dmem)) if d is not None]
        given |= {f"in.{n}": np.asarray(d, float) for n, d in (("dspk", dspk), ("dmem", dmem)) if d is not None}
    else:
        which, options, targets = loss
        value = model.loss(which, options, mem if "membrane" in which else spk, targets)
        meta["loss"] = {"name": which, **options}
        given["in.targets"] = np.asarray(targets, np.int64)
        expected["loss"] = value.value
        upstream = [(value, np.array(Fraction(1)))]
    expected |= {gradient_name(n): d for n, d in gradients(upstream, arrays).items()}
    needed = Bits.most
    if kind == "certified":
        terms = {gradient_name(n): d for n, d in sizes(upstream, arrays).items()}
        expected |= {n: without_noise(expected[n], d) for n, d in terms.items()}
        meta["scale"] = {f"out.{n}": largest(d) for n, d in terms.items()}
        if loss is not None:
            meta["scale"]["out.loss"] = model.loss_size(loss[0], value)
    Bits.most = needed
    margin = min(margins, default=None)
    check_margin(name, margin)
    meta |= {"margin": None if margin is None else text(margin)}
    if not level:
        level = "higher" if margin == 0 else "lower" if margin is None or float(margin) >= 1 / 64 else "average"
    return finish(name, kind, op, level, meta, given, expected)


def gradient_name(array: str) -> str:
    return "grad." + ("input" if array == "x" else array)


def without_noise(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Zero where terms cancel to the last of a hundred digits: what is left is the library's rounding."""
    pairs = zip(values.flat, sizes.flat, strict=True)
    cancelled = [isinstance(x, mpmath.mpf) and abs(x) < CANCELLED * size for x, size in pairs]
    kept = [mpmath.mpf(0) if c else x for c, x in zip(cancelled, values.flat, strict=True)]
    return np.array(kept, object).reshape(values.shape)


def largest(sizes: np.ndarray) -> float:
    """The largest entry, as a double."""
    return max((float(x) for x in sizes.flat), default=0.0)


def finish(name, kind, op, level, meta, given, expected) -> Case:
    """The case, once its exactness is shown."""
    rounded = {f"out.{n}": np.array([float(x) for x in v.flat]).reshape(v.shape) for n, v in expected.items()}
    meta = {"format": 1, "name": name, "kind": kind, "op": op, "level": level, **meta}
    if kind == "dyadic":
        values = [x for v in expected.values() for x in v.flat]
        if Bits.most > DOUBLE or any(Fraction(float(x)) != x for x in values):
            raise TooManyBitsError(f"{name} needs {Bits.most} bits")
        meta |= {"bits": Bits.most, "float32": Bits.most <= SINGLE and all_single(given, values), "allowed_ulp": 0}
        return Case(name, meta, {**given, **rounded}, {})
    meta |= {"allowed_ulp": CERTIFIED_ULP}
    return Case(name, meta, {**given, **rounded}, {f"out.{n}": exact_text(v) for n, v in expected.items()})


def all_single(given: dict[str, np.ndarray], values: list) -> bool:
    """Whether every number of the case is a float32."""
    numbers = [*values, *(float(x) for a in given.values() for x in a.flat)]
    return all(float(np.float32(float(x))) == x for x in numbers)


def check_margin(name: str, margin) -> None:
    """No membrane may be so near its threshold that rounding decides; exactly at it is a case of its own."""
    if margin is not None and 0 < margin and float(margin) < SMALLEST_MARGIN:
        raise TooManyBitsError(f"{name}: a membrane is {float(margin)} from its threshold")


def text(x) -> str:
    """A number in full."""
    return mpmath.nstr(x, DIGITS) if isinstance(x, mpmath.mpf) else str(Fraction(x))


def exact_text(v: np.ndarray) -> dict[str, list[str]]:
    """Numerators and denominators, or decimals where a number is not rational."""
    if any(isinstance(x, mpmath.mpf) for x in v.flat):
        return {"decimal": [mpmath.nstr(model.to_mp(x), DIGITS) for x in v.flat]}
    fractions = [Fraction(x) for x in v.flat]
    return {"numerator": [str(x.numerator) for x in fractions], "denominator": [str(x.denominator) for x in fractions]}


def neuron_shapes(layers: list[dict], x, num_steps: int | None) -> dict[int, tuple[int, ...]]:
    """The shape (B, *N) of every neuron layer's membrane."""
    shape, found = tuple(np.shape(x))[0 if num_steps else 1 :], {}
    for i, layer in enumerate(layers):
        kind = layer["type"]
        if kind in ("Conv2d", "MaxPool2d", "AvgPool2d"):
            k, s, p = layer["kernel_size"], layer["stride"], layer["padding"]
            H, W = ((n + 2 * p[a] - k[a]) // s[a] + 1 for a, n in enumerate(shape[2:]))
            shape = (shape[0], layer["out_channels"] if kind == "Conv2d" else shape[1], H, W)
        elif kind == "Linear":
            shape = (shape[0], layer["out_features"])
        elif kind == "Flatten":
            shape = (shape[0], int(np.prod(shape[1:])))
        else:
            found[i] = shape
    return found
