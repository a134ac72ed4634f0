"""check_finite: the first value inside a run that is not finite, by layer, step and sample; and no bit is changed."""

import copy
import pickle
import re

import numpy as np
import pytest

import npsnn
from npsnn import _threads, backprop, optim, surrogate, tiles
from npsnn import functional as SF
from npsnn.nonfinite import NonFiniteError
from tests.twins import same_bits

T, B = tiles.STEPS + 9, 9  # two blocks of steps; on cpu two chunks of samples
HUGE = np.float32(1e38)  # a third of what float32 holds
EVERY = surrogate.straight_through_estimator()


def dense(backend, *layers, **more):
    """A network whose weights are all 1 and whose biases are 0."""
    net = npsnn.Sequential(*layers, backend=backend, check_finite=True, **more)
    net.flat_params[...] = 1
    for name, value in net.params.items():
        value[...] = 0 if name.endswith("bias") else 1
    return net


def is_first(message):
    return pytest.raises(NonFiniteError, match=f"^{re.escape(message)}$")


def unchecked(net):
    """The same network without the option."""
    plain = copy.deepcopy(net)
    plain.check_finite = False
    return plain


# --- forward -------------------------------------------------------------------------------------------------------


def test_an_output_that_overflows_at_one_step_of_one_sample(backend):
    net = dense(backend, npsnn.Conv2d(1, 2, 2), npsnn.MaxPool2d(2), npsnn.Leaky(0.5))
    x = np.full((T, B, 1, 3, 3), 0.1, np.float32)
    net.forward(x)
    for t, b in ((70, 5), (70, 6), (71, 2)):  # two chunks, the second block
        x[t, b, 0, :2, :2] = HUGE
    with is_first("0 Conv2d: its output is not finite, first inf at step 70, sample 5"):
        net.forward(x)
    with is_first("0 Conv2d: its output is not finite, first inf at step 70, sample 5"):
        net(x)
    x[70, 5] *= -1
    with is_first("0 Conv2d: its output is not finite, first -inf at step 70, sample 5"):
        net(x)
    net.params["0.weight"][1, 0, 0, 0] = np.nan
    with is_first("0 Conv2d: its output is not finite, first NaN at step 0, sample 0"):
        net(x)


def test_what_a_static_input_is_before_the_first_neuron_has_one_step(backend):
    net = dense(backend, npsnn.Linear(3, 2), npsnn.Leaky(0.5))
    x = np.full((B, 3), 0.1, np.float32)
    x[7] = 3 * HUGE
    with is_first("0 Linear: its output is not finite, first inf at step 0, sample 7"):
        net.forward(x, num_steps=T)


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_a_membrane_that_no_output_shows(backend, static):
    """It grows until it is infinite, and goes on firing as before: without the option everything looks well."""
    layers = [npsnn.Leaky(1.0, reset_mechanism="none"), npsnn.Linear(3, 2), npsnn.Leaky(0.5)]
    net = dense(backend, *layers)
    x = np.full((B, 3) if static else (T, B, 3), 0.1, np.float32)
    steps, first = (T, 66) if static else (None, 69)
    if static:
        x[4, 1] = 5.1e36  # 67 times this is beyond float32
    else:
        x[66:, 4, 1] = HUGE
    with np.errstate(over="ignore"):
        spk_rec, mem_rec = unchecked(net)(x, steps)
    assert np.isfinite(mem_rec).all() and spk_rec.any()
    for run in (net, net.forward):
        with is_first(f"0 Leaky: its membrane is not finite, first inf at step {first}, sample 4"):
            run(x, steps)


def test_a_membrane_that_is_no_number_does_not_fire_and_is_found(backend):
    net = dense(backend, npsnn.Leaky([0.5, 0.5], learn_beta=True, learn_threshold=True), npsnn.Linear(2, 1))
    x = np.full((5, B, 2), 0.1, np.float32)
    assert np.isfinite(net(x)[0]).all()
    net.params["0.beta"][1] = np.nan
    assert np.isfinite(unchecked(net)(x)[0]).all()
    with is_first("0 Leaky: its membrane is not finite, first NaN at step 0, sample 0"):
        net(x)


def test_a_weight_and_a_bias(backend):
    """A planted NaN is where a spike first meets it; a planted inf is everywhere, so at step 0 of sample 0."""
    net = dense(backend, npsnn.Leaky(0.0), npsnn.Linear(3, 2), npsnn.Leaky(0.5))
    x = np.full((T, B, 3), 0.1, np.float32)
    x[66, 8, 1] = x[66, 3, 1] = x[68, 0, 1] = 2
    net(x)
    net.params["1.weight"][0, 1] = 3.4e38
    net.params["1.bias"][0] = 1e38
    with is_first("1 Linear: its output is not finite, first inf at step 66, sample 3"):
        net(x)
    net.params["1.bias"][0] = np.inf
    with is_first("1 Linear: its output is not finite, first inf at step 0, sample 0"):
        net(x)


def test_first_is_the_step_then_the_layer_then_the_sample(backend):
    net = dense(backend, npsnn.Linear(2, 2), npsnn.Leaky(0.0), npsnn.Linear(2, 1), npsnn.Leaky(0.5))
    net.params["2.weight"][...] = 2.5e38  # two spikes are too many
    x = np.zeros((T, B, 2), np.float32)
    x[65, 6] = 1
    x[67, 0] = 3 * HUGE
    with is_first("2 Linear: its output is not finite, first inf at step 65, sample 6"):
        net(x)
    x[65, 8] = 3 * HUGE
    with is_first("0 Linear: its output is not finite, first inf at step 65, sample 8"):
        net(x)


def test_a_step_and_a_state_that_goes_on(backend):
    net = dense(backend, npsnn.Leaky(1.0, reset_mechanism="none"))
    x = np.zeros((3, B, 2), np.float32)
    x[:, 2] = HUGE
    tape = net.forward(x)[2]  # 3e38: one more is too many
    with is_first("0 Leaky: its membrane is not finite, first inf at step 0, sample 2"):
        net.step(x[0], tape.state)
    with is_first("0 Leaky: its membrane is not finite, first inf at step 0, sample 2"):
        net.forward(x, state=tape.state)


# --- backward ------------------------------------------------------------------------------------------------------


def test_a_gradient_that_overflows_at_one_step_of_one_sample(backend):
    layers = [npsnn.Linear(2, 2), npsnn.Leaky(0.0, spike_grad=EVERY), npsnn.Linear(2, 2), npsnn.Leaky(0.0)]
    net = dense(backend, *layers[:3], npsnn.Leaky(0.0, spike_grad=EVERY))
    spk_rec, _, tape = net.forward(np.full((T, B, 2), 0.1, np.float32))
    d = np.zeros_like(spk_rec)
    for t, b in ((70, 5), (70, 7), (69, 2)):  # the last step comes first
        d[t, b] = 2 * HUGE  # two of them meet in the linear layer
    with is_first("1 Leaky: the gradient of its output is not finite, first inf at step 70, sample 5"):
        net.backward(tape, d)
    d[70, 1] = HUGE  # finite there, not in the layer below
    with is_first("1 Leaky: the gradient of its output is not finite, first inf at step 70, sample 5"):
        net.backward(tape, d)
    d[d == 2 * HUGE] = 0
    with is_first("0 Linear: the gradient of its input is not finite, first inf at step 70, sample 1"):
        net.backward(tape, d, input_grad=True)
    net.backward(tape, d / 10, input_grad=True)


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_the_gradient_of_a_membrane_is_seen_at_its_step(backend, static):
    """Also where the input is static, and the layer's own result is a sum over time."""
    net = dense(backend, npsnn.Linear(2, 2), npsnn.Leaky(1.0))
    x = np.full((B, 2) if static else (T, B, 2), 0.1, np.float32)
    _, mem_rec, tape = net.forward(x, T if static else None)
    dmem = np.zeros_like(mem_rec)
    dmem[60:70, 3] = HUGE  # 1e38 at step 69, and one more at each step before
    with is_first("1 Leaky: the gradient of its membrane is not finite, first inf at step 66, sample 3"):
        net.backward(tape, dmem=dmem)
    dmem[60:69] = 0
    net.backward(tape, dmem=dmem / T)
    dafter = np.zeros((B, 2), np.float32)
    dafter[8] = 3 * HUGE
    dmem[-1, 8] = HUGE
    with is_first(f"1 Leaky: the gradient of its membrane is not finite, first inf at step {T - 1}, sample 8"):
        net.backward(tape, dmem=dmem, dstate=[dafter])


def test_a_gradient_that_the_state_makes(backend):
    """A surrogate that is 0 at rest and 1 in neurons that fire."""
    net = dense(backend, npsnn.Linear(2, 2), npsnn.Leaky(1.0, spike_grad=surrogate.heaviside()))
    x, state = np.zeros((3, B, 2), np.float32), net.init_state(B)
    d = np.zeros((3, B, 2), np.float32)
    d[0, 7] = 2 * HUGE
    net.backward(net.forward(x)[2], d, input_grad=True)
    U = np.zeros((B, 2), np.float32)
    U[7] = 5
    tape = net.forward(x, state=state._replace(U=(U,)))[2]
    with is_first("0 Linear: the gradient of its input is not finite, first inf at step 0, sample 7"):
        net.backward(tape, d, input_grad=True)


def test_a_sum_over_time_that_overflows(backend):
    """No step's gradient does; the output of a layer before the first neuron has one step."""
    net = dense(backend, npsnn.Linear(2, 2), npsnn.Leaky(0.0))
    _, mem_rec, tape = net.forward(np.full((B, 2), 0.1, np.float32), T)
    dmem = np.zeros_like(mem_rec)
    dmem[:4, 8] = HUGE
    with is_first("0 Linear: the gradient of its output is not finite, first inf at step 0, sample 8"):
        net.backward(tape, dmem=dmem)


def test_first_is_the_last_step_then_the_highest_layer_then_the_sample(backend):
    layers = [npsnn.Linear(2, 2), npsnn.Leaky(0.0, spike_grad=EVERY), npsnn.Linear(2, 2)]
    net = dense(backend, *layers, npsnn.Leaky(1.0, spike_grad=EVERY))
    _, mem_rec, tape = net.forward(np.full((T, B, 2), 0.1, np.float32))
    dmem = np.zeros_like(mem_rec)
    dmem[65, 6] = 2 * HUGE  # too much for the layer below
    dmem[64, 1] = dmem[63, 1] = 2 * HUGE  # for its own membrane, at the step before
    with is_first("1 Leaky: the gradient of its output is not finite, first inf at step 65, sample 6"):
        net.backward(tape, dmem=dmem)
    dmem[66, 8], dmem[65, 8] = 1.6 * HUGE, 2.5 * HUGE  # the first is not too much for the layer below, their sum is
    with is_first("3 Leaky: the gradient of its membrane is not finite, first inf at step 65, sample 8"):
        net.backward(tape, dmem=dmem)


def test_no_gradient_is_looked_at_that_nobody_wants(backend):
    """Below the lowest parameter none is computed, unless the input's or the state's is asked for."""
    layers = [npsnn.Leaky(0.5, spike_grad=EVERY), npsnn.Linear(2, 2), npsnn.Leaky(0.0, spike_grad=EVERY)]
    net = dense(backend, *layers)
    spk_rec, _, tape = net.forward(np.full((5, B, 2), 0.1, np.float32))
    d = np.zeros_like(spk_rec)
    d[3, 4] = 2 * HUGE
    grads = net.backward(tape, d)
    same_bits(grads["1.bias"], np.array([2 * HUGE, 2 * HUGE]))
    for more in ({"input_grad": True}, {"state_grad": True}):
        with is_first("0 Leaky: the gradient of its output is not finite, first inf at step 3, sample 4"):
            net.backward(tape, d, **more)
    flat = dense(backend, npsnn.Flatten(), npsnn.Linear(2, 2), npsnn.Leaky(0.0, spike_grad=EVERY))
    tape = flat.forward(np.full((5, B, 1, 2), 0.1, np.float32))[2]
    flat.backward(tape, d)
    with is_first("0 Flatten: the gradient of its output is not finite, first inf at step 3, sample 4"):
        flat.backward(tape, d, input_grad=True)
    alone = dense(backend, npsnn.Leaky(0.5))
    tape = alone.forward(np.full((5, B, 2), 0.1, np.float32))[2]
    assert alone.backward(tape, d) == {}


def test_the_tape_alone_decides(backend):
    """Backward is a function of the tape: the weights of the network, and the option, may have changed since."""
    net = dense(backend, npsnn.Linear(2, 2), npsnn.Leaky(0.0, spike_grad=EVERY))
    x = np.full((B, 2), 0.1, np.float32)
    spk_rec, _, tape = net.forward(x, 5)
    x[...], net.flat_params[...] = np.nan, np.nan
    net.check_finite = False
    assert np.isfinite(net.backward(tape, np.ones_like(spk_rec), input_grad=True)["input"]).all()
    d = np.full_like(spk_rec, 2 * HUGE)
    with is_first("0 Linear: the gradient of its output is not finite, first inf at step 0, sample 0"):
        net.backward(tape, d)


# --- where it is computed makes no difference ----------------------------------------------------------------------


def found(net, x, d):
    """The two messages, of forward and of backward."""
    messages = []
    big = x.copy()
    big[66, 5, 0, 1, 1] = big[66, 7, 0, 1, 1] = 3 * HUGE
    with pytest.raises(NonFiniteError) as error:
        net.forward(big)
    messages.append(str(error.value))
    tape = net.forward(x)[2]
    with pytest.raises(NonFiniteError) as error:
        net.backward(tape, d)
    return [*messages, str(error.value)]


def images(backend, **more):
    """A network whose neurons, convolution and pool are run as one on cpu."""
    layers = [
        npsnn.Conv2d(1, 2, 2), npsnn.Leaky(0.5, spike_grad=EVERY), npsnn.Conv2d(2, 3, 2), npsnn.MaxPool2d(2),
        npsnn.Leaky(0.5, spike_grad=EVERY), npsnn.Flatten(), npsnn.Linear(6, 2), npsnn.Leaky(0.5, spike_grad=EVERY),
    ]  # fmt: skip
    net = npsnn.Sequential(*layers, backend=backend, seed=1, **more)
    for name in ("0.weight", "2.weight", "6.weight"):
        net.params[name] *= 3
    return net


def test_first_depends_neither_on_threads_nor_on_tiles_nor_on_a_budget(backend, rng, monkeypatch):
    net = images(backend, check_finite=True)
    x = rng.standard_normal((T, B, 1, 4, 6)).astype(np.float32)
    d = np.zeros((T, B, 2), np.float32)
    d[66, 5] = d[66, 8] = d[60, 0] = 3 * HUGE, -3 * HUGE
    expected = found(net, x, d)
    assert re.fullmatch(r"0 Conv2d: its output is not finite, first -?inf at step 66, sample 5", expected[0])
    assert expected[1] == "5 Flatten: the gradient of its output is not finite, first inf at step 66, sample 5"
    threads, results = _threads.count(), []
    try:
        for n in (1, 3) if backend != "cuda" else ():  # which has none
            _threads.set_count(n)
            results.append(found(net, x, d))
    finally:
        _threads.set_count(threads)
    need = tiles.needs(net.forward(x)[2].run, x.shape, net.dtype)
    lean = images(backend, check_finite=True, memory_budget=need.once + need.step * T - 1)
    assert lean.forward(x)[2].chunks[0].blocks[0].caches is None
    results.append(found(lean, x, d))
    for chunks, steps in ((1, 10**6), (B, 7)) if backend != "cuda" else ():  # where a batch is one tile
        monkeypatch.setattr(tiles, "CHUNKS", chunks)
        monkeypatch.setattr(tiles, "STEPS", steps)
        results.append(found(net, x, d))
    assert results == [expected] * len(results)


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_a_finite_run_has_the_bits_that_it_has_without(backend, rng, static):
    x = rng.standard_normal((B, 1, 4, 6) if static else (T, B, 1, 4, 6)).astype(np.float32)
    steps = T if static else None

    def everything(**more):
        net = images(backend, **more)
        spk_rec, mem_rec, tape = net.forward(x, steps)
        again = net(x, steps, state=tape.state)
        (spk, mem), after = net.step(x if static else x[0], tape.state)
        r = np.random.default_rng(0)
        d = r.standard_normal((2, *spk_rec.shape)).astype(np.float32)
        dstate = [r.standard_normal(U.shape).astype(np.float32) for U in tape.state.U]
        grads = net.backward(tape, *d, input_grad=True, dstate=dstate, state_grad=True)
        assert 0.02 < spk_rec.mean() < 0.98
        return spk_rec, mem_rec, *again, spk, mem, *map(np.asarray, after.U), *grads.pop("state"), *grads.values()

    same_bits(everything(check_finite=True), everything())


def test_a_stochastic_surrogate_draws_no_more_for_it(backend, rng):
    x = rng.standard_normal((4, B, 3)).astype(np.float32)

    def runs(check_finite):
        neuron = npsnn.Leaky(0.5, spike_grad=surrogate.SSO(seed=1))
        net = npsnn.Sequential(npsnn.Linear(3, 2), neuron, backend=backend, check_finite=check_finite)
        return tuple(net.backward(net.forward(x)[2], np.ones((4, B, 2), np.float32))["0.weight"] for _ in range(2))

    same_bits(runs(True), runs(False))


def test_without_the_option_nothing_is_kept_for_it(backend):
    net = images(backend)
    assert net.check_finite is False and net.forward(np.zeros((B, 1, 4, 6), np.float32), 2)[2].x is None


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_the_option_is_true_or_false(wrong):
    with pytest.raises(TypeError, match=r"Sequential: check_finite must be True or False, got"):
        npsnn.Sequential(npsnn.Flatten(), check_finite=wrong)


def test_the_error_can_be_sent_from_one_process_to_another():
    error = pickle.loads(pickle.dumps(NonFiniteError("3 Conv2d: its output", "inf", 4, 17)))
    assert str(error) == "3 Conv2d: its output is not finite, first inf at step 4, sample 17"
    assert isinstance(error, ValueError) and (error.step, error.sample) == (4, 17)


# --- training ------------------------------------------------------------------------------------------------------


class Steep:
    """A loss of 0 whose gradient is what is planted."""

    name, on = "steep", "spk"

    def __init__(self, d):
        self.d = d

    def value_and_grad(self, rec, targets):
        return 0.0, np.full_like(rec, self.d)


@pytest.mark.parametrize("K", [None, 3], ids=["BPTT", "TBPTT"])
def test_training_says_where_and_makes_no_update_from_it(backend, K):
    layers = [npsnn.Linear(2, 2), npsnn.Leaky(0.5, spike_grad=EVERY), npsnn.Linear(2, 3), npsnn.Leaky(0.5)]
    rng = np.random.default_rng(0)
    good, bad = rng.standard_normal((2, 8, 4, 2)).astype(np.float32)
    bad[5, 2], targets = 3 * HUGE, np.array([0, 1, 2, 0])

    def trained(data, check_finite):
        net = npsnn.Sequential(*layers, backend=backend, seed=1, check_finite=check_finite)
        net.params["0.weight"] *= np.sign(net.params["0.weight"]) * 9
        optimizer, pairs = optim.Adam(net, lr=0.01), [(x, targets) for x in data]
        options = {} if K is None else {"K": K}
        try:
            (backprop.TBPTT if K else backprop.BPTT)(net, pairs, optimizer, SF.ce_rate_loss(), **options)
        except ValueError as error:
            return str(error), net, optimizer
        return "", net, optimizer

    message, net, optimizer = trained([good, bad], True)
    expected = (
        r"0 Linear: its output is not finite, first -?inf at step 5, sample 2 of batch 1; no update was made from it"
    )
    assert re.fullmatch(expected, message)
    before, after, theirs = trained([good] if K is None else [good, bad[:3]], False)
    assert before == ""
    for a, b in ((net.flat_params, after.flat_params), (optimizer.m, theirs.m), (optimizer.v, theirs.v)):
        np.testing.assert_array_equal(a, b) if backend != "cuda" else np.testing.assert_allclose(a, b, rtol=1e-5)
    assert optimizer.t == theirs.t == (1 if K is None else 4)


def test_training_says_where_a_gradient_overflows(backend):
    layers = [npsnn.Linear(2, 2), npsnn.Leaky(0.0, spike_grad=EVERY), npsnn.Linear(2, 2)]
    net = dense(backend, *layers, npsnn.Leaky(0.0, spike_grad=EVERY))
    optimizer, before = optim.Adam(net), net.flat_params.copy()
    data = [(np.full((6, 4, 2), 0.1, np.float32), np.zeros(4, int))]
    expected = "1 Leaky: the gradient of its output is not finite, first inf at step 5, sample 0 of batch 0; no update"
    with pytest.raises(ValueError, match=re.escape(expected)):
        backprop.BPTT(net, data, optimizer, Steep(2 * HUGE))
    np.testing.assert_array_equal(net.flat_params, before)
    assert optimizer.t == 0 and not optimizer.m.any()
