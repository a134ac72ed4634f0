"""Malformed checkpoints: damaged bytes, and forgeries whose checksums, the zip's and our own, are right."""

import hashlib
import json
import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

import npsnn
from npsnn import checkpoint
from npsnn.optim import Adam
from tests.fuzz import oracle, zips
from tests.fuzz.damage import below, damage, pick, set_field
from tests.fuzz.headers import odd_npy
from tests.fuzz.reader import CHANGED, SAID, UNCHANGED, WHERE, Reader, spread
from tests.fuzz.texts import odd_text

META, SUMS = "meta.json", "SHA256SUMS"
Meaning = dict[tuple[str, ...], Any]


class Case(NamedTuple):
    """A file; what it may say: what one of the seeds says, or, where it was forged, what it says itself."""

    data: bytes
    forged: bool
    seed: int


class Checkpoint(Reader):
    """`npsnn.checkpoint.parse`."""

    name, suffix = "checkpoint", ".npz"
    mix = spread({
        "untouched": 10, "bytes": 220, "field": 150, "member": 170, "summed": 110, "meta": 130, "header": 80,
        "names": 60,
        "container": 70,
    })  # fmt: skip

    def draw(self, kind, rng):
        number = 0 if rng.random() < 0.85 else 1
        seed = SEEDS[number]
        if kind == "untouched":
            return Case(seed.data, False, number)
        if kind == "bytes":
            return Case(damage(rng, seed.data, pick(rng, SEEDS).data), False, number)
        if kind == "field":
            data = seed.data
            for _ in range(1 if rng.random() < 0.8 else 2):
                data = set_field(rng, data, *pick(rng, seed.fields))
            return Case(data, False, number)
        if kind == "member":
            entries, at = list(seed.entries), below(rng, len(seed.entries))
            other = pick(rng, pick(rng, SEEDS).entries).content
            entries[at] = entries[at]._replace(content=damage(rng, entries[at].content, other))
            return Case(zips.pack(entries), False, number)
        if kind == "container":
            return Case(zips.twisted(rng, seed.entries), True, number)
        return Case(zips.pack(_forged(kind, rng, seed)), True, number)

    def read(self, case):
        return checkpoint.parse(case.data, WHERE)

    def judge(self, case, loaded):
        seed = SEEDS[case.seed]
        if _says(loaded, seed.meaning):
            return UNCHANGED
        if case.data == SEEDS[1 - case.seed].data:  # a splice may be all of the other
            return SAID if _says(loaded, SEEDS[1 - case.seed].meaning) else CHANGED
        if not case.forged:
            return CHANGED
        return SAID if _says(loaded, meaning(case.data)) else CHANGED


def meaning(data: bytes) -> Meaning:
    """Path -> array or what JSON can say, of a file: the format's definition, and nothing of npsnn."""
    members = oracle.members(data)
    text, sums = members.pop(META), members.pop(SUMS)
    meta = oracle.tree(text)
    if list(meta) != ["format", "network", "plain"] or meta["format"] != "npsnn checkpoint 2" or text != _json(meta):
        raise oracle.UnreadableError("another format")
    if sums != _sums({META: text, **members}):
        raise oracle.UnreadableError("other sums")
    found: Meaning = {("network",): meta["network"]}
    paths: set[tuple[str, ...]] = set()
    names = [(name.removesuffix(".npy"), oracle.array(content)) for name, content in members.items()]
    for name, value in [*names, *meta["plain"].items()]:
        group, *rest = path = tuple(name.split("/"))
        if group == "extra" and rest and rest[0] not in ("network", "net", "optimizer"):
            path = path[1:]
        elif group not in ("net", "optimizer") or not rest:
            raise oracle.UnreadableError(f"{name!r} belongs nowhere")
        if path in found or path in paths or any(path[:n] in found for n in range(1, len(path))):
            raise oracle.UnreadableError(f"{name!r} is in the way of another")
        if not name.isprintable() or (isinstance(value, dict) and value):
            raise oracle.UnreadableError(f"{name!r} is something that is not written")
        found[path] = value
        paths.update(path[:n] for n in range(1, len(path)))
    found.setdefault(("optimizer",), None) if ("optimizer",) not in paths else None
    found.setdefault(("net",), {}) if ("net",) not in paths else None
    return found


def _says(loaded: Any, expected: Meaning) -> bool:
    found = {("network",): loaded["network"]}
    found |= oracle.flat({name: value for name, value in loaded.items() if name != "network"})
    return found.keys() == expected.keys() and all(oracle.same(value, expected[path]) for path, value in found.items())


# --- forging -------------------------------------------------------------------------------------------------------


class Seed(NamedTuple):
    """A right file and its parts."""

    data: bytes
    entries: tuple[zips.Entry, ...]
    fields: tuple[tuple[int, int], ...]
    meta: dict[str, Any]
    text: bytes  # of meta
    arrays: Mapping[str, bytes]  # name with .npy -> contents
    meaning: Meaning


def _forged(kind: str, rng: random.Random, seed: Seed) -> list[zips.Entry]:
    """A change that only knowing the format could make, with sums that are right."""
    meta, arrays = seed.text, dict(seed.arrays)
    name = pick(rng, tuple(arrays))
    if kind == "summed":
        other = pick(rng, tuple(arrays.values()))
        if rng.random() < 0.8:  # of the values alone, so that more than the header's check is met
            start, content = len(arrays[name]) - below(rng, 24), arrays[name]
            arrays[name] = content[:start] + damage(rng, content[start:], other)[: len(content) - start]
        else:
            arrays[name] = damage(rng, arrays[name], other)
    elif kind == "header":
        arrays[name] = odd_npy(rng, arrays[name])
    elif kind == "meta":
        meta = odd_text(rng, seed.meta, _json)
    elif rng.random() < 0.6:
        new = _odd_name(rng, arrays)
        arrays[new] = arrays[name]
        if rng.random() < 0.5:
            del arrays[name]
    else:
        new = _odd_name(rng, arrays).removesuffix(".npy")
        meta = _json({**seed.meta, "plain": {**seed.meta["plain"], new: pick(rng, (1, {}, [], {"a": 1}, "x"))}})
    ordered = sorted(arrays.items(), key=lambda item: item[0].removesuffix(".npy"))
    if rng.random() < 0.02:
        rng.shuffle(ordered)
    members = dict([(META, meta), *ordered])
    return [zips.entry(n, c) for n, c in [*members.items(), (SUMS, _sums(members))]]


_NAMES = (
    "../up", "net/../up", "/abs", "C:\\x", "", "a", "net", "extra", "optimizer", "net/", "/", "//", "net//w", "extra/",
    "extra/epoch", "extra/epoch/x", "extra/note", "extra/net", "extra/network", "extra/optimizer", "extra/network/x",
    "network", "network/layers", "other/x", "net/a\nb", "net/a\0b", "net/a\0c", "net/\x1b[2J", "net/é", "net/Ω",
    "net/🙂", "net/\u2028x", "net/\x85", "net/ 0.weight", "net/0.weight.npy", "net/0.weight/x", "net/0.bias/x/y",
    "meta.json", "net/w ", "net/.", "optimizer/x", "extra/a/b", "extra/d", "extra/d/e", "EXTRA/a", "Net/0.weight",
    "net\\0.weight",
)  # fmt: skip
_MADE_NAMES: tuple[Callable[[random.Random], str], ...] = (
    lambda rng: "net/" + pick(rng, ("y", "y", "é")) * pick(rng, (251, 255, 4096, 40000, 65527, 65531)),
    lambda rng: "extra/" * pick(rng, (3, 400, 1100, 5000)) + "z",
    lambda rng: "net/" + "".join(chr(32 + below(rng, 400)) for _ in range(1 + below(rng, 6))),
)


def _odd_name(rng: random.Random, there: Mapping[str, bytes]) -> str:
    name = pick(rng, _NAMES) if rng.random() < 0.9 else pick(rng, _MADE_NAMES)(rng)
    if rng.random() < 0.15:
        name = pick(rng, tuple(there)).removesuffix(".npy") + pick(rng, ("/x", "x", "/", " ", ".npy"))
    return name if rng.random() < 0.1 else name + ".npy"


def _json(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()


def _sums(members: Mapping[str, bytes]) -> bytes:
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items())
    return "".join(lines).encode("utf-8", "surrogatepass")


def _seed(data: bytes) -> Seed:
    members = oracle.members(data)
    text = members.pop(META)
    del members[SUMS]
    return Seed(data, tuple(zips.entries_of(data)), zips.fields(data), oracle.tree(text), text, members, meaning(data))


def _seeds() -> tuple[Seed, Seed]:
    """A layer alone with extras, and a small network with its optimiser."""
    small = npsnn.Sequential(npsnn.Linear(2, 1), backend="reference", seed=1)
    net = npsnn.Sequential(npsnn.Linear(2, 1), npsnn.Leaky(0.5, learn_beta=True), backend="reference", seed=2)
    adam = Adam(net)
    adam.step({name: np.ones_like(value) for name, value in net.params.items()})
    extra = {"epoch": 3, "note": "mü", "d": {"e": np.array([1, -2]), "f": {}}}
    return _seed(_saved(small, None, **extra)), _seed(_saved(net, adam, seen=np.array(True)))


def _saved(net: npsnn.Sequential, optimizer: Adam | None, **extra: Any) -> bytes:
    arrays: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    checkpoint._sort("net", net.state_dict(), arrays, plain)
    if optimizer is not None:
        checkpoint._sort("optimizer", optimizer.state_dict(), arrays, plain)
    for name, value in extra.items():
        checkpoint._sort(f"extra/{name}", value, arrays, plain)
    return checkpoint.pack({"network": checkpoint.network_of(net.layers, net.dtype), "plain": plain}, arrays)


SEEDS = _seeds()
