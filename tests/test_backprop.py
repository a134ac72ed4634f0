"""BPTT and TBPTT, in the cases in which snnTorch's break too."""

import numpy as np
import pytest

import npsnn
from npsnn import backprop, optim, surrogate
from npsnn import functional as SF


def network(dtype=np.float64, backend="reference"):
    sg = surrogate.fast_sigmoid(slope=5)
    net = npsnn.Sequential(
        npsnn.Linear(4, 6),
        npsnn.Leaky(0.7, spike_grad=sg),
        npsnn.Linear(6, 3),
        npsnn.Leaky(0.9, spike_grad=sg, learn_beta=True, learn_threshold=True),
        dtype=dtype,
        backend=backend,
        seed=5,
    )
    net.params["0.weight"] *= 4
    net.params["2.weight"] *= 4
    return net


def batches(T=None, n=3, dtype=np.float64):
    rng = np.random.default_rng(8)
    shape = (5, 4) if T is None else (T, 5, 4)
    return [(rng.standard_normal(shape).astype(dtype), rng.integers(0, 3, 5)) for _ in range(n)]


def by_hand(loader, criterion, T, K, static, regularization=None):
    """The weights and the mean loss of the same epoch, written out with the network's own calls."""
    net = network()
    adam, losses = optim.Adam(net, lr=0.01), []
    for x, y in loader:
        state, loss = None, 0.0
        for start in range(0, T, K):
            steps = min(K, T - start)
            piece = x if static else x[start : start + steps]
            spk, mem, tape = net.forward(piece, steps if static else None, state=state)
            state = tape.state
            grads = {"spk": np.zeros_like(spk), "mem": np.zeros_like(mem)}
            for term in filter(None, (criterion, regularization)):
                value, d = term.value_and_grad(spk if term.on == "spk" else mem, y)
                loss += value * steps / T
                grads[term.on] += d
            adam.step(net.backward(tape, grads["spk"], grads["mem"]))
        losses.append(loss)
    return net.state_dict(), float(np.mean(losses))


CRITERIA = [
    SF.ce_rate_loss(),
    SF.ce_count_loss(),
    SF.ce_max_membrane_loss(),
    SF.mse_count_loss(),
    SF.mse_membrane_loss(),
]
CASES = [(7, 7, True), (7, 7, False), (6, 2, True), (6, 2, False), (7, 3, True), (7, 3, False), (5, 1, False)]


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda c: c.name)
@pytest.mark.parametrize("T, K, static", CASES)
@pytest.mark.parametrize("regularization", [None, SF.l1_rate_sparsity(1e-2)], ids=["plain", "l1"])
def test_an_epoch_is_what_its_steps_are(T, K, static, criterion, regularization):
    loader = batches(None if static else T)
    weights, loss = by_hand(loader, criterion, T, K, static, regularization)
    net = network()
    options = {"num_steps": T if static else None, "time_var": not static, "regularization": regularization}
    ours = backprop.TBPTT(net, loader, optim.Adam(net, lr=0.01), criterion, K=K, **options)
    assert isinstance(ours, float) and ours == pytest.approx(loss, rel=1e-13)
    for name, value in net.params.items():
        np.testing.assert_allclose(value, weights[name], rtol=1e-12, atol=1e-14, err_msg=name)
    if K == T:
        whole = network()
        assert backprop.BPTT(whole, loader, optim.Adam(whole, lr=0.01), criterion, **options) == ours
        np.testing.assert_array_equal(whole.flat_params, net.flat_params)


def test_truncation_changes_the_gradient():
    loader = batches(8, n=1)
    results = []
    for K in (8, 4, 1):
        net = network()
        backprop.TBPTT(net, loader, optim.Adam(net), SF.ce_rate_loss(), K=K)
        results.append(net.flat_params.copy())
    assert not np.array_equal(results[0], results[1]) and not np.array_equal(results[1], results[2])


def test_batch_first_data():
    loader = batches(6)
    first, last = network(), network()
    a = backprop.BPTT(first, loader, optim.Adam(first), SF.ce_rate_loss())
    swapped = [(np.swapaxes(x, 0, 1).copy(), y) for x, y in loader]
    b = backprop.BPTT(last, swapped, optim.Adam(last), SF.ce_rate_loss(), time_first=False)
    assert a == b
    np.testing.assert_array_equal(first.flat_params, last.flat_params)


def test_every_batch_starts_at_rest():
    (x, y), *_ = batches(6, n=1)
    net = network()
    optimizer = optim.Adam(net, lr=0.0)
    losses = [b.loss for b in backprop.batches(net, [(x, y)] * 3, optimizer, SF.ce_rate_loss())]
    assert losses[0] == losses[1] == losses[2]


def test_a_batch_shows_its_recording_and_its_tape():
    loader = batches(7, n=1)
    net = network()
    (batch,) = backprop.batches(net, loader, optim.Adam(net), SF.ce_rate_loss(), K=3)
    assert batch.spk_rec.shape == (7, 5, 3) and batch.tape.num_steps == 1
    np.testing.assert_array_equal(batch.targets, loader[0][1])


def test_training_lowers_the_loss():
    loader = batches(10, n=1)
    net = network()
    optimizer = optim.Adam(net, lr=0.02)
    losses = [backprop.BPTT(net, loader, optimizer, SF.ce_rate_loss()) for _ in range(60)]
    # Between chance, log 3 = 1.099, and the best that 0/1 spikes can do, log(1 + 2/e) = 0.551.
    assert losses[0] > 1.0 and losses[-1] < 0.9


@pytest.mark.parametrize("K, pieces", [(1, 7), (2, 4), (3, 3), (5, 2), (6, 2), (7, 1)])
def test_an_update_every_K_steps_and_one_for_the_remainder(K, pieces):
    net = network()
    optimizer = optim.Adam(net)
    backprop.TBPTT(net, batches(7), optimizer, SF.ce_rate_loss(), K=K)
    assert optimizer.t == pieces * 3


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_the_membranes_of_every_layer_go_on_over_the_cuts(backend, static):
    """At a rate of 0 nothing is learnt, so the pieces' spikes are those of one call, bit for bit."""
    loader, net = batches(None if static else 7), network(backend=backend)
    steps = 7 if static else None
    epoch = backprop.batches(net, loader, optim.Adam(net, lr=0), SF.ce_rate_loss(), steps, not static, K=3)
    for (x, y), batch in zip(loader, epoch, strict=True):
        spk_rec, _ = net(x, steps)
        np.testing.assert_array_equal(batch.spk_rec, spk_rec)
        # ce_rate is a mean over steps, so the pieces' mean, weighted by steps, is the loss of the whole.
        assert batch.loss == pytest.approx(SF.ce_rate_loss()(spk_rec, y), rel=1e-14)


def test_no_gradient_crosses_a_cut():
    """K = 1: a decay's gradient at a step is that of this step, in which beta multiplies the membrane once."""
    net = npsnn.Sequential(
        npsnn.Leaky(0.5, learn_beta=True, reset_mechanism="none"), dtype=np.float64, backend="reference"
    )
    seen = []

    class Spy(optim.Adam):
        def step(self, grads):
            seen.append(grads["0.beta"].item())

    x = np.array([1.0, 0.5, 0.25]).reshape(3, 1, 1)
    backprop.TBPTT(net, [(x, np.array([0]))], Spy(net), SF.mse_membrane_loss(on_target=0), K=1)
    # U = 1, 1, 0.75; dL/dU[t] = 2 U[t], times U[t-1].
    assert seen == [0, 2 * 1 * 1, 2 * 0.75 * 1]
    seen.clear()
    backprop.BPTT(net, [(x, np.array([0]))], Spy(net), SF.mse_membrane_loss(on_target=0))
    # Over the whole, U[2] knows beta through U[1] too: (2 U[1] U[0] + 2 U[2] (U[1] + beta U[0])) / 3.
    assert seen == [pytest.approx((2 + 2 * 0.75 * 1.5) / 3, rel=1e-15)]


@pytest.mark.parametrize("K", [3, 7])
def test_two_runs_have_the_same_bits_on_either_backend(backend, K):
    results = []
    for _ in range(2):
        net = network(np.float32, backend)
        optimizer = optim.Adam(net, lr=0.05)
        loader = batches(7, dtype=np.float32)
        losses = [backprop.TBPTT(net, loader, optimizer, SF.ce_rate_loss(), K=K)]
        results.append((losses, net.flat_params.tobytes(), optimizer.v.tobytes()))
    assert results[0] == results[1]


@pytest.mark.parametrize("static", [True, False], ids=["static", "varying"])
def test_K_equal_to_T_has_the_bits_of_bptt(backend, static):
    options = {"num_steps": 7, "time_var": False} if static else {}
    loader, results = batches(None if static else 7), []
    for more in ({}, {"K": 7}):
        net = network(backend=backend)
        optimizer = optim.Adam(net, lr=0.05)
        run = backprop.TBPTT if more else backprop.BPTT
        loss = run(net, loader, optimizer, SF.ce_rate_loss(), **options, **more)
        results.append((loss, net.flat_params.tobytes(), optimizer.v.tobytes()))
    assert results[0] == results[1]


def test_batch_first_data_in_pieces():
    loader, first, last = batches(7), network(), network()
    swapped = [(np.swapaxes(x, 0, 1).copy(), y) for x, y in loader]
    a = backprop.TBPTT(first, loader, optim.Adam(first), SF.ce_count_loss(), K=3)
    b = backprop.TBPTT(last, swapped, optim.Adam(last), SF.ce_count_loss(), time_first=False, K=3)
    assert a == b
    np.testing.assert_array_equal(first.flat_params, last.flat_params)
    assert swapped[0][0].shape == (5, 7, 4)


def test_lengths_and_batch_sizes_may_differ():
    rng, net = np.random.default_rng(2), network()
    loader = [(rng.standard_normal((T, B, 4)), rng.integers(0, 3, B)) for T, B in ((3, 5), (8, 1), (5, 2))]
    optimizer = optim.Adam(net)
    assert np.isfinite(backprop.TBPTT(net, (pair for pair in loader), optimizer, SF.ce_rate_loss(), K=3))
    assert optimizer.t == 1 + 3 + 2


def test_the_data_is_not_changed():
    net, loader = network(), batches(7)
    before = [(x.tobytes(), y.tobytes()) for x, y in loader]
    backprop.TBPTT(net, loader, optim.Adam(net), SF.mse_membrane_loss(), regularization=SF.l1_rate_sparsity(), K=3)
    assert [(x.tobytes(), y.tobytes()) for x, y in loader] == before


def test_a_loss_that_is_not_finite_makes_no_update():
    net = npsnn.Sequential(npsnn.Linear(1, 2), npsnn.Leaky(0.5), dtype=np.float64, backend="reference")
    optimizer, before = optim.Adam(net), net.flat_params.copy()
    x = np.full((2, 1, 1), 1e200)  # its square is beyond float64
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="the loss is inf at batch 0, step 0; no update"):
        backprop.BPTT(net, [(x, np.array([0]))], optimizer, SF.mse_membrane_loss())
    np.testing.assert_array_equal(net.flat_params, before)
    assert optimizer.t == 0


def test_progress_changes_no_number(capsys):
    pytest.importorskip("tqdm", reason='a progress bar needs tqdm: pip install "npsnn[all]"')
    shown, plain = network(), network()
    a = backprop.BPTT(shown, batches(6), optim.Adam(shown), SF.ce_rate_loss(), progress=True)
    assert a == backprop.BPTT(plain, batches(6), optim.Adam(plain), SF.ce_rate_loss())
    assert "3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, kind, message",
    [
        ({"num_steps": 5}, ValueError, "num_steps is for static data"),
        ({"time_var": False}, ValueError, "time_var=False needs num_steps"),
        ({"time_var": False, "num_steps": 0}, ValueError, "num_steps must be at least 1, got 0"),
        ({"time_var": False, "num_steps": 2.5}, TypeError, "num_steps must be an integer, got 2.5"),
        ({"time_var": False, "num_steps": 5, "time_first": False}, ValueError, "time_first=False is for data"),
        ({"time_var": False, "num_steps": 5, "K": 6}, ValueError, "K is 6, num_steps is 5"),
        ({"K": 0}, ValueError, "K must be at least 1, got 0"),
        ({"K": True}, TypeError, "K must be an integer, got True"),
        ({"criterion": SF.accuracy_rate}, TypeError, "criterion must be a loss"),
    ],
)
def test_arguments_are_refused_before_the_first_batch(options, kind, message):
    def never():
        raise AssertionError("the loader was asked for a batch")
        yield

    net = network()
    with pytest.raises(kind, match=message):
        backprop.TBPTT(net, never(), optim.Adam(net), **{"criterion": SF.ce_rate_loss(), "K": 1, **options})


@pytest.mark.parametrize("T, K", [(0, None), (7, 0), (7, -1)])
def test_no_steps_or_a_K_below_1_is_refused_by_name(T, K):
    net = network()
    data = [(np.zeros((T, 5, 4)), np.zeros(5, int))]
    with pytest.raises(ValueError, match=r"K must be at least 1|no step"):
        list(backprop.batches(net, data, optim.Adam(net), SF.ce_rate_loss(), K=K))


def test_a_K_beyond_the_data_is_refused():
    net = network()
    with pytest.raises(ValueError, match="K is 9, batch 0 has 6 steps"):
        backprop.TBPTT(net, batches(6), optim.Adam(net), SF.ce_rate_loss(), K=9)


def test_a_progress_bar_needs_tqdm(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tqdm", None)
    net = network()
    with pytest.raises(ImportError, match=r'npsnn: a progress bar needs tqdm: pip install "npsnn\[all\]"'):
        backprop.BPTT(net, batches(6), optim.Adam(net), SF.ce_rate_loss(), progress=True)


def test_a_gradient_that_is_not_finite_makes_no_update():
    """The loss and its gradient are finite, and their products with the weights are not."""

    class Steep:
        name, on = "steep", "spk"

        def value_and_grad(self, rec, targets):
            return 0.0, np.full_like(rec, 3e38)

    net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(0.5), backend="reference", seed=0)
    optimizer, before = optim.Adam(net), net.flat_params.copy()
    data = [(np.full((5, 4, 3), 9, np.float32), np.zeros(4, int))]
    message = r"^0 Linear: the gradient of weight has .* at batch 0, step 0; no update was made from it$"
    with np.errstate(all="ignore"), pytest.raises(backprop.DivergedError, match=message):
        backprop.BPTT(net, data, optimizer, Steep())
    np.testing.assert_array_equal(net.flat_params, before)
    assert optimizer.t == 0
