"""Checkpoints: what comes back, and what a crash, a flipped byte or a strange file leaves."""

import os
import pickle
import zipfile

import numpy as np
import pytest

import npsnn
from npsnn import optim, utils


@pytest.fixture
def trained():
    """A network and its optimiser after two steps."""
    net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5, learn_beta=True), backend="reference", seed=1)
    optimizer, rng = optim.Adam(net, lr=0.1, weight_decay=0.01), np.random.default_rng(0)
    for _ in range(2):
        optimizer.step({k: rng.standard_normal(p.shape).astype(np.float32) for k, p in net.params.items()})
    return net, optimizer


def test_everything_comes_back(trained, tmp_path):
    net, optimizer = trained
    generator = npsnn.Generator(3)
    extra = {"epoch": 7, "note": "mü", "list": [1, 2.5, None], "ids": np.arange(3), "generator": generator.get_state()}
    utils.save(tmp_path / "a.npz", net, optimizer, **extra)
    loaded = utils.load(tmp_path / "a.npz")
    assert (loaded["epoch"], loaded["note"], loaded["list"]) == (7, "mü", [1, 2.5, None])
    assert loaded["ids"].tolist() == [0, 1, 2]

    other = npsnn.Sequential(*net.layers, backend="reference", seed=2)
    adam = optim.Adam(other)
    other.load_state_dict(loaded["net"])
    adam.load_state_dict(loaded["optimizer"])
    grads = {k: np.ones_like(p) for k, p in net.params.items()}
    optimizer.step(grads)
    adam.step(grads)
    np.testing.assert_array_equal(other.flat_params, net.flat_params)

    resumed = npsnn.Generator(0)
    resumed.set_state(loaded["generator"])
    assert resumed.int64() == generator.int64()


def test_without_an_optimiser(trained, tmp_path):
    utils.save(tmp_path / "a.npz", trained[0])
    assert utils.load(tmp_path / "a.npz")["optimizer"] is None


@pytest.mark.parametrize("point", ["fsync", "replace", "savez"])
def test_a_failure_while_writing_keeps_the_old_file(trained, tmp_path, monkeypatch, point):
    path = tmp_path / "a.npz"
    utils.save(path, *trained, epoch=1)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np if point == "savez" else os, point, fail)
    with pytest.raises(OSError, match="No space left"):
        utils.save(path, *trained, epoch=2)
    monkeypatch.undo()
    assert utils.load(path)["epoch"] == 1
    assert os.listdir(tmp_path) == ["a.npz"]


def test_an_interrupt_while_writing_keeps_the_old_file(trained, tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    utils.save(path, *trained, epoch=1)

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        utils.save(path, *trained, epoch=2)
    assert utils.load(path)["epoch"] == 1 and os.listdir(tmp_path) == ["a.npz"]


def test_a_link_is_written_through(trained, tmp_path):
    (tmp_path / "real").mkdir()
    utils.save(tmp_path / "real" / "a.npz", trained[0], epoch=1)
    os.symlink(tmp_path / "real" / "a.npz", tmp_path / "link.npz")
    utils.save(tmp_path / "link.npz", trained[0], epoch=2)
    assert utils.load(tmp_path / "real" / "a.npz")["epoch"] == 2 and (tmp_path / "link.npz").is_symlink()


def rewrite(path, change):
    """Unpack the archive, let `change` edit the members, and pack them again with right checksums of the zip."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def flip(name, at=-1):
    def change(members):
        content = bytearray(members[name])
        content[at] ^= 1
        members[name] = bytes(content)

    return change


DAMAGE = [
    (flip("net/0.weight.npy"), "damaged: net/0.weight is not what was written"),
    (flip("optimizer/m.npy"), "damaged: optimizer/m is not what was written"),
    (lambda members: members.pop("net/0.bias.npy"), "damaged: net/0.bias is not what was written"),
    (
        lambda members: members.update({"net/9.npy": members["net/0.bias.npy"]}),
        "damaged: net/9 is not what was written",
    ),
    (lambda members: members.pop("meta.npy"), "not a checkpoint of npsnn"),
    (flip("meta.npy"), "not a checkpoint of npsnn"),
    (
        lambda m: m.update({"meta.npy": m["meta.npy"].replace(b"npsnn checkpoint 1", b"npsnn checkpoint 9")}),
        "is 'npsnn checkpoint 9', this version reads 'npsnn checkpoint 1'",
    ),
]


@pytest.mark.parametrize("change, message", DAMAGE, ids=[m[:30] + str(i) for i, (_, m) in enumerate(DAMAGE)])
def test_damage_is_named(trained, tmp_path, change, message):
    path = tmp_path / "a.npz"
    utils.save(path, *trained)
    rewrite(path, change)
    with pytest.raises(ValueError, match=r"a\.npz: ") as caught:
        utils.load(path)
    assert message in str(caught.value)


def test_no_prefix_of_a_file_loads(trained, tmp_path):
    path = tmp_path / "a.npz"
    utils.save(path, *trained)
    whole = path.read_bytes()
    for n in range(0, len(whole), 97):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"a\.npz: not a"):
            utils.load(path)


def test_no_flipped_bit_changes_what_loads(trained, tmp_path):
    """A bit in a name, a date or a header of the zip may not matter; then all that comes back is what was written."""
    path, net = tmp_path / "a.npz", trained[0]
    utils.save(path, *trained, epoch=3)
    whole = path.read_bytes()
    expected = utils.load(path)
    refused = 0
    for at in range(0, len(whole) - 22, 13):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        try:
            loaded = utils.load(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
            continue
        assert loaded["epoch"] == 3
        assert loaded["optimizer"].keys() == expected["optimizer"].keys()
        for name, value in loaded["optimizer"].items():
            np.testing.assert_array_equal(value, expected["optimizer"][name])
        for name, value in loaded["net"].items():
            np.testing.assert_array_equal(value, net.params[name])
    assert refused > 100


def test_damage_in_the_last_record_of_the_zip_is_named(trained, tmp_path):
    """Its offset of the directory, 256 too large: the members then seem to lie before the beginning of the file."""
    path = tmp_path / "a.npz"
    utils.save(path, *trained)
    whole = bytearray(path.read_bytes())
    whole[-5] += 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.npz: not a readable checkpoint"):
        utils.load(path)


def test_no_pickle_is_read(tmp_path):
    (tmp_path / "p").write_bytes(pickle.dumps({"net": 1}))
    with pytest.raises(ValueError, match=r"p: not a readable checkpoint: it is no \.npz file"):
        utils.load(tmp_path / "p")
    np.savez(tmp_path / "o.npz", meta=np.array([{}], object))
    with pytest.raises(ValueError, match=r"o\.npz: not a readable checkpoint"):
        utils.load(tmp_path / "o.npz")


@pytest.mark.parametrize(
    "extra, message",
    [
        ({"f": len}, "save: extra/f is a builtin_function_or_method"),
        ({"x": float("nan")}, "save: extra/x is a float"),
        ({"o": np.array([None])}, "save: extra/o is an array of object, which needs pickle"),
        ({"d": {1: 2}}, "save: extra/d has the key 1"),
        ({"d": {"a/b": 2}}, "save: extra/d has the key 'a/b'"),
    ],
)
def test_what_cannot_be_kept_is_refused_before_a_byte_is_written(trained, tmp_path, extra, message):
    with pytest.raises(TypeError) as caught:
        utils.save(tmp_path / "a.npz", *trained, **extra)
    assert message in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(trained, tmp_path):
    with pytest.raises(FileNotFoundError):
        utils.save(tmp_path / "none" / "a.npz", trained[0])


def test_another_networks_optimiser_is_refused(trained, tmp_path):
    utils.save(tmp_path / "a.npz", *trained)
    loaded = utils.load(tmp_path / "a.npz")
    other = npsnn.Sequential(npsnn.Linear(4, 2), backend="reference")
    adam = optim.Adam(other)
    with pytest.raises(ValueError, match=r"Adam state: m has shape \(9,\), expected \(10,\)"):
        adam.load_state_dict(loaded["optimizer"])
    assert adam.t == 0
    with pytest.raises(ValueError, match="Adam state: has "):
        adam.load_state_dict({"t": 1})
