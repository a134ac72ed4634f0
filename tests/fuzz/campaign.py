"""A campaign: inputs numbered from 0, each read under the limits and judged.

Inputs are drawn in blocks of 1,000 with a random stream each, so that any number is made again without the ones before
its block. What is drawn does not depend on what was read.
"""

import random
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.fuzz import limits
from tests.fuzz.checkpoint import Checkpoint
from tests.fuzz.idx import Idx
from tests.fuzz.reader import CHANGED, ERROR, FAILURES, HANG, MEMORY, REFUSED, WARNING, Reader
from tests.fuzz.recording import Recording
from tests.fuzz.state_dict import StateDict

READERS: dict[str, type[Reader]] = {reader.name: reader for reader in (Idx, Checkpoint, Recording, StateDict)}
BLOCK = 1000
_MOST_FAILURES = 20  # that are kept of a stretch of inputs; all are counted


class Failure(NamedTuple):
    """An input that was not handled as documented."""

    number: int
    kind: str
    outcome: str
    why: str
    data: bytes


class Found(NamedTuple):
    """What became of a stretch of inputs."""

    counts: Counter[tuple[str, str]]  # (kind of input, outcome)
    failures: list[Failure]

    def total(self, *outcomes: str) -> int:
        """How many inputs came out so."""
        return sum(n for (_, outcome), n in self.counts.items() if outcome in outcomes)


def cases(reader: Reader, seed: int, start: int, stop: int) -> Iterator[tuple[int, str, Any]]:
    """(number, kind, input) from `start` to before `stop`."""
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        rng = random.Random(f"{seed}/{reader.name}/{block}")
        for number in range(block * BLOCK, min((block + 1) * BLOCK, stop)):
            kind = reader.mix[number % len(reader.mix)]
            case = reader.draw(kind, rng)
            if number >= start:
                yield number, kind, case


def run(name: str, seed: int, start: int, stop: int) -> Found:
    """Read the inputs from `start` to before `stop`, and judge."""
    reader, found = READERS[name](), Found(Counter(), [])
    with limits.memory(), limits.watch() as watch, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, kind, case in cases(reader, seed, start, stop):
            outcome, why = _outcome(reader, kind, case, watch, caught)
            if outcome == HANG:  # a machine that is short of time may charge it to whoever is there
                outcome, why = _outcome(reader, kind, case, watch, caught)
            found.counts[kind, outcome] += 1
            if outcome in FAILURES and len(found.failures) < _MOST_FAILURES:
                found.failures.append(Failure(number, kind, outcome, why, reader.as_bytes(case)))
    return found


def timed(name: str, seed: int, start: int, stop: int) -> tuple[Found, float]:
    """What `run` found, and the CPU time that it took, drawing and judging included."""
    begun = time.process_time()
    return run(name, seed, start, stop), time.process_time() - begun


def _outcome(
    reader: Reader, kind: str, case: Any, watch: limits.Watch, caught: list[warnings.WarningMessage]
) -> tuple[str, str]:
    """(outcome, what is wrong)."""
    caught.clear()  # drawing and judging may warn
    loaded = error = None
    watch.begin()
    try:
        loaded = reader.read(case)
    except limits.Hang:
        pass
    except Exception as raised:
        error = raised
    in_time = watch.end()
    if not in_time:
        return HANG, f"took more than {limits.SECONDS} s"
    if caught:
        return WARNING, str(caught[0].message)
    if isinstance(error, MemoryError):
        return MEMORY, f"wanted more than {limits.MEMORY // 2**20} MiB"
    if error is None:
        return _judged(reader, case, loaded)
    if not reader.after_refusal(case):
        return CHANGED, f"refused, but not before something was changed: {error}"
    if kind == "untouched":
        return CHANGED, f"what is right was refused: {error}"
    why = reader.undocumented(error)
    return (ERROR, why) if why else (REFUSED, "")


def _judged(reader: Reader, case: Any, loaded: Any) -> tuple[str, str]:
    try:
        outcome = reader.judge(case, loaded)
    except Exception as error:  # whatever it is: what was loaded has no meaning that could have been loaded
        return CHANGED, f"loaded, but a second reading says {type(error).__name__}: {str(error)[:200]!r}"
    return outcome, f"loaded {str(loaded)[:300]!r}" if outcome == CHANGED else ""
