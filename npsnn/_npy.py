r"""One array as a .npy file in memory: written in one way, read with nothing believed (floor 0).

    6 bytes    \x93NUMPY
    2 bytes    version: 1, 0 (2, 0 is read too)
    2 bytes    length of the header, little-endian (4 bytes in version 2)
    header     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), } and spaces up to a newline
    the rest   the values

NumPy's own reader takes what a header says: `(-4, 3)` as a shape, a type of Python objects. Here what the header
promises is held against the bytes that are there, before memory is taken.
"""

import io
import math
import re
from typing import Any

import numpy as np

from npsnn._check import Array

KINDS = {  # as a header says it; of a single byte the order is said to be none, "|"
    order + name: np.dtype(order + name)
    for order in "<>|"
    for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "c8", "c16")
    if order != "|" or name[1:] == "1"
}
_MOST_HEADER = 1000
_MOST_AXES = 32
_NUMBER = re.compile(r"0|[1-9]\d{0,14}", re.ASCII)
_HEADER = re.compile(  # of what Python allows between the words, only spaces
    r"\{ *(?:"
    r"(?P<q1>['\"])descr(?P=q1) *: *(?P<q2>['\"])(?P<descr>[<>|=]?\w{1,8})(?P=q2)|"
    r"(?P<q3>['\"])fortran_order(?P=q3) *: *(?P<fortran>True|False)|"
    r"(?P<q4>['\"])shape(?P=q4) *: *\((?P<shape>[\d, ]*)\)"
    r") *, *",
    re.ASCII,
)


def pack(a: Array) -> bytes:
    r"""The .npy file of `a`: version 1.0, little-endian, row by row.

    >>> pack(np.array([1.0], np.float32))[-5:]
    b'\n\x00\x00\x80?'
    """
    file = io.BytesIO()
    little = np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<"), copy=False)
    np.lib.format.write_array(file, little.reshape(a.shape), version=(1, 0), allow_pickle=False)
    return file.getvalue()


def parse(data: bytes, name: str) -> Array:
    """The array of a .npy file: a fresh one, C-contiguous, in this machine's byte order.

    ValueError, which begins with `name`, for whatever is not such a file of numbers or bools, whole and nothing more.

    >>> parse(pack(np.array([[1, 2]])), "mine")
    array([[1, 2]])
    >>> parse(pack(np.array([[1, 2]]))[:-1], "mine")
    Traceback (most recent call last):
      ...
    ValueError: mine has 15 bytes of data, its header promises 16
    """
    kind, fortran, shape, start = _header(data, name)
    promised, there = math.prod(shape) * kind.itemsize, len(data) - start
    if promised != there:
        raise ValueError(f"{name} has {there:,} bytes of data, its header promises {promised:,}")
    values: Array = np.frombuffer(data, kind, offset=start) if there else np.empty(0, kind)
    if kind.kind == "b" and values.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"{name} has a bool that is neither 0 nor 1")
    return values.reshape(shape, order="F" if fortran else "C").astype(kind.newbyteorder("="), order="C")


def _header(data: bytes, name: str) -> tuple[np.dtype[Any], bool, tuple[int, ...], int]:
    """(dtype, whether column by column, shape, where the values begin)."""
    version, width = data[6:8], {b"\1\0": 2, b"\2\0": 4}.get(data[6:8], 0)
    if data[:6] != b"\x93NUMPY" or not width:
        which = f"version {version.hex()}" if data[:6] == b"\x93NUMPY" else f"it starts with {data[:6]!r}"
        raise ValueError(f"{name} is not a readable .npy file: {which}")
    length = int.from_bytes(data[8 : 8 + width], "little")
    start = 8 + width + length
    if length > _MOST_HEADER or start > len(data):
        raise ValueError(f"{name} is not a readable .npy file: a header of {length:,} bytes")
    text = data[8 + width : start].decode("latin-1").rstrip(" \n")
    found = _entries(text)
    if not found:
        raise ValueError(f"{name} is not a readable .npy file: its header is {text[:80]!r}")
    kind = KINDS.get(found["descr"])
    if kind is None:
        raise ValueError(f"{name} is of {found['descr']}, expected numbers or bools")
    return kind, found["fortran"] == "True", _shape(found["shape"], name), start


def _entries(text: str) -> dict[str, str]:
    """The three entries of a header as text; none where it is no header."""
    if not (text.startswith("{") and text.endswith("}")):
        return {}
    found: dict[str, str] = {}
    rest = "{" + text[1:-1].strip(" ").removesuffix(",") + ","
    while match := _HEADER.match(rest):
        entry = {key: value for key, value in match.groupdict().items() if value is not None and key[0] != "q"}
        if entry.keys() & found.keys():
            return {}
        found |= entry
        rest = "{" + rest[match.end() :]
    return found if rest == "{" and len(found) == 3 else {}


def _shape(text: str, name: str) -> tuple[int, ...]:
    parts = [part.strip(" ") for part in text.split(",")]
    if parts[-1] == "":
        parts.pop()
    elif len(parts) == 1:
        parts = ["?"]  # (3) is a number, (3,) a shape
    if not all(_NUMBER.fullmatch(part) for part in parts) or len(parts) > _MOST_AXES:
        raise ValueError(f"{name} has the shape ({text[:80]}), which no array has")
    shape = tuple(int(part) for part in parts)
    if math.prod(n for n in shape if n) > 2**60:
        raise ValueError(f"{name} has the shape ({text[:80]}), which no array has")
    return shape
