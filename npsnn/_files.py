"""Writing a file so that a crash leaves the old one or the new one (floor 0)."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`; whatever is written there becomes `path` if the block ends well.

    It is flushed to the disk, then renamed, then the folder is flushed: a reader sees the old file or the new one.
    If the block fails, the temporary file is removed and `path` is as it was.
    """
    target = Path(os.path.realpath(path))
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part" + target.suffix, dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        _flush(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # some systems cannot flush a folder; the rename itself is done
        _flush(target.parent)


def write(path: str | os.PathLike[str], fill: Callable[[IO[bytes]], object]) -> None:
    """Write `path` through `fill(file)`, all or nothing."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        fill(file)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
