"""Read IDX files, the format of MNIST and Fashion-MNIST, and believe nothing that a file says of itself.

    4 bytes        magic: 0, 0, type (8 = unsigned byte), number of dimensions n
    4 bytes * n    sizes, big-endian
    the rest       the values, row by row

The file may be gzipped. What a header promises is compared with a cap and with the file before memory is taken.
"""

import math
import os
import zlib

import numpy as np

from npsnn import _files
from npsnn._check import Array

_CAP = 2**30
_KINDS = {"images": 3, "labels": 1}
_GZIP = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str], kind: str) -> Array:
    """Read one IDX file of unsigned bytes, gzipped or not.

    Parameters
    ----------
    path : str or path
        A regular file.
    kind : "images" or "labels"
        Three dimensions or one.

    Returns
    -------
    values : uint8 array, (N, H, W) for images and (N,) for labels

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is a folder or no regular file, is not IDX, holds the other kind, is cut short, damaged or longer than
        its header says, or promises more than 1 GiB. The message names the file.

    Source
    ------
    http://yann.lecun.com/exdb/mnist/

    Example
    -------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 0, 4]))
    >>> read_idx(path, "labels")
    array([5, 0, 4], dtype=uint8)
    """
    if kind not in _KINDS:
        raise ValueError(f'kind must be "images" or "labels", got {kind!r}')
    return parse(_files.read(path, _CAP, "an IDX file"), kind, path)


def parse(packed: bytes, kind: str, path: str | os.PathLike[str]) -> Array:
    """What `read_idx` returns, from the bytes of a file; `path` is its name, for the messages."""
    start = 4 + 4 * _KINDS[kind]
    header = unpack(packed, start, path)
    _check_magic(header, kind, path)
    if len(header) < start:
        raise ValueError(f"{path} is cut short: {len(header)} bytes are less than a header of {start}")
    sizes = tuple(int(n) for n in np.frombuffer(header, dtype=">u4", offset=4))
    values = _values(packed, start, sizes, path)
    return np.frombuffer(values, dtype=np.uint8).reshape(sizes).copy()


def unpack(packed: bytes, limit: int, path: str | os.PathLike[str]) -> bytes:
    r"""Return at most `limit` bytes of the content of a file: `packed` itself, or what is gzipped in it.

    Parameters
    ----------
    packed : bytes
        The file as it is.
    limit : int, at least 1
        No more than this is decompressed.
    path : str or path
        The file's name, for the messages.

    Raises
    ------
    ValueError
        gzip data is damaged or cut short, or something follows it.

    Example
    -------
    >>> import gzip
    >>> unpack(gzip.compress(bytes(10**6)), 5, "zeros.gz")
    b'\x00\x00\x00\x00\x00'
    """
    if not packed.startswith(_GZIP):
        return packed[:limit]
    gunzip = zlib.decompressobj(wbits=31)
    try:
        content = gunzip.decompress(packed, limit)
    except zlib.error as error:
        raise ValueError(f"{path} is damaged ({error}). Fetch it again.") from None
    if len(content) < limit and not gunzip.eof:
        raise ValueError(f"{path} is cut short: its gzip data stops after {len(content)} bytes. Fetch it again.")
    if gunzip.unused_data:
        raise ValueError(f"{path} has {len(gunzip.unused_data)} bytes after the end of its gzip data")
    return content


def _check_magic(header: bytes, kind: str, path: str | os.PathLike[str]) -> None:
    magics = {bytes([0, 0, 8, dimensions]): name for name, dimensions in _KINDS.items()}
    found = magics.get(header[:4])
    if found == kind:
        return
    expected = f"expected {kind} (magic 0x0000080{_KINDS[kind]})"
    if found:
        raise ValueError(f"{path} holds {found} (magic 0x{header[:4].hex()}), {expected}")
    if header.lstrip()[:1] == b"<":
        raise ValueError(f"{path} starts with {header[:8]!r}: a web page, not IDX data. Fetch it again.")
    raise ValueError(f"{path} is not IDX data: it starts with {header[:4]!r}, {expected}")


def _values(packed: bytes, start: int, sizes: tuple[int, ...], path: str | os.PathLike[str]) -> bytes:
    """The bytes after the header, exactly as many as `sizes` promise."""
    promised = math.prod(sizes)
    text = " x ".join(str(n) for n in sizes)
    if not 0 < promised <= _CAP:
        raise ValueError(f"{path} promises {text} values, expected 1 to {_CAP}")
    # One byte more than promised is asked for, to see whether there is one.
    values = unpack(packed, start + promised + 1, path)[start:]
    if len(values) > promised:
        raise ValueError(f"{path} is longer than its header says: {text} values and then more")
    if len(values) < promised:
        raise ValueError(f"{path} is cut short: its header promises {promised} values, it holds {len(values)}")
    return values
