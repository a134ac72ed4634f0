"""Recordings: all that a run of a network computed, as named arrays in a folder or a zip.

The file `recording.json` says which layers there are and for how many steps a static input was shown; beside it stand
NumPy files: `x`; for every neuron layer i `i.U`, `i.S`, and the gradients `i.dS`, `i.dmem`, `i.dU`; for every other
layer `i.y` and `i.dy`; parameters as `i.weight`; gradients of parameters and input as `grad.i.weight` and `grad.x`.
docs/compare.md has the whole format. Engines in other languages write them too, so nothing that a file says of itself
is believed.
"""

import contextlib
import io
import json
import os
import re
import reprlib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check, _files, _npy
from npsnn._check import Array
from npsnn.spec import Spec, layer_of

FORMAT = 1
SETTINGS = "recording.json"
NAME = re.compile(r"x|grad\.x|(grad\.)?\d{1,6}\.(weight|bias|beta|threshold)|\d{1,6}\.(U|S|dS|dU|dmem|y|dy)", re.ASCII)
MOST_BYTES = 2**32  # of all files of a zip, unpacked; of one file of a folder


class Recording(NamedTuple):
    """One run: what the network was, and its arrays by name, each (T or 1, B, *features) but for parameters."""

    layers: tuple[Spec, ...]  # as in recording.json; empty where an engine does not say
    num_steps: int | None  # how often a static x was shown; None for an x that varies
    arrays: dict[str, Array]


def save(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Write a recording: a zip where `path` ends in .zip or .npz, else a new or empty folder.

    ValueError for a folder that holds something.
    """
    path = Path(path)
    if path.suffix in (".zip", ".npz"):
        _files.write(path, lambda file: _zip(recording, file))
        return
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} is there and not an empty folder; give another")
    path.mkdir(parents=True, exist_ok=True)
    for name, data in _members(recording):
        (path / name).write_bytes(data)


def load(path: str | os.PathLike[str]) -> Recording:
    """Read a recording: a folder, or a zip of its files.

    ValueError for what is no recording: an unknown name, an array that is not of finite real numbers, a damaged file.
    FileNotFoundError as usual. Nothing is unpickled.

    Example
    -------
    >>> import tempfile
    >>> run = Recording((), None, {"0.U": np.zeros((2, 1, 1)), "0.S": np.zeros((2, 1, 1))})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(run, folder + "/run.zip")
    ...     sorted(load(folder + "/run.zip").arrays)
    ['0.S', '0.U']
    """
    path = Path(path)
    if path.is_dir():
        return _recording(_in_folder(path), path)
    return parse(_files.read(path, expected="a recording"), path)


def parse(data: bytes, path: Path) -> Recording:
    """What `load` returns, from the bytes of a zip; `path` is its name, for the messages."""
    return _recording(_in_zip(data, path), path)


# --- writing -------------------------------------------------------------------------------------------------------


def _members(recording: Recording) -> Iterator[tuple[str, bytes]]:
    settings = {"format": FORMAT, "layers": recording.layers, "num_steps": recording.num_steps}
    yield SETTINGS, (json.dumps(settings, indent=1) + "\n").encode()
    for name, array in recording.arrays.items():
        yield f"{name}.npy", _npy.pack(array)


def _zip(recording: Recording, file: Any) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _members(recording):
            archive.writestr(name, data)


# --- reading -------------------------------------------------------------------------------------------------------


def _recording(files: Iterable[tuple[str, bytes]], path: Path) -> Recording:
    layers: tuple[Spec, ...] = ()
    num_steps, arrays = None, {}
    seen: set[str] = set()
    for name, data in files:
        if name in seen:
            raise ValueError(f"{path}: {name} is there twice")
        seen.add(name)
        if name == SETTINGS:
            layers, num_steps = _settings(data, path)
        else:
            arrays[name.removesuffix(".npy")] = _array(name, data, path)
    if not arrays:
        raise ValueError(f"{path}: no arrays in it")
    return Recording(layers, num_steps, arrays)


def _in_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.iterdir()):
        _check_name(file.name, path)
        yield file.name, _files.read(file, MOST_BYTES)


def _in_zip(data: bytes, path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every file; none is unpacked that a recording cannot have."""
    with _readable(path):
        archive = zipfile.ZipFile(io.BytesIO(data))
    left = MOST_BYTES
    for member in archive.infolist():
        _check_name(member.filename, path)
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{path}: {member.filename} is compressed by another method than deflate")
        left -= member.file_size
        if left < 0:
            raise ValueError(f"{path}: its files are more than {MOST_BYTES:,} bytes, which is all that is read")
        with _readable(path):
            content = _unpacked(archive, member)
        yield member.filename, content


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except _files.UNREADABLE_ZIP as error:
        raise ValueError(f"{path}: neither a folder nor a readable zip: {error}") from None


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """No more than the member's entry promises, and not less."""
    with archive.open(member) as file:
        data = file.read(member.file_size + 1)
    if len(data) != member.file_size:
        raise zipfile.BadZipFile(f"{member.filename} is not as long as the zip says")
    return data


def _check_name(name: str, path: Path) -> None:
    if name != SETTINGS and not (name.endswith(".npy") and NAME.fullmatch(name.removesuffix(".npy"))):
        raise ValueError(f"{path}: {name!r} is no file of a recording; docs/compare.md lists the names")


def _settings(data: bytes, path: Path) -> tuple[tuple[Spec, ...], int | None]:
    try:
        settings = json.loads(data, object_pairs_hook=_once, parse_constant=_no_number)
        form, layers, num_steps = settings["format"], settings["layers"], settings["num_steps"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path}: {SETTINGS} needs format, layers and num_steps, as JSON") from None
    if type(form) is not int or form != FORMAT:
        raise ValueError(f"{path}: is of format {reprlib.repr(form)}, this version reads {FORMAT}")
    if not isinstance(layers, list):
        raise ValueError(f"{path}: layers must be a list")
    for i, spec in enumerate(layers):
        try:
            layer_of(spec)
        except ValueError as error:
            raise ValueError(f"{path}: layer {i}: {error}") from None
    if num_steps is not None and (type(num_steps) is not int or num_steps < 1):
        raise ValueError(f"{path}: num_steps must be an integer of at least 1, or null; got {reprlib.repr(num_steps)}")
    return tuple(layers), num_steps


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that is there twice says two things."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(text: str) -> None:
    raise ValueError(f"JSON has no {text}")


def _array(name: str, data: bytes, path: Path) -> Array:
    array = _npy.parse(data, f"{path}: {name}")
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path}: {name} is of {array.dtype}, expected real numbers")
    kind = np.float32 if array.dtype.itemsize <= 4 and array.dtype.kind == "f" else np.float64
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and (np.abs(array.astype(np.float64)) >= 2**53).any():
        raise ValueError(f"{path}: {name} has integers of 2**53 or more, not all of which a float64 holds")
    array = array.astype(kind)
    _check.finite(array, name, str(path))
    return array
