"""Recordings: all that a run of a network computed, as named arrays in a folder or a zip.

The file `recording.json` says which layers there are and for how many steps a static input was shown; beside it stand
NumPy files: `x`; for every neuron layer i `i.U`, `i.S`, and the gradients `i.dS`, `i.dmem`, `i.dU`; for every other
layer `i.y` and `i.dy`; parameters as `i.weight`; gradients of parameters and input as `grad.i.weight` and `grad.x`.
docs/compare.md has the whole format.
"""

import io
import json
import math
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check, _files, backends
from npsnn._check import Array
from npsnn.functional.loss import Loss
from npsnn.layer import Layer
from npsnn.layers import Flatten, Linear
from npsnn.network import Sequential
from npsnn.neuron import Leaky
from npsnn.pairs import FlatLinear
from npsnn.verify.spec import Spec, layer_of, spec_of

FORMAT = 1
SETTINGS = "recording.json"
NAME = re.compile(r"x|grad\.x|(grad\.)?\d+\.(weight|bias|beta|threshold)|\d+\.(U|S|dS|dU|dmem|y|dy)")
MOST_BYTES = 2**32  # of one array


class Recording(NamedTuple):
    """One run: what the network was, and its arrays by name, each (T or 1, B, *features) but for parameters."""

    layers: tuple[Spec, ...]  # as in recording.json; empty where an engine does not say
    num_steps: int | None  # how often a static x was shown; None for an x that varies
    arrays: dict[str, Array]


def record(
    net: Sequential,
    x: Array,
    num_steps: int | None = None,
    *,
    targets: Array | None = None,
    loss_fn: Loss | None = None,
    dspk: Array | None = None,
    dmem: Array | None = None,
) -> Recording:
    """Run `net` forward and backward, layer by layer, and keep everything.

    x and num_steps as in `Sequential.forward`. What goes backward comes from `loss_fn` on `targets`, or is given as
    dspk = dL/dspk_rec and dmem = dL/dmem_rec; without either, only the forward pass is recorded. Errors as those of
    `forward` and `backward`, before anything is recorded.

    Example
    -------
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5))
    >>> run = record(net, np.ones((4, 1, 3), np.float32), dspk=np.ones((4, 1, 2), np.float32))
    >>> sorted(run.arrays)[:6], run.arrays["1.U"].shape
    (['0.bias', '0.dy', '0.weight', '0.y', '1.S', '1.U'], (4, 1, 2))
    """
    spk_rec, mem_rec, tape = net.forward(x, num_steps)
    if loss_fn is not None:
        rec = spk_rec if loss_fn.on == "spk" else mem_rec
        assert rec is not None
        d = loss_fn.value_and_grad(rec, targets)[1]
        dspk, dmem = (d, None) if loss_fn.on == "spk" else (None, d)
    grads = {} if dspk is None and dmem is None else net.backward(tape, dspk, dmem, input_grad=True)
    x = np.array(x, net.dtype)
    arrays: dict[str, Array] = {"x": x, **net.state_dict()}
    y, caches = x[None] if num_steps is not None else x, []
    unflattened = y
    for i in range(len(net.layers)):
        layer, given = _run_as(net, i), y
        y, cache = _forward(layer, unflattened if isinstance(layer, FlatLinear) else given, net, i, tape.num_steps)
        caches.append(cache)
        unflattened = given
        arrays |= {f"{i}.U": np.asarray(cache.U), f"{i}.S": y} if isinstance(layer, Leaky) else {f"{i}.y": y}
    if grads:
        arrays |= _backward(net, caches, dspk, dmem, y)
        arrays["grad.x"] = grads.pop("input")
        arrays |= {f"grad.{name}": d for name, d in grads.items()}
    return Recording(tuple(spec_of(layer) for layer in net.layers), num_steps, arrays)


def _forward(layer: Layer, x: Array, net: Sequential, i: int, T: int) -> tuple[Array, Any]:
    params, ops = _params(net, i), backends.load(net.backend)
    if not isinstance(layer, Leaky):
        y, cache = layer.run(x, params, ops)
        return np.asarray(y), cache
    S, cache = layer.fire(x, params, ops, T)
    return np.asarray(S, net.dtype), cache


def _run_as(net: Sequential, i: int) -> Layer:
    """Layer i; a linear layer after a flattening one as the pair that a network runs, for its order of sums."""
    layer, before = net.layers[i], net.layers[i - 1] if i else None
    return FlatLinear(before, layer) if isinstance(layer, Linear) and isinstance(before, Flatten) else layer


def _backward(
    net: Sequential, caches: list[Any], dspk: Array | None, dmem: Array | None, spk_rec: Array
) -> dict[str, Array]:
    """The gradients of every layer's output, from the last layer down."""
    arrays: dict[str, Array] = {}
    ops = backends.load(net.backend)
    d = np.zeros_like(spk_rec) if dspk is None else np.asarray(dspk, spk_rec.dtype)
    if len(spk_rec) == 1 != len(d):  # a static network without a neuron
        d = d.sum(axis=0, keepdims=True)
    for i in reversed(range(len(net.layers))):
        layer = _run_as(net, i)
        if isinstance(layer, Leaky):
            arrays[f"{i}.dS"] = d
            last = dmem if i == len(net.layers) - 1 else None
            if last is not None:
                arrays[f"{i}.dmem"] = np.asarray(last, d.dtype)
            d = np.asarray(layer.fire_back(d, last, caches[i], ops)[0])
            arrays[f"{i}.dU"] = d
        else:
            arrays[f"{i}.dy"] = d
            back, _ = layer.run_back(d, caches[i], _params(net, i), ops, True)
            assert back is not None
            d = np.asarray(back.reshape(*back.shape[:2], -1) if isinstance(layer, FlatLinear) else back)
    return arrays


def _params(net: Sequential, i: int) -> dict[str, Array]:
    return {name: net.params[f"{i}.{name}"] for name in net.layers[i].param_shapes()}


# --- files ---------------------------------------------------------------------------------------------------------


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
    layers: tuple[Spec, ...] = ()
    num_steps, arrays = None, {}
    for name, data in _read(path):
        if name == SETTINGS:
            layers, num_steps = _settings(data, path)
        else:
            arrays[name.removesuffix(".npy")] = _array(name, data, path)
    if not arrays:
        raise ValueError(f"{path}: no arrays in it")
    return Recording(layers, num_steps, arrays)


def _members(recording: Recording) -> Iterator[tuple[str, bytes]]:
    settings = {"format": FORMAT, "layers": recording.layers, "num_steps": recording.num_steps}
    yield SETTINGS, (json.dumps(settings, indent=1) + "\n").encode()
    for name, array in recording.arrays.items():
        file = io.BytesIO()
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
        np.lib.format.write_array(file, little.reshape(array.shape), version=(1, 0), allow_pickle=False)
        yield f"{name}.npy", file.getvalue()


def _zip(recording: Recording, file: Any) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in _members(recording):
            archive.writestr(name, data)


def _read(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every file; no name is read that a recording cannot have."""
    if path.is_dir():
        for file in sorted(path.iterdir()):
            _check_name(file.name, file.stat().st_size, path)
            yield file.name, file.read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_name(member.filename, member.file_size, path)
                yield member.filename, archive.read(member)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: neither a folder nor a readable zip: {error}") from None


def _check_name(name: str, size: int, path: Path) -> None:
    if name != SETTINGS and not (name.endswith(".npy") and NAME.fullmatch(name.removesuffix(".npy"))):
        raise ValueError(f"{path}: {name!r} is no file of a recording; docs/compare.md lists the names")
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {name} has {size:,} bytes; at most {MOST_BYTES:,} are read")


def _settings(data: bytes, path: Path) -> tuple[tuple[Spec, ...], int | None]:
    try:
        settings = json.loads(data)
        form, layers, num_steps = settings["format"], settings["layers"], settings["num_steps"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: {SETTINGS} needs format, layers and num_steps, as JSON") from None
    if form != FORMAT:
        raise ValueError(f"{path}: is of format {form!r}, this version reads {FORMAT}")
    if not isinstance(layers, list):
        raise ValueError(f"{path}: layers must be a list")
    for spec in layers:
        layer_of(spec)
    if num_steps is not None:
        _check.whole(num_steps, "num_steps", 1, str(path))
    return tuple(layers), num_steps


def _array(name: str, data: bytes, path: Path) -> Array:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read_header(file)
    except ValueError as error:
        raise ValueError(f"{path}: {name} is not a readable .npy file: {error}") from None
    if dtype.kind not in "fiub":
        raise ValueError(f"{path}: {name} is of {dtype}, expected real numbers")
    promised, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if promised != there:
        raise ValueError(f"{path}: {name} has {there:,} bytes of data, its header promises {promised:,}")
    array = np.frombuffer(data, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
    array = array.astype(np.float32 if array.dtype.itemsize <= 4 and array.dtype.kind == "f" else np.float64)
    _check.finite(array, name, str(path))
    return array
