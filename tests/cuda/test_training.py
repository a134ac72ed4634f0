"""A network that is trained on the device: the law's numbers, few launches, one crossing, and nothing half-updated."""

import gzip
import struct

import numpy as np
import pytest

import npsnn
from npsnn import _cuda, _graph, backprop, cli, optim, replays, surrogate
from npsnn import functional as SF
from tests.twins import near, same_bits

LOSSES = [
    SF.ce_rate_loss(), SF.ce_count_loss(), SF.ce_max_membrane_loss(), SF.mse_count_loss(0.9, 0.1),
    SF.mse_membrane_loss(1.25, -0.5),
]  # fmt: skip


@pytest.fixture(autouse=True)
def launch_by_launch(monkeypatch):
    """What is counted here is launches and copies; test_replays.py has graphs."""
    monkeypatch.setattr(_graph, "wanted", False)


def tutorial(backend, dtype="float64", **options):
    """The tutorial's network, shrunk."""

    def lif():
        return npsnn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(25), **options)

    net = npsnn.Sequential(
        npsnn.Conv2d(1, 2, 3), npsnn.MaxPool2d(2), lif(), npsnn.Conv2d(2, 3, 2), npsnn.MaxPool2d(2), lif(),
        npsnn.Flatten(), npsnn.Linear(3, 2), lif(), dtype=dtype, backend=backend, seed=0,
    )  # fmt: skip
    net.flat_params[...] *= 3
    return net


def batches(dtype="float64", count=2, T=None):
    rng = np.random.default_rng(1)
    shape = (3, 1, 8, 8) if T is None else (T, 3, 1, 8, 8)
    return [(rng.uniform(0, 2, shape).astype(dtype), rng.integers(0, 2, 3)) for _ in range(count)]


def trained(backend, loss, loader=None, dtype="float64", K=None, num_steps=4, regularization=None, **options):
    """(loss, parameters, m, v) after an epoch."""
    net = tutorial(backend, dtype, **options)
    adam = optim.Adam(net, lr=1e-2, weight_decay=0.01)
    loader = batches(dtype) if loader is None else loader
    settings = {"num_steps": num_steps, "time_var": num_steps is None, "regularization": regularization}
    train = backprop.BPTT if K is None else backprop.TBPTT
    value = train(net, loader, adam, loss, **settings, **({} if K is None else {"K": K}))
    assert adam.t == len(loader) * (1 if K is None else -(-(num_steps or len(loader[0][0])) // K))
    return np.array(value), net.flat_params.copy(), adam.m.copy(), adam.v.copy()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_an_epoch_is_the_laws(loss):
    near(trained("cuda", loss), trained("reference", loss))


@pytest.mark.parametrize(
    "options",
    [
        {"regularization": SF.l1_rate_sparsity(1e-2)},
        {"regularization": SF.mse_count_loss(0.9, 0.1)},
        {"K": 3},
        {"num_steps": None, "loader": batches(T=3)},
        {"learn_beta": True, "learn_threshold": True, "reset_mechanism": "zero", "detach_reset": False},
    ],
    ids=["price", "two losses", "truncated", "varying", "constants"],
)
def test_other_epochs_are_the_laws(options):
    near(trained("cuda", LOSSES[0], **options), trained("reference", LOSSES[0], **options))


@pytest.mark.parametrize("loss", [SF.ce_count_loss(), SF.mse_count_loss(0.9, 0.1)], ids=lambda loss: loss.name)
@pytest.mark.parametrize("last", [(), (npsnn.Leaky(0.5), npsnn.Linear(2, 2))], ids=["no neuron", "no last neuron"])
def test_a_network_that_does_not_end_in_a_neuron(last, loss):
    results = []
    for backend in ("cuda", "reference"):
        net = npsnn.Sequential(npsnn.Flatten(), npsnn.Linear(64, 2), *last, dtype="float64", backend=backend, seed=0)
        adam = optim.Adam(net, lr=1e-2)
        value = backprop.BPTT(net, batches(), adam, loss, num_steps=3, time_var=False)
        results.append((np.array(value), net.flat_params.copy(), adam.v))
    near(*results)


@pytest.mark.parametrize("learns", [True, False])
def test_with_a_memory_budget(learns):
    """Blocks of steps, computed again: the way of the other backends, and their numbers."""
    results = []
    for backend, budget in (("cuda", 25_000), ("cuda", None), ("reference", None)):
        net = npsnn.Sequential(
            npsnn.Linear(2, 4), npsnn.Leaky(0.8, learn_beta=learns), npsnn.Linear(4, 2), npsnn.Leaky(0.5),
            dtype="float64", backend=backend, seed=0, memory_budget=budget,
        )  # fmt: skip
        net.flat_params[:20] *= 3
        x = np.random.default_rng(0).uniform(0, 2, (130, 3, 2))
        adam = optim.Adam(net, lr=1e-2)
        value = backprop.BPTT(net, [(x, np.array([0, 1, 1]))], adam, LOSSES[0])
        results.append((np.array(value), net.flat_params.copy(), adam.m.copy()))
    near(results[0], results[2])
    near(results[1], results[2])


def test_a_loss_of_ones_own_is_called_on_the_host():
    class Own:
        on, name = "spk", "own"

        def value_and_grad(self, rec, targets):
            assert type(rec) is np.ndarray and rec.dtype == np.float64
            return float(rec.sum()), np.ones_like(rec)

    near(trained("cuda", Own()), trained("reference", Own()))


def test_two_runs_have_the_same_bits():
    same_bits(*(trained("cuda", LOSSES[0], dtype="float32") for _ in range(2)))


def test_a_step_is_twenty_launches():
    net = tutorial("cuda")
    before = _cuda.launches
    backprop.BPTT(net, batches(count=3), optim.Adam(net), LOSSES[0], num_steps=2, time_var=False)
    assert (_cuda.launches - before) / 3 <= 20


@pytest.fixture
def crossings(monkeypatch):
    """The sizes of what goes from the host to the device."""
    from npsnn import _device

    sent, copy_into = [], _device.copy_into

    def noted(there, x):
        if not isinstance(x, _device.DeviceArray):
            sent.append(there.size)
        copy_into(there, x)

    for module in (_device, replays):
        monkeypatch.setattr(module, "copy_into", noted)
    return sent


def test_parameters_cross_once_a_run(crossings):
    """With both of Adam's moments; not again for the second epoch, nor for who asks the network in between."""
    net = tutorial("cuda")
    adam, P, images = optim.Adam(net), net.flat_params.size, 3 * 64
    for _ in range(2):
        backprop.BPTT(net, batches(count=2), adam, LOSSES[0], num_steps=2, time_var=False)
        net(batches()[0][0], 2)
        net.forward(batches()[0][0], 2)
    assert crossings.count(images) == 2 * (2 + 2)
    assert [size for size in crossings if size >= P and size != images] == [3 * P]


def test_what_the_host_changed_crosses_again(crossings):
    def run(backend):
        net = tutorial(backend)
        adam = optim.Adam(net, lr=1e-2)
        for epoch in range(3):
            backprop.BPTT(net, batches(count=2), adam, LOSSES[0], num_steps=2, time_var=False)
            outputs = net(batches()[0][0], 2)[1]
            if epoch == 0:
                net.params["0.weight"] *= 1.5
                outputs = net(batches()[0][0], 2)[1]
            if epoch == 1:
                adam.m[3] += 1
        return outputs, net.flat_params, adam.m, adam.v

    near(run("cuda"), run("reference"))
    P = tutorial("cuda").flat_params.size
    assert [crossings.count(size) for size in (P, 3 * P)] == [1, 3]


def test_two_that_train_one_network_see_each_other():
    results = []
    for backend in ("cuda", "reference"):
        net = tutorial(backend)
        adam, other = optim.Adam(net, lr=1e-2), optim.Adam(net, lr=1e-2)
        for optimizer in (adam, other, adam):
            backprop.BPTT(net, batches(), optimizer, LOSSES[0], num_steps=2, time_var=False)
        results.append((net.flat_params, adam.m, other.v))
    near(*results)


def test_what_a_batch_shows_is_of_the_host():
    net = tutorial("cuda", "float32")
    loader = batches("float32")
    steps = backprop.batches(net, loader, optim.Adam(net), LOSSES[0], num_steps=4, time_var=False)
    for batch, (_, y) in zip(steps, loader, strict=True):
        assert type(batch.spk_rec) is np.ndarray and batch.spk_rec.dtype == np.float32
        assert batch.targets is y
        assert batch.spk_rec.shape == (4, 3, 2)
    back = net.backward(batch.tape, dspk=np.ones_like(batch.spk_rec), input_grad=True)
    assert back["input"].shape == loader[-1][0].shape and back["0.weight"].shape == (2, 1, 3, 3)
    firing = net.firing(batch.tape)
    assert firing["8 Leaky"].rate == pytest.approx(batch.spk_rec.mean())


# --- nothing half-updated ------------------------------------------------------------------------------------------


class Sometimes:
    """A loss that is not finite, or whose gradient is not, the second time."""

    on, name = "spk", "sometimes"

    def __init__(self, value, gradient):
        self.after, self.calls = (value, gradient), 0

    def value_and_grad(self, rec, targets):
        self.calls += 1
        value, d = self.after if self.calls == 2 else (1.0, 0.5)
        return value, np.full_like(rec, d)


@pytest.mark.parametrize(
    "loss, message",
    [
        (Sometimes(np.nan, 0.5), r"the loss is nan at batch 1, step 0; no update was made from it"),
        (Sometimes(1.0, np.inf), r"a gradient is not finite at batch 1, step 0; no update was made from it"),
    ],
    ids=["loss", "gradient"],
)
def test_what_is_not_finite_makes_no_update(loss, message):
    net, good = tutorial("cuda"), tutorial("cuda")
    adam, expected = optim.Adam(net), optim.Adam(good)
    backprop.BPTT(good, batches(count=1), expected, Sometimes(1.0, 0.5), num_steps=2, time_var=False)
    with pytest.raises(ValueError, match=message):
        backprop.BPTT(net, batches(count=3), adam, loss, num_steps=2, time_var=False)
    same_bits((net.flat_params, adam.m, adam.v), (good.flat_params, expected.m, expected.v))
    assert adam.t == expected.t == 1


@pytest.mark.parametrize("error", [MemoryError("none left"), KeyboardInterrupt()], ids=["no memory", "Ctrl-C"])
@pytest.mark.parametrize("place", ["conv2d.device", "linear.cuda", "adam.cuda"])
def test_a_step_that_breaks_off_leaves_the_one_before(monkeypatch, place, error):
    """Before the update, or between two of its three launches."""
    import importlib

    module, runs = importlib.import_module(f"npsnn.{place}"), []
    name = "_update" if place == "adam.cuda" else "empty"
    good = getattr(module, name)

    def breaks(*args):
        runs.append(net.flat_params)
        if len(runs) == last:
            raise error
        return good(*args)

    counts = []
    for count in (1, 2):  # how often it is called in a step; and once more the second time, in the middle of it
        net, last = tutorial("cuda"), -1 if count == 1 else counts[0] + 2
        adam = optim.Adam(net)
        runs.clear()
        with monkeypatch.context() as patch:
            patch.setattr(module, name, breaks)
            if count == 1:
                backprop.BPTT(net, batches(count=1), adam, LOSSES[0], num_steps=2, time_var=False)
                good_state = net.flat_params.copy(), adam.m.copy(), adam.v.copy()
            else:
                with pytest.raises(type(error)):
                    backprop.BPTT(net, batches(count=3), adam, LOSSES[0], num_steps=2, time_var=False)
        counts.append(len(runs))
    assert counts[0] >= 3
    same_bits((net.flat_params, adam.m, adam.v), good_state)
    assert adam.t == 1


def test_an_epoch_that_is_left_early_keeps_its_updates():
    nets = tutorial("cuda"), tutorial("cuda")
    adams = [optim.Adam(net) for net in nets]
    steps = backprop.batches(nets[0], batches(count=3), adams[0], LOSSES[0], num_steps=2, time_var=False)
    next(steps)
    steps.close()
    backprop.BPTT(nets[1], batches(count=3)[:1], adams[1], LOSSES[0], num_steps=2, time_var=False)
    same_bits(nets[0].flat_params, nets[1].flat_params)
    assert adams[0].t == 1


@pytest.mark.parametrize("fails", [1, 2], ids=["until memory is released", "for good"])
def test_out_of_memory(monkeypatch, fails):
    from npsnn import _device

    allocate, calls = _device.cuda.device_array, []
    _device.release()

    def device_array(size, dtype):
        calls.append(size)
        if len(calls) <= fails:
            raise RuntimeError("[CUresult.CUDA_ERROR_OUT_OF_MEMORY] in cuMemAlloc")
        return allocate(size, dtype)

    idle = _device.empty((1234,), np.float32)
    del idle
    assert _device._idle[np.dtype(np.float32), 1234]
    monkeypatch.setattr(_device.cuda, "device_array", device_array)
    if fails == 1:
        assert _device.empty((77_777,), np.float32).shape == (77_777,)
        assert not _device._idle[np.dtype(np.float32), 1234]
    else:
        with pytest.raises(MemoryError, match=r"the GPU has .* MB free of .* MB, and an array needs 0 MB: take"):
            _device.empty((77_777,), np.float32)
    assert calls == [77_777, 77_777]


def test_another_failure_is_not_called_a_lack_of_memory(monkeypatch):
    from npsnn import _device

    def device_array(size, dtype):
        raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED")

    monkeypatch.setattr(_device.cuda, "device_array", device_array)
    with pytest.raises(RuntimeError, match="CUDA_ERROR_LAUNCH_FAILED"):
        _device.empty((77_778,), np.float32)


# --- the command ---------------------------------------------------------------------------------------------------


def mnist(folder, count):
    """A folder of four IDX files with that many images each."""
    rng = np.random.default_rng(2)
    for part in ("train", "t10k"):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)
        for kind, data in (("images-idx3", images), ("labels-idx1", labels)):
            head = struct.pack(f">HBB{data.ndim}I", 0, 8, data.ndim, *data.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + data.tobytes()))


def test_npsnn_train(tmp_path, capsys):
    mnist(tmp_path, 2)
    lines = {}
    for backend in ("cuda", "reference"):
        command = [
            "train", "--backend", backend, "--data", str(tmp_path), "--epochs", "1", "--num-steps", "2",
            "--batch-size", "2", "--channels", "1", "2", "--kernel-size", "3", "--pool", "4", "--dtype", "float64",
            "--no-plots", "--no-progress", "--out", str(tmp_path / backend),
        ]  # fmt: skip
        assert cli.main(command) == 0
        out = capsys.readouterr().out
        assert f"backend {backend}" in out
        lines[backend] = [line.partition("  (")[0] for line in out.splitlines() if "train loss" in line]
    assert lines["cuda"] == lines["reference"] and len(lines["cuda"]) == 1
    assert cli.main(["eval", str(tmp_path / "cuda" / "checkpoint.npz"), "--backend", "cuda"]) == 0


def test_a_failure_after_memory_was_given_back_is_not_called_a_lack_of_it(monkeypatch):
    from npsnn import _device

    errors = [RuntimeError("[CUresult.CUDA_ERROR_OUT_OF_MEMORY] in cuMemAlloc"), RuntimeError("the device is lost")]

    def device_array(size, dtype):
        raise errors.pop(0)

    monkeypatch.setattr(_device.cuda, "device_array", device_array)
    with pytest.raises(RuntimeError, match="the device is lost"):
        _device.empty((77_777,), np.float32)
