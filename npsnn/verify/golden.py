"""The golden vectors: reading the archive that ships with the package, and holding a backend against it.

Each case is a folder: `case.json`, inputs `in.*.npy`, expected outputs `out.*.npy`, and for certified cases the exact
values as text, `exact.json`. Where the numbers come from is tests/golden, which does not import npsnn; docs/golden.md
has the format for engines in other languages.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from npsnn import backends
from npsnn import functional as SF
from npsnn._check import Array
from npsnn.network import Sequential, State
from npsnn.neuron import Leaky
from npsnn.spec import layer_of, surrogate_of

ARCHIVE = Path(__file__).with_name("golden.tar.xz")
EPS = 2.0**-52


class Case(NamedTuple):
    """One golden case: what case.json says, its inputs and its expected outputs by name, without `in.` and `out.`."""

    name: str
    meta: dict[str, Any]
    inputs: dict[str, Array]
    expected: dict[str, Array]


class Result(NamedTuple):
    """How one case went on one backend, in one dtype."""

    case: Case
    dtype: str
    array: str  # the one that is furthest off
    error: float  # its largest difference, in units of the last place of its scale; 0: equal; inf: not a number

    @property
    def ok(self) -> bool:
        """Whether the error is within what the case allows."""
        return bool(self.error <= self.case.meta["allowed_ulp"])


def write(folder: str | os.PathLike[str]) -> int:
    """Write every case into a new or empty folder, each file checked against the manifest; how many cases.

    ValueError for a folder that holds something, and for an archive that is not what its manifest says.
    """
    root = Path(folder)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ValueError(f"{root} is there and not an empty folder; give another")
    files = _files()
    for path, data in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return len(json.loads(files["manifest.json"])["cases"])


def cases() -> Iterator[Case]:
    """Every case of the archive.

    >>> case = next(case for case in cases() if case.meta["op"] == "linear")
    >>> case.meta["kind"], sorted(case.inputs), sorted(case.expected)
    ('dyadic', ['0.bias', '0.weight', 'dspk', 'x'], ['grad.0.bias', 'grad.0.weight', 'grad.input', 'spk'])
    """
    files = _files()
    for name, entry in json.loads(files["manifest.json"])["cases"].items():
        arrays = {
            file.removesuffix(".npy"): np.load(io.BytesIO(files[f"{name}/{file}"]), allow_pickle=False)
            for file in entry["files"]
            if file.endswith(".npy")
        }
        inputs, expected = (
            {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)} for start in ("in.", "out.")
        )
        yield Case(name, json.loads(files[f"{name}/case.json"]), inputs, expected)


def digest() -> str:
    """The SHA-256 of the manifest, which holds that of every file."""
    return hashlib.sha256(_files()["manifest.json"]).hexdigest()


@lru_cache(maxsize=1)
def _files() -> dict[str, bytes]:
    """Path -> bytes of every file of the archive, checked against the manifest."""
    with tarfile.open(ARCHIVE) as archive:
        files = {}
        for member in archive:
            data = archive.extractfile(member)
            assert data is not None
            files[member.name] = data.read()
    manifest = json.loads(files["manifest.json"])
    named = {f"{case}/{file}": sha for case, entry in manifest["cases"].items() for file, sha in entry["files"].items()}
    if set(named) != set(files) - {"manifest.json"}:
        raise ValueError(f"{ARCHIVE}: the files are not those of its manifest")
    wrong = [path for path, sha in named.items() if hashlib.sha256(files[path]).hexdigest() != sha]
    if wrong:
        raise ValueError(f"{ARCHIVE}: {wrong[0]} is not what the manifest says; install npsnn again")
    return files


# --- a backend against the cases -----------------------------------------------------------------------------------


def check(backend: str = "auto") -> list[Result]:
    """Every case on one backend: in float64, and in float32 too where its numbers fit."""
    backend = backends.resolve(backend)
    results = []
    for case in cases():
        for dtype in ("float64", "float32") if case.meta.get("float32") else ("float64",):
            try:
                results.append(judge(case, compute(case, backend, dtype), dtype))
            except ValueError as refused:  # the engine itself found a number that is none
                results.append(Result(case, dtype, str(refused), float("inf")))
    return results


def judge(case: Case, outputs: dict[str, Array], dtype: str = "float64") -> Result:
    """Hold an engine's outputs, by the names of `case.expected`, against a case.

    An array's scale is its largest entry, or what case.json says where its sums cancel.
    """
    eps = EPS if dtype == "float64" else 2.0**-23
    worst, error = "", 0.0
    for name, expected in case.expected.items():
        actual = np.asarray(outputs[name], np.float64)
        if actual.shape != expected.shape or not np.isfinite(actual).all():
            return Result(case, dtype, name, float("inf"))
        difference = float(np.abs(actual - expected).max(initial=0.0))
        if difference != 0:
            scale = case.meta.get("scale", {}).get(f"out.{name}", float(np.abs(expected).max(initial=0.0)))
            off = difference / (2.0 ** np.floor(np.log2(scale)) * eps) if scale > 0 else float("inf")
            if off > error:
                worst, error = name, off
    return Result(case, dtype, worst, error)


def compute(case: Case, backend: str, dtype: str) -> dict[str, Array]:
    """What npsnn gives for a case."""
    op = case.meta["op"]
    if op == "loss":
        value, drec = _loss(case.meta).value_and_grad(case.inputs["rec"].astype(dtype), case.inputs["targets"])
        return {"loss": np.array(value), "grad.rec": drec}
    if op == "surrogate":
        return {"derivative": surrogate_of(case.meta["spike_grad"]).derivative(case.inputs["x"].astype(dtype))}
    if op == "adam":
        return _adam(case, backend, dtype)
    return _network(case, backend, dtype)


def _network(case: Case, backend: str, dtype: str) -> dict[str, Array]:
    meta, given = case.meta, {n: a if n == "targets" else a.astype(dtype) for n, a in case.inputs.items()}
    net = Sequential(*(layer_of(spec) for spec in meta["layers"]), dtype=dtype, backend=backend)
    for name in net.params:
        net.params[name][...] = given[name]
    neurons = [i for i, layer in enumerate(net.layers) if isinstance(layer, Leaky)]
    x, T = given["x"], meta["num_steps"]
    B = x.shape[0 if T else 1]
    state = State(B, tuple(given.get(f"state.{i}") for i in neurons))
    spk_rec, mem_rec, tape = net.forward(x, T, state=state)
    out = {"spk": spk_rec} | ({} if mem_rec is None else {"mem": mem_rec})
    dspk, dmem = given.get("dspk"), given.get("dmem")
    if "loss" in meta:
        loss = _loss(meta)
        value, d = loss.value_and_grad(spk_rec if loss.on == "spk" else mem_rec, given["targets"])
        out["loss"] = np.array(value)
        dspk, dmem = (d, None) if loss.on == "spk" else (None, d)
    grads = net.backward(tape, dspk, dmem, input_grad=True, state_grad=True)
    states = {f"grad.state.{i}": d for i, d in zip(neurons, grads.pop("state"), strict=True)}
    return {**out, **states, **{f"grad.{name}": d for name, d in grads.items()}}


def _adam(case: Case, backend: str, dtype: str) -> dict[str, Array]:
    meta, p = case.meta, case.inputs["p"].astype(dtype)
    m, v = np.zeros_like(p), np.zeros_like(p)
    step = backends.load(backend).adam.adam_step
    for t, g in enumerate(case.inputs["g"].astype(dtype), start=1):
        b1, b2 = meta["betas"]
        step(p, g, m, v, t, lr=meta["lr"], b1=b1, b2=b2, eps=meta["eps"], weight_decay=meta["weight_decay"])
    return {"p": p, "m": m, "v": v}


def _loss(meta: dict[str, Any]) -> Any:
    options = {name: value for name, value in meta["loss"].items() if name != "name"}
    return getattr(SF, meta["loss"]["name"])(**options)
