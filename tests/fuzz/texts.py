"""JSON that says something else: one place of a tree replaced, dropped, renamed, repeated or nested deep."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from tests.fuzz.damage import below, pick

_HOLE, _KEY = "@hole@", "@key@"
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, 10**400, 0.5, 1.5, -0.0, 1.0, 1e308, 5e-324,
    float("nan"), float("inf"), "", "x", "0.5", "\0", "a\nb", "\x1b[2J", "\u2028", "\ud800", "é", "🙂", "9" * 300,
    "Linear", "Leaky", "zero", "boxcar", "SSO", "custom_surrogate", [], {}, [[]], [{}], [None], {"a": 1}, {"": None},
    [1, 2, 3], [1, [2, 3]], [0.5, 0.25], [[0.5], [0.25]], ["a"], {"name": "atan"}, {"name": "SSO"}, {"name": ["atan"]},
    {"type": "Flatten"}, {"type": "Leaky", "beta": 0.5}, {"a\nb": 1}, {"\x1b": 1}, {"a/b": {"c": 1}}, ["x" * 5000],
)  # fmt: skip
_RAW = (
    b"", b"NaN", b"-Infinity", b"1e999", b"-0", b"01", b"+1", b"1.", b".5", b"0x10", b"1_0", b"'a'", b'"a', b"tru",
    b"nul", b"9" * 5000, b"/**/1", b"1 // one", b"[1,]", b'{"a": 1,}', b'{"a": 1, "a": 2}', b'"\\ud800"', b'"\t"',
    b'"\xff"', b'"\xc0\xaf"', b'"\\x41"', b"[" * 3000, b"1E5", b"1.0e0", b"1" + b"0" * 400, b"0." + b"3" * 400,
    b'"\\u0065poch"',
)  # fmt: skip
_FRAMES: tuple[Callable[[bytes], bytes], ...] = (
    lambda t: b"\xef\xbb\xbf" + t, lambda t: t.decode().encode("utf-16"), lambda t: t.decode().encode("utf-32-be"),
    lambda t: t + t, lambda t: t + b"\0", lambda t: b" \n" + t + b"\n", lambda t: t[:-2], lambda t: b"[" + t + b"]",
    lambda t: t.replace(b"\n", b"\r\n"), lambda t: t.replace(b" ", b""), lambda t: t.replace(b": ", b":\xc2\xa0"),
    lambda t: b"",
)  # fmt: skip


def odd_text(rng: random.Random, tree: Any, dumps: Callable[[Any], bytes]) -> bytes:
    """`dumps(tree)` with a change in it."""
    way = rng.random()
    if way < 0.1:
        return pick(rng, _FRAMES)(dumps(tree))
    if way < 0.2:
        return dumps(_with(rng, tree, _deep(rng)))
    if way < 0.4:
        raw = pick(rng, _RAW) if rng.random() < 0.98 else _deep_text(rng)
        return dumps(_with(rng, tree, _HOLE)).replace(json.dumps(_HOLE).encode(), raw, 1)
    if way < 0.5:
        return _key_twice(rng, tree, dumps)
    if way < 0.75:
        return dumps(_with(rng, tree, pick(rng, _ODD)))
    return dumps(_rearranged(rng, tree))


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a tree."""
    found: list[tuple[Any, Any]] = []
    rest = [tree]
    while rest:
        inner = rest.pop()
        keys = list(inner) if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        found += ((inner, key) for key in keys)
        rest += (inner[key] for key in keys)
    return found


def _with(rng: random.Random, tree: Any, value: Any) -> Any:
    """A copy with `value` in one place."""
    tree = copy.deepcopy(tree)
    container, key = pick(rng, _places(tree))
    container[key] = value
    return tree


def _rearranged(rng: random.Random, tree: Any) -> Any:
    """A copy in which an entry is dropped, renamed, added, moved, repeated, or wrapped."""
    tree = copy.deepcopy(tree)
    places = _places(tree)
    container, key = pick(rng, places)
    way = below(rng, 5)
    if way == 0:
        del container[key]
    elif way == 1 and isinstance(container, dict):
        container[pick(rng, ("", "x", "a\nb", "type", "\x1b", key.upper(), key + " ", "x" * 300))] = container.pop(key)
    elif way == 2:
        container[key] = [container[key]]
    elif way == 3:
        other, name = pick(rng, places)
        container[key], other[name] = copy.deepcopy(other[name]), copy.deepcopy(container[key])
    elif isinstance(container, list):
        container.insert(key, copy.deepcopy(container[key]))
    else:
        container[pick(rng, ("new", "", "\n", "type", "é", "a/b"))] = pick(rng, _ODD)
    return tree


def _key_twice(rng: random.Random, tree: Any, dumps: Callable[[Any], bytes]) -> bytes:
    """An object with the same key twice, first or last with another value."""
    tree = copy.deepcopy(tree)
    container, key = pick(rng, [place for place in _places(tree) if isinstance(place[0], dict)])
    value = pick(rng, (container[key], pick(rng, _ODD)))
    items = list(container.items())
    items.insert(pick(rng, (0, len(items))), (_KEY, value))
    container.clear()
    container.update(items)
    return dumps(tree).replace(json.dumps(_KEY).encode(), json.dumps(key).encode(), 1)


def _deep(rng: random.Random) -> Any:
    """Lists or objects, one in another; seldom very deep, for the time it takes to write them grows with the square."""
    value: Any = 1
    wrap = pick(rng, (lambda v: [v], lambda v: {"a": v}))
    for _ in range(pick(rng, (3, 20, 40, 80)) if rng.random() < 0.98 else 200 + below(rng, 300)):
        value = wrap(value)
    return value


def _deep_text(rng: random.Random) -> bytes:
    """About as deep as Python's recursion goes, or much deeper."""
    n = 850 + below(rng, 150) if rng.random() < 0.8 else 3000
    return pick(rng, (b"[" * n + b"]" * n, b'{"a":' * n + b"1" + b"}" * n, b"[0," * n + b"0" + b"]" * n))
