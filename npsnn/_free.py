"""How much memory is free, asked before much of it is taken (floor 0).

A system that runs out of memory seldom says so: it ends a process, or stands still. So whoever is about to take much
asks here first, and a refusal comes before any work, with what to do. What is asked for is a lower bound: there may be
too little memory all the same.
"""

from pathlib import Path

import numpy as np

SMALL = 2**26  # bytes that are taken without asking: what is as quick as this must not wait for files to be read
ADDRESSES = int(np.iinfo(np.intp).max)


def require(need: int, what: str, advice: str) -> None:
    """MemoryError where `need` bytes are more than are free: `what` needs them, `advice` says how to need less.

    >>> require(10**30, "the tape", "take fewer steps")
    Traceback (most recent call last):
    MemoryError: the tape needs about 1000000000000 EB, more than there are addresses; take fewer steps
    """
    if need <= SMALL:
        return
    if need > ADDRESSES:
        raise MemoryError(f"{what} needs about {text(need)}, more than there are addresses; {advice}")
    free = bytes_free()
    if free is not None and need > free:
        raise MemoryError(f"{what} needs about {text(need)}, {text(free)} are free; {advice}")


def bytes_free(root: Path = Path("/")) -> int | None:
    r"""What the system can still give this process: less where a limit of its control groups is lower.

    None where that is not told, as on other systems than Linux.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> print(bytes_free(root))
    None
    >>> (root / "proc").mkdir()
    >>> _ = (root / "proc/meminfo").write_text("MemTotal: 16000 kB\nMemAvailable: 9000 kB\n")
    >>> bytes_free(root)
    9216000
    """
    available = _numbers(root / "proc/meminfo").get("MemAvailable:")
    known = [] if available is None else [1024 * available]
    for group in _groups(root):
        limit, taken = _number(group / "memory.max"), _number(group / "memory.current")
        if limit is not None and taken is not None:
            files = _numbers(group / "memory.stat")  # what is taken for them is given back when it is needed
            cached = files.get("active_file", 0) + files.get("inactive_file", 0)
            known.append(max(limit - taken + cached, 0))
    return min(known, default=None)


def text(size: int) -> str:
    """A number of bytes, for a person.

    >>> text(17_180_000_000), text(7_600_000_000), text(900)
    ('17 GB', '7.6 GB', '900 B')
    """
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    k = min((len(str(size)) - 1) // 3, len(units) - 1)
    number = size / 1000**k
    return f"{number:.1f} {units[k]}" if number < 10 and k else f"{number:.0f} {units[k]}"


def _groups(root: Path) -> list[Path]:
    """The folders of this process's control groups, of which each may have a limit: its own, and those above it."""
    own = ""
    for line in _read(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::/"):
            own = line.removeprefix("0::/")
    top = root / "sys/fs/cgroup"
    return [top, *(top.joinpath(*own.split("/")[:n]) for n in range(1, own.count("/") + 2) if own)]


def _numbers(path: Path) -> dict[str, int]:
    """Of a file whose lines begin with a name and a number."""
    lines = (line.split() for line in _read(path).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}


def _number(path: Path) -> int | None:
    """Of a file that is one; None for another, as "max"."""
    word = _read(path).strip()
    return int(word) if word.isdecimal() else None


def _read(path: Path) -> str:
    """The text of a file, nothing where it cannot be read."""
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
