"""C11 where it can break: threads, neighbours, pieces of a sequence, processes, memory, several networks at once.

All of it on `cpu` in float32, and in bits. tests/test_tiles.py has the memory budget, tests/test_jit.py the kernels on
disk. At the end stands the hash that is published.
"""

import hashlib
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="the claim is of the cpu backend")

import npsnn
from npsnn import _buffers, _threads, run_folder, surrogate, tiles, training
from npsnn._vectors import FUSED
from tests.test_tiles import draw, everything, network, shuffled
from tests.twins import same_bits

ROOT = Path(__file__).parents[1]

# sha256 of the weights after one epoch of `npsnn train --seed 0 --backend cpu`, by the bits of exp(-1) in float32. The
# exponential of the loss is NumPy's: on x86 its own vector code where there is AVX2, elsewhere the C library's. They
# differ in last digits, so here is one hash for each.
PUBLISHED = {
    0x3EBC5AB1: "817b9a6e80b7476510ae2dd184ac3ba680ed611f3d03d73300b72c05dac9897c",
    0x3EBC5AB2: "2c7b936ca4da5a3a04d8871ce4f1cf4bcefabd200407bf3e48ecd19cd48a3ce9",
}


def tutorial_layers():
    """The tutorial's, for images of 1 x 13 x 12."""
    sg = surrogate.fast_sigmoid(slope=25)
    return [
        npsnn.Conv2d(1, 3, (3, 2)), npsnn.MaxPool2d(2), npsnn.Leaky(0.5, spike_grad=sg),
        npsnn.Conv2d(3, 4, 2), npsnn.MaxPool2d(2), npsnn.Leaky(0.5, threshold=0.5, spike_grad=sg),
        npsnn.Flatten(), npsnn.Linear(16, 5), npsnn.Leaky(0.5, threshold=0.3, spike_grad=sg),
    ]  # fmt: skip


def tutorial(seed=3, layers=None):
    net = npsnn.Sequential(*(tutorial_layers() if layers is None else layers), backend="cpu", seed=seed)
    net.params["7.weight"] *= 4
    return net


def static(B=7):
    return tutorial(), np.random.default_rng(0).standard_normal((B, 1, 13, 12)).astype(np.float32), tiles.STEPS + 9


def varying(B=7):
    net = network()
    x, _ = draw(net, False, B, tiles.STEPS + 9)
    return net, x / 4, None


def steps_of_adam(net, x, num_steps, count=3, seed=5):
    """Train on x; a generator, so that several networks can take turns. Every step yields the weights and moments."""
    rng, optimizer, loss_fn = np.random.default_rng(seed), npsnn.optim.Adam(net, 1e-2), npsnn.functional.ce_rate_loss()
    for _ in range(count):
        spk_rec, _, tape = net.forward(x, num_steps)
        yield None
        grads = net.backward(tape, loss_fn.value_and_grad(spk_rec, rng.integers(0, 5, spk_rec.shape[1]))[1])
        yield None
        optimizer.step(grads)
        yield net.flat_params.copy(), optimizer.m.copy(), optimizer.v.copy()


def trained(net, x, num_steps, **more):
    return tuple(step for step in steps_of_adam(net, x, num_steps, **more) if step)


def results(case):
    """Recordings, states, all gradients, and the weights and moments after each of three steps of Adam."""
    net, x, num_steps = case()
    return *everything(net, x, num_steps), *(a for step in trained(net, x, num_steps) for a in step)


def digest():
    """One hash of everything, for another process to print."""
    arrays = *results(static), *results(varying)
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


@pytest.fixture
def all_large(monkeypatch):
    """Every array of the kernels stands in memory that is used again, though these networks are small."""
    monkeypatch.setattr(_buffers, "SMALL", 1)


@contextmanager
def threads(count):
    before = _threads.count()
    _threads.set_count(count)
    try:
        yield
    finally:
        _threads.set_count(before)


@pytest.mark.parametrize("case", [static, varying])
def test_the_networks_here_fire_and_learn(case):
    """Else equal bits would say little; and what is compared is cut into several chunks and blocks."""
    net, x, num_steps = case()
    tape = net.forward(x, num_steps)[2]
    assert all(0.02 < firing.rate < 0.9 for firing in net.firing(tape).values())
    assert len(tape.run.cuts.samples) == 2 and len(tape.run.cuts.steps) == 2
    for name, d in net.backward(tape, np.ones(tape.out_shape, np.float32)).items():
        assert np.any(d != 0), name


@pytest.mark.parametrize("case", [static, varying])
def test_threads_and_the_order_of_chunks(case, monkeypatch):
    monkeypatch.setattr(tiles, "CHUNKS", 4)
    found = []
    for n in (1, 2, 3, 8):
        with threads(n):
            found.append(results(case))
    monkeypatch.setattr(_threads, "share", shuffled)
    found.append(results(case))
    for other in found[1:]:
        same_bits(other, found[0])


def of_samples(net, x, num_steps, dspk, dmem):
    """What belongs to the samples themselves, each array with the samples first."""
    spk_rec, mem_rec, tape = net.forward(x, num_steps)
    grads = net.backward(tape, dspk, dmem, input_grad=True, state_grad=True)
    dx = grads["input"] if num_steps else grads["input"].swapaxes(0, 1)
    return spk_rec.swapaxes(0, 1), mem_rec.swapaxes(0, 1), *tape.state.U, dx, *grads["state"]


@pytest.mark.parametrize("case", [static, varying])
def test_a_sample_is_the_same_alone_and_among_any_others(case):
    """In halves of the batch, at any position, between silent neighbours and loud ones.

    Where few numbers are not zero a kernel takes another path, and whether they are few depends on the neighbours too.
    """
    net, x, num_steps = case(B=9)
    axis = 0 if num_steps else 1
    rng, T = np.random.default_rng(1), num_steps or len(x)
    dspk, dmem = (rng.standard_normal((T, 9, 5)).astype(np.float32) for _ in range(2))
    whole = of_samples(net, x, num_steps, dspk, dmem)
    for rows in (range(4), range(4, 9), [0], [4], [8], range(9)[::-1], [3, 1, 4, 1, 5]):
        rows = list(rows)
        found = of_samples(net, np.take(x, rows, axis), num_steps, dspk[:, rows], dmem[:, rows])
        same_bits(found, tuple(a[rows] for a in whole))
    for scale in (0, 50):
        for at in (0, 3, 8):
            others = np.float32(scale) * np.roll(x, 1, axis)
            others.swapaxes(0, axis)[at] = x.swapaxes(0, axis)[6]
            d, e = dspk[:, ::-1].copy(), dmem[:, ::-1].copy()
            d[:, at], e[:, at] = dspk[:, 6], dmem[:, 6]
            found = of_samples(net, others, num_steps, d, e)
            same_bits(tuple(a[at] for a in found), tuple(a[6] for a in whole))


@pytest.mark.parametrize("case", [static, varying])
def test_a_sequence_whole_in_pieces_and_step_by_step(case):
    """Whole, it is two blocks of steps; the pieces are cut elsewhere, and shorter than a block, or longer."""
    net, x, num_steps = case()
    T = num_steps or len(x)
    spk_rec, mem_rec, tape = net.forward(x, num_steps)
    assert len(tape.run.cuts.steps) == 2

    def piece(begin, end, state):
        return net.forward(x, end - begin, state=state) if num_steps else net.forward(x[begin:end], state=state)

    for cuts in ([1], [T // 2], [T - 1], [5, 6, tiles.STEPS + 7]):
        state, spikes, membranes = None, [], []
        for begin, end in zip([0, *cuts], [*cuts, T], strict=True):
            spk, mem, part = piece(begin, end, state)
            state = part.state
            spikes.append(spk)
            membranes.append(mem)
        same_bits((np.concatenate(spikes), np.concatenate(membranes), *state.U), (spk_rec, mem_rec, *tape.state.U))
    state = net.init_state(7)
    for t in range(T):
        (spk, mem), state = net.step(x if num_steps else x[t], state)
        same_bits((spk, mem), (spk_rec[t], mem_rec[t]))
    same_bits(tuple(state.U), tuple(tape.state.U))


# --- several at once -----------------------------------------------------------------------------------------------


def test_networks_that_take_turns(all_large):
    """Forward, backward and update of two networks in turn, so that each runs while the other's tape is alive."""
    cases = static(), varying()
    alone = [trained(*case) for case in (static(), varying())]
    found = [[], []]
    for turn in zip(*(steps_of_adam(*case) for case in cases), strict=True):
        for steps, step in zip(found, turn, strict=True):
            steps.extend([step] if step else [])
    same_bits(tuple(map(tuple, found)), tuple(alone))


def test_layers_that_serve_in_two_networks(all_large):
    _, x, num_steps = static()
    layers = tutorial_layers()
    shared = [steps_of_adam(tutorial(seed, layers), x, num_steps) for seed in (1, 2)]
    found = tuple(step for turn in zip(*shared, strict=True) for step in turn if step)
    own = [trained(tutorial(seed), x, num_steps) for seed in (1, 2)]
    assert not np.array_equal(own[0][0][0], own[1][0][0])
    same_bits(found, tuple(step for turn in zip(*own, strict=True) for step in turn))


def test_python_threads_that_train_a_network_each(all_large):
    """Each shares its chunks over the same helpers; at the end all run one network at once."""

    def train(seed):
        _, x, num_steps = static()
        return trained(tutorial(seed), x, num_steps, count=6, seed=seed)

    seeds, (net, x, num_steps) = (1, 2, 1, 3), varying()
    alone, calm = [train(seed) for seed in seeds], net(x, num_steps)
    with threads(3), ThreadPoolExecutor(4) as people:
        for found, expected in zip(people.map(train, seeds, timeout=300), alone, strict=True):
            same_bits(found, expected)
        for found in people.map(lambda _: net(x, num_steps), range(12), timeout=300):
            same_bits(found, calm)


# --- memory and processes ------------------------------------------------------------------------------------------


def test_memory_that_was_used_before(all_large, monkeypatch):
    """Whatever it held: nothing is read that was not written."""
    empty, found = _buffers.empty, []
    for byte in (0, 0xFF):  # of floats, 0xFF is NaN

        def dirty(shape, dtype, byte=byte):
            array = empty(shape, dtype)
            array.reshape(-1).view(np.uint8)[:] = byte
            return array

        monkeypatch.setattr(_buffers, "empty", dirty)
        found.append((results(static), results(varying)))
    same_bits(*found)


def test_every_process_finds_the_same_bits(tmp_path):
    """Other threads, another hash seed, an empty folder; and an allocator of which no byte comes as zero (glibc's)."""
    expected = digest()
    program = "from tests.test_determinism import digest; print(digest())"
    for environment in (
        {"PYTHONHASHSEED": "0", "NPSNN_NUM_THREADS": "1", "LC_ALL": "C"},
        {"PYTHONHASHSEED": "1", "NPSNN_NUM_THREADS": "3", "MALLOC_PERTURB_": "128"},
    ):
        settings = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        command = [sys.executable, "-W", "error", "-c", program]
        done = subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == expected, environment


def _answer(sender):
    sender.send(digest())


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_that_this_one_starts(method):
    """Also forked after kernels ran in threads, which the child has not."""
    context = multiprocessing.get_context(method)
    with threads(3):
        expected = digest()
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_answer, args=(sender,))
        child.start()
        try:
            assert receiver.poll(120), "no answer in two minutes"
            assert receiver.recv() == expected
        finally:
            child.kill()
            child.join()


# --- the published hash --------------------------------------------------------------------------------------------


def test_the_published_hash_of_the_weights_after_one_epoch(tmp_path):
    if not FUSED:
        pytest.skip("published for processors that round a product and the sum that it enters once (C11)")
    exp = np.exp(np.array([-1], np.float32)).view(np.uint32).item()
    if exp not in PUBLISHED:
        pytest.skip(f"published where exp(-1) in float32 is one of {[*map(hex, PUBLISHED)]}; here it is {exp:#x}")
    for n in (1, 2):
        with threads(n):
            run = training.Run(training.Settings(backend="cpu", epochs=1))
            list(run_folder.record(run, tmp_path, lambda batch: None))
        found = hashlib.sha256(run.net.flat_params.tobytes()).hexdigest()
        assert found == PUBLISHED[exp], (
            f"the weights after one epoch have other bits than those published: {found}, not {PUBLISHED[exp]} "
            f"({n} threads); if the change of the order of a sum was meant, publish the new hash in docs/testing.md"
        )
