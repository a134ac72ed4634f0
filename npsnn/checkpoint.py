"""Checkpoints: everything about a network and its optimiser in one file (floor 4).

The file is a zip of .npy arrays, not compressed, which `numpy.load` opens too. Beside the arrays it holds `meta.json`,
what is no array, and `SHA256SUMS`, a line for every other member, as `sha256sum` writes it. There is one way to write
a given state, and nothing else is read: `load` packs again what it found, and refuses a file that is not the same to
the byte. docs/checkpoint.md has the format; no pickle is written or read.
"""

import hashlib
import io
import json
import os
import struct
import zipfile
from typing import Any

import numpy as np

from npsnn import _files, _npy, state_dict
from npsnn._check import Array
from npsnn.network import Sequential
from npsnn.optim import Adam
from npsnn.spec import difference, network_of

FORMAT = "npsnn checkpoint 2"
META, SUMS = "meta.json", "SHA256SUMS"
_OURS = ("net", "optimizer", "network")


def save(path: str | os.PathLike[str], net: Sequential, optimizer: Adam | None = None, **extra: Any) -> None:
    """Write a checkpoint; a crash at any moment leaves the old file or the new one.

    `extra` is kept too: arrays, whatever JSON can say, and dicts of both. TypeError for anything else, before a byte
    is written; OSError, which names `path`, where it cannot be written, and the old file is then as it was.

    Example
    -------
    >>> import tempfile, npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(2, 1))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/net.npz", net, epoch=3)
    ...     load(folder + "/net.npz")["epoch"]
    3
    """
    arrays: dict[str, Array] = {}
    plain: dict[str, Any] = {}
    _sort("net", net.state_dict(), arrays, plain)
    if optimizer is not None:
        _sort("optimizer", optimizer.state_dict(), arrays, plain)
    for name, value in extra.items():
        if name in _OURS:
            raise TypeError(f"save: {name!r} is the checkpoint's own name; call the extra something else")
        _sort("extra", {name: value}, arrays, plain)
    data = pack({"network": network_of(net.layers, net.dtype), "plain": plain}, arrays)
    _files.write(path, lambda file: file.write(data))


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A checkpoint as a dict: "net" and "optimizer" (None without one), each for its `load_state_dict`, and the extras.

    "network" says what the network was: its layers and its dtype. ValueError for a file that is no checkpoint, is
    damaged, or is of another version; FileNotFoundError where there is none.
    """
    return parse(_files.read(path, expected="a checkpoint"), os.fspath(path))


def restore(path: str | os.PathLike[str], net: Sequential, optimizer: Adam | None = None) -> dict[str, Any]:
    """Load a checkpoint into `net` and `optimizer`, both or neither; the extras.

    ValueError, beside those of `load`, where it is of another network, which names the first difference, or has no
    optimiser and one is asked for.

    Example
    -------
    >>> import tempfile, npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(2, 1), npsnn.Leaky(0.5))
    >>> other = npsnn.Sequential(npsnn.Linear(2, 1), npsnn.Leaky(0.75))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(folder + "/net.npz", net)
    ...     restore(folder + "/net.npz", other)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
      ...
    ValueError: .../net.npz is of another network: 1 Leaky has beta 0.5, this one 0.75
    """
    return put(load(path), net, optimizer, os.fspath(path))


def put(saved: dict[str, Any], net: Sequential, optimizer: Adam | None, where: str) -> dict[str, Any]:
    """As `restore`, from what `load` returned for a file that is called `where`."""
    other = difference(saved["network"], network_of(net.layers, net.dtype))
    if other:
        raise ValueError(f"{where} is of another network: {other}")
    state_dict.match(saved["net"], net.params, net.layers, net.dtype, strict=True)
    if optimizer is not None:
        if optimizer.net is not net:
            raise ValueError("restore: the optimizer is of another network than net")
        if saved["optimizer"] is None:
            raise ValueError(f"{where} holds a network without an optimizer")
        optimizer.load_state_dict(saved["optimizer"])
    net.load_state_dict(saved["net"])
    return {name: value for name, value in saved.items() if name not in _OURS}


# --- the file ------------------------------------------------------------------------------------------------------


def pack(meta: dict[str, Any], arrays: dict[str, Array]) -> bytes:
    """The file that says `meta` and `arrays`; the same bytes for the same contents."""
    members = {META: _json({"format": FORMAT, **meta})}
    members |= {f"{name}.npy": _npy.pack(arrays[name]) for name in sorted(arrays)}
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in [*members.items(), (SUMS, sums.encode())]:
            info = zipfile.ZipInfo(name)  # of 1980, so that the time of writing is not in the file
            info.create_system, info.external_attr = 3, 0o600 << 16
            archive.writestr(info, data)
    return file.getvalue()


def parse(data: bytes, where: str) -> dict[str, Any]:
    """What `load` returns, from the bytes of a file that is called `where`."""
    members = _members(data, where)
    if META not in members or SUMS not in members:
        old = " of this version: it is of an early one" if "meta.npy" in members else " of npsnn"
        raise ValueError(f"{where}: not a checkpoint{old}")
    meta = _meta(members.pop(META), where)
    for name, summed in _sums(members.pop(SUMS)).items():
        if name != META and hashlib.sha256(members.get(name, b"")).hexdigest() != summed:
            raise ValueError(f"{where}: damaged: {name.removesuffix('.npy')} is not what was written")
    arrays = {name.removesuffix(".npy"): _npy.parse(content, f"{where}: {name}") for name, content in members.items()}
    form = meta.pop("format")
    if not _packs_into(data, meta, arrays):
        raise ValueError(f"{where}: damaged: it is not what {form!r} would have written")
    tree = _tree({**arrays, **meta["plain"]}, where)
    if not _sorts_into(tree, arrays, meta["plain"]):
        raise ValueError(f"{where}: damaged: its names are not what {form!r} would have written")
    return {
        **tree.get("extra", {}),
        "network": meta["network"],
        "net": tree.get("net", {}),
        "optimizer": tree.get("optimizer"),
    }


def _members(data: bytes, where: str) -> dict[str, bytes]:
    """Name -> contents; nothing is unpacked, so nothing can be more than the file."""
    if data[:4] != b"PK\x03\x04":
        raise ValueError(f"{where}: not a readable checkpoint: it is no .npz file")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > len(data):
                raise ValueError("it promises more than it has")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ValueError("it is compressed")
            for entry in entries:
                if not entry.filename.isprintable():
                    raise ValueError(f"it has a member called {entry.filename!r}")
            return {entry.filename: archive.read(entry) for entry in entries}
    except _files.UNREADABLE_ZIP as error:
        raise ValueError(f"{where}: not a readable checkpoint: {error}") from None


def _meta(text: bytes, where: str) -> dict[str, Any]:
    damaged = ValueError(f"{where}: damaged: {META} is not what was written")
    try:
        meta = json.loads(text)
        form, same = meta["format"], _json(meta) == text
    except (ValueError, TypeError, KeyError, RecursionError):
        raise damaged from None
    if form != FORMAT:
        raise ValueError(f"{where}: is {form!r}, this version reads {FORMAT!r}")
    if not same or meta.keys() != {"format", "network", "plain"} or not isinstance(meta["plain"], dict):
        raise damaged
    return dict(meta)


def _sums(text: bytes) -> dict[str, str]:
    lines = (line.split("  ", 1) for line in text.decode("utf-8", "replace").splitlines() if line.isprintable())
    return {parts[1]: parts[0] for parts in lines if len(parts) == 2}


def _json(value: Any) -> bytes:
    """In one way: sorted, and without the NaN that JSON does not have."""
    return (json.dumps(value, sort_keys=True, allow_nan=False, indent=1) + "\n").encode()


def _tree(flat: dict[str, Any], where: str) -> dict[str, Any]:
    """`{"a/b": 1}` as `{"a": {"b": 1}}`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, key = name.split("/")
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{where}: damaged: {name} is below something that is no group")
        if key in inner:
            raise ValueError(f"{where}: damaged: {name} is there twice")
        inner[key] = value
    for group in ("net", "optimizer", "extra"):
        if not isinstance(tree.get(group, {}), dict):
            raise ValueError(f"{where}: damaged: {group} is no group")
    return tree


def _packs_into(data: bytes, meta: dict[str, Any], arrays: dict[str, Array]) -> bool:
    """Whether a file is the one way to write what was found in it."""
    try:
        return pack(meta, arrays) == data
    except struct.error:  # a name that is longer in UTF-8 than a zip allows
        return False


def _sorts_into(tree: dict[str, Any], arrays: dict[str, Array], plain: dict[str, Any]) -> bool:
    """Whether `save` puts what was found where it was: else one thing hid another, or nobody would look for it."""
    again: dict[str, Array] = {}
    rest: dict[str, Any] = {}
    try:
        for group, value in tree.items():
            ours = group in ("net", "optimizer") or (group == "extra" and value and not value.keys() & {*_OURS})
            if not ours:
                return False
            _sort(group, value, again, rest)
    except (TypeError, RecursionError):
        return False
    return again.keys() == arrays.keys() and rest.keys() == plain.keys()


def _sort(name: str, value: Any, arrays: dict[str, Array], plain: dict[str, Any]) -> None:
    """Put `value` where it belongs: with the arrays or with what JSON can say; a dict entry by entry."""
    if isinstance(value, dict) and (value or name in ("net", "optimizer")):
        for key, entry in value.items():
            if not isinstance(key, str) or "/" in key or not key.isprintable():
                raise TypeError(f"save: {name} has the key {key!r}; a key is a printable string without a slash")
            _sort(f"{name}/{key}", entry, arrays, plain)
    elif isinstance(value, np.ndarray):
        if value.dtype.newbyteorder("<").str not in _npy.KINDS:
            why = ", which needs pickle" if value.dtype.kind == "O" else ", which has no portable form"
            raise TypeError(f"save: {name} is an array of {value.dtype}{why}")
        arrays[name] = value
    else:
        try:
            same = json.loads(_json(value))
        except (TypeError, ValueError, RecursionError):
            kind = type(value).__name__
            raise TypeError(f"save: {name} is a {kind}: neither an array nor something JSON can say") from None
        plain[name] = same
