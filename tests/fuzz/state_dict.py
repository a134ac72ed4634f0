"""Malformed state dicts: names and values of every type, and views of the network they are loaded into."""

import collections
import random
import types
from typing import Any, NamedTuple

import numpy as np

import npsnn
from tests.fuzz.damage import below, pick
from tests.fuzz.reader import CHANGED, SAID, UNCHANGED, Reader, complaint, spread


class Case(NamedTuple):
    """What is loaded, and what each of its values said before, where loading itself may change that."""

    mapping: Any
    strict: bool
    said: dict[str, Any] | None = None


class StateDict(Reader):
    """`npsnn.Sequential.load_state_dict`."""

    name, suffix = "state_dict", ".txt"
    mix = spread({
        "untouched": 10, "numbers": 150, "value": 260, "array": 230, "constant": 130, "name": 90, "missing": 70,
        "view": 40, "no mapping": 20,
    })  # fmt: skip

    def __init__(self) -> None:
        self.net = npsnn.Sequential(
            npsnn.Linear(2, 2), npsnn.Leaky(BETA, threshold=2.0, reset_mechanism="zero"), npsnn.Linear(2, 1),
            npsnn.Leaky(0.9, learn_beta=True, learn_threshold=True), backend="reference", seed=1,
        )  # fmt: skip
        self.before = self.net.state_dict()
        self.flat, self.bits = self.net.flat_params.copy(), self.net.flat_params.tobytes()
        self.names = tuple(self.before)

    def draw(self, kind, rng):
        mapping: dict[Any, Any] = dict(self.before)
        strict = rng.random() < 0.5
        if rng.random() < 0.3:
            mapping |= CONSTANTS
        if kind == "numbers":
            for name in self.names:
                mapping[name] = pick(rng, _GOOD[self.before[name].shape])
        elif kind == "value":
            mapping[pick(rng, self.names)] = pick(rng, ODD)
        elif kind == "array":
            name = pick(rng, self.names)
            mapping[name] = _array(rng, self.before[name].shape)
        elif kind == "constant":
            name = pick(rng, tuple(CONSTANTS))
            mapping[name] = _array(rng, np.shape(CONSTANTS[name])) if rng.random() < 0.4 else pick(rng, ODD)
        elif kind == "name":
            self._rename(rng, mapping)
        elif kind == "missing":
            for _ in range(1 + below(rng, 3)):
                mapping.pop(pick(rng, self.names), None)
            if rng.random() < 0.2:
                items = list(mapping.items())
                rng.shuffle(items)
                mapping = dict(items)
        elif kind == "view":
            return self._views(rng, mapping, strict)
        elif kind == "no mapping":
            return Case(pick(rng, _WRAPS)(mapping), strict)
        return Case(mapping, strict)

    def read(self, case):
        if self.net.flat_params.tobytes() != self.bits:
            self.net.flat_params[:] = self.flat
        return self.net.load_state_dict(case.mapping, strict=case.strict)

    def undocumented(self, error):
        return complaint(error, (ValueError, TypeError), ("state dict: ",))

    def after_refusal(self, case):
        return self.net.flat_params.tobytes() == self.bits

    def judge(self, case, loaded):
        mapping, names = dict(case.mapping), set(self.names)
        said = mapping if case.said is None else case.said
        missing = [name for name in self.names if name not in mapping]
        unexpected = [name for name in mapping if name not in names and name not in CONSTANTS]
        if tuple(loaded) != (missing, unexpected) or (case.strict and (missing or unexpected)):
            return CHANGED
        for name, now in self.net.params.items():
            if now.tobytes() != _meant(said.get(name, self.before[name]), now.shape):
                return CHANGED
        if not all(_same_constant(mapping[name], value) for name, value in CONSTANTS.items() if name in mapping):
            return CHANGED
        return UNCHANGED if self.net.flat_params.tobytes() == self.bits else SAID

    def as_bytes(self, case):
        return f"strict={case.strict}\n{case.mapping!r}\n".encode("utf-8", "backslashreplace")

    def _rename(self, rng: random.Random, mapping: dict[Any, Any]) -> None:
        name, new = pick(rng, self.names), pick(rng, NAMES)
        value = mapping[name]
        if rng.random() < 0.5:
            del mapping[name]
        mapping[new] = value
        if rng.random() < 0.1:
            mapping[self.names[0]], mapping[self.names[1]] = mapping.get(self.names[1]), mapping.get(self.names[0])

    def _views(self, rng: random.Random, mapping: dict[Any, Any], strict: bool) -> Case:
        """Views of the network: exchanged, reversed, or turned."""
        live = self.net.params
        a, b = live["0.weight"], live["0.bias"]
        mapping |= pick(rng, (
            {"0.weight": a.T}, {"0.weight": a[::-1]}, {"0.bias": a[0]}, {"0.bias": a[:, 1]},
            {"0.weight": np.stack([b, b])},
            {"0.weight": np.broadcast_to(b, (2, 2))}, {"0.bias": live["2.weight"][0], "2.weight": b[None]}, dict(live),
            {"3.beta": live["3.threshold"], "3.threshold": live["3.beta"]}, {"0.bias": self.net.flat_params[3:5]},
        ))  # fmt: skip
        self.net.flat_params[:] = self.flat
        return Case(mapping, strict, {name: np.array(value) for name, value in mapping.items()})


def _meant(value: Any, shape: tuple[int, ...]) -> bytes | None:
    """The bytes of a float32 parameter that is given as `value`; None where it has no such meaning."""
    given = np.asarray(value)
    if given.dtype.kind != "f" or given.dtype.itemsize > 4 or given.shape != shape or not np.isfinite(given).all():
        return None
    return given.astype(np.float32).tobytes()


def _same_constant(value: Any, ours: Any) -> bool:
    """Whether a constant is the network's, in float32 or in the coarser type that it is given in."""
    given = np.asarray(value)
    kind = given.dtype if given.dtype == np.float16 else np.float32
    with np.errstate(over="ignore"):
        if given.size > 2**20:  # a view of one number: all of them would not fit into memory
            given = given[(slice(1),) * given.ndim] if not any(given.strides) else given
        return given.size > 0 and bool(np.all(given.astype(kind) == np.asarray(ours).astype(kind)))


class _NoArray:
    """As a tensor that requires a gradient: it cannot become an array, and says so."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self.error

    def __repr__(self) -> str:
        return f"_NoArray({self.error!r})"


def _array(rng: random.Random, shape: tuple[int, ...]) -> np.ndarray:
    """Of any dtype, often of the right shape, sometimes with an odd number in it."""
    if rng.random() < 0.3:
        shape = tuple(pick(rng, (0, 1, 2, 2, 3)) for _ in range(below(rng, 4)))
    array = np.full(shape, pick(rng, (0.9, 2.0, 0.25, 1.0)))
    if rng.random() < 0.6 and array.size:
        array.flat[below(rng, array.size)] = pick(rng, _NUMBERS)
    with np.errstate(all="ignore"):
        array = array.astype(pick(rng, _DTYPES))
    way = rng.random()
    return array.T if way < 0.1 else array[::-1] if way < 0.2 and array.ndim else array


_NUMBERS = (0.0, -0.0, 1e-45, 1e-40, 1e39, 3.4028235e38, -1e300, 0.1, 0.9, 2.0, np.nan, np.inf, -np.inf)
_DTYPES = ("f4", "f4", "f4", "f4", ">f4", "f2", "f8", "i4", "u1", "?", "c8", "O", "U4", "g", "M8[s]")

BETA = np.array([0.25, 0.9])
CONSTANTS = {  # the neuron buffers that snnTorch keeps, but for those that are parameters here
    "1.beta": BETA.astype(np.float32),
    "1.threshold": np.float32(2),
    "1.graded_spikes_factor": np.float32(1),
    "1.reset_mechanism_val": np.int64(1),
    "3.graded_spikes_factor": np.float32(1),
    "3.reset_mechanism_val": np.int64(0),
}
_SELF: list[Any] = []
_SELF.append(_SELF)
ODD: tuple[Any, ...] = (
    None, "0.5", b"0.5", "one", {}, {"a": 1}, {0.5}, len, _NoArray(RuntimeError("Can't call numpy()\non it.")),
    _NoArray(TypeError("no")), _NoArray(ValueError("no")), 1j, 0.5 + 0j, True, -1, 2**63, 10**400, 1e300, float("nan"),
    float("inf"), [], [[]], [[1.0], [1.0, 2.0]], [[0.25, 0.5], 1.0], [0.25, None], ["0.25", "0.9"], [[[0.5]]], range(2),
    _SELF, np.float16(0.5), np.longdouble(0.5), np.float64(0.9), np.float32(0.9), np.float16(0.9),
    np.datetime64("2000-01-01"), object(), np.array([0.5, None], object), np.array(0.5, object),
    np.array([0.25, 0.9 + 1j]), np.array([0.25, 0.9 + 0j]), np.array(["0.25", "0.9"]), np.zeros((1,), "f4,i4"),
    np.zeros((0, 3)), np.empty((2, 0), np.float32), BETA, np.ma.masked_array(np.ones((2, 2), np.float32), np.eye(2)),
    np.ma.masked_array([0.25, 0.9], [0, 1]), np.ma.masked, np.ones((2, 2), bool), np.ones((2, 2), np.uint8),
    np.ones((2, 2), ">f4"), np.full((2, 2), np.nan, np.float32),
    np.asfortranarray(np.arange(4, dtype=np.float32).reshape(2, 2)), np.broadcast_to(np.float32(3), (2, 2)),
    np.broadcast_to(np.float32(0.9), (2**20, 2**20)), np.broadcast_to(0.9, (2**20, 2**20)),
    np.broadcast_to(np.float16(1), (2**15, 2, 2**15)), np.zeros((1,) * 64, np.float32), memoryview(b"ab"), bytearray(8),
    np.frombuffer(bytes(16), np.float32).reshape(2, 2), np.ones((2, 2), np.float32)[::-1, ::-1], "a\nb",
    np.array("a\nb"), 2, 0.9, 1, [0.25, 0.9], np.array([0.25, 0.9], np.float16), np.bytes_(b"x"), Ellipsis,
    NotImplemented, float, np.nan,
)  # fmt: skip
NAMES: tuple[Any, ...] = (
    "0.beta", "1.weight", "1.", ".beta", "", "beta", "9.beta", "01.beta", "-1.beta", "\u0661.beta", "\xb2.beta",
    "1.beta.0", "9" * 5000 + ".beta", "9" * 65536, "0.weight ", " 0.weight", "0.Weight", "0.weight\n", "a\nb", "\0",
    "\x1b[2J", "\ud800", "é", "\u2028", "0.weight\0", "0.weight, 0.bias", "module.0.weight", 0, None, 1.5, True,
    (0, "weight"), b"0.weight", frozenset(), float("nan"), 10**400, np.str_("0.weight"), np.str_("other"), object,
    2**63, ("a\nb",), "1.beta", "3.graded_spikes_factor",
)  # fmt: skip


class _Str(str):
    """A string that is equal to another, and is none of the usual type."""


NAMES += (_Str("0.weight"), _Str("other"))
_GOOD = {
    shape: tuple(
        np.arange(1, 1 + int(np.prod(shape)), dtype=kind).reshape(shape) * kind(scale)
        for kind in (np.float32, np.float32, np.float16)
        for scale in (0.0, 0.5, -2.0, 6e-8)
    )
    for shape in ((2, 2), (2,), (1, 2), (1,), ())
}
_WRAPS = (
    types.MappingProxyType, collections.OrderedDict, collections.UserDict, lambda m: collections.ChainMap({}, m),
    lambda m: list(m.items()), lambda m: None, lambda m: 3, lambda m: "0.weight", lambda m: set(m),
    lambda m: np.zeros(3), lambda m: m.items(), lambda m: iter(m), lambda m: [], lambda m: {},
    lambda m: types.SimpleNamespace(**m), lambda m: dict,
)  # fmt: skip
