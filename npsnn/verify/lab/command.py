"""`npsnn lab`: a fault is shown, planted, and every check run; the reader predicts, and then sees the answer."""

import sys
import textwrap
from contextlib import AbstractContextManager, nullcontext

from npsnn.verify.lab.checks import CHECKS, found
from npsnn.verify.lab.faults import FAULTS, Fault, fault

WIDTH = 86
NAMES = tuple(check.name for check in CHECKS)


def lab(which: str | None = None) -> int:
    """List the faults, try one by its number, or "all"; 0 where what happens is what the answer says, else 1.

    ValueError for another `which`, OSError where the engine's sources are not there.
    """
    if which is None:
        print("\n\n".join(f"{number}. {one}" for number, one in enumerate(FAULTS, start=1)))
        print(
            f"\nThe checks: {', '.join(NAMES)}.\nnpsnn lab 3 plants the third fault and runs them, npsnn lab all all."
        )
        return 0
    if which == "all":
        return _all()
    if which not in map(str, range(1, len(FAULTS) + 1)):
        raise ValueError(f"the fault must be a number from 1 to {len(FAULTS)}, or all, got {which!r}")
    return _one(int(which))


def outcome(where: AbstractContextManager[None]) -> dict[str, str | None]:
    """Check -> None, or the first wrong number, with `where` around it all: `fault.planted()`, or nothing."""
    with where:
        return {check.name: found(check) for check in CHECKS}


def failing(one: Fault | None = None) -> tuple[str, ...]:
    """The checks that fail with a fault, or with none.

    >>> failing(fault(9))
    ('adam', 'golden')
    """
    wrong = outcome(one.planted() if one else nullcontext())
    return tuple(name for name in NAMES if wrong[name])


def _one(number: int) -> int:
    one = fault(number)
    print(f"fault {number} of {len(FAULTS)}: {one}\n", flush=True)
    said = _prediction()
    wrong = outcome(one.planted())
    for check in CHECKS:
        print(f"{check.name:11}{check.says:46}{'FAILS' if wrong[check.name] else 'passes'}")
        if wrong[check.name]:
            print(f"{'':11}{wrong[check.name]}")
    fails = tuple(name for name in NAMES if wrong[name])
    print(f"\n{_list(fails)}\n{textwrap.fill(one.why, WIDTH)}")
    if said:
        print(f"You said {said}, which {'fails' if said in fails else 'passes'}.")
    if fails == one.fails:
        return 0
    print(f"The answer should have been: {_list(one.fails)}")
    return 1


def _all() -> int:
    """The matrix of checks and faults; the first column is the law as it is."""
    answers = [(), *(one.fails for one in FAULTS)]
    seen = [failing(), *map(failing, FAULTS)]
    print(f"{'check':11}{'none':>5}{''.join(f'{number:4}' for number in range(1, len(answers)))}")
    for name in NAMES:
        marks = ["x" if name in fails else "." for fails in seen]
        print(f"{name:11}{marks[0]:>5}{''.join(f'{mark:>4}' for mark in marks[1:])}")
    print()
    for number, one in enumerate(FAULTS, start=1):
        print(f"{number:2}  {one.title}")
    different = [number for number, (a, b) in enumerate(zip(seen, answers, strict=True)) if a != b]
    for number in different:
        print(f"{number}: {_list(seen[number])} The answer should have been: {_list(answers[number])}")
    return 1 if different else 0


def _prediction() -> str | None:
    """What the reader says, where somebody sits at a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    print(f"The checks: {', '.join(NAMES)}.")
    while True:
        try:
            said = input("Which of them fails? (Enter: just show) ").strip()
        except EOFError:
            print()
            return None
        if not said or said in NAMES:
            return said or None
        print(f"{said!r} is none of them.")


def _list(names: tuple[str, ...]) -> str:
    """A sentence.

    >>> _list(("adjoint", "ones", "golden"))
    'adjoint, ones and golden fail.'
    """
    if len(names) < 2:
        return f"{names[0]} alone fails." if names else "No check fails."
    return f"{', '.join(names[:-1])} and {names[-1]} fail."
