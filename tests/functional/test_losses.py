"""The five losses and the price on spikes: by hand, perfect and silent outputs, and complex-step derivatives."""

import math

import numpy as np
import pytest

from npsnn import functional as SF
from npsnn.functional.reference import log_softmax
from tests.helpers import close, complex_step, distinct

LOSSES = {
    "ce_rate": SF.ce_rate_loss(),
    "ce_count": SF.ce_count_loss(),
    "ce_max_membrane": SF.ce_max_membrane_loss(),
    "mse_count": SF.mse_count_loss(correct_rate=0.75, incorrect_rate=0.25),
    "mse_membrane": SF.mse_membrane_loss(on_target=1.25, off_target=-0.5),
    "l1": SF.l1_rate_sparsity(Lambda=0.125),
}
T, B, C = 5, 3, 4
Y = np.array([2, 0, 3])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(T, B, C), (1, 3, 2), (6, 1, 5), (3, 2, 1)], ids=str)
def test_gradient_is_the_complex_step_derivative(rng, name, shape):
    loss, rec = LOSSES[name], distinct(rng, shape)
    y = rng.integers(0, shape[2], shape[1])
    value, drec = loss.value_and_grad(rec, y)
    (expected,) = complex_step(lambda rec: loss(rec, y), rec)
    assert isinstance(value, float)
    assert value == loss(rec, y)
    # Where no class can be wrong the gradient is 0 by two computations, each rounded beside terms of size 1.
    np.testing.assert_allclose(drec, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradient_has_the_recordings_shape_and_dtype_and_changes_nothing(rng, name, dtype):
    rec, y = (rng.random((T, B, C)) < 0.4).astype(dtype), Y.copy()
    before = rec.tobytes()
    value, drec = LOSSES[name].value_and_grad(rec, y)
    assert (drec.shape, drec.dtype) == (rec.shape, dtype)
    assert type(value) is float
    assert rec.tobytes() == before
    np.testing.assert_array_equal(y, Y)
    assert not np.shares_memory(drec, rec)


def test_which_recording_a_loss_reads():
    assert {name: loss.on for name, loss in LOSSES.items()} == {
        "ce_rate": "spk", "ce_count": "spk", "ce_max_membrane": "mem", "mse_count": "spk", "mse_membrane": "mem",
        "l1": "spk",
    }  # fmt: skip


# --- by hand --------------------------------------------------------------------------------------------------------

# Two steps, one sample, two classes. A row (1, 0) has softmax (p, 1 - p) with p = e / (1 + e).
P = math.e / (1 + math.e)


def test_ce_rate_by_hand():
    rec = np.array([[[1.0, 0.0]], [[1.0, 1.0]]])
    value, drec = LOSSES["ce_rate"].value_and_grad(rec, np.array([0]))
    assert value == pytest.approx((-math.log(P) + math.log(2)) / 2, rel=1e-15)
    np.testing.assert_allclose(drec[:, 0], [[(P - 1) / 2, (1 - P) / 2], [-0.25, 0.25]], rtol=1e-15)


def test_ce_count_by_hand():
    rec = np.array([[[1.0, 0.0]], [[1.0, 1.0]]])  # counts 2 and 1
    value, drec = LOSSES["ce_count"].value_and_grad(rec, np.array([1]))
    assert value == pytest.approx(-math.log(1 - P), rel=1e-15)
    np.testing.assert_allclose(drec[:, 0], [[P, -P], [P, -P]], rtol=4e-16)


def test_ce_max_membrane_by_hand():
    rec = np.array([[[1.0, -2.0]], [[0.5, 0.0]]])  # largest: 1 at step 0, and 0 at step 1
    value, drec = LOSSES["ce_max_membrane"].value_and_grad(rec, np.array([0]))
    assert value == pytest.approx(-math.log(P), rel=1e-15)
    np.testing.assert_allclose(drec[:, 0], [[P - 1, 0], [0, 1 - P]], rtol=4e-16)


def test_mse_count_by_hand():
    rec = np.array([[[1.0, 0, 1]], [[1, 0, 0]], [[0, 0, 1]], [[1, 1, 1]]])  # counts 3, 1, 3; targets 1, 3, 1
    value, drec = LOSSES["mse_count"].value_and_grad(rec, np.array([1]))
    assert value == (4 + 4 + 4) / 3 / 4
    np.testing.assert_allclose(drec[:, 0], [[4 / 12, -4 / 12, 4 / 12]] * 4, rtol=4e-16)


def test_mse_membrane_by_hand():
    rec = np.array([[[1.25, 0.5]], [[0.25, -0.5]]])  # targets 1.25 and -0.5
    value, drec = LOSSES["mse_membrane"].value_and_grad(rec, np.array([0]))
    assert value == (0 + 1 + 1 + 0) / 4
    assert drec[:, 0].tolist() == [[0, 0.5], [-0.5, 0]]


def test_l1_by_hand():
    rec = np.zeros((2, 1, 3))
    rec[0, 0, 1] = rec[1, 0, 2] = 1
    assert LOSSES["l1"](rec) == LOSSES["l1"](rec, np.array([0])) == 0.25
    assert (LOSSES["l1"].value_and_grad(rec)[1] == 0.125).all()
    assert SF.l1_rate_sparsity()(np.ones((1, 1, 2))) == 2e-5


# --- what the names promise (C13) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rates", [(1, 0), (0.75, 0.25), (0.5, 0), (0, 1)])
def test_mse_count_is_zero_with_zero_gradient_on_the_perfect_count(rng, rates):
    rec = np.zeros((8, B, C))
    for b, c in np.ndindex(B, C):
        count = int(8 * rates[0 if c == Y[b] else 1])
        rec[rng.permutation(8)[:count], b, c] = 1
    value, drec = SF.mse_count_loss(*rates).value_and_grad(rec, Y)
    assert value == 0
    assert not drec.any()


@pytest.mark.parametrize("on, off", [(1, 0), (1, -1), (0, -1), (-2, 3), (0.3, 0.3)])
def test_mse_membrane_is_zero_with_zero_gradient_on_the_perfect_membrane(on, off):
    rec = np.full((T, B, C), off, float)
    rec[:, np.arange(B), Y] = on
    value, drec = SF.mse_membrane_loss(on_target=on, off_target=off).value_and_grad(rec, Y)
    assert value == 0
    assert not drec.any()


@pytest.mark.parametrize("name", ["ce_count", "ce_max_membrane"])
def test_cross_entropy_is_zero_with_zero_gradient_at_an_overwhelming_margin(name):
    """exp(-800) is 0 in float64, so softmax is one-hot exactly."""
    rec = np.zeros((800, B, C))
    rec[:, np.arange(B), Y] = 1
    value, drec = LOSSES[name].value_and_grad(rec * (1 if name == "ce_count" else 800), Y)
    assert value == 0
    assert not drec.any()


@pytest.mark.parametrize("name", ["ce_rate", "ce_count", "ce_max_membrane"])
@pytest.mark.parametrize("classes", [1, 2, 10])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_silent_network_costs_ln_of_the_number_of_classes(name, classes, dtype):
    rec = np.zeros((50, 7, classes), dtype)
    value = LOSSES[name](rec, np.arange(7) % classes)
    # log sum exp of equal numbers, then a mean of equal numbers: a rounding each.
    assert value == pytest.approx(math.log(classes), rel=4 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("steps, rate, target", [(25, 0.3, 7), (25, 1, 25), (10, 0.99, 9), (3, 0.25, 0), (4, 0.25, 1)])
def test_mse_count_cuts_its_target_down_to_an_integer(steps, rate, target):
    rec = np.zeros((steps, 1, 1))
    rec[:target] = 1
    assert SF.mse_count_loss(correct_rate=rate, incorrect_rate=0)(rec, np.array([0])) == 0
    rec = np.zeros((steps, 1, 2))
    rec[:target, 0, 0] = 1
    assert SF.mse_count_loss(correct_rate=0, incorrect_rate=rate)(rec, np.array([1])) == 0


def test_ce_max_membrane_sends_its_gradient_to_the_first_maximum():
    rec = np.zeros((4, 1, 2))
    rec[[1, 3], 0, 0] = 2
    drec = LOSSES["ce_max_membrane"].value_and_grad(rec, np.array([1]))[1]
    assert np.flatnonzero(drec[:, 0, 0]).tolist() == [1]
    assert np.flatnonzero(drec[:, 0, 1]).tolist() == [0]


@pytest.mark.parametrize("name", ["ce_rate", "ce_count", "ce_max_membrane"])
def test_cross_entropys_gradient_sums_to_zero_over_the_classes(rng, name):
    drec = LOSSES[name].value_and_grad(rng.standard_normal((T, B, C)), Y)[1]
    np.testing.assert_allclose(drec.sum(axis=(0, 2)), 0, atol=4e-16)  # a class has its maximum at a step of its own


def test_log_softmax_neither_overflows_nor_moves_with_a_shift():
    z = np.array([[0.0, 1.0, -2.0], [-0.5, 0.25, 4.0]])
    for shift in (1024.0, -(2.0**40)):
        np.testing.assert_array_equal(log_softmax(z + shift), log_softmax(z))
    assert log_softmax(np.array([0.0, 1e308])).tolist() == [-1e308, 0]
    close(np.exp(log_softmax(z)).sum(axis=-1), np.ones(2), 1e-15)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "l1"])
def test_samples_count_alike(rng, name):
    """A batch's loss is the mean of its samples', and a sample's gradient the mean's share."""
    rec = rng.standard_normal((T, B, C))
    value, drec = LOSSES[name].value_and_grad(rec, Y)
    alone = [LOSSES[name].value_and_grad(rec[:, b : b + 1], Y[b : b + 1]) for b in range(B)]
    assert value == pytest.approx(np.mean([v for v, _ in alone]), rel=1e-14)
    close(drec, np.concatenate([d for _, d in alone], axis=1) / B, 1e-14)


def test_targets_of_any_integer_type():
    rec = np.arange(T * B * C).reshape(T, B, C) / 8.0
    expected = LOSSES["ce_rate"](rec, Y)
    for targets in (Y.astype(np.uint8), Y.astype(np.int32), Y.tolist()):
        assert LOSSES["ce_rate"](rec, targets) == expected
