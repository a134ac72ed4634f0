"""BPTT and TBPTT, in the cases in which snnTorch's break too."""

import numpy as np
import pytest

import npsnn
from npsnn import backprop, optim, surrogate
from npsnn import functional as SF


def network(dtype=np.float64):
    sg = surrogate.fast_sigmoid(slope=5)
    net = npsnn.Sequential(
        npsnn.Linear(4, 6),
        npsnn.Leaky(0.7, spike_grad=sg),
        npsnn.Linear(6, 3),
        npsnn.Leaky(0.9, spike_grad=sg, learn_beta=True, learn_threshold=True),
        dtype=dtype,
        backend="reference",
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


def test_arguments_are_refused_before_the_first_batch():
    def never():
        raise AssertionError("the loader was asked for a batch")
        yield

    net = network()
    with pytest.raises(ValueError, match="time_var=False needs num_steps"):
        backprop.BPTT(net, never(), optim.Adam(net), SF.ce_rate_loss(), time_var=False)


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
