"""Give four readers millions of malformed inputs, and say what became of them.

The readers are those of IDX files, checkpoints, recordings and state dicts. Every input must be refused with the
documented error, or load as exactly what it says, which a second and independent reading decides; within a second of
CPU time, within the memory limit, and without a warning. Input n of a reader under a seed is always the same.

    python -m tests.fuzz                                        100,000 inputs for each reader
    python -m tests.fuzz --inputs 10000000 --jobs 2             a hundred times as many, in two processes
    python -m tests.fuzz --reader idx --only 4711 --keep found  one input again, and its bytes in the folder `found`
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.fuzz.campaign import BLOCK, READERS, Found, run, timed
from tests.fuzz.limits import MEMORY, SECONDS
from tests.fuzz.reader import FAILURES, FINE, REFUSED, SAID, UNCHANGED

_STRETCH = 10 * BLOCK  # inputs that a process is given at once
_SHOWN = 10  # failures of a reader that are told one by one


def stretches(inputs: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of pieces of a campaign."""
    return ((start, min(start + _STRETCH, inputs)) for start in range(0, inputs, _STRETCH))


def campaign(name: str, seed: int, inputs: int, pool: ProcessPoolExecutor | None) -> tuple[Found, float]:
    """One reader's campaign: what was found, in the order of the inputs, and its CPU time."""
    counts: Counter[tuple[str, str]] = Counter()
    found, took = Found(counts, []), 0.0
    shown = time.monotonic()
    for piece, seconds in _pieces(name, seed, inputs, pool):
        counts.update(piece.counts)
        found.failures.extend(piece.failures)
        took += seconds
        if sys.stderr.isatty() and time.monotonic() - shown > 2:
            shown = time.monotonic()
            print(f"\r{name}: {counts.total():,} of {inputs:,} ", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
    found.failures.sort()
    return found, took


def _pieces(name: str, seed: int, inputs: int, pool: ProcessPoolExecutor | None) -> Iterator[tuple[Found, float]]:
    if pool is None:
        yield from (timed(name, seed, start, stop) for start, stop in stretches(inputs))
        return
    waiting: list[Future[tuple[Found, float]]] = [pool.submit(timed, name, seed, *piece) for piece in stretches(inputs)]
    yield from (done.result() for done in as_completed(waiting))


def keep(folder: Path, name: str, seed: int, found: Found) -> None:
    """Write the inputs that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    for failure in found.failures:
        (folder / f"{name}-{seed}-{failure.number}{READERS[name].suffix}").write_bytes(failure.data)


def main() -> int:
    """0 where no input failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N", help="for each (default: %(default)s)")
    parser.add_argument("--reader", action="append", choices=READERS, help="this one alone; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other inputs")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: %(default)s)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this input alone; needs one --reader")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write inputs that fail into this folder")
    parser.add_argument("--verbose", action="store_true", help="a line for every kind of input too")
    args = parser.parse_args()
    names = args.reader or list(READERS)
    if args.only is not None:
        if len(names) != 1:
            parser.error("--only needs one --reader")
        return _again(names[0], args.seed, args.only, args.keep)
    print(f"seed {args.seed}; an input may take {SECONDS:g} s of CPU time and {MEMORY // 2**20} MiB")
    print(f"{'reader':12}" + "".join(f"{title:>12}" for title in ("inputs", *FINE, *FAILURES, "a second")))
    failed = 0
    pool = None
    if args.jobs > 1:
        pool = ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for name in names:
            found, seconds = campaign(name, args.seed, args.inputs, pool)
            failed += found.total(*FAILURES)
            _tell(name, args.seed, found, seconds, args.verbose)
            if args.keep:
                keep(args.keep, name, args.seed, found)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return int(failed > 0)


def _again(name: str, seed: int, number: int, folder: Path | None) -> int:
    """One input again."""
    found = run(name, seed, number, number + 1)
    ((kind, outcome),) = found.counts
    why = "".join(f": {failure.why}" for failure in found.failures)
    print(f"{name} {number} [{kind}] {outcome}{why}")
    if folder:
        keep(folder, name, seed, found)
    return int(outcome in FAILURES)


def _tell(name: str, seed: int, found: Found, seconds: float, verbose: bool) -> None:
    print(_row(name, found, round(found.counts.total() / max(seconds, 1e-9))), flush=True)
    if verbose:
        for kind in sorted({kind for kind, _ in found.counts}):
            counts = Counter({pair: n for pair, n in found.counts.items() if pair[0] == kind})
            print(_row("  " + kind, Found(counts, []), None))
    for f in found.failures[:_SHOWN]:
        print(f"    --reader {name} --seed {seed} --only {f.number} [{f.kind}] {f.outcome}: {f.why}", flush=True)


def _row(name: str, found: Found, rate: int | None) -> str:
    numbers = [found.counts.total(), *(found.total(outcome) for outcome in (REFUSED, UNCHANGED, SAID, *FAILURES))]
    return f"{name:12}" + "".join(f"{n:>12,}" for n in numbers) + (f"{rate:>12,}" if rate is not None else "")


if __name__ == "__main__":
    sys.exit(main())
