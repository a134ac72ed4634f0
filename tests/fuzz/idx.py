"""Malformed IDX files: raw, gzipped, and damaged inside with a gzip around them that is right."""

import gzip
import math
import random
import struct
import zlib
from typing import NamedTuple

from npsnn.data import idx
from tests.fuzz.damage import EDGES, below, damage, integer, pick
from tests.fuzz.reader import CHANGED, SAID, UNCHANGED, WHERE, Reader, spread

AXES = {"images": 3, "labels": 1}
Meaning = tuple[tuple[int, ...], bytes]


class Case(NamedTuple):
    """A file, what it is read as, and what it said before it was damaged."""

    data: bytes
    kind: str
    original: Meaning
    may_be_original: bool  # damage to gzip data may hit what has no meaning, and what is then read is the original


class Idx(Reader):
    """`npsnn.data.idx.parse`."""

    name, suffix = "idx", ""
    mix = spread({
        "untouched": 10, "raw": 250, "header": 190, "gzip": 200, "inside": 260, "container": 75, "other kind": 10,
        "bomb": 5,
    })  # fmt: skip

    def draw(self, kind, rng):
        what, sizes, values = pick(rng, SEEDS)
        raw = header(sizes) + values
        case = Case(raw, what, (sizes, values), False)
        if kind == "untouched":
            return case._replace(data=pick(rng, (bytes, stored, deflated))(raw))
        if kind == "raw":
            return case._replace(data=damage(rng, raw, _another(rng)))
        if kind == "header":
            return case._replace(data=pick(rng, (bytes, bytes, stored))(_odd_header(rng, sizes, values)))
        if kind == "gzip":
            packed = pick(rng, PACKED[raw])
            return case._replace(data=damage(rng, packed, pick(rng, PACKED[_another(rng)])), may_be_original=True)
        if kind == "inside":
            pack = deflated if rng.random() < 0.05 else stored
            return case._replace(data=pack(damage(rng, raw, _another(rng))))
        if kind == "container":
            return case._replace(data=_container(rng, raw))
        if kind == "other kind":
            return case._replace(data=pick(rng, (bytes, stored))(raw), kind="images" if what == "labels" else "labels")
        return case._replace(data=pick(rng, BOMBS), kind="images")

    def read(self, case):
        return idx.parse(case.data, case.kind, WHERE)

    def judge(self, case, loaded):
        if loaded.dtype != "uint8":
            return CHANGED
        found = loaded.shape, loaded.tobytes()
        if found == case.original and case.may_be_original:
            return UNCHANGED
        if found != meaning(case.data, case.kind):
            return CHANGED
        return UNCHANGED if found == case.original else SAID


def meaning(data: bytes, kind: str) -> Meaning | None:
    """What a file says, or None where it is not exactly one: the format's definition, and nothing of npsnn."""
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error, struct.error):
            return None
    start = 4 + 4 * AXES[kind]
    if data[:4] != bytes((0, 0, 8, AXES[kind])) or len(data) < start:
        return None
    sizes = struct.unpack(f">{AXES[kind]}I", data[4:start])
    return (sizes, data[start:]) if math.prod(sizes) == len(data) - start > 0 else None


def header(sizes: tuple[int, ...]) -> bytes:
    """Magic and sizes."""
    return struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes)


def stored(raw: bytes, *, flags: int = 0, fields: bytes = b"", size: int | None = None) -> bytes:
    """gzip without compression, which takes a tenth of the time: one stored block, at most 65,535 bytes."""
    n = len(raw)
    block = struct.pack("<BHH", 1, n, n ^ 0xFFFF) + raw
    head = b"\x1f\x8b\x08" + bytes((flags,)) + b"\0\0\0\0\0\xff" + fields
    return head + block + struct.pack("<II", zlib.crc32(raw), n if size is None else size)


def deflated(raw: bytes) -> bytes:
    """gzip as anyone makes it."""
    return gzip.compress(raw, 1, mtime=0)


def _odd_header(rng: random.Random, sizes: tuple[int, ...], values: bytes) -> bytes:
    """Other sizes, sometimes with as many values as they promise; another type, or other dimensions."""
    way = rng.random()
    if way < 0.4:
        at = below(rng, len(sizes))
        new = integer(rng, sizes[at], 4, len(values))
        return header((*sizes[:at], new, *sizes[at + 1 :])) + values
    if way < 0.7:
        sizes = tuple(pick(rng, (0, 1, 1, 2, 3, 5)) for _ in sizes)
        n = math.prod(sizes)
        return header(sizes) + (values * (n // len(values) + 1))[:n]
    if way < 0.85:
        magic = bytearray(header(sizes))
        magic[below(rng, 4)] = pick(rng, (*EDGES, 2, 3, 4, 8, 9, 11, 12, 13, 14))
        return bytes(magic) + values
    sizes = tuple(pick(rng, (1, 2, len(values))) for _ in range(below(rng, 6)))
    return header(sizes) + values


def _container(rng: random.Random, raw: bytes) -> bytes:
    """What gzip allows and an IDX file is not: several members, names, lengths that lie, a gzip in a gzip."""
    cut, zeros = below(rng, len(raw) + 1), bytes(1 + below(rng, 600))
    field = rng.randbytes(below(rng, 12))
    return pick(rng, (
        lambda: stored(raw[:cut]) + stored(raw[cut:]),
        lambda: stored(b"") + stored(raw),
        lambda: stored(raw) + stored(b""),
        lambda: stored(raw) + zeros,
        lambda: stored(raw) + raw,
        lambda: stored(stored(raw)),
        lambda: stored(raw, size=pick(rng, (0, len(raw) + 1, 2**32 - 1))),
        lambda: stored(raw, flags=4, fields=struct.pack("<H", len(field) + below(rng, 2)) + field),
        lambda: stored(raw, flags=8, fields=b"name\0"),
        lambda: stored(raw, flags=16, fields=b"a comment\0"),
        lambda: stored(raw, flags=2, fields=rng.randbytes(2)),
        lambda: stored(raw, flags=pick(rng, (1, 32, 64, 128, 255))),
        lambda: zlib.compress(raw, 1),
        lambda: pick(rng, (b"PK\x03\x04", b"<!DOCTYPE html>", b"\xef\xbb\xbf", b"\n", b"BZh9", b"\xfd7zXZ\0")) + raw,
        lambda: pick(rng, (b"", b"\0", b"\x1f", b"\x1f\x8b", b"\x1f\x8b\x08", bytes(1000), rng.randbytes(100))),
    ))()  # fmt: skip


def _another(rng: random.Random) -> bytes:
    _, sizes, values = pick(rng, SEEDS)
    return header(sizes) + values


SEEDS = (
    ("images", (3, 2, 5), bytes(range(30))),
    ("images", (1, 1, 1), b"\xff"),
    ("images", (2, 4, 4), bytes(range(100, 132))),
    ("labels", (3,), b"\5\0\4"),
    ("labels", (10,), bytes(range(10))),
)
PACKED = {
    header(sizes) + values: (stored(header(sizes) + values), deflated(header(sizes) + values))
    for _, sizes, values in SEEDS
}
_MANY = 2**22
BOMBS = tuple(
    deflated(header(sizes) + bytes(_MANY))
    for sizes in ((1, 1, 1), (2**10, 2**10, 2**10), (4, 2**10, 2**10), (2**32 - 1, 1, 1), (1, 1, _MANY - 1))
)
