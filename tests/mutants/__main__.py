"""Plant every mutant, run the tests of its file, and say which mutants live.

Each mutant has a process of its own, forked from one that has loaded NumPy, Numba and pytest but nothing of npsnn. The
kernels run as plain Python (NUMBA_DISABLE_JIT=1), but _vectors.py, which writes machine instructions, is compiled
(--compiled). A mutant that no test kills must stand in survivors.txt with the reason why it is no change of meaning.

    python -m tests.mutants                       every mutant of every file
    python -m tests.mutants --every 20            a sample: each 20th
    python -m tests.mutants --only leaky/cpu      one file
    python -m tests.mutants --compiled            _vectors.py, compiled
    python -m tests.mutants --simulated           the CUDA twins, in Numba's simulator
"""

import argparse
import importlib.abc
import importlib.util
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

os.environ["NUMBA_DISABLE_JIT"] = "0" if {"--compiled", "--simulated"} & {*sys.argv} else "1"
os.environ["NUMBA_ENABLE_CUDASIM"] = "1" if "--simulated" in sys.argv else "0"

import numba
import numpy as np
import pytest

from tests.mutants.mutate import Mutant, mutants

ROOT = Path(__file__).parents[2]
SIMULATED = os.environ["NUMBA_ENABLE_CUDASIM"] == "1"
GOLDEN = "tests/verify/test_golden.py::test_every_case_holds[reference]"
LANES = ["tests/test_lanes.py", "--deselect=tests/test_lanes.py::test_list_nonzero_reads_nothing_beyond_its_numbers"]
# File -> the tests that answer for it: its own first, for they are quickest.
TARGETS = {
    "conv2d/reference": ["tests/conv2d/test_reference.py", GOLDEN],
    "pool2d/reference": ["tests/pool2d/test_reference.py", GOLDEN],
    "linear/reference": ["tests/linear/test_reference.py", GOLDEN],
    "leaky/reference": ["tests/leaky/test_reference.py", GOLDEN],
    "adam/reference": ["tests/adam/test_reference.py", GOLDEN],
    "functional/reference": ["tests/functional/test_losses.py", GOLDEN],
    "convpool2d/reference": ["tests/convpool2d/test_reference.py", GOLDEN],
    "leakyconvpool2d/reference": ["tests/leakyconvpool2d/test_reference.py"],
    "leakyconv2d/reference": ["tests/leakyconv2d/test_reference.py"],
    "leakylinear/reference": ["tests/leakylinear/test_reference.py"],
    "conv2d/cpu": ["tests/conv2d/test_twins.py"],
    "conv2d/image": ["tests/conv2d/test_twins.py", "tests/convpool2d/test_twins.py"],
    "convpool2d/cpu": ["tests/convpool2d/test_twins.py"],
    "convpool2d/image": ["tests/convpool2d/test_twins.py"],
    "leakyconvpool2d/cpu": ["tests/leakyconvpool2d/test_twins.py"],
    "leakyconvpool2d/trains": ["tests/leakyconvpool2d/test_twins.py", "tests/leakyconvpool2d/test_trains.py"],
    "leakyconv2d/cpu": ["tests/leakyconv2d/test_twins.py"],
    "leakylinear/cpu": ["tests/leakylinear/test_twins.py"],
    "linear/rows": ["tests/linear", "tests/leakylinear/test_twins.py"],
    "pool2d/cpu": ["tests/pool2d/test_twins.py"],
    "linear/cpu": ["tests/linear/test_twins.py"],
    "leaky/cpu": ["tests/leaky/test_twins.py"],
    "leaky/constants": ["tests/leaky/test_twins.py", "tests/leakylinear/test_twins.py"],
    "leaky/images": ["tests/leakyconv2d/test_twins.py"],
    "leaky/steps": ["tests/leakyconv2d/test_twins.py", "tests/leakylinear/test_twins.py"],
    "adam/cpu": ["tests/adam/test_twins.py"],
    "surrogate": ["tests/test_surrogate.py", "tests/test_errors.py", GOLDEN],
    "optim": ["tests/test_optim.py", "tests/test_errors.py"],
    "functional/loss": ["tests/functional/test_losses.py", "tests/test_errors.py"],
    "functional/accuracy": ["tests/functional/test_accuracy.py", "tests/test_errors.py"],
    "functional/regularizer": ["tests/functional/test_losses.py", "tests/test_errors.py"],
    "_lanes": [*LANES, "tests/linear/test_twins.py"],
    "_buffers": ["tests/test_buffers.py"],
    "_sums": ["tests/pool2d/test_twins.py", "tests/conv2d/test_twins.py"],
    "_fused": ["tests/test_fused.py", "tests/test_generator.py"],
}
if SIMULATED:
    ops = "tests/cuda/test_ops.py"
    TARGETS = {
        "conv2d/device": [ops, "tests/cuda/test_spikes.py", "-k", "conv or spike or bias or tie or slices or room"],
        "conv2d/geometry": ["tests/cuda/test_spikes.py", ops, "-k", "conv or spikes"],
        "conv2d/routed": ["tests/cuda/test_spikes.py"],
        "conv2d/spikes": ["tests/cuda/test_spikes.py"],
        "conv2d/cuda": [ops, "-k", "conv2d"],
        "convpool2d/cuda": [ops, "-k", "convpool2d"],
        "pool2d/cuda": [ops, "-k", "pool2d"],
        "linear/cuda": [ops, "-k", "linear or spike or bias"],
        "leaky/cuda": [ops, "-k", "leaky or smooth"],
        "adam/cuda": [ops, "-k", "adam"],
        "functional/cuda": [ops, "-k", "loss"],
        "_cuda": [ops, "tests/test_cuda.py", "tests/cuda/test_training.py"],
        "_device": ["tests/cuda/test_device.py", ops, "tests/cuda/test_training.py"],
        "_graph": ["tests/cuda/test_replays.py"],
        "replays": ["tests/cuda/test_replays.py"],
        "resident": ["tests/cuda/test_replays.py", "tests/cuda/test_training.py"],
    }
elif not numba.config.DISABLE_JIT:
    TARGETS = {"_vectors": LANES}
SAMPLE_LIMIT = 90.0 if SIMULATED else 300.0  # seconds for the tests of a mutant in a sample
SURVIVORS = Path(__file__).with_name("survivors.txt")


class Verdict(NamedTuple):
    """What became of a mutant."""

    target: str
    mutant: Mutant
    fate: str  # "killed", "slow" (killed by the clock) or "lives"


class _Planted(importlib.abc.MetaPathFinder, importlib.abc.SourceLoader):
    """Imports one module from other source than its file's."""

    def __init__(self, name: str, path: str, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname, path, target=None):
        return importlib.util.spec_from_loader(fullname, self, origin=self.path) if fullname == self.name else None

    def get_data(self, path):
        return self.source.encode()

    def get_filename(self, fullname):
        return self.path


class Trial:
    """The tests of `target` running on `source`, in a process of their own."""

    def __init__(self, target: str, source: str, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_run_tests(target, source))

    def fate(self) -> str | None:
        """ "killed", "slow" or "lives"; None while it runs."""
        done, status = os.waitpid(self.pid, os.WNOHANG)
        if done:
            return "killed" if status else "lives"
        if time.monotonic() < self.end:
            return None
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        return "slow"


def fates(target: str, sources: list[str], seconds: float, jobs: int) -> list[str]:
    """The fate of each source, `jobs` of them at a time."""
    waiting, running, result = list(enumerate(sources)), {}, {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, source = waiting.pop(0)
            running[number] = Trial(target, source, seconds)
        for number, trial in list(running.items()):
            fate = trial.fate()
            if fate:
                result[number] = fate
                del running[number]
        time.sleep(0.01)
    return [result[number] for number in range(len(sources))]


def _run_tests(target: str, source: str) -> int:
    """In the child: 0 if every test passes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.chdir(ROOT)
    path = ROOT / "npsnn" / f"{target}.py"
    sys.meta_path.insert(0, _Planted("npsnn." + target.replace("/", "."), str(path), source))
    # A compiled kernel gives no warning where NumPy's scalars do.
    quiet = ["-W", "ignore::RuntimeWarning"] if target.endswith("cpu") else []
    quick = [*quiet, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:doctest", "-o", "addopts=--import-mode=importlib"]
    with tempfile.TemporaryDirectory() as folder:
        numba.config.CACHE_DIR = folder  # the cache on disk does not see the mutant
        return int(pytest.main([*quick, *TARGETS[target]]))


def survivors() -> dict[tuple[str, str], str]:
    """(file, change) -> why it is no change of meaning."""
    known = {}
    for block in SURVIVORS.read_text("utf-8").strip().split("\n\n"):
        if not block.startswith("#"):
            target, change, reason = (line.strip() for line in block.splitlines())
            known[target, change] = reason
    return known


def judge(target: str, every: int, start: int, jobs: int) -> tuple[list[Verdict], set[str]]:
    """The verdict on every `every`-th mutant of one file, and what all of them change.

    Where all are tried, its tests must first pass without any, and the time they take is the clock. A sample leaves
    that to whoever runs the tests as such.
    """
    source = (ROOT / "npsnn" / f"{target}.py").read_text("utf-8")
    limit, begun = SAMPLE_LIMIT, time.monotonic()
    if every == 1:
        if fates(target, [source], 600.0, 1) != ["lives"]:
            raise SystemExit(f"{target}: its tests fail, or take ten minutes, without any mutant")
        limit = 20 + 10 * (time.monotonic() - begun)
    every_one = mutants(source)
    chosen = every_one[start % every :: every]
    found = fates(target, [m.source for m in chosen], limit, jobs)
    verdicts = [Verdict(target, m, fate) for m, fate in zip(chosen, found, strict=True)]
    return verdicts, {m.change for m in every_one}


def main() -> int:
    """0 where no mutant lives without a reason, and no reason is given for what is no mutant any more."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="take each n-th mutant of a file")
    parser.add_argument("--start", type=int, default=0, help="from this one on, so that samples can differ")
    parser.add_argument("--only", action="append", choices=TARGETS, help="this file alone; may be repeated")
    parser.add_argument("--share", default="1/1", metavar="K/N", help="the K-th of N shares of the files")
    parser.add_argument("--compiled", action="store_true", help="the file that needs the compiler, with it")
    parser.add_argument("--simulated", action="store_true", help="the CUDA twins, in Numba's simulator")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at a time")
    args = parser.parse_args()
    assert bool(numba.config.DISABLE_JIT) is not (args.compiled or args.simulated) and np and "npsnn" not in sys.modules
    share, shares = map(int, args.share.split("/"))
    known, verdicts, stale = survivors(), [], 0
    print(f"{'file':24}{'mutants':>8}{'killed':>8}{'by clock':>10}{'equivalent':>12}{'ALIVE':>8}", flush=True)
    for target in (args.only or list(TARGETS))[share - 1 :: shares]:
        found, changes = judge(target, args.every, args.start, args.jobs)
        verdicts += found
        print(_row(target, found, known), flush=True)
        for v in found:
            if v.fate == "lives" and (target, v.mutant.change) not in known:
                print(f"    ALIVE line {v.mutant.line}: {v.mutant.change}", flush=True)
        for change in [change for name, change in known if name == target and change not in changes]:
            print(f"    in survivors.txt, but no mutant: {change}", flush=True)
            stale += 1
    print(_row("all", verdicts, known))
    return int(stale > 0 or any(v.fate == "lives" and (v.target, v.mutant.change) not in known for v in verdicts))


def _row(name: str, verdicts: list[Verdict], known: dict[tuple[str, str], str]) -> str:
    fates = Counter(
        "equivalent" if v.fate == "lives" and (v.target, v.mutant.change) in known else v.fate for v in verdicts
    )
    counts = f"{fates['killed']:>8}{fates['slow']:>10}{fates['equivalent']:>12}{fates['lives']:>8}"
    return f"{name:24}{len(verdicts):>8}{counts}"


if __name__ == "__main__":
    sys.exit(main())
