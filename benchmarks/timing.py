"""How engines are timed, and what they must agree on before they are."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks import engines
from benchmarks.networks import Network

AGREE = 1e-4  # of the loss, and of the gradients in the Euclidean norm


def interleaved(
    jobs: dict[str, Callable[[], Any]], rounds: int, before: Callable[[], Any] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of each job, in turns, so that a machine that slows down slows all of them; `before` each, untimed.

    A job is called twice in its turn, and the second call counts: in a training loop a step comes after a step of its
    own kind, not after another engine's, which leaves other data in the caches and threads that still wait for work.
    """
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            before()
            job()
            before()
            times[name].append(seconds(job))
    return times


def seconds(job: Callable[[], Any]) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def agreement(network: Network, threads: int, engine: Any = engines.SnnTorch) -> float:
    """How far npsnn and an engine are apart on a few samples and steps, before a rounding has decided a spike."""
    few = network._replace(batch=2, num_steps=min(network.num_steps, 4))
    return engines.disagreement(engines.Npsnn(few).gradients(), engine(few, threads).gradients())
