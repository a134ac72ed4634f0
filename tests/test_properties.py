"""What holds for every network, loss, encoder and loader, each said once and drawn by hypothesis.

Where the mathematics is exact in floating point the bits are compared: a factor that is a power of two, a zero, a
permutation of what is computed side by side. Elsewhere results may differ by rounding, as `TOLERANCE` allows.

Hypothesis draws a seed for each example, and the seed everything else: the examples are small as they are, and drawn
choice by choice most of them would repeat each other.
"""

import functools
import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import npsnn
from npsnn import Generator, data, optim, spikegen, spikeplot, surrogate, utils
from npsnn import functional as SF
from tests.helpers import close
from tests.twins import TOLERANCE, same_bits, unchanged

EXAMPLES = {"reference": 80, "cpu": 80, "cuda": 4}  # a GPU's simulator takes a second for each
DRAWN = settings(
    max_examples=80, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
SEEDS = st.integers(0, 2**32 - 1)
POWERS = st.sampled_from([2.0, 0.5, 4.0, 0.0625])


def on_backends(strategy):
    """The test gets a backend and what is drawn: every example on every backend, few where they are slow."""

    def decorate(test):
        @functools.wraps(test)
        def run(backend):
            @settings(DRAWN, max_examples=EXAMPLES[backend])
            @given(strategy)
            def check(drawn):
                test(backend, drawn)

            check()

        del run.__wrapped__  # whose arguments pytest would take for fixtures
        return run

    return decorate


def from_seed(function):
    """A strategy: what `function` makes of random numbers."""
    return SEEDS.map(lambda seed: function(np.random.default_rng(seed)))


def pick(rng, *options):
    return options[rng.integers(len(options))]


def whole(rng, low, high):
    return int(rng.integers(low, high + 1))


# --- random networks -----------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A small network with its data: layers, one sample's shape, steps, samples, whether x has a time axis."""

    layers: tuple
    sample: tuple
    T: int
    B: int
    varying: bool
    seed: int

    def rng(self):
        return np.random.default_rng(self.seed)

    def build(self, backend, dtype=np.float32):
        """(network, x, num_steps, other numbers); weights and input with which most neurons fire now and then."""
        rng, net = self.rng(), npsnn.Sequential(*self.layers, dtype=dtype, backend=backend)
        for name, value in net.params.items():
            if name.endswith("weight"):
                mean, gain = (0.3, 2) if value.ndim == 2 else (-0.5, 1.5)  # a pool takes the largest
                value[...] = rng.normal(mean, gain, value.shape) / np.sqrt(value[0].size)
            elif name.endswith("bias"):
                value[...] = rng.uniform(-0.2, 0.4, value.shape)
        x = rng.normal(0.3, 1, (self.T, self.B, *self.sample) if self.varying else (self.B, *self.sample))
        return net, x.astype(dtype), None if self.varying else self.T, rng


def neuron(rng):
    return npsnn.Leaky(
        pick(rng, 0.5, 0.875, 0.0, 1.0),
        threshold=pick(rng, 1.0, 0.5),
        spike_grad=surrogate.fast_sigmoid(slope=pick(rng, 1, 5, 25)),
        learn_beta=pick(rng, True, False, False),
        learn_threshold=pick(rng, True, False, False),
        reset_mechanism=pick(rng, "subtract", "zero", "none"),
        detach_reset=pick(rng, True, True, False),
    )


def cases(varying=(True, False), steps=(1, 2, 3, 6)):
    def make(rng):
        if pick(rng, True, False):
            sample, channels, hidden = (whole(rng, 1, 2), 6, 5), whole(rng, 1, 3), whole(rng, 1, 4)
            layers, pixels = [npsnn.Conv2d(sample[0], channels, (2, 3), padding=1), npsnn.MaxPool2d(2)], 3 * 2
            if pick(rng, True, False):
                layers += [neuron(rng), npsnn.Conv2d(channels, channels, 2, padding=1), npsnn.MaxPool2d(2)]
                pixels = 2 * 1
            layers += [neuron(rng), npsnn.Flatten(), npsnn.Linear(channels * pixels, hidden)]
        else:
            sample, hidden = (whole(rng, 1, 4),), whole(rng, 1, 4)
            layers = [npsnn.Linear(*sample, hidden)]
        layers += pick(rng, [neuron(rng)], [neuron(rng), npsnn.Linear(hidden, whole(rng, 1, 4))])
        seed = whole(rng, 0, 2**32 - 1)
        return Case(tuple(layers), sample, pick(rng, *steps), whole(rng, 1, 5), pick(rng, *varying), seed)

    return from_seed(make)


def upstream(rng, tape, mem_rec):
    """Random dspk, dmem (None where there is no membrane) and dstate."""
    dspk = rng.standard_normal(tape.out_shape).astype(tape.params.flat.dtype)
    dmem = None if mem_rec is None else rng.standard_normal(dspk.shape).astype(dspk.dtype)
    return dspk, dmem, [rng.standard_normal(U.shape).astype(dspk.dtype) for U in tape.state.U]


def backward(net, tape, dspk, dmem, dstate):
    """All gradients by name; those of the state as state.0, state.1."""
    grads = net.backward(tape, dspk, dmem, input_grad=True, dstate=dstate, state_grad=True)
    return {**{f"state.{k}": d for k, d in enumerate(grads.pop("state"))}, **grads}


def arrays_in(thing):
    """Every array of a tape."""
    if isinstance(thing, tuple | list):
        return [a for part in thing for a in arrays_in(part)]
    if isinstance(thing, dict):
        return arrays_in(list(thing.values()))
    if hasattr(thing, "slots") and hasattr(thing, "flat"):
        return [np.asarray(thing.flat)]
    return [np.asarray(thing)] if hasattr(thing, "__array__") else []


def without_biases(case):
    layers = [npsnn.Linear(a.in_features, a.out_features, bias=False) if isinstance(a, npsnn.Linear)
              else npsnn.Conv2d(a.in_channels, a.out_channels, a.kernel_size, padding=a.padding, bias=False)
              if isinstance(a, npsnn.Conv2d) else a for a in case.layers]  # fmt: skip
    return case._replace(layers=tuple(layers))


# --- networks: what comes in and what comes out --------------------------------------------------------------------


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


# --- networks: linearity, zeros, permutations, scales --------------------------------------------------------------


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


# --- networks: time ------------------------------------------------------------------------------------------------


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


# --- layers alone --------------------------------------------------------------------------------------------------


@from_seed
def lone_layers(rng):
    """(layer, shape of x, seed): any layer with any geometry that fits."""
    kind, seed = pick(rng, "Linear", "Conv2d", "MaxPool2d", "AvgPool2d", "Leaky"), whole(rng, 0, 2**32 - 1)
    a, b, c, d = (whole(rng, 1, 3) for _ in range(4))
    lead, image, bias = (a, b), (c, whole(rng, 3, 6), whole(rng, 3, 6)), pick(rng, True, False)
    if kind == "Linear":
        return npsnn.Linear(c, d, bias), (*lead, c), seed
    if kind == "Leaky":
        return neuron(rng), (*lead, *image[:d]), seed
    kernel, stride = (whole(rng, 1, 3), whole(rng, 1, 3)), (whole(rng, 1, 3), whole(rng, 1, 3))
    padding = tuple(whole(rng, 0, k // 2) for k in kernel)
    if kind == "Conv2d":
        return npsnn.Conv2d(c, d, kernel, stride, padding, bias), (*lead, *image), seed
    return getattr(npsnn, kind)(kernel, stride, padding), (*lead, *image), seed


def run_alone(drawn, backend):
    """(layer, x, params, y, cache, dy) with random numbers."""
    layer, shape, seed = drawn
    rng, params = np.random.default_rng(seed), layer.init_params(Generator(seed))
    x = rng.standard_normal(shape).astype(np.float32)
    y, cache = layer.forward(x, params, backend=backend)
    return layer, x, params, y, cache, rng.standard_normal(y.shape).astype(np.float32)


@on_backends(lone_layers)
def test_a_layer_alone_keeps_its_inputs_and_its_documented_shapes(backend, drawn):
    layer, x, params, y, cache, dy = run_alone(drawn, backend)
    with unchanged(x, dy, *params.values(), *arrays_in(cache)):
        again, _ = layer.forward(x, params, backend=backend)
        dx, grads = layer.backward(dy, cache, params, backend=backend)
    same_bits(again, y)
    assert y.shape == layer.out_shape(x.shape) and dx.shape == x.shape
    assert list(grads) == list(params) and [d.shape for d in grads.values()] == [p.shape for p in params.values()]
    assert {a.dtype for a in (y, dx, *grads.values())} == {np.dtype(np.float32)}


@on_backends(st.tuples(lone_layers, POWERS))
def test_scales_go_through_a_layer_alone_to_the_bit(backend, drawn):
    """y of a x is a y: of the input, with the bias (or the threshold) scaled too; of the weights; and back, of dy."""
    case, factor = drawn
    layer, x, params, y, cache, dy = run_alone(case, backend)
    f = np.float32(factor)
    if isinstance(layer, npsnn.Leaky):
        louder = npsnn.Leaky(layer.beta, factor * layer.threshold, reset_mechanism=layer.reset_mechanism)
        S, scaled = louder.forward(f * x, {}, backend=backend)
        np.testing.assert_array_equal(S, y)
        np.testing.assert_array_equal(np.asarray(scaled.U), f * np.asarray(cache.U))
    else:
        bias = {"bias": f * params["bias"]} if "bias" in params else {}
        np.testing.assert_array_equal(layer.forward(f * x, {**params, **bias}, backend=backend)[0], f * y)
        larger = {name: f * p for name, p in params.items()}
        np.testing.assert_array_equal(layer.forward(x, larger, backend=backend)[0], f * y if params else y)
    dx, grads = layer.backward(dy, cache, params, backend=backend)
    dx_scaled, grads_scaled = layer.backward(f * dy, cache, params, backend=backend)
    np.testing.assert_array_equal(dx_scaled, f * dx)
    for name, d in grads.items():
        np.testing.assert_array_equal(grads_scaled[name], f * d)


SURROGATES = [
    surrogate.fast_sigmoid(), surrogate.atan(), surrogate.sigmoid(), surrogate.straight_through_estimator(),
    surrogate.triangular(), surrogate.heaviside(), surrogate.spike_rate_escape(), surrogate.LSO(),
    surrogate.SFS(B=0.1), surrogate.SSO(), surrogate.custom_surrogate(lambda x: (np.abs(x) < 0.5) * 1.0),
]  # fmt: skip


@DRAWN
@given(st.sampled_from(SURROGATES), SEEDS, st.sampled_from([np.float32, np.float64]))
def test_a_surrogate_keeps_shape_dtype_and_argument_and_is_finite(sigma, seed, dtype):
    x = np.random.default_rng(seed).normal(0, 100, (3, 0 if seed % 5 == 0 else 4)).astype(dtype)
    with unchanged(x):
        results = [sigma.derivative(x), sigma.primitive(x) if sigma.has_primitive else x]
    for y in results:
        assert y.shape == x.shape and y.dtype == dtype and np.isfinite(y).all()


# --- losses and accuracies -----------------------------------------------------------------------------------------

CE = [SF.ce_rate_loss(), SF.ce_count_loss(), SF.ce_max_membrane_loss()]
LOSSES = [*CE, SF.mse_count_loss(0.75, 0.25), SF.mse_membrane_loss(1, -1), SF.l1_rate_sparsity(0.125)]
DTYPES = st.sampled_from([np.float64, np.float32])


@from_seed
def recordings(rng):
    """(rec (T, B, C), targets (B,), rng): spikes or membranes."""
    T, B, C = whole(rng, 1, 6), whole(rng, 1, 4), whole(rng, 1, 5)
    rec = pick(rng, rng.integers(0, 2, (T, B, C)), rng.standard_normal((T, B, C)))
    return rec.astype(pick(rng, np.float32, np.float64)), rng.integers(0, C, B), rng


@DRAWN
@given(recordings, st.sampled_from(LOSSES))
def test_a_loss_keeps_its_inputs_and_gives_a_number_and_a_gradient_like_the_recording(drawn, loss):
    rec, y, _ = drawn
    with unchanged(rec, y):
        value, drec = loss.value_and_grad(rec, y)
        assert loss(rec, y) == value
    assert type(value) is float and drec.shape == rec.shape and drec.dtype == rec.dtype
    assert loss.on in ("spk", "mem") and not np.shares_memory(drec, rec)


@DRAWN
@given(recordings, st.sampled_from([SF.accuracy_rate, SF.accuracy_temporal]))
def test_an_accuracy_is_a_share_of_the_samples_whatever_their_order(drawn, accuracy):
    rec, y, rng = drawn
    with unchanged(rec, y):
        right = accuracy(rec, y)
    assert type(right) is float and right * len(y) == round(right * len(y)) and 0 <= right <= 1
    p = rng.permutation(len(y))
    assert accuracy(rec[:, p], y[p]) == right
    first = perfect(rec, y)
    first[1:] = 0  # in one step there is no earlier one than the last, when silent classes count as firing
    assert accuracy(first, y) == 1 or (len(rec) == 1 and accuracy is SF.accuracy_temporal)


def perfect(rec, y):
    """Every sample's own class fires at every step, no other does."""
    return np.broadcast_to(np.arange(rec.shape[2]) == y[:, None], rec.shape).astype(rec.dtype)


@DRAWN
@given(recordings, st.sampled_from(LOSSES))
def test_permuted_samples_and_classes_have_permuted_loss_gradients(drawn, loss):
    """The classes with their labels; the value stays, within rounding."""
    rec, y, rng = drawn
    value, drec = loss.value_and_grad(rec, y)
    p, q = rng.permutation(rec.shape[1]), rng.permutation(rec.shape[2])
    for shuffled, labels, expected in (
        (rec[:, p], y[p], drec[:, p]),
        (rec[:, :, q], np.argsort(q)[y], drec[:, :, q]),
    ):
        again, d = loss.value_and_grad(shuffled, labels)
        close(d, expected, TOLERANCE[str(rec.dtype)])
        close(again, value, TOLERANCE[str(rec.dtype)])


@DRAWN
@given(recordings, st.sampled_from(CE))
def test_the_gradient_of_a_cross_entropy_sums_to_zero_over_the_classes_of_every_sample(drawn, loss):
    """At every step; of largest membranes, which are of any step, over all of them."""
    rec, y, _ = drawn
    drec = loss.value_and_grad(rec, y)[1]
    sums = drec.sum(axis=(0, 2) if loss.on == "mem" else 2)
    assert np.abs(sums).max() < 10 * np.finfo(rec.dtype).eps
    assert (drec[:, np.arange(len(y)), y] <= 0).all()


@DRAWN
@given(recordings, st.sampled_from(CE))
def test_a_cross_entropy_falls_to_zero_as_the_margin_grows(drawn, loss):
    rec, y, _ = drawn
    right, values = perfect(rec, y), []
    for margin in (0, 0.25, 0.5, 1, 2):
        values.append(loss(rec.dtype.type(margin) * right, y))
    assert rec.shape[2] == 1 or all(later < earlier for earlier, later in itertools.pairwise(values))
    value, drec = loss.value_and_grad(rec.dtype.type(2000) * right, y)
    assert value == 0 and not drec.any()


@DRAWN
@given(recordings, st.integers(0, 6), st.integers(0, 6))
def test_the_right_spike_counts_have_no_loss_and_no_gradient(drawn, right, wrong):
    """Whichever steps the spikes are in; one spike more or less, and there are both (C13)."""
    rec, y, rng = drawn
    T, right, wrong = len(rec), min(right, len(rec)), min(wrong, len(rec))
    counts = np.where(perfect(rec, y)[0] == 1, right, wrong)
    rec = (rng.permuted(np.broadcast_to(np.arange(T)[:, None, None], rec.shape), axis=0) < counts).astype(rec.dtype)
    # The rates' lower ends: int(T rate) must not fall below the count by rounding.
    loss = SF.mse_count_loss(min(1.0, np.nextafter(right / T, 2)), min(1.0, np.nextafter(wrong / T, 2)))
    value, drec = loss.value_and_grad(rec, y)
    assert value == 0 and not drec.any()
    rec[0, 0, 0] = 1 - rec[0, 0, 0]
    value, drec = loss.value_and_grad(rec, y)
    assert value > 0 and np.count_nonzero(drec) == T


@DRAWN
@given(recordings, st.sampled_from([-1.0, 0.25, 1.0]), st.sampled_from([-1.0, 0.0, 2.0]))
def test_membranes_at_their_targets_have_no_loss_and_no_gradient(drawn, on, off):
    """And next to them there are both, towards them (C13)."""
    rec, y, _ = drawn
    U = np.where(perfect(rec, y) == 1, on, off).astype(rec.dtype)
    loss = SF.mse_membrane_loss(on, off)
    value, drec = loss.value_and_grad(U, y)
    assert value == 0 and not drec.any()
    U[0, 0, 0] += 1
    value, drec = loss.value_and_grad(U, y)
    assert value > 0 and np.count_nonzero(drec) == 1 and drec[0, 0, 0] > 0


# --- the optimiser and what a network holds ------------------------------------------------------------------------


@on_backends(st.tuples(cases(), st.floats(1e-6, 10)))
def test_adam_leaves_weights_alone_where_every_gradient_was_zero(backend, drawn):
    """Without weight decay and with fresh moments; the count of steps goes on."""
    case, lr = drawn
    net = case.build(backend)[0]
    optimizer, grads = optim.Adam(net, lr=lr), {name: np.zeros_like(p) for name, p in net.params.items()}
    with unchanged(net.flat_params, *grads.values()):
        for _ in range(3):
            optimizer.step(grads)
    assert optimizer.t == 3 and not optimizer.m.any() and not optimizer.v.any()


@on_backends(cases())
def test_adam_goes_against_the_gradient_and_changes_it_not(backend, case):
    """Negated gradients move the weights the other way, by as much, within rounding of the weights."""
    net, _, _, rng = case.build(backend)
    start, grads = net.flat_params.copy(), {n: rng.standard_normal(p.shape) for n, p in net.params.items()}
    grads = {name: g.astype(np.float32) for name, g in grads.items()}
    moved = []
    for sign in (1, -1):
        net.flat_params[:] = start
        given = {name: sign * g for name, g in grads.items()}
        with unchanged(*given.values()):
            optim.Adam(net, lr=0.5).step(given)
        moved.append(net.flat_params - start)
    np.testing.assert_allclose(moved[0], -moved[1], rtol=0, atol=1e-6)
    assert (np.sign(moved[0]) == -np.sign(net.flatten(grads))).all()


@on_backends(cases())
def test_a_state_dict_is_a_copy_that_loads_and_flattens(backend, case):
    net, twin = (case.build(backend)[0] for _ in range(2))
    twin.flat_params[:] = 0
    saved = net.state_dict()
    with unchanged(*saved.values()):
        assert twin.load_state_dict(saved) == ([], [])
        twin.flat_params[:] += 1
    same_bits(tuple(saved.values()), tuple(net.params.values()))
    same_bits(net.flatten(saved), net.flat_params)
    assert not any(np.shares_memory(value, net.flat_params) for value in saved.values())


# --- encoders and plots --------------------------------------------------------------------------------------------


@from_seed
def intensities(rng):
    """(array in [0, 1], steps, seed); half of them on a grid, so that there are ends and ties."""
    shape = pick(rng, (3,), (2, 3), (2, 1, 4), (1,))
    x = pick(rng, rng.integers(0, 5, shape) / 4, rng.random(shape))
    return x.astype(pick(rng, np.float32, np.float64)), whole(rng, 2, 7), whole(rng, 0, 2**32 - 1)


@DRAWN
@given(intensities)
def test_rate_codes_keep_their_data_and_fire_by_chance_alone_between_zero_and_one(drawn):
    x, T, seed = drawn
    with unchanged(x):
        S, moving = spikegen.rate(x, T, seed=seed), spikegen.rate(x, time_var_input=True, seed=seed)
    for spikes, shape in ((S, (T, *x.shape)), (moving, x.shape)):
        assert spikes.shape == shape and spikes.dtype == x.dtype and set(np.unique(spikes)) <= {0, 1}
    assert not S[:, x == 0].any() and S[:, x == 1].all()
    same_bits(spikegen.rate(x, T, seed=Generator(seed)), S)
    same_bits(spikegen.rate(x, T, first_spike_time=1, seed=seed)[1:], S[1:])


@DRAWN
@given(intensities, st.booleans(), st.booleans())
def test_latency_codes_keep_their_data_and_fire_once_the_larger_the_earlier(drawn, linear, normalize):
    x, T, _ = drawn
    with unchanged(x):
        S = spikegen.latency(x, T, linear=linear, normalize=normalize, bypass=True)
    assert S.shape == (T, *x.shape) and S.dtype == x.dtype and set(np.unique(S)) <= {0, 1}
    assert (S.sum(axis=0) == 1).all() if normalize else (S.sum(axis=0) <= 1).all()
    time = np.where(S.any(axis=0), S.argmax(axis=0), T).ravel()  # T: after the last step
    assert (np.diff(time[np.argsort(x.ravel(), kind="stable")]) <= 0).all()


@DRAWN
@given(intensities, POWERS)
def test_delta_codes_keep_their_data_and_follow_its_sign_and_scale(drawn, factor):
    x, _, _ = drawn
    x = np.cumsum(x - x.dtype.type(0.5), axis=0, dtype=x.dtype)
    with unchanged(x):
        S = spikegen.delta(x, 0.25, off_spike=True)
        up = spikegen.delta(x, 0.25, padding=True)
    assert S.shape == x.shape and S.dtype == up.dtype == x.dtype
    assert set(np.unique(S)) <= {-1, 0, 1} and not up[0].any()
    np.testing.assert_array_equal(up[1:], np.maximum(S[1:], 0))
    np.testing.assert_array_equal(spikegen.delta(-x, 0.25, off_spike=True), -S)
    np.testing.assert_array_equal(spikegen.delta(x.dtype.type(factor) * x, factor * 0.25, off_spike=True), S)


@settings(DRAWN, max_examples=5)
@given(recordings)
def test_plots_keep_their_data(drawn):
    pytest.importorskip("matplotlib", reason='plots need Matplotlib: pip install "npsnn[plot]"')
    from matplotlib.figure import Figure

    rec, y, _ = drawn
    U, S, names = rec[:, 0], perfect(rec, y)[:, 0], [str(n) for n in range(rec.shape[2])]
    with unchanged(U, S, rec):
        for moving in (True, False):
            fig = Figure()
            film = spikeplot.spike_count(S, fig, fig.subplots(), names, animate=moving)
            if moving:
                film._draw_was_started = True  # an animation that is never drawn warns
                for frame in film.new_frame_seq():
                    film._func(frame)
        spikeplot.raster(S, Figure().subplots())
        spikeplot.traces(U, S, dim=(1, rec.shape[2]))
        fig = Figure()
        spikeplot.animator(rec, fig, fig.subplots())._draw_was_started = True


# --- data ----------------------------------------------------------------------------------------------------------


@from_seed
def loaders(rng):
    """(arguments of a loader, x, targets): x says which sample a row is."""
    n = whole(rng, 1, 17)
    options = {"batch_size": whole(rng, 1, 20), "shuffle": pick(rng, True, False), "seed": whole(rng, 0, 2**32 - 1)}
    return options, np.stack([np.arange(n), -np.arange(n)], axis=1) / 2, np.arange(n)


@DRAWN
@given(loaders, st.booleans())
def test_an_epoch_has_every_sample_once_with_its_target(drawn, drop_last):
    """In order where it is not shuffled; of a last batch that is dropped, nothing but its samples is missing."""
    options, x, targets = drawn
    loader = data.DataLoader((x, targets), drop_last=drop_last, **options)
    for _ in range(2):
        with unchanged(x, targets):
            batches = list(loader)
        size = options["batch_size"]
        assert len(batches) == len(loader) == (len(x) // size if drop_last else -(-len(x) // size))
        assert all(len(t) == size for _, t in (batches if drop_last else batches[:-1]))
        for rows, t in batches:
            assert t.dtype == np.int64 and rows.dtype == x.dtype and len(rows) == len(t)
            np.testing.assert_array_equal(rows, x[t])
            assert not np.shares_memory(rows, x)
        seen = [int(i) for _, t in batches for i in t]
        if not options["shuffle"]:
            assert seen == list(range(len(seen)))
        assert len(set(seen)) == len(seen) == (len(x) // size * size if drop_last else len(x))


@DRAWN
@given(loaders, st.integers(0, 3))
def test_a_loader_goes_on_from_the_state_of_its_generator(drawn, epochs):
    options, x, targets = drawn
    loader, other = data.DataLoader((x, targets), **options), data.DataLoader((x, targets), **{**options, "seed": 1})
    for _ in range(epochs):
        list(loader)
    other.generator.set_state(loader.generator.get_state())
    for _ in range(2):
        assert [t.tolist() for _, t in other] == [t.tolist() for _, t in loader]


@DRAWN
@given(loaders, st.integers(0, 30))
def test_a_loader_goes_on_from_its_own_state_within_an_epoch(drawn, batches):
    options, x, targets = drawn
    loader, other = data.DataLoader((x, targets), **options), data.DataLoader((x, targets), **{**options, "seed": 1})
    epochs = itertools.chain.from_iterable(itertools.repeat(loader))
    for _ in range(batches):
        next(epochs)
    other.load_state_dict(loader.state_dict())
    expected = [next(epochs)[1].tolist() for _ in range(2 * len(loader))]
    again = itertools.chain.from_iterable(itertools.repeat(other))
    assert [next(again)[1].tolist() for _ in range(2 * len(loader))] == expected


@DRAWN
@given(loaders, SEEDS)
def test_subsets_and_splits_take_every_sample_once_and_leave_the_whole_alone(drawn, seed):
    _, x, targets = drawn
    n = len(x)
    parts = 1 + seed % n
    with unchanged(x, targets):
        blocks = [utils.data_subset((x, targets), parts, i) for i in range(parts)]
        pair = utils.valid_split((x, targets), None, 0.5, seed) if n > 1 else blocks
    taken = np.concatenate([t for _, t in blocks])
    np.testing.assert_array_equal(taken, np.arange(n // parts * parts))
    assert n == 1 or sorted(np.concatenate([t for _, t in pair])) == list(range(n))
    for rows, t in (*blocks, *pair):
        np.testing.assert_array_equal(rows, x[t])
        assert not np.shares_memory(rows, x)


DRAWS = {
    "uniform": lambda g: g.uniform(-1, 1, 3),
    "wide": lambda g: g.uniform(-1, 1, (2, 2), np.float64),
    "randperm": lambda g: g.randperm(5),
    "bernoulli": lambda g: g.bernoulli(np.full(3, 0.5)),
    "int64": lambda g: g.int64(),
}


@DRAWN
@given(SEEDS, st.lists(st.sampled_from(list(DRAWS)), max_size=5), st.integers(0, 700))
def test_a_generator_goes_on_from_its_state(seed, draws, skipped):
    """Wherever the stream stands, and whatever is drawn next; taking the state moves nothing."""
    generator, other = Generator(seed), Generator(0)
    generator.uniform(0, 1, skipped)
    state = generator.get_state()
    other.set_state(state)
    ahead = Generator(seed)
    ahead.uniform(0, 1, skipped)
    for name in draws:
        expected = DRAWS[name](ahead)
        np.testing.assert_array_equal(DRAWS[name](generator), expected)
        np.testing.assert_array_equal(DRAWS[name](other), expected)
    other.set_state(state)
    same_bits(other.get_state()["key"], state["key"])
    assert other.seed == seed


@DRAWN
@given(SEEDS, st.integers(0, 60), DTYPES)
def test_what_a_generator_draws_is_in_its_range(seed, n, dtype):
    generator = Generator(seed)
    assert sorted(generator.randperm(n)) == list(range(n))
    u = generator.uniform(-2, 3, (n, 2), dtype)
    assert u.shape == (n, 2) and u.dtype == dtype and ((-2 <= u) & (u <= 3)).all()
    p = np.linspace(0, 1, n, dtype=dtype)
    with unchanged(p):
        b = generator.bernoulli(p)
    assert b.shape == p.shape and b.dtype == dtype and set(np.unique(b)) <= {0, 1}
    assert not b[p == 0].any() and b[p == 1].all()
    assert 0 <= generator.int64() < 2**63
