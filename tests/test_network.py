"""Sequential: forward, backward, tape, state, parameters, state dicts, summary; on both backends."""

import copy

import numpy as np
import pytest

import npsnn
from npsnn import surrogate
from tests.helpers import close, complex_step


def small(backend, dtype=np.float32, seed=3, **neuron):
    """A conv, pool, neuron, linear, neuron network on images of 2 x 9 x 8; gains high enough that it fires."""
    sg = surrogate.fast_sigmoid(slope=5)
    net = npsnn.Sequential(
        npsnn.Conv2d(2, 3, (3, 2), padding=1),
        npsnn.MaxPool2d(2),
        npsnn.Leaky(0.5, spike_grad=sg, learn_beta=True, learn_threshold=True, **neuron),
        npsnn.Flatten(),
        npsnn.Linear(3 * 4 * 4, 5),
        npsnn.Leaky(np.linspace(0.2, 0.8, 5), spike_grad=sg, learn_beta=True, **neuron),
        dtype=dtype,
        backend=backend,
        seed=seed,
    )
    net.params["0.weight"] *= 6
    net.params["4.weight"] *= 6
    return net


def images(rng, net, B=4, T=None):
    shape = (B, 2, 9, 8) if T is None else (T, B, 2, 9, 8)
    return rng.standard_normal(shape).astype(net.dtype)


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_shapes_and_keys(backend, rng):
    net = small(backend)
    x = images(rng, net)
    spk_rec, mem_rec, tape = net.forward(x, num_steps=6)
    assert spk_rec.shape == mem_rec.shape == (6, 4, 5)
    assert spk_rec.dtype == mem_rec.dtype == np.float32
    assert set(np.unique(spk_rec)) == {0, 1}
    np.testing.assert_array_equal(spk_rec, mem_rec > 1)
    grads = net.backward(tape, dspk=rng.standard_normal(spk_rec.shape).astype(np.float32))
    assert (
        list(grads)
        == list(net.params)
        == ["0.weight", "0.bias", "2.beta", "2.threshold", "4.weight", "4.bias", "5.beta"]
    )
    for name, d in grads.items():
        assert d.shape == net.params[name].shape and d.dtype == np.float32 and np.any(d != 0), name


def test_a_call_gives_what_forward_gives(backend, rng):
    net = small(backend)
    x = images(rng, net, T=5)
    for a, b in zip(net(x), net.forward(x)[:2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_backward_is_a_function_of_the_tape(backend, rng):
    net = small(backend)
    x = images(rng, net)
    spk_rec, mem_rec, tape = net.forward(x, 6)
    dspk, dmem = (rng.standard_normal(spk_rec.shape).astype(np.float32) for _ in range(2))
    before = net.state_dict()
    first = net.backward(tape, dspk, dmem)
    same(net.state_dict(), before)
    # Whatever happens to the network, the input or the recordings, the tape keeps what was.
    net.flat_params[:] = 0
    x[:] = 7
    mem_rec[:] = 7
    spk_rec[:] = 7
    same(net.backward(tape, dspk, dmem), first)


def test_gradients_add_over_the_two_recordings(backend, rng):
    net = small(backend, np.float64)
    spk_rec, _, tape = net.forward(images(rng, net), 6)
    dspk, dmem = (rng.standard_normal(spk_rec.shape) for _ in range(2))
    both, one, other = net.backward(tape, dspk, dmem), net.backward(tape, dspk), net.backward(tape, dmem=dmem)
    for name in both:
        np.testing.assert_allclose(both[name], one[name] + other[name], rtol=1e-9, atol=1e-12)


def test_a_static_input_equals_its_repetition(backend, rng):
    net = small(backend, np.float64)
    x = images(rng, net)
    spk_rec, mem_rec, tape = net.forward(x, num_steps=6)
    spk2, mem2, tape2 = net.forward(np.repeat(x[None], 6, axis=0))
    np.testing.assert_array_equal(spk_rec, spk2)
    np.testing.assert_array_equal(mem_rec, mem2)
    d = rng.standard_normal(spk_rec.shape)
    a, b = net.backward(tape, d, input_grad=True), net.backward(tape2, d, input_grad=True)
    assert a["input"].shape == x.shape and b["input"].shape == (6, *x.shape)
    np.testing.assert_allclose(a.pop("input"), b.pop("input").sum(axis=0), rtol=1e-9, atol=1e-12)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_a_loop_over_step_has_the_bits_of_one_call(backend, rng, reset):
    net = small(backend, reset_mechanism=reset)
    x = images(rng, net, T=7)
    spk_rec, mem_rec = net(x)
    state = net.init_state(4)
    for t in range(7):
        (spk, mem), state = net.step(x[t], state)
        np.testing.assert_array_equal(spk, spk_rec[t])
        np.testing.assert_array_equal(mem, mem_rec[t])


def test_step_leaves_the_state_that_came_in_alone(backend, rng):
    net = small(backend)
    x = images(rng, net, T=2)
    _, state = net.step(x[0], net.init_state(4))
    kept = [U.copy() for U in state.U]
    a, _ = net.step(x[1], state)
    b, _ = net.step(x[1], state)
    np.testing.assert_array_equal(a, b)
    for U, K in zip(state.U, kept, strict=True):
        np.testing.assert_array_equal(U, K)


def test_a_sample_does_not_depend_on_its_neighbours(backend, rng):
    net = small(backend)
    x = images(rng, net, B=9)
    whole, _ = net(x, 5)
    for rows in (slice(0, 1), slice(4, 7)):
        np.testing.assert_array_equal(net(x[rows], 5)[0], whole[:, rows])


@pytest.mark.parametrize("detach", [True, False])
def test_a_sequence_in_pieces_has_the_gradient_of_the_whole(backend, rng, detach):
    net = small(backend, np.float64, detach_reset=detach)
    x = images(rng, net, T=7)
    spk_rec, mem_rec, tape = net.forward(x)
    dspk, dmem = rng.standard_normal(spk_rec.shape), rng.standard_normal(spk_rec.shape)
    whole = net.backward(tape, dspk, dmem, input_grad=True, state_grad=True)

    spk1, _, tape1 = net.forward(x[:3])
    spk2, mem2, tape2 = net.forward(x[3:], state=tape1.state)
    np.testing.assert_array_equal(np.concatenate([spk1, spk2]), spk_rec)
    np.testing.assert_array_equal(mem2, mem_rec[3:])
    late = net.backward(tape2, dspk[3:], dmem[3:], input_grad=True, state_grad=True)
    early = net.backward(tape1, dspk[:3], dmem[:3], input_grad=True, dstate=late["state"], state_grad=True)
    for name in net.params:
        np.testing.assert_allclose(early[name] + late[name], whole[name], rtol=1e-9, atol=1e-11, err_msg=name)
    np.testing.assert_allclose(np.concatenate([early["input"], late["input"]]), whole["input"], rtol=1e-9, atol=1e-11)
    for a, b in zip(early["state"], whole["state"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_the_last_layer_need_not_be_a_neuron(backend, rng):
    net = npsnn.Sequential(
        npsnn.Linear(3, 4), npsnn.Leaky(0.5), npsnn.Linear(4, 2), dtype=np.float64, backend=backend, seed=1
    )
    x = 5 * rng.standard_normal((6, 3))
    out, mem, tape = net.forward(x, 5)
    assert out.shape == (5, 6, 2) and mem is None and len(np.unique(out)) > 2
    d = rng.standard_normal(out.shape)
    np.testing.assert_allclose(net.backward(tape, d)["2.bias"], d.sum(axis=(0, 1)), rtol=1e-13)


def test_a_network_without_neurons_is_shown_its_input_T_times(backend, rng):
    net = npsnn.Sequential(npsnn.Linear(3, 2), dtype=np.float64, backend=backend)
    x = rng.standard_normal((4, 3))
    out, mem, tape = net.forward(x, 5)
    assert out.shape == (5, 4, 2) and mem is None
    np.testing.assert_array_equal(out[4], out[0])
    d = rng.standard_normal(out.shape)
    grads = net.backward(tape, d, input_grad=True)
    np.testing.assert_allclose(grads["input"], d.sum(axis=0) @ net.params["0.weight"], rtol=1e-12)
    np.testing.assert_allclose(grads["0.weight"], d.sum(axis=0).T @ x, rtol=1e-12)


def test_one_layer_can_serve_in_two_networks_and_twice_in_one(backend, rng):
    shared, neuron = npsnn.Linear(3, 3), npsnn.Leaky(0.5)
    a = npsnn.Sequential(shared, neuron, shared, neuron, backend=backend, seed=1, dtype=np.float64)
    b = npsnn.Sequential(shared, neuron, backend=backend, seed=2, dtype=np.float64)
    assert not np.array_equal(a.params["0.weight"], a.params["2.weight"])
    x = 4 * rng.standard_normal((2, 3))
    spk, _, tape = a.forward(x, 4)
    b.forward(x, 4)
    first = a.backward(tape, np.ones_like(spk))
    same(a.backward(tape, np.ones_like(spk)), first)


def test_both_backends_agree(rng):
    pytest.importorskip("numba", reason="the cpu backend needs Numba")
    law, cpu = small("reference", np.float64), small("cpu", np.float64)
    x = images(rng, law)
    spk_rec, mem_rec, tape = law.forward(x, 6)
    spk2, mem2, tape2 = cpu.forward(x, 6)
    np.testing.assert_array_equal(spk2, spk_rec)
    np.testing.assert_allclose(mem2, mem_rec, rtol=1e-12, atol=1e-12)
    d = rng.standard_normal(spk_rec.shape)
    a, b = cpu.backward(tape2, d, input_grad=True), law.backward(tape, d, input_grad=True)
    for name in b:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-12 * np.abs(b[name]).max(), err_msg=name)


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
def test_backward_of_a_whole_network_is_its_complex_step_derivative(backend, rng, static, detach):
    """Every weight, bias and constant and the input, in the run with hard spikes; the law's layers carry the step."""
    net = small(backend, np.float64, detach_reset=detach)
    x = images(rng, net, B=2, T=None if static else 3)
    spk_rec, mem_rec, tape = net.forward(x, num_steps=3 if static else None)
    assert 0.1 < spk_rec.mean() < 0.9
    dspk, dmem = rng.standard_normal(spk_rec.shape), rng.standard_normal(mem_rec.shape)
    names = list(net.params)

    def loss(x, *values):
        x, params = x[None] if static else x, dict(zip(names, values, strict=True))
        for i, layer in enumerate(net.layers):
            own = {name.partition(".")[2]: p for name, p in params.items() if name.startswith(f"{i}.")}
            steps = {"num_steps": 3} if isinstance(layer, npsnn.Leaky) else {}
            x, cache = layer.forward(x, own, **steps)
        return (dspk * x).sum() + (dmem * cache.U).sum()

    grads = net.backward(tape, dspk, dmem, input_grad=True)
    for name, expected in zip(["input", *names], complex_step(loss, x, *net.params.values()), strict=True):
        close(grads[name], expected)


@pytest.mark.parametrize(
    "beta, like, passes", [(1.25, 1.0, False), (-0.25, 0.0, False), (1.0, 1.0, True), (0.0, 0.0, True)]
)
def test_a_loaded_beta_beyond_its_range_is_clipped_and_gets_no_gradient(backend, rng, beta, like, passes):
    x, d = 3 * rng.standard_normal((6, 4, 3)), rng.standard_normal((6, 4, 3))
    net = npsnn.Sequential(npsnn.Leaky(0.5, learn_beta=True), dtype=np.float64, backend=backend)
    net.load_state_dict({"0.beta": np.array(beta)})
    spk_rec, mem_rec, tape = net.forward(x)
    plain = npsnn.Sequential(npsnn.Leaky(like), dtype=np.float64, backend=backend)
    for ours, expected in zip((spk_rec, mem_rec), plain(x), strict=True):
        np.testing.assert_array_equal(ours, expected)
    grads = net.backward(tape, d)
    assert grads["0.beta"].shape == ()
    assert (grads["0.beta"] != 0) == passes
    assert net.params["0.beta"] == beta


def test_a_stochastic_surrogate_has_a_key_a_run_and_the_tape_keeps_it(backend, rng):
    """Backward twice: the same bits. Two runs, or two seeds: others. The same seed again: the same runs."""
    x, d = images(rng, small("reference"))[:2], rng.standard_normal((3, 2, 5)).astype(np.float32)

    def runs(seed):
        net = small(backend)
        neuron = npsnn.Leaky(0.5, spike_grad=surrogate.SSO(seed=seed))
        net = npsnn.Sequential(*net.layers[:2], neuron, *net.layers[3:], backend=backend, seed=3)
        net.params["0.weight"] *= 6
        gradients = []
        for _ in range(2):
            tape = net.forward(x, 3)[2]
            first, second = net.backward(tape, d), net.backward(tape, d)
            same(first, second)
            gradients.append(first["0.weight"])
        return gradients

    one, again, other = runs(1), runs(1), runs(2)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one[0], other[0])


def test_upstream_gradients_that_are_not_given_are_zero(backend, rng):
    net = small(backend)
    spk_rec, _, tape = net.forward(images(rng, net), 6)
    d, zero = rng.standard_normal(spk_rec.shape).astype(np.float32), np.zeros_like(spk_rec)
    same(net.backward(tape, d), net.backward(tape, d, zero))
    same(net.backward(tape, dmem=d), net.backward(tape, zero, d))


# --- parameters and state dicts ------------------------------------------------------------------------------------


def test_params_are_live_views_and_assignment_copies():
    net = small("reference")
    net.params["4.bias"][1] = 5
    assert net.params["4.bias"][1] == 5 and 5 in net.flat_params
    net.params["4.bias"] = np.arange(5)
    assert net.params["4.bias"].tolist() == [0, 1, 2, 3, 4] and net.flat_params.dtype == np.float32
    with pytest.raises(ValueError, match=r"4.bias has shape \(4,\), expected \(5,\)"):
        net.params["4.bias"] = np.arange(4)
    with pytest.raises(KeyError, match="no parameter 'bias'"):
        net.params["bias"] = 0


def test_a_copy_is_a_network_of_its_own():
    net = small("reference")
    twin = copy.deepcopy(net)
    twin.params["4.bias"][:] = 9
    assert not (net.params["4.bias"] == 9).any() and (twin.params["4.bias"] == 9).all()


def test_the_same_seed_gives_the_same_weights():
    same(small("reference").state_dict(), small("reference").state_dict())
    assert not np.array_equal(small("reference", seed=4).flat_params, small("reference").flat_params)


def test_state_dict_round_trip():
    net, other = small("reference"), small("reference", seed=9)
    saved = net.state_dict()
    saved["4.bias"][0] += 0  # a copy out: writing to it does not reach the network
    assert other.load_state_dict(saved) == ([], [])
    same(other.state_dict(), saved)
    saved["4.bias"][:] = 77
    assert not (other.params["4.bias"] == 77).any()


def test_loading_is_all_or_nothing():
    net = small("reference")
    before = net.state_dict()
    bad = {**small("reference", seed=9).state_dict(), "4.bias": np.zeros(4, np.float32)}
    with pytest.raises(ValueError, match=r"state dict: 4.bias has shape \(4,\), expected \(5,\)"):
        net.load_state_dict(bad)
    bad["4.bias"] = np.full(5, np.nan, np.float32)
    with pytest.raises(ValueError, match=r"state dict: 4\.bias has 5 NaN"):
        net.load_state_dict(bad)
    same(net.state_dict(), before)


def test_missing_and_unexpected_keys():
    net = small("reference")
    partial = {"4.bias": np.ones(5, np.float32), "9.weight": np.zeros(2)}
    with pytest.raises(ValueError, match=r"missing 0.weight, 0.bias, .*; unexpected 9.weight"):
        net.load_state_dict(partial)
    result = net.load_state_dict(partial, strict=False)
    assert "0.weight" in result.missing_keys and result.unexpected_keys == ["9.weight"]
    assert (net.params["4.bias"] == 1).all()


def test_snntorchs_neuron_buffers_are_held_against_the_network():
    net = npsnn.Sequential(npsnn.Linear(2, 2), npsnn.Leaky(0.9))
    theirs = {
        **net.state_dict(),
        "1.beta": np.float32(0.9),
        "1.threshold": np.float32(1),
        "1.graded_spikes_factor": np.float32(1),
        "1.reset_mechanism_val": np.int64(0),
    }
    net.load_state_dict(theirs)
    for name, value in {
        "1.beta": 0.8,
        "1.threshold": 2.0,
        "1.graded_spikes_factor": 3.0,
        "1.reset_mechanism_val": 1,
    }.items():
        with pytest.raises(ValueError, match=f"state dict: {name} is "):
            net.load_state_dict({**theirs, name: np.asarray(value, np.float32)})


# --- what a person reads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_summary_counts_parameters_and_the_bytes_of_the_tape(rng, dtype, backend):
    net = small(backend, dtype)
    text = net.summary((2, 9, 8), num_steps=6)
    x = images(rng, net, B=1)
    (chunk,) = net.forward(x, 6)[2].chunks
    conv, (first, linear, last) = chunk.prefix[0].cache, chunk.blocks[0].caches
    X = linear.linear.cache.X.nbytes
    kept = [conv.conv.X.nbytes, conv.pool.place.nbytes, first.U.nbytes, 0, X, last.U.nbytes]
    lines = text.splitlines()
    assert [int(line.split()[-1].replace(",", "")) for line in lines[2:8]] == kept
    assert lines[-1].split() == ["total", "T", "=", "6", str(net.flat_params.size), f"{sum(kept):,}"]
    assert ["3", "4", "4"] == [c.strip("(,)") for c in lines[3].split()[-5:-2]]


def test_repr_names_what_it_is():
    assert "(0): Conv2d(2, 3, kernel_size=(3, 2), padding=(1, 1))" in repr(small("reference"))
    assert repr(small("reference")).endswith("float32, backend reference")


def test_firing_counts_spikes_and_silent_neurons():
    net = npsnn.Sequential(npsnn.Leaky(0.0, reset_mechanism="none"), backend="reference", dtype=np.float64)
    x = np.zeros((4, 2, 5))
    x[1, 0, 3] = x[2, 1, 3] = x[0, 0, 0] = 2
    tape = net.forward(x)[2]
    firing = net.firing(tape)["0 Leaky"]
    assert firing.rate == 3 / 40 and firing.silent == pytest.approx(3 / 5)
