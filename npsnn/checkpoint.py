"""Checkpoints: everything about a network and its optimiser in one file (floor 4).

The file is NumPy's .npz (a zip of .npy arrays) with one member `meta`, JSON: the format's version, the extras that are
no arrays, and the SHA-256 of every array. No pickle is written or read.
"""

import hashlib
import json
import os
import zipfile
import zlib
from typing import Any

import numpy as np

from npsnn import _files
from npsnn._check import Array
from npsnn.network import Sequential
from npsnn.optim import Adam

FORMAT = "npsnn checkpoint 1"

# What the zip and .npy readers raise on a damaged file; OSError is a seek to where the file is not.
_UNREADABLE = (
    ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, OSError, zipfile.BadZipFile, zlib.error
)  # fmt: skip


def save(path: str | os.PathLike[str], net: Sequential, optimizer: Adam | None = None, **extra: Any) -> None:
    """Write a checkpoint; a crash at any moment leaves the old file or the new one.

    `extra` is kept too: arrays, whatever JSON can say, and dicts of both. TypeError for anything else, before a byte
    is written.

    Example
    -------
    >>> import tempfile, npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(2, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/net.npz", net, epoch=3)
    ...     load(folder + "/net.npz")["epoch"]
    3
    """
    arrays = {f"net/{name}": value for name, value in net.state_dict().items()}
    plain: dict[str, Any] = {}
    if optimizer is not None:
        for name, value in optimizer.state_dict().items():
            _sort(f"optimizer/{name}", value, arrays, plain)
    for name, value in extra.items():
        if name in ("net", "optimizer"):
            raise TypeError(f"save: {name!r} is the checkpoint's own name; call the extra something else")
        _sort(f"extra/{name}", value, arrays, plain)
    meta = {"format": FORMAT, "sha256": {name: _sha256(a) for name, a in arrays.items()}, "plain": plain}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    _files.write(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A checkpoint as a dict: "net" and "optimizer" (None without one), each for its `load_state_dict`, and the extras.

    ValueError for a file that is no checkpoint, is damaged, or is of another version; FileNotFoundError as usual.
    """
    arrays = _members(path)
    try:
        meta = json.loads(arrays.pop("meta").tobytes())
        sums, plain, form = meta["sha256"], meta["plain"], meta["format"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{os.fspath(path)}: not a checkpoint of npsnn") from None
    if form != FORMAT:
        raise ValueError(f"{os.fspath(path)}: is {form!r}, this version reads {FORMAT!r}")
    for name in sorted(set(sums) | set(arrays)):
        if name not in arrays or sums.get(name) != _sha256(arrays[name]):
            raise ValueError(f"{os.fspath(path)}: damaged: {name} is not what was written")
    checkpoint: dict[str, Any] = {"net": {}, "optimizer": {}, "extra": {}}
    for name, value in [*arrays.items(), *plain.items()]:
        *groups, key = name.split("/")
        inner = checkpoint
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[key] = value
    extra = checkpoint.pop("extra")
    return {**extra, "net": checkpoint["net"], "optimizer": checkpoint["optimizer"] or None}


def _members(path: str | os.PathLike[str]) -> dict[str, Array]:
    with open(path, "rb") as file:
        try:
            if file.read(2) != b"PK":
                raise ValueError("it is no .npz file")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            return {name: archive[name] for name in archive.files}
        except _UNREADABLE as error:
            raise ValueError(f"{os.fspath(path)}: not a readable checkpoint: {error}") from None


def _sort(name: str, value: Any, arrays: dict[str, Array], plain: dict[str, Any]) -> None:
    """Put `value` where it belongs: with the arrays or with what JSON can say; a dict entry by entry."""
    if isinstance(value, dict) and value:
        for key, entry in value.items():
            if not isinstance(key, str) or "/" in key:
                raise TypeError(f"save: {name} has the key {key!r}; a key is a string without a slash")
            _sort(f"{name}/{key}", entry, arrays, plain)
    elif isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiubc":
            raise TypeError(f"save: {name} is an array of {value.dtype}, which needs pickle")
        arrays[name] = value
    else:
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise TypeError(f"save: {name} is a {kind}: neither an array nor something JSON can say") from None
        plain[name] = value


def _sha256(a: Array) -> str:
    """Of the dtype, the shape and the bytes, in C order."""
    head = f"{a.dtype.str}{a.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(a).tobytes()).hexdigest()
