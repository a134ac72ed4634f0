"""Damage to bytes that knows nothing of what they mean."""

import random
from collections.abc import Callable, Sequence

EDGES = (0, 1, 0x7F, 0x80, 0xFF)


def below(rng: random.Random, n: int) -> int:
    """A whole number in [0, n); `randrange` takes ten times as long."""
    return int(rng.random() * n)


def pick(rng: random.Random, values: Sequence):
    """One of them."""
    return values[int(rng.random() * len(values))]


def damage(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """`data` changed in one place, sometimes in up to eight; `other` is what a splice takes from."""
    for _ in range(1 if rng.random() < 0.7 else 2 + below(rng, 7)):
        data = pick(rng, _WAYS)(rng, data, other)
    return data


def integer(rng: random.Random, old: int, width: int, size: int) -> int:
    """What an integer of `width` bytes may be set to: near itself, near the file's size, near what the type holds."""
    top = 256**width
    if rng.random() < 0.5:
        value = old + pick(rng, (-256, -2, -1, 1, 2, 256, old))
    else:
        value = pick(rng, (0, 1, size - 1, size, size + 1, top // 2 - 1, top // 2, top - 2, top - 1, below(rng, top)))
    return value % top


def set_field(rng: random.Random, data: bytes, at: int, width: int, order: str = "little") -> bytes:
    """The integer at `at` set to another."""
    old = int.from_bytes(data[at : at + width], order)
    return data[:at] + integer(rng, old, width, len(data)).to_bytes(width, order) + data[at + width :]


def _flip(rng, data, other):
    if not data:
        return b"\x01"
    at = below(rng, len(data))
    return data[:at] + bytes((data[at] ^ (1 << below(rng, 8)),)) + data[at + 1 :]


def _set(rng, data, other):
    at = below(rng, len(data) + 1)
    return data[:at] + bytes((pick(rng, EDGES),)) + data[at + 1 :]


def _any(rng, data, other):
    at = below(rng, len(data) + 1)
    return data[:at] + bytes((below(rng, 256),)) + data[at + 1 :]


def _insert(rng, data, other):
    at = below(rng, len(data) + 1)
    return data[:at] + rng.randbytes(1 + below(rng, 8)) + data[at:]


def _delete(rng, data, other):
    at = below(rng, len(data) + 1)
    return data[:at] + data[at + 1 + below(rng, 8) :]


def _duplicate(rng, data, other):
    at = below(rng, len(data) + 1)
    end = at + 1 + below(rng, 64)
    return data[:end] + data[at:]


def _truncate(rng, data, other):
    return data[: below(rng, len(data) + 1)]


def _extend(rng, data, other):
    n = 1 + below(rng, 16)
    return data + pick(rng, (bytes(n), rng.randbytes(n), data[:n], other))


def _splice(rng, data, other):
    return data[: below(rng, len(data) + 1)] + other[below(rng, len(other) + 1) :]


def _integer(rng, data, other):
    width = pick(rng, (2, 4, 4, 8))
    if len(data) < width:
        return data
    return set_field(rng, data, below(rng, len(data) - width + 1), width, pick(rng, ("little", "big")))


def _exchange(rng, data, other):
    """Two slices of one length change places."""
    n = 1 + below(rng, 32)
    a, b = sorted((below(rng, len(data) + 1), below(rng, len(data) + 1)))
    n = min(n, b - a, len(data) - b)
    return data[:a] + data[b : b + n] + data[a + n : b] + data[a : a + n] + data[b + n :]


_WAYS: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    _flip, _flip, _flip, _set, _set, _any, _insert, _delete, _duplicate, _truncate, _extend, _splice, _integer,
    _integer, _exchange,
)  # fmt: skip
