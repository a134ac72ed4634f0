"""One second of CPU time for an input, and a bound on memory.

The time is the process's own, so that a slow or busy machine fails nothing. Memory is bounded where the system has
/proc (Linux): the address space may grow by MEMORY over what it was; elsewhere a MemoryError alone tells.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SECONDS = 1.0
MEMORY = 2**28  # bytes; the largest input unpacks to four million
_TICK = 0.25


class Hang(BaseException):  # not an Exception, so that no reader takes it for a damaged file
    """Raised in the middle of a read that has had its second."""


class Watch:
    """The CPU time of one read after another; it interrupts one that does not end, if that runs Python at all."""

    def __init__(self) -> None:
        self._begun: float | None = None

    def begin(self) -> None:
        """A read begins."""
        self._begun = time.process_time()

    def end(self) -> bool:
        """A read has ended; whether within its second."""
        assert self._begun is not None
        took, self._begun = time.process_time() - self._begun, None
        return took <= SECONDS

    def _look(self, *_: object) -> None:
        if self._begun is not None and time.process_time() - self._begun > SECONDS:
            raise Hang


@contextlib.contextmanager
def watch() -> Iterator[Watch]:
    """A watch whose clock ticks while the block runs."""
    watching = Watch()
    if not hasattr(signal, "setitimer"):
        yield watching
        return
    before = signal.signal(signal.SIGPROF, watching._look)
    signal.setitimer(signal.ITIMER_PROF, _TICK, _TICK)
    try:
        yield watching
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def memory() -> Iterator[None]:
    """In the block the process may take MEMORY more than it has."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    wanted = has + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (wanted if soft == resource.RLIM_INFINITY else min(wanted, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
