"""Chunks of work over threads, for kernels that hold no Python lock (floor 0).

The threads are Python's own. Numba's `parallel=True` would compile each kernel twice as long, end the process when two
threads are in a kernel at once, and leave a forked child without threads.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

PIECES = 8  # a thread's share of the chunks, in pieces: whoever is ready takes the next, so that none waits long


class _Crew:
    """The threads that help the caller: made when first needed, and again in a forked child."""

    def __init__(self) -> None:
        self.wished: int | None = None
        self.pool: ThreadPoolExecutor | None = None
        self.making = threading.Lock()

    @property
    def count(self) -> int:
        """How many they are with the caller; asked for when first needed, so that an import cannot fail for it."""
        if self.wished is None:
            self.wished = default_count()
        return self.wished

    def helpers(self) -> ThreadPoolExecutor:
        with self.making:
            if self.pool is None:
                self.pool = ThreadPoolExecutor(self.count - 1, thread_name_prefix="npsnn")
            return self.pool


def default_count() -> int:
    """NPSNN_NUM_THREADS, or NUMBA_NUM_THREADS, or the processors that this process may use."""
    for name in ("NPSNN_NUM_THREADS", "NUMBA_NUM_THREADS"):
        wish = os.environ.get(name, "")
        if wish:
            if not wish.isdecimal() or int(wish) == 0:
                raise ValueError(f"{name} is {wish!r}, expected a whole number above 0")
            return int(wish)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count() -> int:
    """How many threads a kernel is shared among, the caller's among them."""
    return _crew.count


def set_count(threads: int) -> None:
    """Share kernels among so many threads; results do not depend on it (C11)."""
    pool, _crew.pool, _crew.wished = _crew.pool, None, threads
    if pool is not None:
        pool.shutdown()


def parts(items: int, size: int) -> int:
    """How many parts of `size` items there are, the last perhaps shorter."""
    return (items + size - 1) // size


def share(chunks: int, work: Callable[[int, int], object]) -> None:
    """Call work(begin, end) for ranges that together are range(chunks), each once, in several threads.

    Returns, or raises what a call raised, after every call has ended. What a call of `work` shares in turn has the
    threads that are left over, where there are fewer chunks than threads; else it does it itself.
    """
    mine = getattr(_working, "threads", None) or _crew.count
    threads = min(mine, chunks)
    if threads <= 1:
        work(0, chunks)
        return
    pieces = min(chunks, threads * PIECES)
    left, taking = iter(range(pieces)), threading.Lock()

    def take() -> None:
        before = getattr(_working, "threads", None)
        _working.threads = mine // threads
        try:
            while True:
                with taking:
                    k = next(left, None)
                if k is None:
                    return
                work(chunks * k // pieces, chunks * (k + 1) // pieces)
        finally:
            _working.threads = before

    helpers = [_crew.helpers().submit(take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        errors = [None if helper.cancel() else helper.exception() for helper in helpers]
    for error in errors:
        if error is not None:
            raise error


_crew = _Crew()
_working = threading.local()  # how many threads may share what this one is at; none where nothing is shared yet


def _start_again() -> None:
    """A forked child has none of its parent's threads."""
    wished = _crew.wished
    _crew.__init__()  # type: ignore[misc]
    _crew.wished = wished


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_again)
