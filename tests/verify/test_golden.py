"""The golden vectors: how many, from where, what they catch, and that the archive is what it says."""

import ast
import io
import json
import lzma
import os
import random
import shutil
import tarfile
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from npsnn import cli
from npsnn.verify import golden

ROOT = Path(__file__).parents[2]
WHOLE = os.environ.get("NPSNN_WHOLE") == "1"
CASES = list(golden.cases())


# --- what there is -------------------------------------------------------------------------------------------------


def test_the_counts():
    assert len(CASES) == 1128
    assert Counter(c.meta["kind"] for c in CASES) == {"dyadic": 745, "certified": 383}
    assert Counter(c.meta["level"] for c in CASES) == {"lower": 629, "average": 34, "higher": 465}
    assert sum(bool(c.meta.get("float32")) for c in CASES) == 662


def test_at_most_ten_megabytes(tmp_path):
    assert golden.write(tmp_path / "out") == 1128
    assert sum(f.stat().st_size for f in (tmp_path / "out").rglob("*") if f.is_file()) <= 10_000_000


def test_the_whole_tutorial_network_is_among_them():
    case = next(c for c in CASES if c.name == "network-tutorial-LSO")
    kinds = [spec["type"] for spec in case.meta["layers"]]
    assert kinds == ["Conv2d", "MaxPool2d", "Leaky"] * 2 + ["Flatten", "Linear", "Leaky"]
    assert case.inputs["x"].shape == (1, 1, 28, 28) and case.inputs["7.weight"].shape == (10, 1024)
    assert case.expected["spk"].any() and np.abs(case.expected["grad.0.weight"]).max() > 0


@pytest.mark.parametrize("what", ["at_theta", "slow_decay", "huge", "silent", "firing", "hundred"])
def test_the_hard_cases_are_what_they_say(what):
    """Exactly at theta; beta = 1 - 2^-20; membranes of 1e8; none fires; all fire; T = 100."""
    found = [c for c in CASES if c.name.startswith(f"leaky-hard-{what}-")]
    assert len(found) == 6
    for case in found:
        spk, mem, neuron = case.expected["spk"], case.expected["mem"], case.meta["layers"][0]
        assert {
            "at_theta": case.meta["margin"] == "0" and (mem == neuron["threshold"]).any(),
            "slow_decay": neuron["beta"] == 1 - 2.0**-20,
            "huge": np.abs(mem).max() > (1e6 if "zero-attached" in case.name else 1e8),
            "silent": not spk.any(),
            "firing": spk.all(),
            "hundred": len(spk) == 100,
        }[what], case.name


def test_pools_on_spikes_have_ties():
    found = [c for c in CASES if c.name.startswith("maxpool2d") and c.name.endswith("spikes")]
    assert len(found) == 24 and all(set(np.unique(c.inputs["x"])) == {0.0, 1.0} for c in found)


def test_every_case_states_its_margin_and_what_is_allowed():
    for case in CASES:
        assert case.meta["allowed_ulp"] == (0 if case.meta["kind"] == "dyadic" else 4)
        margin = case.meta["margin"]
        if any(spec["type"] == "Leaky" for spec in case.meta.get("layers", [])):
            assert 0 <= _number(margin) and (_number(margin) == 0 or _number(margin) >= 2.0**-40), case.name
        else:
            assert margin is None, case.name


def _number(text):
    return float(Fraction(text)) if "/" in text or "." not in text else float(text)


def test_the_stored_doubles_are_the_exact_values_correctly_rounded():
    """Numerator over denominator, or 40 decimals: Python's own division and parsing round correctly."""
    numbers = 0
    for name, data in golden._files().items():
        if not name.endswith("/exact.json"):
            continue
        case = next(c for c in CASES if c.name == name.split("/")[0])
        for array, exact in json.loads(data).items():
            if "decimal" in exact:
                values = [float(v) for v in exact["decimal"]]
            else:
                fractions = zip(exact["numerator"], exact["denominator"], strict=True)
                values = [int(n) / int(d) for n, d in fractions]
            stored = case.expected[array.removeprefix("out.")].ravel()
            assert stored.tolist() == values, (name, array)
            numbers += len(values)
    assert numbers == 53_967


# --- where they come from ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "golden").glob("*.py")), ids=lambda p: p.name)
def test_their_origin_does_not_import_the_engine(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert not [name for name in names if name.startswith("npsnn")]


def test_every_case_is_computed_again():
    """Byte for byte: a third of them; with NPSNN_WHOLE=1, and by `python -m tests.golden.make --check`, all."""
    pytest.importorskip("mpmath", reason='needs mpmath: pip install "npsnn[test]"')
    from tests.golden.cases import every_case

    files, made, rng = golden._files(), 0, random.Random(0)
    assert len(files) == 14_782
    for case in every_case():
        if WHOLE or rng.random() < 1 / 3:
            for path, data in case.files():
                assert files[path] == data, path
                made += 1
    assert made == len(files) - 1 if WHOLE else made > 4_000  # all but the manifest


# --- what the engine makes of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["reference", "cpu"], indirect=True)  # cuda: tests/cuda/test_golden.py
def test_every_case_holds(backend):
    results = golden.check(backend)
    assert len(results) == 1128 + 662
    assert [(r.case.name, r.dtype, r.array, r.error) for r in results if not r.ok] == []
    assert {r.error for r in results if r.case.meta["kind"] == "dyadic"} == {0.0}


@pytest.mark.parametrize("change", [np.nan, np.inf, "shape"])
def test_an_array_that_is_none_fails(change):
    case = CASES[0]
    outputs = {name: a.copy() for name, a in case.expected.items()}
    last = list(outputs)[-1]
    outputs[last] = outputs[last][:-1] if change == "shape" else np.full_like(outputs[last], change)
    result = golden.judge(case, outputs)
    assert not result.ok and result.error == np.inf and result.array == last


def test_a_number_off_by_more_than_is_allowed_fails():
    """One unit of the last place for a dyadic case, five for a certified one; four are allowed."""
    dyadic = next(c for c in CASES if c.name == "linear-00")
    spk = np.nextafter(dyadic.expected["spk"], np.inf)
    assert not golden.judge(dyadic, {**dyadic.expected, "spk": spk}).ok
    certified = next(c for c in CASES if c.meta["op"] == "adam")
    for units, ok in ((0, True), (4, True), (5, False)):
        v = certified.expected["v"].copy()
        at = np.abs(v).argmax()
        v[at] += units * 2.0 ** np.floor(np.log2(np.abs(v[at]))) * 2.0**-52
        assert golden.judge(certified, {**certified.expected, "v": v}).ok is ok


# --- the archive and the folder ------------------------------------------------------------------------------------


def test_the_folder_is_the_archive(tmp_path, capsys):
    assert cli.main(["golden", str(tmp_path / "out")]) == 0
    assert "1,128 cases" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert len(manifest["cases"]) == 1128
    for name, entry in manifest["cases"].items():
        assert {f.name for f in (tmp_path / "out" / name).iterdir()} == set(entry["files"])
    first = tmp_path / "out" / "linear-00"
    assert np.load(first / "in.x.npy").dtype == np.dtype("<f8")


def test_a_folder_that_holds_something_is_refused(tmp_path, capsys):
    (tmp_path / "mine").write_text("kept")
    assert cli.main(["golden", str(tmp_path)]) == 2
    assert "is there and not an empty folder" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "kept"
    assert cli.main(["golden", str(tmp_path / "mine")]) == 2


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A copy of the archive that a test may spoil: (member -> bytes) -> None."""

    def rewrite(change):
        with tarfile.open(golden.ARCHIVE) as original:
            files = {m.name: original.extractfile(m).read() for m in original}
        change(files)
        path = tmp_path / "golden.tar.xz"
        with tarfile.open(path, "w:xz", preset=0) as copy:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                copy.addfile(info, io.BytesIO(data))
        monkeypatch.setattr(golden, "ARCHIVE", path)
        golden._files.cache_clear()

    yield rewrite
    golden._files.cache_clear()


def test_a_changed_file_is_refused(archive, tmp_path):
    def change(files):
        data = bytearray(files["linear-00/out.spk.npy"])
        data[-1] ^= 1
        files["linear-00/out.spk.npy"] = bytes(data)

    archive(change)
    with pytest.raises(ValueError, match=r"linear-00/out\.spk\.npy is not what the manifest says"):
        golden.write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("change", [lambda f: f.pop("linear-00/in.x.npy"), lambda f: f.update({"more/x.npy": b""})])
def test_a_missing_or_further_file_is_refused(archive, change):
    archive(change)
    with pytest.raises(ValueError, match="the files are not those of its manifest"):
        next(golden.cases())


def test_a_cut_archive_is_an_error(tmp_path, monkeypatch):
    shutil.copy(golden.ARCHIVE, tmp_path / "cut.tar.xz")
    whole = (tmp_path / "cut.tar.xz").read_bytes()
    (tmp_path / "cut.tar.xz").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(golden, "ARCHIVE", tmp_path / "cut.tar.xz")
    golden._files.cache_clear()
    with pytest.raises((EOFError, lzma.LZMAError, tarfile.ReadError)):
        golden.digest()
    golden._files.cache_clear()
