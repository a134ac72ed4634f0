"""A training run killed again and again: only the step under way is lost, and the end is that of one never killed.

python -m tests.long.kills --kills 1000

A child process trains a small network, a checkpoint after every step, and dies by SIGKILL: half of the times from
outside at a random moment, else by its own hand at one of the operations of a save, before it, in its midst or after
it. The next child goes on from the folder. When a run is done, its end is held against that of a run never killed:
weights, moments, the loader's place, the generator and the history. Children are forked from a process that has
imported everything, so that kills fall into the run and not into Python's start.
"""

import argparse
import hashlib
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from npsnn import _files, _npy, checkpoint, run_folder, training
from tests.watched import Watched

SETTINGS = {  # three epochs of five batches
    "channels": (2, 3), "kernel_size": 9, "num_steps": 3, "batch_size": 8, "epochs": 3, "backend": "reference",
    "seed": 5, "threshold": 0.3,
}  # fmt: skip


class Tally(NamedTuple):
    """What a number of kills came to."""

    kills: int
    in_a_save: int
    in_the_first_save: int  # before there was any checkpoint
    runs: int
    left_behind: int  # half-written files, which the next start removed

    def __str__(self) -> str:
        return (
            f"{self.kills:,} kills, {self.in_a_save:,} of them in a save ({self.in_the_first_save:,} before the first "
            f"was done), over {self.runs:,} runs; {self.left_behind:,} half-written files removed; every run ended as "
            "the one that was never killed, and no finished step was lost"
        )


def write_images(folder: Path) -> None:
    """40 and 16 images of noise, as IDX files."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("t10k", 16)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count, np.uint8)
        head = struct.pack(">4B3I", 0, 0, 8, 3, *images.shape)
        (folder / f"{split}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, count) + labels.tobytes())


class Deadly(Watched):
    """Kills its own process at the operation with number `at`: before it, in its midst, or after it."""

    def __init__(self, at: int, moment: str) -> None:
        self.at, self.moment = at, moment

    def around(self, operation, *arguments):
        if self.calls != self.at:
            return operation(*arguments)
        if self.moment == "midst" and operation.__name__ == "write":
            operation(arguments[0], arguments[1][: len(arguments[1]) // 2])
        elif self.moment != "before":
            operation(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, images: Path, done: mmap.mmap) -> None:
    """A run from its beginning or from where it stands; `done` counts the steps whose save has returned."""
    if (folder / "settings.json").exists():
        run = run_folder.resume(folder, {})
        _files.remove_stale(folder)
    else:
        run = training.Run(training.Settings(data=str(images), **SETTINGS))

    def steps() -> int:
        return len(run.history) * len(run.train) + len(run.progress.losses)

    before = struct.unpack("i", done[:4])[0]
    if steps() < before:
        done[4:8] = struct.pack("i", before - steps())
        return

    def on_batch(_) -> None:
        done[:4] = struct.pack("i", steps() - 1)  # the save of the step before has returned

    for _ in run_folder.record(run, folder, on_batch, save_every=1):
        done[:4] = struct.pack("i", steps())


def end_of(folder: Path) -> str:
    """The SHA-256 of everything that a run ends with, but for the time it took."""
    saved = checkpoint.load(folder / "checkpoint.npz")
    sha = hashlib.sha256()

    def add(name: str, value) -> None:
        if isinstance(value, dict):
            for key in sorted(value):
                if key not in ("seconds", "versions"):
                    add(f"{name}/{key}", value[key])
        elif isinstance(value, list):
            for k, entry in enumerate(value):
                add(f"{name}/{k}", entry)
        else:
            sha.update(name.encode() + (_npy.pack(value) if isinstance(value, np.ndarray) else repr(value).encode()))

    add("", saved)
    return sha.hexdigest()


def start(folder: Path, images: Path, done: mmap.mmap, system: _files.System) -> int:
    """A child that trains, with the file operations of `system`; its number."""
    child = os.fork()
    if child == 0:
        _files.system = system
        try:
            train(folder, images, done)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    return child


def kill_a_run(rng: random.Random, folder: Path, images: Path, operations: int, seconds: float, most: int) -> Tally:
    """One run, killed until it is done or was killed `most` times."""
    kills, in_a_save, first, stale = 0, 0, 0, 0
    done = mmap.mmap(-1, 8)
    while True:
        stale += len(list(folder.glob(_files.STALE)))
        deadly, moment = rng.random() < 0.5, rng.choice(["before", "midst", "after"])
        # Rather early: `seconds` may have been measured on a busy machine, and a run that has ended cannot be killed.
        at, wait = rng.randint(1, operations), rng.random() * rng.uniform(0, seconds)
        if kills == most:
            child = start(folder, images, done, _files.System())
        elif deadly:
            child = start(folder, images, done, Deadly(at, moment))
        else:
            child = start(folder, images, done, _files.System())
            time.sleep(wait)
            os.kill(child, signal.SIGKILL)  # of one that has ended too, until it is waited for
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        lost = struct.unpack("i", done[4:8])[0]
        if lost:
            raise AssertionError(f"{lost} finished steps were lost")
        if status == 0:
            return Tally(kills, in_a_save, first, 1, stale)
        if status != -signal.SIGKILL:
            raise AssertionError(f"a run could not go on: status {status}")
        kills += 1
        in_a_save += deadly
        first += deadly and not (folder / "checkpoint.npz").exists()


def kill(kills: int, seed: int = 0) -> Tally:
    """So many kills; AssertionError where anything is lost or any run ends otherwise."""
    rng, total = random.Random(seed), Tally(0, 0, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="npsnn-kills-") as name:
        root = Path(name)
        images, undisturbed = root / "images", root / "undisturbed"
        images.mkdir()
        undisturbed.mkdir()
        write_images(images)
        counted = Watched()
        _files.system = counted
        began = time.perf_counter()
        try:
            train(undisturbed, images, mmap.mmap(-1, 8))
        finally:
            _files.system = _files.System()
        seconds, expected = time.perf_counter() - began, end_of(undisturbed)
        while total.kills < kills:
            folder = root / f"run{total.runs}"
            folder.mkdir()
            # Early enough for some in every run, late enough for every step of it.
            tally = kill_a_run(rng, folder, images, counted.calls // 2, seconds, kills - total.kills)
            if end_of(folder) != expected:
                raise AssertionError(f"a run that was killed {tally.kills} times ended otherwise")
            total = Tally(*(a + b for a, b in zip(total, tally, strict=True)))
            if sys.stderr.isatty():
                print(f"\r{total.kills:,} kills", end="", file=sys.stderr)
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    began = time.perf_counter()
    print(kill(args.kills, args.seed), f"({time.perf_counter() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
