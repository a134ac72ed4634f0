"""Long runs leave the process as it was: memory, threads, open files.

python -m tests.long.runs                1,000 networks made and dropped, 500 steps, ten epochs of the subset
python -m tests.long.runs --data ROOT    six epochs of the four IDX files of MNIST in ROOT instead

Memory is the resident set after a first part, when kernels are compiled and caches are filled, against the end. Of
epochs the last two count: two threads meet in ever new ways in the first ones, and each peak stays with the allocator
(462.7, 481.4, 482.1, 490.0, 490.0, 490.0 MB after six epochs of 60,000 images). What is forgotten would go on growing.
"""

import argparse
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

import npsnn
from npsnn import functional as SF
from npsnn import optim, surrogate, training

MOST_GROWTH = 8 * 2**20  # bytes: of an allocator's habits; one forgotten tape of the smallest network here is more


class Held(NamedTuple):
    """What a process has."""

    bytes: int
    threads: int
    files: int

    @classmethod
    def now(cls) -> "Held":
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), threading.active_count(), len(os.listdir("/proc/self/fd")))


class Grown(NamedTuple):
    """What was done, and what it left."""

    what: str
    before: Held
    after: Held
    seconds: float

    @property
    def ok(self) -> bool:
        return (
            self.after.bytes - self.before.bytes <= MOST_GROWTH
            and self.after.threads <= self.before.threads
            and self.after.files <= self.before.files
        )

    def __str__(self) -> str:
        grown = (self.after.bytes - self.before.bytes) / 2**20
        return (
            f"{'ok  ' if self.ok else 'GROWN'} {self.what}: {self.before.bytes / 2**20:.1f} MB and {grown:+.1f}, "
            f"threads {self.before.threads} -> {self.after.threads}, files {self.before.files} -> {self.after.files} "
            f"({self.seconds:.0f} s)"
        )


def grown(what: str, first: int, times: int, work) -> Grown:
    """`work(k)` done `first` times to warm up, then until `times`."""
    began = time.perf_counter()
    for k in range(first):
        work(k)
    before = Held.now()
    for k in range(first, times):
        work(k)
    return Grown(what, before, Held.now(), time.perf_counter() - began)


def network(k: int, backend: str) -> npsnn.Sequential:
    sg = surrogate.fast_sigmoid(slope=5)
    return npsnn.Sequential(
        npsnn.Conv2d(1, 4 + k % 3, 5), npsnn.MaxPool2d(2), npsnn.Leaky(0.5, spike_grad=sg), npsnn.Flatten(),
        npsnn.Linear(144 * (4 + k % 3), 10), npsnn.Leaky(0.5, spike_grad=sg), seed=k, backend=backend,
    )  # fmt: skip


def step(net: npsnn.Sequential, optimizer: optim.Adam, rng: np.random.Generator) -> None:
    x, targets = rng.random((8, 1, 28, 28), np.float32), rng.integers(0, 10, 8)
    spk_rec, _, tape = net.forward(x, 10)
    optimizer.step(net.backward(tape, SF.ce_rate_loss().value_and_grad(spk_rec, targets)[1]))


def networks(count: int, backend: str) -> Grown:
    """Networks made, trained for a step, saved, and dropped."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:

        def work(k: int) -> None:
            net = network(k, backend)
            optimizer = optim.Adam(net)
            step(net, optimizer, rng)
            npsnn.utils.save(f"{folder}/a.npz", net, optimizer)
            npsnn.utils.restore(f"{folder}/a.npz", net, optimizer)

        return grown(f"{count:,} networks made and dropped", count // 5, count, work)


def steps(count: int, backend: str) -> Grown:
    """Steps of one network."""
    rng, net = np.random.default_rng(0), network(0, backend)
    optimizer = optim.Adam(net)
    return grown(f"{count:,} training steps", count // 5, count, lambda k: step(net, optimizer, rng))


def epochs(count: int, backend: str, data: str | None) -> Grown:
    """Epochs of the tutorial, of which the last two count."""
    run = training.Run(training.Settings(epochs=count, backend=backend, data=data))
    what = f"{count} epochs of {len(run.train.dataset):,} images"
    found = grown(what, count - 2, count, lambda k: run.epoch())
    print(run.history[-1].line(count))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a folder of the four IDX files of MNIST")
    parser.add_argument("--backend", default="auto")
    args = parser.parse_args()
    jobs = (
        lambda: networks(1000, args.backend),
        lambda: steps(500, args.backend),
        lambda: epochs(6 if args.data else 10, args.backend, args.data),
    )
    ok = True
    for job in jobs:
        found = job()
        print(found, flush=True)
        ok = ok and found.ok
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
