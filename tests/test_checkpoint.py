"""Checkpoints: what comes back, and what a crash, a flipped byte or a strange file leaves."""

import hashlib
import os
import pickle
import zipfile

import numpy as np
import pytest

import npsnn
from npsnn import optim, surrogate, utils


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


def test_a_link_is_written_through(trained, tmp_path):
    (tmp_path / "real").mkdir()
    utils.save(tmp_path / "real" / "a.npz", trained[0], epoch=1)
    os.symlink(tmp_path / "real" / "a.npz", tmp_path / "link.npz")
    utils.save(tmp_path / "link.npz", trained[0], epoch=2)
    assert utils.load(tmp_path / "real" / "a.npz")["epoch"] == 2 and (tmp_path / "link.npz").is_symlink()


def rewrite(path, change, sums=False):
    """Let `change` edit the members, and pack them again with right checksums of the zip, with `sums` also our own."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if sums:
        named = ((name, hashlib.sha256(data).hexdigest()) for name, data in members.items() if name != "SHA256SUMS")
        members["SHA256SUMS"] = "".join(f"{digest}  {name}\n" for name, digest in named).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def flip(name, at=-1):
    def change(members):
        content = bytearray(members[name])
        content[at] ^= 1
        members[name] = bytes(content)

    return change


def swap(name, old, new):
    return lambda members: members.update({name: members[name].replace(old, new)})


DAMAGE = [
    (flip("net/0.weight.npy"), "damaged: net/0.weight is not what was written"),
    (flip("optimizer/m.npy"), "damaged: optimizer/m is not what was written"),
    (lambda members: members.pop("net/0.bias.npy"), "damaged: net/0.bias is not what was written"),
    (lambda m: m.update({"net/9.npy": m["net/0.bias.npy"]}), "damaged: it is not what 'npsnn checkpoint 2' would have"),
    (lambda members: members.pop("meta.json"), "not a checkpoint of npsnn"),
    (lambda members: members.pop("SHA256SUMS"), "not a checkpoint of npsnn"),
    (flip("SHA256SUMS", 70), "damaged: "),
    (flip("meta.json"), "damaged: meta.json is not what was written"),
    (swap("meta.json", b'epoch": 3', b'epoch": 4'), "damaged: "),
    (swap("meta.json", b"checkpoint 2", b"checkpoint 9"), "is 'npsnn checkpoint 9', this version reads 'npsnn checkp"),
    (lambda m: m.update({"meta.npy": m.pop("meta.json")}), "not a checkpoint of this version: it is of an early one"),
]


@pytest.mark.parametrize("change, message", DAMAGE, ids=[m[:30] + str(i) for i, (_, m) in enumerate(DAMAGE)])
def test_damage_is_named(trained, tmp_path, change, message):
    path = tmp_path / "a.npz"
    utils.save(path, *trained, epoch=3)
    rewrite(path, change)
    with pytest.raises(ValueError, match=r"a\.npz: ") as caught:
        utils.load(path)
    assert message in str(caught.value)


FORGED = [  # with right checksums: what remains is that there is one way to write a state
    (swap("meta.json", b'epoch": 3', b'epoch":  3'), "damaged: meta.json is not what was written"),
    (swap("meta.json", b'"extra/epoch": 3', b'"extra/epoch": NaN'), "damaged: meta.json is not what was written"),
    (lambda members: members.update({"net/0.bias": b"1"}), "net/0.bias is not a readable .npy file"),
    (lambda members: members.update({"../up.npy": members["net/0.bias.npy"]}), "is not what '"),
    (swap("net/0.bias.npy", b"(2,)", b"(-2,)"), "net/0.bias.npy is not a readable"),
    (swap("net/0.bias.npy", b"<f4", b"|O8"), "net/0.bias.npy is of |O8, expected numbers or bools"),
    (swap("meta.json", b'"extra/epoch"', b'"net/0.bias/x"'), "below something that is no group"),
]  # fmt: skip


@pytest.mark.parametrize("change, message", FORGED, ids=[m[:30] + str(i) for i, (_, m) in enumerate(FORGED)])
def test_there_is_one_way_to_write_a_state(trained, tmp_path, change, message):
    path = tmp_path / "a.npz"
    utils.save(path, *trained, epoch=3)
    rewrite(path, change, sums=True)
    with pytest.raises(ValueError, match=r"a\.npz: ") as caught:
        utils.load(path)
    assert message in str(caught.value)


def test_the_same_state_is_the_same_file(trained, tmp_path):
    for name in "ab":
        utils.save(tmp_path / name, *trained, epoch=3, list=(1, 2))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_programs_can_read_and_check_it(trained, tmp_path):
    """NumPy reads the arrays, and the sums are those of `sha256sum -c SHA256SUMS`."""
    utils.save(tmp_path / "a.npz", *trained)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["net/0.weight"], trained[0].params["0.weight"])
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        lines = archive.read("SHA256SUMS").decode().splitlines()
        assert [line.split("  ")[1] for line in lines] == archive.namelist()[:-1]
        for line in lines:
            digest, name = line.split("  ")
            assert hashlib.sha256(archive.read(name)).hexdigest() == digest


OTHERS = [
    ({"dtype": np.float64}, "it computes in float32, this one in float64"),
    ({"bias": False}, "0 Linear has bias True, this one False"),
    ({"n_in": 4}, "0 Linear has in_features 3, this one 4"),
    ({"threshold": 2.0}, "1 Leaky has threshold 1.0, this one 2.0"),
    ({"reset_mechanism": "zero"}, "1 Leaky has reset_mechanism subtract, this one zero"),
    ({"learn_beta": False}, "1 Leaky has learn_beta True, this one False"),
    ({"spike_grad": surrogate.sigmoid()}, "1 Leaky has spike_grad {'alpha': 2.0, 'name': 'atan'}, this one {"),
    ({"last": [npsnn.Flatten()]}, "it has 2 layers, this one 3"),
    ({"first": [npsnn.Flatten()]}, "0 is Linear, this one Flatten"),
]


@pytest.mark.parametrize("other, message", OTHERS, ids=[m for _, m in OTHERS])
def test_another_network_is_refused_with_the_first_difference(trained, tmp_path, other, message):
    utils.save(tmp_path / "a.npz", *trained)
    o = {"bias": True, "n_in": 3, "dtype": np.float32, "first": [], "last": [], **other}
    neuron = {"learn_beta": True, **{k: v for k, v in o.items() if k not in ("bias", "n_in", "dtype", "first", "last")}}
    net = npsnn.Sequential(
        *o["first"], npsnn.Linear(o["n_in"], 2, bias=o["bias"]), npsnn.Leaky(0.5, **neuron), *o["last"],
        dtype=o["dtype"], backend="reference",
    )  # fmt: skip
    before = net.flat_params.copy()
    with pytest.raises(ValueError, match=r"a\.npz is of another network: ") as caught:
        utils.restore(tmp_path / "a.npz", net)
    assert message in str(caught.value)
    np.testing.assert_array_equal(net.flat_params, before)


def test_restore_loads_both_or_neither(trained, tmp_path):
    net, optimizer = trained
    utils.save(tmp_path / "a.npz", net, optimizer, epoch=3)
    utils.save(tmp_path / "alone.npz", net)
    other = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.75, learn_beta=True), backend="reference", seed=5)
    adam, before = optim.Adam(other), other.flat_params.copy()
    with pytest.raises(ValueError, match=r"alone\.npz holds a network without an optimizer"):
        utils.restore(tmp_path / "alone.npz", other, adam)
    with pytest.raises(ValueError, match="the optimizer is of another network"):
        utils.restore(tmp_path / "a.npz", other, optimizer)
    np.testing.assert_array_equal(other.flat_params, before)
    assert utils.restore(tmp_path / "a.npz", other, adam) == {"epoch": 3}
    np.testing.assert_array_equal(other.flat_params, net.flat_params)
    np.testing.assert_array_equal(adam.m, optimizer.m)
    assert (adam.t, adam.lr) == (2, 0.1)


def test_no_prefix_of_a_file_loads(trained, tmp_path):
    path = tmp_path / "a.npz"
    utils.save(path, *trained)
    whole = path.read_bytes()
    for n in range(0, len(whole), 97):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match=r"a\.npz: not a"):
            utils.load(path)


def test_no_flipped_bit_changes_what_loads(trained, tmp_path):
    path = tmp_path / "a.npz"
    utils.save(path, *trained, epoch=3)
    whole = path.read_bytes()
    for at in range(0, len(whole), 13):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << at % 8)]) + whole[at + 1 :])
        with pytest.raises(ValueError, match=r"a\.npz: "):
            utils.load(path)


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
    with pytest.raises(ValueError, match=r"o\.npz: not a checkpoint of this version"):
        utils.load(tmp_path / "o.npz")


@pytest.mark.parametrize(
    "extra, message",
    [
        ({"f": len}, "save: extra/f is a builtin_function_or_method"),
        ({"x": float("nan")}, "save: extra/x is a float"),
        ({"o": np.array([None])}, "save: extra/o is an array of object, which needs pickle"),
        ({"d": {1: 2}}, "save: extra/d has the key 1"),
        ({"d": {"a/b": 2}}, "save: extra/d has the key 'a/b'"),
        ({"a/b": 1}, "save: extra has the key 'a/b'"),
        ({"network": 1}, "save: 'network' is the checkpoint's own name"),
        ({"l": np.zeros(2, np.longdouble)}, "which has no portable form"),
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
