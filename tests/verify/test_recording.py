"""Recordings: what is in them, the way to disk and back, and what is refused."""

import io
import json
import zipfile

import numpy as np
import pytest

import npsnn
from npsnn import functional as SF
from npsnn import surrogate
from npsnn.spec import layer_of, spec_of, surrogate_of
from npsnn.verify import recording_file
from npsnn.verify.recording import Recording, load, record, save

T, B = 5, 3


@pytest.fixture
def net(backend):
    layers = [
        npsnn.Conv2d(1, 2, (2, 3), padding=(1, 0)), npsnn.MaxPool2d(2),
        npsnn.Leaky(0.9, 0.2, surrogate.SFS(slope=2, B=-0.5), learn_beta=True, reset_mechanism="zero"),
        npsnn.Flatten(), npsnn.Linear(12, 4, bias=False), npsnn.Leaky([0.5, 0.6, 0.7, 0.8], 0.1, learn_threshold=True),
    ]  # fmt: skip
    return npsnn.Sequential(*layers, dtype="float64", backend=backend, seed=3)


@pytest.fixture
def run(net, rng):
    x, targets = rng.uniform(0, 3, (B, 1, 5, 6)), np.array([0, 3, 1])
    return x, targets, record(net, x, T, targets=targets, loss_fn=SF.ce_count_loss())


def test_a_recording_has_what_the_network_computes(net, run):
    """Layer by layer, and the same bits as forward and backward in one go."""
    x, targets, found = run
    spk_rec, mem_rec, tape = net.forward(x, T)
    _, dspk = SF.ce_count_loss().value_and_grad(spk_rec, targets)
    grads = net.backward(tape, dspk, input_grad=True)
    expected = {
        "x": x, "5.S": spk_rec, "5.U": mem_rec, "5.dS": dspk, "grad.x": grads.pop("input"), **net.params,
        **{f"grad.{name}": d for name, d in grads.items()},
    }  # fmt: skip
    for name, value in expected.items():
        np.testing.assert_array_equal(found.arrays[name], value, err_msg=name)
    assert set(found.arrays) - set(expected) == {
        "0.y", "1.y", "2.U", "2.S", "3.y", "4.y", "5.dU", "4.dy", "3.dy", "2.dS", "2.dU", "1.dy", "0.dy",
    }  # fmt: skip
    assert found.arrays["0.y"].shape == (1, B, 2, 6, 4) and found.arrays["2.U"].shape == (T, B, 2, 3, 2)
    assert found.num_steps == T and [spec["type"] for spec in found.layers][:2] == ["Conv2d", "MaxPool2d"]


def test_forward_alone(net, rng):
    found = record(net, rng.uniform(0, 3, (T, B, 1, 5, 6)))
    assert found.num_steps is None and not [n for n in found.arrays if ".d" in n or "grad" in n]


def test_a_static_network_without_a_neuron(rng):
    net = npsnn.Sequential(npsnn.Linear(3, 2), dtype="float64")
    d = rng.standard_normal((T, B, 2))
    found = record(net, rng.uniform(0, 1, (B, 3)), T, dspk=d)
    np.testing.assert_allclose(found.arrays["grad.0.bias"], d.sum(axis=(0, 1)), rtol=1e-13)


def test_what_does_not_fit_is_refused_as_by_backward(net, rng):
    with pytest.raises(ValueError, match="dspk has shape"):
        record(net, rng.uniform(0, 3, (T, B, 1, 5, 6)), dspk=np.zeros((T, B, 3)))


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["folder", "deep/folder", "run.zip", "run.npz"])
def test_the_way_to_disk_and_back(run, name, tmp_path):
    _, _, found = run
    (tmp_path / "deep").mkdir()
    save(found, tmp_path / name)
    again = load(tmp_path / name)
    assert again.num_steps == found.num_steps and list(again.layers) == json.loads(json.dumps(found.layers))
    assert set(again.arrays) == set(found.arrays)
    for key, value in found.arrays.items():
        assert again.arrays[key].dtype == value.dtype and again.arrays[key].tobytes() == value.tobytes()


def test_files_are_little_endian_and_layers_come_back(run, tmp_path):
    _, _, found = run
    save(found, tmp_path / "run")
    assert (tmp_path / "run" / "2.U.npy").read_bytes()[:8] == b"\x93NUMPY\x01\x00"
    assert b"'<f8'" in (tmp_path / "run" / "2.U.npy").read_bytes()[:80]
    layers = [layer_of(spec) for spec in load(tmp_path / "run").layers]
    assert repr(layers[2]) == repr(layer_of(found.layers[2])) and layers[2].spike_grad == surrogate.SFS(2, -0.5)


def test_a_folder_that_holds_something_is_refused(run, tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match="is there and not an empty folder"):
        save(run[2], tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["mine"]


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


GOOD = {"recording.json": b'{"format": 1, "layers": [], "num_steps": null}', "0.U.npy": npy(np.zeros((2, 1, 1)))}


@pytest.mark.parametrize(("files", "words"), [
    ({"spikes.npy": npy(np.zeros(2))}, r"'spikes\.npy' is no file of a recording"),
    ({"0.U": npy(np.zeros(2))}, r"'0\.U' is no file of a recording"),
    ({"../0.U.npy": npy(np.zeros(2))}, "is no file of a recording"),
    ({"0.U.npy": b"not an array"}, r"0\.U\.npy is not a readable \.npy file"),
    ({"0.U.npy": npy(np.zeros((4, 4)))[:-8]}, r"0\.U\.npy has 120 bytes of data, its header promises 128"),
    ({"0.U.npy": npy(np.zeros((4, 4))) + b"more"}, r"0\.U\.npy has 132 bytes of data, its header promises 128"),
    ({"0.U.npy": npy(np.array([{}]))}, r"0\.U\.npy is of \|O, expected numbers or bools"),
    ({"0.U.npy": npy(np.zeros(2, complex))}, r"0\.U\.npy is of complex128, expected real numbers"),
    ({"0.U.npy": npy(np.array([0, np.nan]))}, r"0\.U\.npy has 1 NaN"),
    ({"recording.json": b"{}"}, "needs format, layers and num_steps"),
    ({"recording.json": b"[1, 2"}, "needs format, layers and num_steps"),
    ({"recording.json": b'{"format": 2, "layers": [], "num_steps": null}'}, "is of format 2, this version reads 1"),
    ({"recording.json": b'{"format": 1, "layers": 3, "num_steps": null}'}, "layers must be a list"),
    ({"recording.json": b'{"format": 1, "layers": [{"type": "LSTM"}], "num_steps": null}'}, "not a layer"),
    ({"recording.json": b'{"format": 1, "layers": [{"type": "Linear"}], "num_steps": null}'}, "Linear: .*in_features"),
    ({"recording.json": b'{"format": 1, "layers": [], "num_steps": 0}'}, "num_steps"),
])  # fmt: skip
def test_what_is_no_recording_is_refused(files, words, tmp_path):
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        for name, data in {**GOOD, **files}.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "run.zip")


def settings(layer=None, **others):
    layers = [] if layer is None else [layer]
    return json.dumps({"format": 1, "layers": layers, "num_steps": None, **others}).encode()


LEAKY = {"type": "Leaky", "beta": 0.5}


@pytest.mark.parametrize(("text", "words"), [
    (settings(format=True), "is of format True, this version reads 1"),
    (settings(format=[["x" * 99]]), r"is of format \[\['xxx.*\.\.\.xxx"),
    (settings(num_steps=2.0), "num_steps must be an integer of at least 1, or null; got 2.0"),
    (settings(num_steps=True), "num_steps must be an integer of at least 1, or null; got True"),
    (settings(num_steps={}), "num_steps must be an integer of at least 1, or null; got {}"),
    (settings()[:-1] + b', "format": 1}', "recording.json needs format, layers and num_steps, as JSON"),
    (settings(more=float("nan")), "recording.json needs format, layers and num_steps, as JSON"),
    (b"[" * 100_000, "recording.json needs format, layers and num_steps, as JSON"),
    (settings([1]), r"layer 0: not a layer: \[1\]"),
    (settings("a\nb"), r"layer 0: not a layer: 'a\\nb'"),
    (settings({"type": ["Linear"]}), r"layer 0: not a layer: {'type': \['Linear'\]}"),
    (settings({"type": "Linear", "in_features": 2.5, "out_features": 1}), "layer 0: Linear: in_features must be"),
    (settings({"type": "MaxPool2d", "kernel_size": 2.5}), "layer 0: MaxPool2d: kernel_size must be an integer"),
    (settings({"type": "Flatten", "a\nb": 1}), r"layer 0: Flatten: has no 'a\\nb'; it has no arguments"),
    (settings({"type": "Linear", "out": 1}), "layer 0: Linear: has no 'out'; it has in_features, out_features, bias"),
    (settings({**LEAKY, "beta": 10**400}), "layer 0: Leaky: beta must be a number"),
    (settings({**LEAKY, "threshold": [[1], [1, 2]]}), "layer 0: Leaky: threshold is not an array"),
    (settings({**LEAKY, "spike_grad": 1}), "layer 0: Leaky: spike_grad must be a surrogate"),
    (settings({**LEAKY, "spike_grad": {"name": "SSO"}}), "layer 0: not a surrogate that a recording can name"),
    (settings({**LEAKY, "spike_grad": {"name": ["atan"]}}), "layer 0: not a surrogate that a recording can name"),
    (settings({**LEAKY, "spike_grad": {"name": "boxcar", "x": 1}}), "layer 0: not a surrogate that a recording can"),
    (settings({**LEAKY, "spike_grad": {"name": "atan", "x": 1}}), "layer 0: surrogate atan: has no 'x'; it has alpha"),
    (settings({**LEAKY, "spike_grad": {"name": "atan", "alpha": 10**400}}), "layer 0: surrogate atan: .*alpha must be"),
    (settings({**LEAKY, "spike_grad": {"name": "atan", "alpha": []}}), "layer 0: surrogate atan: .*alpha must be a"),
])  # fmt: skip
def test_settings_that_are_none_are_refused_in_a_line_that_names_the_file(text, words, tmp_path):
    """Found by tests/fuzz, as are those below: TypeError, OverflowError, or a message without the file's name."""
    path = tmp_path / "run.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("recording.json", text)
    with pytest.raises(ValueError, match=f"^{path}: {words}") as caught:
        load(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("depth", [100, *range(500, 1000, 5), 5000])
def test_a_constant_in_lists_as_deep_as_python_goes(depth, tmp_path):
    """There json still reads what a message can no longer print."""
    deep = b"[" * depth + b"]" * depth
    text = settings({**LEAKY, "learn_beta": "here"}).replace(b'"here"', deep)
    path = tmp_path / "run.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("recording.json", text)
    with pytest.raises(ValueError, match=f"^{path}: "):
        load(path)


def test_a_directory_that_begins_before_the_file_is_damage(tmp_path):
    """Python's zip reader says "negative seek value", as a ValueError of its own."""
    save(Recording((), None, {"0.U": np.zeros(3)}), tmp_path / "run.zip")
    data = bytearray((tmp_path / "run.zip").read_bytes())
    data[-10:-6] = (2**32 - 1).to_bytes(4, "little")  # how long it is
    (tmp_path / "run.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"run\.zip: neither a folder nor a readable zip: "):
        load(tmp_path / "run.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_no_other_compression_is_unpacked(method, tmp_path):
    """LZMA takes as much memory as its data says."""
    with zipfile.ZipFile(tmp_path / "run.zip", "w", method) as archive:
        archive.writestr("0.U.npy", npy(np.zeros(3)))
    with pytest.raises(ValueError, match=r"0\.U\.npy is compressed by another method than deflate"):
        load(tmp_path / "run.zip")


@pytest.mark.parametrize("value", [2**53, 2**53 + 1, 2**63 - 1, -(2**53) - 1, -(2**63), 2**64 - 1])
def test_integers_that_would_become_others_are_refused(value, tmp_path):
    dtype = np.uint64 if value > 2**63 else np.int64
    save(Recording((), None, {"0.U": np.array([0, value], dtype)}), tmp_path / "run.zip")
    with pytest.raises(
        ValueError, match=r"0\.U\.npy has integers of 2\*\*53 or more, not all of which a float64 holds"
    ):
        load(tmp_path / "run.zip")
    save(Recording((), None, {"0.U": np.array([2**53 - 1, 1 - 2**53])}), tmp_path / "run.zip")
    assert load(tmp_path / "run.zip").arrays["0.U"].tolist() == [2**53 - 1, 1 - 2**53]


def test_neither_folder_nor_zip(tmp_path):
    (tmp_path / "run.zip").write_bytes(b"something else")
    with pytest.raises(ValueError, match="neither a folder nor a readable zip"):
        load(tmp_path / "run.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no arrays in it"):
        load(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_a_header_that_promises_more_than_there_is_costs_nothing(tmp_path):
    """8 TB in a file of a hundred bytes."""
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"
    data = b"\x93NUMPY\x01\x00" + (len(head) + 1).to_bytes(2, "little") + head + b"\n"
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        archive.writestr("0.U.npy", data)
    with pytest.raises(ValueError, match=r"0\.U\.npy has 0 bytes of data, its header promises 8,796,093,022,208"):
        load(tmp_path / "run.zip")


def test_a_member_that_would_unpack_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(recording_file, "MOST_BYTES", 100)
    save(Recording((), None, {"0.U": np.zeros(1000)}), tmp_path / "run.zip")
    with pytest.raises(ValueError, match="its files are more than 100 bytes, which is all that is read"):
        load(tmp_path / "run.zip")


# --- layers as JSON ------------------------------------------------------------------------------------------------

LAYERS = [
    npsnn.Conv2d(1, 2, (2, 3), stride=(2, 1), padding=1, bias=False), npsnn.MaxPool2d((2, 3), 1),
    npsnn.AvgPool2d(3, padding=1),
    npsnn.Linear(3, 4), npsnn.Flatten(),
    npsnn.Leaky([0.5, 0.25], 0.75, surrogate.spike_rate_escape(2, 3.5), True, True, "zero", False),
]  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_a_layer_as_json_and_back(layer):
    again = layer_of(json.loads(json.dumps(spec_of(layer))))
    assert repr(again) == repr(layer) and spec_of(again) == spec_of(layer)


@pytest.mark.parametrize("sigma", [
    surrogate.fast_sigmoid(3.5), surrogate.atan(), surrogate.sigmoid(2), surrogate.straight_through_estimator(),
    surrogate.triangular(0.5), surrogate.heaviside(), surrogate.LSO(-0.1), surrogate.SFS(2, -0.25),
], ids=lambda s: s.name)  # fmt: skip
def test_a_surrogate_as_json_and_back(sigma):
    spec = json.loads(json.dumps(spec_of(npsnn.Leaky(0.5, spike_grad=sigma))))["spike_grad"]
    assert surrogate_of(spec) == sigma


def test_a_surrogate_that_json_cannot_say_is_named_when_it_is_needed():
    spec = spec_of(npsnn.Leaky(0.5, spike_grad=surrogate.custom_surrogate(np.cos)))
    with pytest.raises(ValueError, match=r"not a surrogate that a recording can name: .*custom_surrogate"):
        layer_of(spec)
