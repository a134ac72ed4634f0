"""Weights as .safetensors: what comes back, what is refused, and what a crash or a damaged file leaves.

tests/peers/test_safetensors_torch.py does it with the files and the networks of PyTorch and snnTorch.
"""

import json
import os
import sys

import numpy as np
import pytest

import npsnn
from npsnn import utils

NEED = 'npsnn: .safetensors files need safetensors: pip install "npsnn[safetensors]"'


def network(dtype=np.float32, seed=1, last=None, features=3, bias=True):
    return npsnn.Sequential(
        npsnn.Conv2d(1, 2, 2),
        npsnn.Leaky([[[0.25]], [[0.9]]], threshold=0.7, reset_mechanism="zero"),
        npsnn.Flatten(),
        npsnn.Linear(8, features, bias=bias),
        npsnn.Leaky(0.9, learn_beta=True, learn_threshold=True) if last is None else last,
        dtype=dtype, backend="reference", seed=seed,
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    """Where a file may be, of the name that every error begins with."""
    pytest.importorskip("safetensors", reason='needs safetensors: pip install "npsnn[safetensors]"')
    return tmp_path / "net.safetensors"


def same_bits(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert (value.dtype, value.shape, value.tobytes()) == (b[name].dtype, b[name].shape, b[name].tobytes()), name


def file_of(header, data=b""):
    """The bytes of a file with any header."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_come_back_to_the_bit(path, dtype):
    net, other = network(dtype), network(dtype, seed=2)
    utils.save_safetensors(path, net)
    assert other.load_state_dict(utils.load_safetensors(path)) == ([], [])
    same_bits(other.state_dict(), net.state_dict())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_the_file_holds(path, dtype):
    """The parameters, and the constants of snnTorch's neurons; a learnt constant as it is now. Read by others too."""
    net = network(dtype)
    net.params["4.beta"] = np.array(0.5)
    utils.save_safetensors(path, net)
    constants = {
        "1.beta": np.array([[[0.25]], [[0.9]]], dtype),
        "1.threshold": np.array(0.7, dtype),
        "1.graded_spikes_factor": np.array(1, dtype),
        "1.reset_mechanism_val": np.array(1),
        "4.graded_spikes_factor": np.array(1, dtype),
        "4.reset_mechanism_val": np.array(0),
    }
    from safetensors.numpy import load_file

    same_bits(utils.load_safetensors(path), {**constants, **net.state_dict()})
    same_bits(load_file(path), {**constants, **net.state_dict()})


def test_a_file_of_weights_alone_loads(path):
    from safetensors.numpy import save_file

    net = network()
    save_file(network(seed=2).state_dict(), path)
    net.load_state_dict(utils.load_safetensors(str(path)))
    same_bits(net.state_dict(), network(seed=2).state_dict())


def test_what_is_loaded_is_the_callers(path):
    utils.save_safetensors(path, network())
    for value in utils.load_safetensors(path).values():
        value[...] = 0
    same_bits({n: a for n, a in utils.load_safetensors(path).items() if n[2:] in ("weight", "bias")},
              {n: a for n, a in network().state_dict().items() if n[2:] in ("weight", "bias")})  # fmt: skip


OTHERS = [
    (lambda: network(last=npsnn.Leaky(0.8)), "4.beta is 0.9, the network's is 0.8"),
    (lambda: network(last=npsnn.Leaky([0.9, 0.8, 0.9])), "4.beta is 0.9 at (1,), the network's is 0.8"),
    (lambda: network(last=npsnn.Leaky(0.9, 0.5)), "4.threshold is 1.0, the network's is 0.5"),
    (lambda: network(last=npsnn.Leaky(0.9, reset_mechanism="none")), "4.reset_mechanism_val is 0, the network's is 2"),
    (lambda: network(features=4, last=npsnn.Leaky(0.5)), "3.bias has shape (3,), expected (4,)"),
    (lambda: network(bias=False, last=npsnn.Leaky(0.9)), "unexpected 3.bias; the network has 0.weight, "),
    (lambda: network(last=npsnn.Flatten()), "unexpected 4.beta, 4.graded_spikes_factor, 4.reset_mechanism_val, "),
    (lambda: npsnn.Sequential(npsnn.Linear(3, 2), backend="reference"), "0.weight has shape (2, 1, 2, 2), "),
]


@pytest.mark.parametrize("make, message", OTHERS, ids=[message for _, message in OTHERS])
def test_another_network_refuses_the_file_and_stays_as_it_was(path, make, message):
    utils.save_safetensors(path, network(last=npsnn.Leaky(0.9)))
    other = make()
    before = other.state_dict()
    with pytest.raises(ValueError) as caught:
        other.load_state_dict(utils.load_safetensors(path))
    assert str(caught.value).startswith(f"state dict: {message}")
    same_bits(other.state_dict(), before)


def test_float64_into_float32_is_refused_and_the_other_way_loads(path):
    wide, narrow = network(np.float64, seed=2), network()
    utils.save_safetensors(path, narrow)
    wide.load_state_dict(utils.load_safetensors(path))
    np.testing.assert_array_equal(wide.flat_params, narrow.flat_params)
    utils.save_safetensors(path, wide)
    with pytest.raises(TypeError, match=r"^state dict: 0\.bias is float64, .* would lose digits"):
        narrow.load_state_dict(utils.load_safetensors(path))


def test_names_come_layer_by_layer(path):
    layers = [npsnn.Linear(2, 2, bias=False) for _ in range(12)]
    utils.save_safetensors(path, npsnn.Sequential(*layers, backend="reference"))
    assert list(utils.load_safetensors(path)) == [f"{i}.weight" for i in range(12)]


# --- damage --------------------------------------------------------------------------------------------------------


def refused(path, data, message="not a readable .safetensors file: "):
    path.write_bytes(data)
    with pytest.raises(ValueError) as caught:
        utils.load_safetensors(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_no_prefix_of_a_file_loads(path):
    utils.save_safetensors(path, network())
    whole = path.read_bytes()
    for n in range(len(whole)):
        refused(path, whole[:n])
    refused(path, whole + b"\0")


def test_a_damaged_header_is_refused_or_says_something_else(path):
    """Never an error of another kind; a byte of a name may become another name, which load_state_dict refuses."""
    net, before = network(), network().state_dict()
    utils.save_safetensors(path, network(seed=2))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    end = 8 + int.from_bytes(whole[:8], "little")
    survived = 0
    for at in range(end):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.integers(0, 8)]) + whole[at + 1 :])
        try:
            loaded = utils.load_safetensors(path)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            continue
        survived += 1
        with pytest.raises((ValueError, TypeError), match=r"^state dict: "):
            net.load_state_dict(loaded)
        same_bits(net.state_dict(), before)
    assert survived < end / 4


@pytest.mark.parametrize(
    "data",
    [b"", b"PK\3\4" + bytes(40), bytes(8), b"\xff" * 8, b"\x80\4}q\0.", file_of([]), file_of({"a": 1}),
     file_of({"a": {"dtype": "U8", "shape": [1] * 65, "data_offsets": [0, 1]}}, b"\0"),
     file_of({"a": {"dtype": "U8", "shape": [2**62, 8], "data_offsets": [0, 1]}}, b"\0"),
     file_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1]}}, b"\0"),
     file_of({"a": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 1]}}, b"\0")],
    ids=["empty", "zip", "no header", "endless header", "pickle", "list", "number", "axes", "huge", "short", "dtype"],
)  # fmt: skip
def test_what_is_no_such_file_is_refused(path, data):
    refused(path, data)


def test_numbers_that_numpy_does_not_have_are_named(path):
    header = {"0.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    refused(path, file_of(header, bytes(4)), "holds BF16 numbers, which NumPy does not have; convert them before ")


def test_other_numbers_of_numpy_are_for_load_state_dict_to_judge(path):
    net = npsnn.Sequential(npsnn.Linear(2, 1, bias=False), backend="reference")
    half = {"0.weight": {"dtype": "F16", "shape": [1, 2], "data_offsets": [0, 4]}}
    path.write_bytes(file_of(half, np.array([0.5, -2], "<f2").tobytes()))
    net.load_state_dict(utils.load_safetensors(path))
    assert net.params["0.weight"].tolist() == [[0.5, -2]]
    for kind in ("I16", "F16"):
        path.write_bytes(file_of({"0.weight": {**half["0.weight"], "dtype": kind}}, b"\xff\x7f" * 2))
        with pytest.raises((ValueError, TypeError), match=r"^state dict: 0\.weight (is int16|has 2 NaN)"):
            net.load_state_dict(utils.load_safetensors(path))
    assert net.params["0.weight"].tolist() == [[0.5, -2]]


def test_no_file_and_a_folder(path):
    with pytest.raises(FileNotFoundError, match=r"net\.safetensors"):
        utils.load_safetensors(path)
    path.mkdir()
    with pytest.raises(ValueError, match=r"net\.safetensors is a folder, expected a \.safetensors file"):
        utils.load_safetensors(path)


# --- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_crash_while_writing_keeps_the_old_file(path, monkeypatch, call, error):
    utils.save_safetensors(path, network())
    old = path.read_bytes()

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        utils.save_safetensors(path, network(seed=2))
    monkeypatch.undo()
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == [path.name]
    utils.save_safetensors(path, network(seed=2))
    assert path.read_bytes() != old


def test_a_folder_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        utils.save_safetensors(path / "net.safetensors", network())


def test_the_order_of_the_arguments_is_saves(path):
    """And not that of `save_file` in safetensors, which takes the tensors first."""
    for wrong in (path, network().state_dict()):
        with pytest.raises(TypeError, match=r"^save_safetensors: net must be a Sequential, got "):
            utils.save_safetensors(path, wrong)
    assert os.listdir(path.parent) == []


def test_without_the_package_both_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (lambda: utils.save_safetensors(tmp_path / "a", network()), lambda: utils.load_safetensors("a")):
        with pytest.raises(ImportError) as caught:
            call()
        assert str(caught.value) == NEED
    assert os.listdir(tmp_path) == []


def test_a_package_that_is_there_and_broken_says_so_itself(monkeypatch, tmp_path):
    from npsnn import safetensors_file
    from npsnn.spikeplot import _door

    def broken(name):
        raise ModuleNotFoundError("No module named 'its_own_part'", name="its_own_part")

    monkeypatch.setattr("importlib.import_module", broken)
    for call in (safetensors_file._safetensors, lambda: _door.matplotlib("figure")):
        with pytest.raises(ModuleNotFoundError, match="its_own_part"):
            call()
