"""Zip files written by hand, so that they can say what no library would write.

`pack` writes a right one; `twisted` one whose container is odd or lies about its members, which are themselves right.
"""

import random
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import NamedTuple

from tests.fuzz.damage import below, integer, pick

STORED, DEFLATED = 0, 8
_LOCAL, _CENTRAL, _END = struct.Struct("<4s5H3L2H"), struct.Struct("<4s6H3L5H2L"), struct.Struct("<4s4H2LH")
_LOCAL_AT = {"version": 4, "flags": 6, "method": 8, "crc": 14, "packed": 18, "size": 22, "name length": 26}
_CENTRAL_AT = {
    "version": 6, "flags": 8, "method": 10, "crc": 16, "packed": 20, "size": 24, "name length": 28, "extra length": 30,
    "comment length": 32, "disk": 34, "attributes": 38, "offset": 42,
}  # fmt: skip
_END_AT = {"disk": 4, "entries here": 8, "entries": 10, "size": 12, "offset": 16, "comment length": 20}
_WIDTHS = {"crc": 4, "packed": 4, "size": 4, "offset": 4, "attributes": 4}
_LONGEST = 65535  # bytes of a name
METHODS = (1, 6, 8, 9, 12, 14, 93, 95, 98, 99, 65535)


class Entry(NamedTuple):
    """One member; `body` is what stands in the file, where that is not `content` packed as `method` says."""

    name: bytes
    content: bytes
    method: int = STORED
    flags: int = 0
    extra: bytes = b""
    comment: bytes = b""
    body: bytes | None = None
    lies: Mapping[str, int] = {}  # "local size", "central crc": what a header says instead
    local_name: bytes | None = None


def entry(name: str, content: bytes, method: int = STORED) -> Entry:
    """A member whose name is marked as UTF-8 where it needs to be, as Python's zipfile does."""
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) > _LONGEST:  # what does not fit as UTF-8 may as the older code page
        return Entry(name.encode("cp437", "replace")[:_LONGEST], content, method)
    return Entry(encoded, content, method, 0 if name.isascii() else 0x800)


def pack(entries: Sequence[Entry], comment: bytes = b"", before: bytes = b"", hidden: int = -1) -> bytes:
    """The file: as Python's zipfile writes it. `before` stands first; the directory leaves out number `hidden`."""
    parts, directory, at = [before], [], len(before)
    for i, e in enumerate(entries):
        body = e.body
        if body is None:
            body = block(e.content) if e.method == DEFLATED else e.content
        crc, size = zlib.crc32(e.content), len(e.content)
        name = e.name if e.local_name is None else e.local_name
        local = _LOCAL.pack(
            b"PK\3\4", 20, e.flags, e.method, 0, 33, crc, len(body), size, len(name), len(e.extra)
        )  # fmt: skip
        central = _CENTRAL.pack(
            b"PK\1\2", 20 | 3 << 8, 20, e.flags, e.method, 0, 33, crc, len(body), size, len(e.name), len(e.extra),
            len(e.comment), 0, 0, 0o600 << 16, at,
        )  # fmt: skip
        if e.lies:
            local, central = _lying(local, "local", _LOCAL_AT, e.lies), _lying(central, "central", _CENTRAL_AT, e.lies)
        parts += (local, name, e.extra, body)
        at += len(local) + len(name) + len(e.extra) + len(body)
        if i != hidden:
            directory += (central, e.name, e.extra, e.comment)
    listed = b"".join(directory)
    n = len(directory) // 4
    return b"".join(parts) + listed + _END.pack(b"PK\5\6", 0, 0, n, n, len(listed), at, len(comment)) + comment


def block(content: bytes) -> bytes:
    """Deflated without being compressed, which is quick: stored blocks."""
    pieces = [content[i : i + 65535] for i in range(0, len(content), 65535)] or [b""]
    last = len(pieces) - 1
    return b"".join(struct.pack("<BHH", i == last, len(p), len(p) ^ 0xFFFF) + p for i, p in enumerate(pieces))


def deflate(content: bytes) -> bytes:
    """Deflated as anyone does it."""
    return zlib.compress(content, 1, -15)


def entries_of(data: bytes) -> list[Entry]:
    """The members of a right file, deflated ones as they stand there."""
    found = []
    with zipfile.ZipFile(BytesIO(data)) as archive:
        for info in archive.infolist():
            start = info.header_offset + _LOCAL.size + len(info.orig_filename.encode())
            body = data[start : start + info.compress_size] if info.compress_type == DEFLATED else None
            found.append(entry(info.filename, archive.read(info), info.compress_type)._replace(body=body))
    return found


def fields(data: bytes) -> tuple[tuple[int, int], ...]:
    """(offset, bytes) of every number in the headers of a right file."""
    found: list[tuple[int, int]] = []

    def add(start: int, at: Mapping[str, int]) -> None:
        found.extend((start + offset, _WIDTHS.get(name, 2)) for name, offset in at.items())

    with zipfile.ZipFile(BytesIO(data)) as archive:
        at = archive.start_dir
        for info in archive.infolist():
            add(info.header_offset, _LOCAL_AT)
            add(at, _CENTRAL_AT)
            at += _CENTRAL.size + len(info.orig_filename.encode()) + len(info.extra) + len(info.comment)
    add(at, {name: offset for name, offset in _END_AT.items() if name not in ("size", "offset")})
    return (*found, (at + _END_AT["size"], 4), (at + _END_AT["offset"], 4))


def twisted(rng: random.Random, entries: Sequence[Entry]) -> bytes:
    """An odd container around right members."""
    at = below(rng, len(entries))
    return pick(rng, _TWISTS)(rng, list(entries), at)


def _lying(packed: bytes, header: str, at: Mapping[str, int], lies: Mapping[str, int]) -> bytes:
    said = bytearray(packed)
    for lie, value in lies.items():
        where, _, name = lie.partition(" ")
        if where == header:
            width = _WIDTHS.get(name, 2)
            said[at[name] : at[name] + width] = (value % 256**width).to_bytes(width, "little")
    return bytes(said)


def _replaced(entries: list[Entry], at: int, **changes: object) -> bytes:
    entries[at] = entries[at]._replace(**changes)
    return pack(entries)


def _lie(rng, entries, at):
    e = entries[at]
    name = pick(rng, ("size", "packed", "crc", "size", "packed", "version", "name length"))
    true = {"size": len(e.content), "packed": len(e.body or e.content), "crc": zlib.crc32(e.content), "version": 20}
    value = integer(rng, true.get(name, len(e.name)), _WIDTHS.get(name, 2), len(e.content))
    where = pick(rng, (("local",), ("central",), ("central", "local")))
    return _replaced(entries, at, lies={f"{header} {name}": value for header in where})


def _directory_lie(rng, entries, at):
    name = pick(rng, ("extra length", "comment length", "disk", "attributes", "offset"))
    top = 256 ** _WIDTHS.get(name, 2)
    value = pick(rng, (1, 42, 0o120777 << 16, 0x10, top // 2, top - 1, below(rng, 2000)))
    return _replaced(entries, at, lies={f"central {name}": value})


def _end_lie(rng, entries, at):
    data = pack(entries)
    name = pick(rng, tuple(_END_AT))
    width, start = (4 if name in ("size", "offset") else 2), len(data) - _END.size + _END_AT[name]
    old = int.from_bytes(data[start : start + width], "little")
    return data[:start] + integer(rng, old, width, len(data)).to_bytes(width, "little") + data[start + width :]


def _flag(rng, entries, at):
    return _replaced(entries, at, flags=entries[at].flags ^ (1 << below(rng, 16)))


def _method(rng, entries, at):
    """Another method, with the bytes that belong to it or not."""
    content = entries[at].content
    if rng.random() < 0.5:
        return _replaced(entries, at, method=DEFLATED, body=pick(rng, (block, deflate))(content))
    return _replaced(entries, at, method=pick(rng, METHODS), body=pick(rng, (content, rng.randbytes(30), _lzma(rng))))


def _lzma(rng: random.Random) -> bytes:
    """The head of LZMA data that asks for a dictionary of up to four gigabytes."""
    return struct.pack("<BBHBI", 9, 4, 5, 93, pick(rng, (0, 2**16, 2**30, 2**32 - 1))) + bytes(20)


def _extra(rng, entries, at):
    e = entries[at]
    size, packed = len(e.content), len(e.body or e.content)
    extra = pick(rng, (
        lambda: struct.pack("<HHQQ", 1, 16, size, packed),
        lambda: struct.pack("<HHQ", 1, 8, pick(rng, (size, 2**32, 2**63, 2**64 - 1))),
        lambda: struct.pack("<HH", 1, pick(rng, (0, 4, 65535))),
        lambda: struct.pack("<HHBI", 0x7075, 5 + len(e.name), 1, zlib.crc32(e.name)) + e.name,
        lambda: struct.pack("<HHBI", 0x7075, 5, 1, zlib.crc32(e.name)),
        lambda: struct.pack("<HHBI", 0x7075, 8, 1, zlib.crc32(e.name)) + pick(rng, (b"\xff\xfe\xfd", b"x\0y", b"../")),
        lambda: struct.pack("<HH", 0x9901, 7) + b"\2\0AE\3\0\0",
        lambda: rng.randbytes(1 + below(rng, 20)),
        lambda: bytes(below(rng, 20)),
    ))()  # fmt: skip
    lies = pick(rng, (
        {}, {}, {"central size": 2**32 - 1, "central packed": 2**32 - 1},
        {"local size": 2**32 - 1, "local packed": 2**32 - 1, "central size": 2**32 - 1, "central packed": 2**32 - 1},
        {"central offset": 2**32 - 1},
    ))  # fmt: skip
    return _replaced(entries, at, extra=extra, lies=lies)


def _comment(rng, entries, at):
    if rng.random() < 0.5:
        return _replaced(entries, at, comment=rng.randbytes(below(rng, 40)))
    other = pack(entries[:1])
    return pack(entries, pick(rng, (rng.randbytes(1 + below(rng, 40)), b"PK\5\6" + bytes(18), other, bytes(65535))))


def _around(rng, entries, at):
    """Something before or after: another zip, or anything."""
    junk = pick(rng, (b"\0", b"\x89PNG\r\n\x1a\n", rng.randbytes(30), pack(entries[:1]), b"PK\3\4" + bytes(26)))
    return pick(rng, (
        lambda: pack(entries, before=junk),
        lambda: junk + pack(entries),
        lambda: pack(entries) + junk,
        lambda: pack(entries) * 2,
    ))()  # fmt: skip


def _twice(rng, entries, at):
    """A name that is there twice, with the same content or another's; or two entries for the same bytes."""
    other = pick(rng, entries)
    entries.insert(below(rng, len(entries) + 1), pick(rng, (entries[at], other._replace(name=entries[at].name))))
    if rng.random() < 0.3:
        i = 1 + below(rng, len(entries) - 1)
        entries[i] = entries[i]._replace(lies={"central offset": 0})
    return pack(entries)


def _order(rng, entries, at):
    rng.shuffle(entries)
    return pack(entries)


def _contents(rng, entries, at):
    """Two members exchange what they hold."""
    other = below(rng, len(entries))
    a, b = entries[at], entries[other]
    entries[at], entries[other] = a._replace(name=b.name, flags=b.flags), b._replace(name=a.name, flags=a.flags)
    return pack(entries)


def _missing(rng, entries, at):
    if rng.random() < 0.5:
        return pack(entries, hidden=at)
    del entries[at]
    return pack(entries)


def _folder(rng, entries, at):
    name = pick(rng, (b"folder/", b"net/", entries[at].name + b"/", b"/", b"."))
    entries.insert(at, Entry(name, b"", lies=pick(rng, ({}, {"central attributes": 0x10}))))
    return pack(entries)


def _two_names(rng, entries, at):
    """The local header calls it otherwise."""
    return _replaced(entries, at, local_name=pick(rng, (b"", b"other", entries[at].name.upper(), entries[0].name)))


def _zip64(rng, entries, at):
    """The records that come before the last one where a file is large; right, or not."""
    data = pack(entries)
    n, size, start = struct.unpack("<HLL", data[-12:-2])
    wrong = below(rng, 2**32) if rng.random() < 0.5 else 0
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, n, n, size, start ^ wrong)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - _END.size, 1)
    last = _END.pack(b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    return data[: -_END.size] + record + locator + pick(rng, (last, data[-_END.size :]))


def _empty(rng, entries, at):
    return pick(rng, (pack([]), b"PK\3\4" + pack([]), b"", b"PK", pack(entries[:1]), pack(entries)[:30]))


_TWISTS = (
    _lie, _lie, _lie, _directory_lie, _end_lie, _end_lie, _flag, _method, _method, _extra, _extra, _comment, _around,
    _twice, _order, _contents, _missing, _folder, _two_names, _zip64, _empty,
)  # fmt: skip
