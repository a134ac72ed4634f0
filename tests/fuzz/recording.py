"""Malformed recordings: damaged bytes, and zips that are right around something that no recording holds."""

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npsnn.verify import recording_file
from tests.fuzz import oracle, zips
from tests.fuzz.damage import below, damage, pick, set_field
from tests.fuzz.headers import entries as header_entries
from tests.fuzz.headers import odd_npy, write
from tests.fuzz.reader import CHANGED, SAID, UNCHANGED, WHERE, Reader, spread
from tests.fuzz.texts import odd_text

SETTINGS = "recording.json"


class Meaning(NamedTuple):
    """What a recording says."""

    layers: list[Any]
    num_steps: int | None
    arrays: dict[str, np.ndarray]


class Case(NamedTuple):
    """A file, and the seed that it was made of."""

    data: bytes
    seed: int


class Recording(Reader):
    """`npsnn.verify.recording_file.parse`."""

    name, suffix = "recording", ".zip"
    mix = spread({
        "untouched": 10, "bytes": 220, "field": 150, "member": 178, "settings": 180, "header": 120, "names": 50,
        "container": 91, "bomb": 1,
    })  # fmt: skip

    def draw(self, kind, rng):
        number = below(rng, len(SEEDS))
        seed = SEEDS[number]
        if kind == "untouched":
            return Case(seed.data, number)
        if kind == "bytes":
            return Case(damage(rng, seed.data, pick(rng, SEEDS).data), number)
        if kind == "field":
            data = seed.data
            for _ in range(1 if rng.random() < 0.8 else 2):
                data = set_field(rng, data, *pick(rng, seed.fields))
            return Case(data, number)
        if kind == "container":
            return Case(zips.twisted(rng, seed.entries), number)
        if kind == "bomb":
            return Case(zips.pack([pick(rng, BOMBS)]), number)
        return Case(zips.pack(_changed(kind, rng, seed)), number)

    def read(self, case):
        return recording_file.parse(case.data, Path(WHERE))

    def judge(self, case, loaded):
        if not _says(loaded, meaning(case.data)):
            return CHANGED
        return UNCHANGED if _says(loaded, SEEDS[case.seed].meaning) else SAID


def meaning(data: bytes) -> Meaning:
    """What a file says: docs/compare.md's definition, and nothing of npsnn."""
    layers, num_steps, arrays = [], None, {}
    for name, content in oracle.members(data).items():
        if name == SETTINGS:
            settings = oracle.tree(content)
            layers, num_steps = settings["layers"], settings["num_steps"]
            if type(settings["format"]) is not int or settings["format"] != 1 or type(layers) is not list:
                raise oracle.UnreadableError("another format")
            if num_steps is not None and (type(num_steps) is not int or num_steps < 1):
                raise oracle.UnreadableError("no number of steps")
        else:
            arrays[name.removesuffix(".npy")] = oracle.array(content)
            if not name.endswith(".npy") or arrays[name[:-4]].dtype.kind not in "fiub":
                raise oracle.UnreadableError("no array of real numbers")
    return Meaning(layers, num_steps, arrays)


def _says(loaded: Any, expected: Meaning) -> bool:
    return (
        oracle.same([list(loaded.layers), loaded.num_steps], [expected.layers, expected.num_steps])
        and loaded.arrays.keys() == expected.arrays.keys()
        and all(_equal(value, expected.arrays[name]) for name, value in loaded.arrays.items())
    )


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether float `a` has the numbers of `b`, all of them finite: integers compared as such."""
    single = b.dtype.kind == "f" and b.dtype.itemsize <= 4
    if a.dtype != (np.float32 if single else np.float64) or a.shape != b.shape or not np.isfinite(a).all():
        return False
    if b.dtype.kind == "f":
        return a.tobytes() == b.astype(a.dtype).tobytes()
    if b.dtype.itemsize < 8:
        return bool((a == b).all())
    return bool(a.ravel().tolist() == b.ravel().tolist())


# --- changing ------------------------------------------------------------------------------------------------------


class Seed(NamedTuple):
    """A right file and its parts."""

    data: bytes
    entries: tuple[zips.Entry, ...]
    fields: tuple[tuple[int, int], ...]
    settings: Any
    meaning: Meaning


def _changed(kind: str, rng: random.Random, seed: Seed) -> list[zips.Entry]:
    """One member or its name changed, the zip right."""
    entries = list(seed.entries)
    at = below(rng, len(entries))
    if kind == "settings":
        at = 0
        content = odd_text(rng, seed.settings, _json)
    elif kind == "header":
        at = 1 + below(rng, len(entries) - 1)
        content = odd_npy(rng, entries[at].content)
    elif kind == "member":
        content = damage(rng, entries[at].content, pick(rng, pick(rng, SEEDS).entries).content)
    else:
        entries[at] = entries[at]._replace(name=_odd_name(rng).encode("utf-8", "surrogatepass"), flags=0x800)
        return entries
    method = pick(rng, (zips.STORED, zips.DEFLATED))
    body = zips.deflate(content) if method and rng.random() < 0.1 else None
    entries[at] = entries[at]._replace(content=content, method=method, body=body)
    return entries


def _odd_name(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return f"{below(rng, 12)}.{pick(rng, ('U', 'S', 'y', 'dy', 'weight', 'beta', 'dmem'))}.npy"
    return pick(rng, (
        "../0.U.npy", "/0.U.npy", "0.U", "0.U.npy ", "0.U.npy\n", "0.U\n.npy", "0.u.npy", "x.npy", "grad.x.npy",
        "grad.0.U.npy", "٣.U.npy", "0.U.npy/", "a/0.U.npy", "", ".npy", "0\0.U.npy", "0.U.npy\0x", "1234567.U.npy",
        "00.U.npy", "-1.U.npy", "recording.json", "Recording.json", "recording.json\0", "\x1b[2J.npy", "é.npy",
        "x" * 255, "0.U.npy" * 9000,
    ))  # fmt: skip


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _npy(values: Any, kind: str, fortran: bool = False) -> bytes:
    array = np.array(values, kind)
    text = header_entries(repr(array.dtype.str), str(fortran), str(array.shape))
    return write(text, array.tobytes("F" if fortran else "C"))


def _seed(settings: Any, arrays: dict[str, bytes]) -> Seed:
    members = {SETTINGS: _json(settings), **{f"{name}.npy": content for name, content in arrays.items()}}
    made = [zips.entry(n, c, zips.DEFLATED)._replace(body=zips.deflate(c)) for n, c in members.items()]
    data = zips.pack(made)
    return Seed(data, tuple(made), zips.fields(data), settings, meaning(data))


_LEAKY = {"threshold": 1.0, "learn_threshold": True, "reset_mechanism": "zero", "detach_reset": True}
SEEDS = (
    _seed(
        {
            "format": 1,
            "layers": [
                {"type": "Linear", "in_features": 2, "out_features": 3, "bias": True},
                {"type": "Leaky", "beta": [0.5, 0.25, 0.75], "spike_grad": {"name": "atan", "alpha": 2.0}, **_LEAKY},
            ],
            "num_steps": 2,
        },
        {
            "x": _npy([[0.5, 0.25]], "<f8"),
            "1.U": _npy([[[0.5, 0.25, 1.5]], [[0, -0.5, 2]]], "<f8"),
            "1.S": _npy([[[0, 0, 1]], [[0, 0, 1]]], "|b1"),
        },
    ),
    _seed(
        {"format": 1, "layers": [], "num_steps": None},
        {"0.U": _npy([[[0.5]], [[1.5]]], "<f4"), "0.S": _npy([[[0]], [[1]]], "<i8", True),
        "0.dU": _npy([[[1]]], "<f2")},
    ),
    _seed(
        {
            "format": 1,
            "layers": [
                {
                    "type": "Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": [2, 3], "stride": [1, 1],
                    "padding": [0, 1], "bias": False,
                },
                {"type": "MaxPool2d", "kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0]},
                {"type": "Leaky", "beta": 0.5, "spike_grad": {"name": "SFS", "slope": 25, "B": -0.5}, **_LEAKY},
                {"type": "Flatten"},
            ],
            "num_steps": None,
        },
        {"2.dmem": _npy([[[[[1, 2]]]]], ">f8")},
    ),
)  # fmt: skip


def _bomb(promised: int, method: int = zips.DEFLATED, **lies: int) -> zips.Entry:
    """Four million zeros in four thousand bytes, in an array that says it has `promised`."""
    content = write(header_entries("'|i1'", "False", f"({promised},)"), bytes(2**22))
    lies = {f"{header} {name}": value for name, value in lies.items() for header in ("local", "central")}
    return zips.Entry(b"0.U.npy", content, method, body=zips.deflate(content), lies=lies)


BOMBS = (
    _bomb(2**22), _bomb(8), _bomb(2**40), _bomb(2**22, size=200), _bomb(2**22, size=2**32 - 1),
    _bomb(8, packed=2**32 - 1),
    _bomb(8, size=0), _bomb(2**22, method=zips.STORED),
)  # fmt: skip
