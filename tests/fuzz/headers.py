""".npy files whose header says something else, with as many bytes as it then promises, or not."""

import math
import random
import struct

from tests.fuzz.damage import below, pick

_KINDS = (
    "<f4", ">f4", "<f8", ">f8", "<f2", "|b1", "<i8", ">i4", "|u1", "|i1", "<u2", "<u8", "<c8", ">c16", "=f4", "f4",
    "<f", "|f4", "<b1", ">u1", "<f16", "|O", "|O8", "<U3", "|S4", "|V4", "<M8[s]", "<m8[ns]", "", "<", "<f4 ", " <f4",
    "<F4", "float32", "<f44", "<i8,<f4", "(2,)<f4", "\\x3cf4", "<f4\\n", "<f\xb2", "{}",
)  # fmt: skip
_ODD_KINDS = ("['<f4']", "[('a', '<f4')]", "('<f4', (2,))", "None", "b'<f4'", "u'<f4'", "r'<f4'", "'<' 'f4'", "4")
_SHAPES = (
    "()", "(,)", "( )", "(2)", "2", "(02,)", "(2_0,)", "(0x2,)", "(2.0,)", "(-2, -3)", "(-1,)", "(2L,)", "(True,)",
    "(1e1,)", "(2,,3)", "(2,3,)", "(2 3)", "(0, 3)", "(0,)", "(4294967296, 4294967296)", "(2**3,)",
    "(99999999999999999999,)", "(0, 99999999999999999999)", "( 2 , 3 , )", "[2, 3]", "(2,3)", "(\xb2,)", "(2,\n3)",
    "(2,\t3)", "(2,\xa03)", "((2, 3))", "(2, 3)(1)", "(+2, 3)", "(2, (3,))", "None", "(9223372036854775807,)",
    "(18446744073709551616, 0)", "(0, -1)", f"({'1, ' * 32})", f"({'1, ' * 33})", f"({'1, ' * 65})", f"({'9' * 300},)",
    f"({'0' * 300},)", "('2', '3')",
)  # fmt: skip
_FORTRAN = ("True", "False", "true", "1", "0", "None", "'False'", "True ", "not True", "True or 1", "")
_SPACES = (" ", "\n", "\t", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\0", "#", "# a comment\n", "\\\n")


def odd_npy(rng: random.Random, content: bytes) -> bytes:
    """A right .npy file with something else in its header."""
    text, values = _split(content)
    if rng.random() < 0.15:
        return _odd_frame(rng, text, values)
    if rng.random() < 0.35:
        return write(_odd_text(rng, text), values)
    return _odd_entries(rng, values)


def write(text: str, values: bytes, version: bytes = b"\1\0") -> bytes:
    """Magic, version, length, header and values; the header padded as NumPy does."""
    width = 2 if version == b"\1\0" else 4
    room = -(8 + width + len(text) + 1) % 64
    head = (text + " " * room + "\n").encode("latin-1", "replace")
    return b"\x93NUMPY" + version + len(head).to_bytes(width, "little") + head + values


def entries(kind: str, fortran: str, shape: str) -> str:
    """A header's text; `kind` as Python writes it."""
    return f"{{'descr': {kind}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def _split(content: bytes) -> tuple[str, bytes]:
    (length,) = struct.unpack("<H", content[8:10])
    return content[10 : 10 + length].decode("latin-1").strip(), content[10 + length :]


def _odd_entries(rng: random.Random, values: bytes) -> bytes:
    """Another type, order or shape, and mostly as many bytes as that needs."""
    kind = pick(rng, _KINDS[:16]) if rng.random() < 0.7 else pick(rng, _KINDS)
    sizes = [pick(rng, (1, 1, 2, 3, 4, 0)) for _ in range(below(rng, 5))]
    shape = str(tuple(sizes)) if rng.random() < 0.7 else pick(rng, _SHAPES)
    fortran = pick(rng, ("True", "False")) if rng.random() < 0.9 else pick(rng, _FORTRAN)
    quoted = repr(kind) if rng.random() < 0.95 else pick(rng, _ODD_KINDS)
    width = int(kind[2:]) if kind[2:].isdecimal() and len(kind) < 5 else 4
    n = math.prod(sizes) * width
    if rng.random() < 0.1:
        n += pick(rng, (-1, 1, width, -width))
    values = values if rng.random() < 0.1 else (values * (n // max(len(values), 1) + 1))[: max(n, 0)]
    if rng.random() < 0.2:
        values = rng.randbytes(len(values))
    return write(entries(quoted, fortran, shape), values)


def _odd_text(rng: random.Random, text: str) -> str:
    """The same header, put otherwise, or broken."""
    inner = text[1:-1].strip().rstrip(",")
    kind, fortran, shape = inner.split(", ", 2)
    way = below(rng, 8)
    if way == 0:
        at = below(rng, len(text) + 1)
        return text[:at] + pick(rng, _SPACES) + text[at:]
    if way == 1:
        parts = [kind, fortran, shape]
        rng.shuffle(parts)
        return "{" + ", ".join(parts) + pick(rng, (", }", ",}", "}", ",, }", " , }", ", , }", ",\n}"))
    if way == 2:
        parts = [kind, fortran, shape]
        parts.insert(below(rng, 4), pick(rng, (*parts, "'descr': '<i4'", "'more': 1", "1: 2", "'shape': (1,)", "")))
        return "{" + ", ".join(parts) + ", }"
    if way == 3:
        parts = [kind, fortran, shape]
        del parts[below(rng, 3)]
        return "{" + ", ".join(parts) + ", }"
    if way == 4:
        return text.replace(*pick(rng, (
            ("'", '"'), ("'descr'", "'Descr'"), (":", " : "), (", ", ","), (": ", ":"), ("descr", "de\\x73cr"),
            ("{", "{ {"), ("}", "}}"), ("{", "dict("), ("'descr'", "b'descr'"), ("False", "0 == 1"),
            ("'<", "'" + "<" * 9), ("'", '"""'),
        )))  # fmt: skip
    if way == 5:
        return text + pick(rng, ("x", " {}", ";", ", 1", "#", "\n\n", "}", "," * 20, "\n" + text))
    if way == 6:
        return pick(rng, ("", "{}", "None", "[" * 400, "{" * 900, "(" * 200 + ")" * 200, "1", "{" + "'a': 1, " * 90))
    return text.replace(", ", ", " + " " * pick(rng, (1, 100, 300, 2000)), 1)


def _odd_frame(rng: random.Random, text: str, values: bytes) -> bytes:
    """Another magic, version or length."""
    way = below(rng, 4)
    if way == 0:
        return write(text, values, pick(rng, (b"\2\0", b"\2\0", b"\3\0", b"\1\1", b"\0\0", b"\xff\xff")))
    content = write(text, values)
    if way == 1:
        (length,) = struct.unpack("<H", content[8:10])
        new = pick(rng, (0, 1, length - 1, length + 1, length + len(values), 1000, 1001, 65535))
        return content[:8] + struct.pack("<H", new) + content[10:]
    if way == 2:
        return content[: below(rng, 12)]
    return pick(rng, (b"\x93NUMPZ", b"\x94NUMPY", b"PK\3\4\0\0", b"\x80\4K\1.\0", b"")) + content[6:]
