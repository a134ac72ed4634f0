"""Files all or nothing: written so that a crash leaves the old one or the new one, read whole and only where regular.

    create      a new file beside the target
    write ...   its bytes, in pieces
    flush       they are on the disk
    replace     the name now means the new file
    flush       so does the folder on the disk

Whatever fails before `replace` leaves the target as it was, whatever fails after it leaves the new file (floor 0).
"""

import contextlib
import io
import os
import secrets
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

PIECE = 2**20  # bytes that are written at once
# What Python's zip reader raises on a damaged file; OSError is a seek to where the file is not.
UNREADABLE_ZIP = (
    zipfile.BadZipFile, ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, OSError, OverflowError,
    struct.error, zlib.error,
)  # fmt: skip
STALE = ".npsnn-*.part*"  # what a process that was killed while it wrote leaves behind


class System:
    """What a write asks of the system, each a method, so that a test can fail every one of them."""

    def create(self, path: Path) -> int:
        """A file that was not there, open for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        """How many bytes of `data` were taken; perhaps not all."""
        return os.write(descriptor, data)

    def flush(self, descriptor: int) -> None:
        """To the disk."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Give the file back."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """The name `target` means the file `source` from now on."""
        os.replace(source, target)

    def flush_folder(self, folder: Path) -> None:
        """The names in a folder, to the disk; a system that cannot open one keeps them in its own time."""
        if sys.platform == "win32":
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Of a file."""
        os.unlink(path)


system = System()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`; whatever is written there becomes `path` if the block ends well.

    If the block fails, the temporary file is removed and `path` is as it was. An OSError that names no file names
    `path`.
    """
    with _replacing(path) as (temporary, descriptor):
        system.close(descriptor)
        yield temporary
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            system.flush(descriptor)
        finally:
            system.close(descriptor)


def write(path: str | os.PathLike[str], fill: Callable[[IO[bytes]], object]) -> None:
    """Write `path` through `fill(file)`, all or nothing."""
    buffer = io.BytesIO()
    fill(buffer)
    with _replacing(path) as (_, descriptor):
        try:
            left = buffer.getbuffer()
            while left:
                left = left[system.write(descriptor, left[:PIECE]) :]
            system.flush(descriptor)
        finally:
            system.close(descriptor)


@contextlib.contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[tuple[Path, int]]:
    """(a temporary path, it open for writing); the block closes it, flushed."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".npsnn-{os.getpid()}-{secrets.token_hex(4)}.part{target.suffix}")
    try:
        try:
            yield temporary, system.create(temporary)
            system.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                system.remove(temporary)
            raise
        system.flush_folder(target.parent)
    except OSError as error:
        if error.filename is None or error.filename == str(temporary):
            error.filename, error.filename2 = str(target), None
        raise


def read(path: str | os.PathLike[str], most: int | None = None, expected: str = "a file") -> bytes:
    """All bytes of a regular file.

    FileNotFoundError where there is none; ValueError for a folder, a pipe or a device, which might never end, for more
    than `most` bytes, and for a file that changes while it is read.

    >>> read("/", expected="a checkpoint")
    Traceback (most recent call last):
      ...
    ValueError: / is a folder, expected a checkpoint
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{os.fspath(path)} does not exist") from None
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ValueError(f"{os.fspath(path)} is {what}, expected {expected}")
    if most is not None and status.st_size > most:
        raise ValueError(f"{os.fspath(path)} has {status.st_size} bytes, more than the {most} that are read at most")
    with open(path, "rb") as file:
        data = file.read(status.st_size + 1)
    if len(data) != status.st_size:
        raise ValueError(f"{os.fspath(path)} changed while it was read")
    return data


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a folder to oneself, as far as others ask too; ValueError where another has it. A dead process has none.

    What is no folder nobody has.
    """
    if sys.platform == "win32" or not folder.is_dir():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder} is in use by another run") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def remove_stale(folder: Path) -> int:
    """Remove what writes that were killed left in a folder; how many files."""
    stale = list(folder.glob(STALE))
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)
