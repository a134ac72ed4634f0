"""What tests/fuzz found in checkpoints: forgeries with right sums, and damage, each a plain test.

What it found in the other readers is beside their own tests: tests/test_npy.py, tests/verify/test_recording.py.
"""

import contextlib
import hashlib
import json
import zipfile

import numpy as np
import pytest

import npsnn
from npsnn import _npy, checkpoint

ONES = _npy.pack(np.ones(2, np.float32))


def forged(path, arrays=(), plain=None, sums=None):
    """A file as `save` writes it, around anything: name -> contents beside meta.json, and what stands in that."""
    meta = {"format": checkpoint.FORMAT, "network": {}, "plain": plain or {}}
    members = {"meta.json": (json.dumps(meta, sort_keys=True, indent=1) + "\n").encode(), **dict(arrays)}
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items())
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [*members.items(), ("SHA256SUMS", lines.encode() if sums is None else sums)]:
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o600 << 16
            archive.writestr(info, data)
    return path


def test_the_forger_writes_what_save_writes(tmp_path):
    plain = {"extra/epoch": 3, "extra/none": {}}
    found = checkpoint.load(forged(tmp_path / "a.npz", {"extra/e/w.npy": ONES, "net/w.npy": ONES}, plain))
    assert found["net"]["w"].tolist() == found["e"]["w"].tolist() == [1, 1]
    assert (found["epoch"], found["none"], found["optimizer"], found["network"]) == (3, {}, None, {})


@pytest.mark.parametrize(("arrays", "plain"), [
    (["../up"], {}), (["other/w"], {}), (["Net/w"], {}), (["w"], {}), (["/w"], {}), ([""], {}), (["network/w"], {}),
    (["extra/net"], {}), (["extra/network/w"], {}), ([], {"extra/optimizer": 1}), ([], {"other/w": 1}), ([], {"w": 1}),
    (["extra/w"], {"extra/w": 1}), (["extra/w/x"], {"extra/w": {}}), (["extra/" * 3000 + "w"], {}),
    ([], {"extra/w": {"x": 1}}), ([], {"extra/w": {"x": {}}}), ([], {"net": {}}), ([], {"extra": {}}),
    ([], {"extra/a\nb": 1}), ([], {"extra/\x1b[2J": 1}),
], ids=repr)  # fmt: skip
def test_what_save_does_not_write_is_refused_though_all_sums_are_right(tmp_path, arrays, plain):
    """It would load as less than it says: one thing hides another, or stands where nobody looks."""
    path = forged(tmp_path / "a.npz", {f"{name}.npy": ONES for name in arrays}, plain)
    with pytest.raises(ValueError, match=r"a\.npz: damaged: ") as caught:
        checkpoint.load(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["net/a\nb.npy", "net/\x1b[2J.npy", "\u2028", "\r"], ids=ascii)
def test_a_name_that_no_terminal_shows_is_in_no_message(tmp_path, name):
    path = forged(tmp_path / "a.npz", {name: b"no array"})
    with pytest.raises(ValueError, match=r"a\.npz: not a readable checkpoint: it has a member called '") as caught:
        checkpoint.load(path)
    assert str(caught.value).isprintable()


def test_sums_of_something_that_no_terminal_shows(tmp_path):
    path = forged(tmp_path / "a.npz", {"net/w.npy": ONES}, sums=b"0" * 64 + b"  net/\x1b[2J.npy\n\xff\0  x\n")
    with pytest.raises(ValueError, match=r"a\.npz: damaged: it is not what") as caught:
        checkpoint.load(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["net/" + "y" * (2**16 - 5), "net/" + "y" * 65523 + ".npy"], ids=len)
def test_a_name_as_long_as_a_zip_holds(tmp_path, name):
    """With .npy after it, it is longer than that."""
    path = forged(tmp_path / "a.npz", {name: ONES})
    with (
        pytest.raises(ValueError, match=r"a\.npz: damaged: it is not what")
        if not name.endswith(".npy")
        else contextlib.nullcontext()
    ):
        assert checkpoint.load(path)["net"][name[4:-4]].tolist() == [1, 1]


def test_an_extra_is_called_something_that_can_be_read_again(tmp_path):
    net = npsnn.Sequential(npsnn.Linear(2, 1), backend="reference")
    with pytest.raises(TypeError, match=r"save: extra has the key 'a\\nb'; a key is a printable string"):
        checkpoint.save(tmp_path / "a.npz", net, **{"a\nb": 1})
    assert list(tmp_path.iterdir()) == []
