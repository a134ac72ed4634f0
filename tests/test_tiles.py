"""Tiles: where they are cut, that no memory budget changes a bit, and what a tape keeps (C11: test_determinism.py)."""

import hashlib
import math

import numpy as np
import pytest

import npsnn
from npsnn import _threads, surrogate, tiles
from tests.helpers import close
from tests.twins import same_bits


@pytest.fixture
def four_chunks(monkeypatch):
    """Of seven samples, so that there is more to mix up."""
    monkeypatch.setattr(tiles, "CHUNKS", 4)


def network(backend="cpu", dtype=np.float32, **more):
    """Convolution, pool, neuron, average pool, neuron without a layer between, linear, neuron: on 2 x 9 x 8."""
    if backend == "cpu":
        pytest.importorskip("numba")
    sg = surrogate.fast_sigmoid(slope=5)
    net = npsnn.Sequential(
        npsnn.Conv2d(2, 3, (3, 2), padding=1), npsnn.MaxPool2d(2),
        npsnn.Leaky(0.5, spike_grad=sg, learn_beta=True, learn_threshold=True), npsnn.AvgPool2d(2),
        npsnn.Leaky(0.7, threshold=0.3, spike_grad=sg, reset_mechanism="zero", detach_reset=False),
        npsnn.Leaky(0.3, threshold=0.5, spike_grad=sg, reset_mechanism="none"),
        npsnn.Flatten(), npsnn.Linear(12, 5), npsnn.Leaky(0.6, threshold=0.3, spike_grad=sg),
        dtype=dtype, backend=backend, seed=3, **more,
    )  # fmt: skip
    net.params["0.weight"] *= 6
    net.params["7.weight"] *= 4
    return net


def everything(net, x, num_steps, seed=1):
    """Recordings, state and all gradients of one forward and backward."""
    spk_rec, mem_rec, tape = net.forward(x, num_steps)
    rng = np.random.default_rng(seed)
    dspk, dmem = (rng.standard_normal(spk_rec.shape).astype(net.dtype) for _ in range(2))
    dstate = [rng.standard_normal(U.shape).astype(net.dtype) for U in tape.state.U]
    grads = net.backward(tape, dspk, dmem, input_grad=True, dstate=dstate, state_grad=True)
    return (spk_rec, mem_rec, *tape.state.U, *grads.pop("state"), *(grads[name] for name in sorted(grads)))


def draw(net, static, B=7, T=2 * tiles.STEPS + 9):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((B, 2, 9, 8) if static else (T, B, 2, 9, 8)).astype(net.dtype)
    return x, T if static else None


def shuffled(chunks, work):
    """Instead of `_threads.share`: the chunks one by one, in another order."""
    for k in np.random.default_rng(chunks + 1).permutation(chunks):
        work(int(k), int(k) + 1)


@pytest.mark.parametrize("B, T, step_bytes, param_bytes, samples, steps", [
    (1, 1, 4, 4, [1], [1]),
    (128, 50, 11_048, 119_304, [32] * 4, [50]),
    (128, 50, 23_000, 119_304, [16] * 8, [50]),
    (128, 200, 11_048, 119_304, [32] * 4, [50] * 4),
    (128, 64, 8, 8, [64] * 2, [64]),
    (128, 65, 8, 8, [64] * 2, [33, 32]),
    (7, 10, 8, 8, [4, 3], [10]),
    (3, 10, 2**30, 8, [1] * 3, [10]),
    (64, 50, 11_048, 2**24, [32] * 2, [50]),  # large parameters want large chunks
    (5, 3, 0, 0, [3, 2], [3]),
])  # fmt: skip
def test_where_tiles_are_cut(B, T, step_bytes, param_bytes, samples, steps):
    cuts = tiles.cut(B, T, step_bytes, param_bytes)
    for ranges, sizes, total in ((cuts.samples, samples, B), (cuts.steps, steps, T)):
        assert [end - begin for begin, end in ranges] == sizes
        assert [i for begin, end in ranges for i in range(begin, end)] == list(range(total))


@pytest.mark.usefixtures("four_chunks")
@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_tiles_are_near_the_whole(static, monkeypatch):
    """Three blocks of steps, seven samples in four chunks, against the law on all of it in one piece."""
    results = [everything(network("cpu", np.float64), *draw(network("cpu", np.float64), static))]
    results.append(everything(network("reference", np.float64), *draw(network("reference", np.float64), static)))
    monkeypatch.setattr(tiles, "STEPS", 10**6)
    law = network("reference", np.float64)
    whole = everything(law, *draw(law, static))
    assert len(law.forward(*draw(law, static))[2].run.cuts.steps) == 1
    assert 0.05 < whole[0].mean() < 0.95
    for result in results:
        for ours, expected in zip(result, whole, strict=True):
            close(ours, expected, 1e-9)


@pytest.mark.usefixtures("four_chunks")
@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_a_chunk_is_the_samples_alone(static):
    """The gradient of a batch is the sum of its chunks', in their order; everything else is the samples' own."""
    net = network()
    x, T = draw(net, static)
    _, _, tape = net.forward(x, T)
    assert tape.run.cuts.samples == ((0, 2), (2, 4), (4, 6), (6, 7)) and len(tape.run.cuts.steps) == 3
    rng = np.random.default_rng(1)
    dspk = rng.standard_normal(tape.out_shape).astype(np.float32)
    grads, total = net.backward(tape, dspk, input_grad=True), None
    for first, last in tape.run.cuts.samples:
        mine = slice(first, last)
        up = tiles.Upstream(dspk[:, mine], None, (None,) * 4, 0, True)
        cuts = tiles.Cuts(((0, last - first),), tape.run.cuts.steps)
        part = tiles.backward_chunk(tape.run._replace(cuts=cuts), tape.chunks[first // 2], 0, up)
        same_bits(part.x[0] if static else part.x, grads["input"][mine] if static else grads["input"][:, mine])
        total = part.params if total is None else {name: total[name] + d for name, d in part.params.items()}
    for name, d in total.items():
        same_bits(d, grads[name])


@pytest.mark.usefixtures("four_chunks")
def test_one_hash_of_the_weights_after_twenty_training_steps(monkeypatch):
    """Whatever the threads, the order of the chunks and the memory budget (C11)."""
    rng = np.random.default_rng(5)
    batches = [(rng.standard_normal((9, 2, 9, 8)).astype(np.float32), rng.integers(0, 5, 9)) for _ in range(20)]
    loss_fn = npsnn.functional.ce_rate_loss()

    def weights(**more):
        net = network(**more)
        optimizer = npsnn.optim.Adam(net, lr=1e-2)
        for x, targets in batches:
            spk_rec, _, tape = net.forward(x, num_steps=tiles.STEPS + 5)
            optimizer.step(net.backward(tape, dspk=loss_fn.value_and_grad(spk_rec, targets)[1]))
        return hashlib.sha256(net.flat_params.tobytes()).hexdigest()

    threads, found = _threads.count(), set()
    try:
        for n, budget in ((1, None), (2, None), (8, None), (1, 300_000), (2, 500_000)):
            _threads.set_count(n)
            found.add(weights(memory_budget=budget))
    finally:
        _threads.set_count(threads)
    monkeypatch.setattr(_threads, "share", shuffled)
    found.add(weights())
    assert len(found) == 1


@pytest.mark.usefixtures("four_chunks")
@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_no_memory_budget_changes_a_bit(static, backend):
    net = network(backend)
    x, T = draw(net, static)
    tape = net.forward(x, T)[2]
    expected = everything(net, x, T)
    need = tiles.needs(tape.run, (1, *x.shape) if static else x.shape, net.dtype)
    steps = [end - begin for begin, end in tape.run.cuts.steps]
    whole = need.once + need.step * sum(steps)
    with pytest.raises(
        ValueError, match=r"memory_budget is 1 bytes; a tape of 3 blocks of steps needs [\d,]+ at least"
    ) as error:
        network(backend, memory_budget=1).forward(x, T)
    least = int(str(error.value).split("needs ")[1].split(" ")[0].replace(",", ""))
    assert str(error.value).endswith(f"and {whole:,} to compute nothing twice")
    assert least < whole
    last, two = need.step * steps[-1], need.step * (steps[-1] + steps[-2])
    for budget, kept in ((whole, 3), (least + two, 2), (least + two - 1, 1), (least + last, 1), (least + last - 1, 0)):
        lean = network(backend, memory_budget=min(budget, whole))
        lean_tape = lean.forward(x, T)[2]
        if budget < whole:
            blocks = lean_tape.chunks[0].blocks
            assert [b.caches is not None for b in blocks] == [False] * (3 - kept) + [True] * kept
        same_bits(everything(lean, x, T), expected)
        same_bits(lean_tape.neurons()[2].U, tape.neurons()[2].U)
    assert not all(b.caches for b in network(backend, memory_budget=whole - 1).forward(x, T)[2].chunks[0].blocks)
    with pytest.raises(ValueError, match="memory_budget is"):
        network(backend, memory_budget=least - 1).forward(x, T)


def held(cache):
    """The bytes that a cache of this network's items holds."""
    if hasattr(cache, "op"):  # neurons and a linear layer
        return cache.x.nbytes
    if hasattr(cache, "linear"):
        return cache.linear.cache.X.nbytes
    if hasattr(getattr(cache, "cache", None), "pool"):
        return cache.cache.conv.X.nbytes + cache.cache.pool.place.nbytes
    return cache.U.nbytes if hasattr(cache, "U") else 0


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_needs_are_what_a_tape_holds(static, backend):
    net = network(backend)
    x, T = draw(net, static, B=4)
    tape = net.forward(x, T)[2]
    need = tiles.needs(tape.run, (1, *x.shape) if static else x.shape, net.dtype)
    once = step = 0
    for chunk in tape.chunks:
        prefix = chunk.prefix[0].cache if static else None
        once += prefix.conv.X.nbytes + prefix.pool.place.nbytes if static else 0
        step += 0 if static else chunk.x.nbytes
        for block in chunk.blocks:
            step += sum(held(cache) for cache in block.caches)
    T = sum(end - begin for begin, end in tape.run.cuts.steps)
    assert need.step * T == step
    assert need.once == (once + x.nbytes if static else 0)
    assert need.state == sum(U.nbytes for U in tape.state.U)


def fused(static, memory_budget=None, **neurons):
    """A network whose first neurons, convolution and pool are run as one, and its input; T is two blocks of steps."""
    pytest.importorskip("numba")
    sg = surrogate.fast_sigmoid(slope=5)
    net = npsnn.Sequential(
        npsnn.Conv2d(2, 3, 2), npsnn.Leaky(0.5, spike_grad=sg, **neurons), npsnn.Conv2d(3, 4, (3, 2)),
        npsnn.MaxPool2d(2), npsnn.Leaky(0.7, threshold=0.3, spike_grad=sg), npsnn.Flatten(), npsnn.Linear(36, 3),
        npsnn.Leaky(0.6, threshold=0.3, spike_grad=sg), backend="cpu", seed=3, memory_budget=memory_budget,
    )  # fmt: skip
    rng, T = np.random.default_rng(0), tiles.STEPS + 9
    x = rng.standard_normal((7, 2, 9, 8) if static else (T, 7, 2, 9, 8)).astype(np.float32)
    return net, x * 2, T if static else None


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_three_layers_as_one_are_the_three(static, monkeypatch):
    """Forward has the bits of the layers one by one; backward differs by the order of a sum. Membranes are the same."""
    net, x, T = fused(static)
    assert [type(layer).__name__ for _, layer in net._items[1:]] == [
        "LeakyConvPool2d", "LeakyLinear", "Leaky"
    ]  # fmt: skip
    together, tape = everything(net, x, T), net.forward(x, T)[2]
    monkeypatch.setattr("npsnn.items.fits", lambda leaky: False)
    net, x, T = fused(static)
    assert [type(layer).__name__ for _, layer in net._items[1:3]] == ["Leaky", "ConvPool2d"]
    apart, other = everything(net, x, T), net.forward(x, T)[2]
    same_bits(together[:5], apart[:5])
    for d, e in zip(together[5:], apart[5:], strict=True):
        np.testing.assert_allclose(d, e, rtol=0, atol=2e-5 * np.abs(e).max())
    assert list(tape.neurons()) == list(other.neurons()) == [1, 4, 7]
    for i, theirs in other.neurons().items():
        same_bits(tuple(tape.neurons()[i][:3]), tuple(theirs[:3]))
        assert 0.05 < theirs.S.mean() < 0.95
    need, more = (tiles.needs(t.run, (1, *x.shape) if static else x.shape, net.dtype) for t in (tape, other))
    currents, steps = 3 * 8 * 7 * 4, tiles.STEPS + 9
    spikes_and_membranes = 7 * 3 * 8 * 7 * 5
    spikes = 7 * 36  # of the second neurons, whose currents are kept instead of their membranes
    assert more.step - need.step == spikes_and_membranes - (0 if static else 7 * currents) + spikes
    assert need.once - more.once == (7 * currents if static else 0)
    caches = [c for k in tape.chunks for block in k.blocks for c in block.caches]
    places = sum(c.op.pool.place.nbytes for c in caches if hasattr(getattr(c, "op", None), "pool"))
    assert places == steps * 7 * 4 * 3 * 3
    assert {c.U.shape[2:] for c in caches if hasattr(c, "U")} == {(3,)}  # of the last layer alone


@pytest.mark.usefixtures("four_chunks")
@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_a_step_at_a_time_a_budget_and_threads_do_not_change_them(static):
    net, x, T = fused(static)
    expected = everything(net, x, T)
    tape = net.forward(x, T)[2]
    need = tiles.needs(tape.run, (1, *x.shape) if static else x.shape, net.dtype)
    lean = fused(static, need.once + need.step * (tiles.STEPS + 9) - 1)[0]
    assert [b.caches is None for b in lean.forward(x, T)[2].chunks[0].blocks] == [True, False]
    same_bits(everything(lean, x, T), expected)
    state = net.init_state(7)
    for t in range(tiles.STEPS + 9):
        (spk, mem), state = net.step(x if static else x[t], state)
        same_bits((spk, mem), (expected[0][t], expected[1][t]))
    threads = _threads.count()
    try:
        _threads.set_count(3)
        same_bits(everything(net, x, T), expected)
    finally:
        _threads.set_count(threads)


@pytest.mark.parametrize("neurons", [{"learn_beta": True}, {"learn_threshold": True}, {"detach_reset": False}], ids=str)
def test_neurons_that_the_op_is_not_for_are_run_by_themselves(neurons):
    net, x, T = fused(True, **neurons)
    assert [type(layer).__name__ for _, layer in net._items[1:3]] == ["Leaky", "ConvPool2d"]
    assert len(everything(net, x, T)) > 5


def test_constants_a_neuron_follow_the_channels_into_memory():
    """Before a dense layer, where the channels lie last: beta and threshold of every neuron are its own."""
    pytest.importorskip("numba")
    rng, got = np.random.default_rng(0), []
    beta, theta, x = rng.random((3, 4, 5)), 0.1 + rng.random((3, 1, 1)), rng.standard_normal((7, 2, 2, 9, 11))
    for backend in ("cpu", "reference"):
        net = npsnn.Sequential(
            npsnn.Conv2d(2, 3, 2), npsnn.MaxPool2d(2), npsnn.Leaky(beta, threshold=theta), npsnn.Flatten(),
            npsnn.Linear(60, 3), npsnn.Leaky(0.5, threshold=0.2), backend=backend, dtype="float64", seed=0,
        )  # fmt: skip
        got.append(everything(net, x, None))
    for ours, law in zip(*got, strict=True):
        np.testing.assert_allclose(ours, law, rtol=0, atol=1e-12 * np.abs(law).max())


def test_a_summary_counts_what_is_kept():
    net, x, T = fused(True)
    rows = [line.split() for line in net.summary(x.shape[1:], T).splitlines()]
    kept = {row[0]: int(row[-1].replace(",", "")) for row in rows if row[0].isdigit()}
    assert (kept["1"], kept["2"], kept["3"]) == (3 * 8 * 7 * 4, 0, T * 4 * 3 * 3)
    assert (kept["4"], kept["5"], kept["6"]) == (T * 36 * 4, 0, 0)


def test_a_budget_is_a_whole_number_above_zero():
    for wrong, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("1", TypeError)):
        with pytest.raises(error, match="memory_budget"):
            network("reference", memory_budget=wrong)


def test_a_surrogate_that_draws_is_run_in_one_piece():
    """Its noise is drawn for all samples and steps at once: a sample's does not depend on where tiles are cut."""
    pytest.importorskip("numba")
    net = npsnn.Sequential(npsnn.Leaky(0.9, spike_grad=surrogate.SSO(seed=4)), backend="cpu")
    tape = net.forward(np.ones((2 * tiles.STEPS, 9, 3), np.float32))[2]
    assert tape.run.cuts == tiles.Cuts(((0, 9),), ((0, 2 * tiles.STEPS),))


@pytest.mark.parametrize("layers", [
    [npsnn.Linear(3, 2)], [npsnn.Leaky(0.5)], [npsnn.Linear(3, 4), npsnn.Leaky(0.5), npsnn.Linear(4, 2)],
    [npsnn.Leaky(0.5), npsnn.Leaky(0.5)], [npsnn.Leaky(0.5), npsnn.Linear(3, 2)],
], ids=str)  # fmt: skip
@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_networks_of_every_form(layers, static, monkeypatch):
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    T = tiles.STEPS + 3
    x = rng.standard_normal((5, 3) if static else (T, 5, 3))
    results = []
    for backend, steps in (("cpu", tiles.STEPS), ("reference", 10**6)):
        monkeypatch.setattr(tiles, "STEPS", steps)
        net = npsnn.Sequential(*layers, backend=backend, dtype=np.float64, seed=2)
        spk_rec, mem_rec, tape = net.forward(x, T if static else None)
        assert (mem_rec is None) == (not isinstance(layers[-1], npsnn.Leaky))
        d = np.random.default_rng(1).standard_normal(spk_rec.shape)
        grads = net.backward(tape, d, input_grad=True)
        without = net.backward(tape, d)
        assert all((without[name] == grads[name]).all() for name in without)
        results.append([spk_rec, *(grads[name] for name in sorted(grads))])
        assert grads["input"].shape == x.shape
        assert math.prod(spk_rec.shape[:2]) == T * 5
    for ours, law in zip(*results, strict=True):
        close(ours, law, 1e-10)
