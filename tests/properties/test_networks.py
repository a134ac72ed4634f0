"""What holds for every network, said once each.

Where the mathematics is exact in floating point the bits are compared: a factor that is a power of two, a zero, a
permutation of what is computed side by side. Elsewhere results may differ by rounding, as `TOLERANCE` allows.
"""

import numpy as np
from hypothesis import strategies as st

import npsnn
from tests.helpers import close
from tests.properties.drawing import POWERS, arrays_in, backward, cases, on_backends, upstream, without_biases
from tests.twins import TOLERANCE, same_bits, unchanged

# --- what comes in and what comes out ---------------------------------------------------------------------------------


@on_backends(cases())
def test_forward_and_step_change_neither_input_nor_parameters_nor_state(backend, case):
    net, x, T, _ = case.build(backend)
    state = net.forward(x, T)[2].state
    with unchanged(x, net.flat_params, *state.U):
        net(x, T)
        net.forward(x, T, state=state)
        net.step(x[0] if case.varying else x, state)


@on_backends(cases())
def test_backward_changes_neither_tape_nor_upstream_gradients_nor_network(backend, case):
    net, x, T, rng = case.build(backend)
    _, mem_rec, tape = net.forward(x, T)
    given = upstream(rng, tape, mem_rec)
    kept = [a.copy() for a in arrays_in(tape)]
    assert len(kept) > len(tape.params.slots)
    with unchanged(x, net.flat_params, *arrays_in(given)):
        backward(net, tape, *given)
    same_bits(tuple(arrays_in(tape)), tuple(kept))


@on_backends(cases())
def test_shapes_and_dtypes_of_a_network_are_those_documented(backend, case):
    """On the reference in float64 too; the other backends are the same code above the ops."""
    for dtype in (np.float32, np.float64) if backend == "reference" else (np.float32,):
        net, x, T, rng = case.build(backend, dtype)
        spk_rec, mem_rec, tape = net.forward(x, T)
        out = (case.T, case.B, case.layers[-2 if mem_rec is not None else -1].out_features)
        assert spk_rec.shape == tape.out_shape == out and spk_rec.dtype == dtype
        assert (mem_rec is not None) == isinstance(case.layers[-1], npsnn.Leaky)
        if mem_rec is not None:
            assert mem_rec.shape == out and mem_rec.dtype == dtype and set(np.unique(spk_rec)) <= {0, 1}
        same_bits(net(x, T), (spk_rec, mem_rec))

        found = tape.neurons()
        assert list(found) == [i for i, layer in enumerate(case.layers) if isinstance(layer, npsnn.Leaky)]
        assert len(tape.state.U) == len(found) and tape.state.batch_size == case.B
        for U, neuron in zip(tape.state.U, found.values(), strict=True):
            assert neuron.U.shape[:2] == (case.T, case.B)
            same_bits(np.asarray(neuron.U[-1]), U)

        grads = net.backward(tape, *upstream(rng, tape, mem_rec)[:2], input_grad=True, state_grad=True)
        assert list(grads) == [*net.params, "input", "state"]
        assert grads["input"].shape == x.shape and grads["input"].dtype == dtype
        for name, p in net.params.items():
            assert grads[name].shape == p.shape and grads[name].dtype == dtype
        assert [(d.shape, d.dtype) for d in grads["state"]] == [(U.shape, U.dtype) for U in tape.state.U]
        assert net.flatten(grads).shape == net.flat_params.shape


# --- linearity, zeros, permutations, scales ---------------------------------------------------------------------------


@on_backends(st.tuples(cases(), st.floats(-2, 2), st.floats(-2, 2)))
def test_backward_is_linear_in_its_upstream_gradients(backend, drawn):
    """back(a d1 + b d2) = a back(d1) + b back(d2): within rounding of the largest term."""
    case, a, b = drawn
    dtype = np.dtype(np.float64 if backend == "reference" else np.float32)
    net, x, T, rng = case.build(backend, dtype)
    _, mem_rec, tape = net.forward(x, T)
    d1, d2 = (upstream(rng, tape, mem_rec) for _ in range(2))

    def mixed(one, other):
        return None if one is None else (a * one + b * other).astype(dtype)

    both = [mixed(d1[0], d2[0]), mixed(d1[1], d2[1]), [mixed(*pair) for pair in zip(d1[2], d2[2], strict=True)]]
    whole, one, other = backward(net, tape, *both), backward(net, tape, *d1), backward(net, tape, *d2)
    for name, d in whole.items():
        expected = a * one[name].astype(np.float64) + b * other[name]
        size = max(np.abs(part).max() for part in (one[name], other[name], expected))
        np.testing.assert_allclose(d, expected, rtol=0, atol=50 * TOLERANCE[str(dtype)] * size, err_msg=name)


@on_backends(st.tuples(cases(), st.sampled_from([2.0, 0.5, -1.0, -4.0])))
def test_a_factor_that_is_a_power_of_two_goes_through_backward_to_the_bit(backend, drawn):
    case, factor = drawn
    net, x, T, rng = case.build(backend)
    _, mem_rec, tape = net.forward(x, T)
    dspk, dmem, dstate = upstream(rng, tape, mem_rec)
    f = np.float32(factor)
    once = backward(net, tape, dspk, dmem, dstate)
    scaled = backward(net, tape, f * dspk, None if dmem is None else f * dmem, [f * d for d in dstate])
    for name, d in once.items():
        np.testing.assert_array_equal(scaled[name], f * d, err_msg=name)


@on_backends(cases())
def test_a_zero_upstream_gradient_gives_zero_gradients(backend, case):
    net, x, T, _ = case.build(backend)
    spk_rec, mem_rec, tape = net.forward(x, T)
    zero = np.zeros_like(spk_rec)
    for name, d in backward(net, tape, zero, None if mem_rec is None else zero, None).items():
        assert not d.any(), name


@on_backends(cases())
def test_a_zero_input_without_bias_gives_no_spike_and_membranes_of_zero(backend, case):
    net, x, T, _ = without_biases(case).build(backend)
    spk_rec, mem_rec, tape = net.forward(np.zeros_like(x), T)
    assert not spk_rec.any() and (mem_rec is None or not mem_rec.any())
    assert not any(neuron.U.any() or neuron.S.any() for neuron in tape.neurons().values())


@on_backends(st.tuples(cases(), st.sampled_from([1.0, 0.0])))
def test_permuted_samples_have_permuted_results(backend, drawn):
    """Recordings and membranes to the bit; so are what goes back to a sample, on `cpu`; sums over samples are near."""
    case, some = drawn
    net, x, T, rng = case.build(backend)
    p, axis = rng.permutation(case.B), 1 if case.varying else 0
    spk_rec, mem_rec, tape = net.forward(x, T)
    shuffled = net.forward(x.take(p, axis), T)
    same_bits(shuffled[0], spk_rec[:, p])
    if mem_rec is not None:
        same_bits(shuffled[1], mem_rec[:, p])
    same_bits(shuffled[2].state.U, tuple(U[p] for U in tape.state.U))

    dspk, dmem, dstate = upstream(rng, tape, mem_rec)
    once = backward(net, tape, dspk, dmem, [np.float32(some) * d for d in dstate])
    again = backward(
        net, shuffled[2], dspk[:, p], None if dmem is None else dmem[:, p], [np.float32(some) * d[p] for d in dstate]
    )
    for name, d in once.items():
        own = d.take(p, axis) if name == "input" else d[p] if name.startswith("state") else None
        if own is None:
            close(again[name], d, 50 * TOLERANCE["float32"])
        elif backend == "reference":
            close(again[name], own, TOLERANCE["float32"])
        else:
            same_bits(again[name], own)


@on_backends(st.tuples(cases(varying=(True,)), POWERS))
def test_currents_and_thresholds_of_twice_the_size_give_the_same_spikes(backend, drawn):
    """To the bit: every neuron's weights, bias and threshold times a power of two, and so its membrane."""
    case, factor = drawn
    net, x, _, _ = case.build(backend)
    layers = [
        npsnn.Leaky(a.beta, factor * a.threshold, a.spike_grad, reset_mechanism=a.reset_mechanism)
        if isinstance(a, npsnn.Leaky)
        else a
        for a in case.layers
    ]
    twin = npsnn.Sequential(*layers, backend=backend)
    for name, value in twin.params.items():
        value[...] = np.float32(factor) * net.params[name]
    ours, theirs = net.forward(x)[2].neurons(), twin.forward(x)[2].neurons()
    for i, neuron in ours.items():
        np.testing.assert_array_equal(theirs[i].S, neuron.S)
        np.testing.assert_array_equal(theirs[i].U, np.float32(factor) * neuron.U)


# --- time -------------------------------------------------------------------------------------------------------------


@on_backends(st.tuples(cases(steps=(2, 3, 5, 66)), st.integers(1, 65)))
def test_later_steps_never_change_earlier_outputs(backend, drawn):
    """To the bit; 66 steps are two blocks."""
    case, t = drawn
    t = min(t, case.T - 1)
    net, x, T, rng = case.build(backend)
    spk_rec, mem_rec = net(x, T)
    early = net(x[:t] if case.varying else x, None if case.varying else t)
    same_bits(early, (spk_rec[:t], None if mem_rec is None else mem_rec[:t]))
    if case.varying:
        x[t:] = rng.normal(0, 5, x[t:].shape)
        same_bits(net(x)[0][:t], spk_rec[:t])


@on_backends(st.tuples(cases(varying=(True,), steps=(2, 4, 66)), st.integers(0, 65)))
def test_a_loss_on_one_step_has_no_gradient_in_the_input_of_later_steps(backend, drawn):
    """And the parameters' gradient is that of the run that ends there."""
    case, t = drawn
    t = min(t, case.T - 1)
    net, x, _, rng = case.build(backend)
    _, mem_rec, tape = net.forward(x)
    dspk = np.zeros(tape.out_shape, np.float32)
    dspk[t] = rng.standard_normal(dspk[t].shape)
    dmem = None if mem_rec is None else dspk
    grads = net.backward(tape, dspk, dmem, input_grad=True)
    assert not grads["input"][t + 1 :].any()
    early = net.forward(x[: t + 1])[2]
    ended = net.backward(early, dspk[: t + 1], None if dmem is None else dmem[: t + 1], input_grad=True)
    close(grads.pop("input")[: t + 1], ended.pop("input"), 50 * TOLERANCE["float32"])
    for name, d in grads.items():
        close(d, ended[name], 50 * TOLERANCE["float32"])
