"""What the campaign asks of a reader under test."""

import random
from collections.abc import Mapping
from typing import Any

REFUSED, UNCHANGED, SAID = "refused", "unchanged", "as it says"
ERROR, HANG, MEMORY, WARNING, CHANGED = "error", "hang", "memory", "warning", "changed"
FINE = (REFUSED, UNCHANGED, SAID)
FAILURES = (ERROR, HANG, MEMORY, WARNING, CHANGED)
WHERE = "folder/a file"  # what the inputs are called; a message begins with it


class Reader:
    """One reader: how its inputs are made, how it is asked, and what its answer may be."""

    name: str
    suffix: str  # of a kept input's file
    mix: tuple[str, ...]  # input n is of the kind mix[n % len(mix)]

    def draw(self, kind: str, rng: random.Random) -> Any:
        """An input; it depends on `rng` alone."""
        raise NotImplementedError

    def read(self, case: Any) -> Any:
        """What the reader under test makes of it."""
        raise NotImplementedError

    def undocumented(self, error: Exception) -> str:
        """What is wrong with an error; nothing where it is one that the reader's documentation has."""
        return complaint(error, (ValueError,), (f"{WHERE} ", f"{WHERE}: "))

    def judge(self, case: Any, loaded: Any) -> str:
        """UNCHANGED, SAID or CHANGED, for what was loaded; any error where there was nothing that could be."""
        raise NotImplementedError

    def after_refusal(self, case: Any) -> bool:
        """Whether everything is as it was."""
        return True

    def as_bytes(self, case: Any) -> bytes:
        """For the file of a kept input."""
        return bytes(case.data)


def complaint(error: Exception, kinds: tuple[type[Exception], ...], starts: tuple[str, ...]) -> str:
    """What is wrong with an error: its type, or its message, which must be a line that a terminal can show."""
    text = str(error)
    if not isinstance(error, kinds):
        return f"{type(error).__name__}: {text[:200]!r}"
    if not text.startswith(starts):
        return f"{type(error).__name__} whose message does not begin with the name: {text[:200]!r}"
    return "" if text.isprintable() else f"{type(error).__name__} whose message is no printable line: {text[:300]!r}"


def spread(weights: Mapping[str, int]) -> tuple[str, ...]:
    """Each kind as often as its weight says, spread out evenly, so that a short campaign has every kind too.

    >>> spread({"a": 1, "b": 3})
    ('b', 'a', 'b', 'b')
    """
    places = [((2 * i + 1) / (2 * weight), kind) for kind, weight in weights.items() for i in range(weight)]
    return tuple(kind for _, kind in sorted(places))
