"""What holds for every loss and accuracy."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from npsnn import functional as SF
from tests.helpers import close
from tests.properties.drawing import DRAWN, perfect, recordings
from tests.twins import TOLERANCE, unchanged

CE = [SF.ce_rate_loss(), SF.ce_count_loss(), SF.ce_max_membrane_loss()]
LOSSES = [*CE, SF.mse_count_loss(0.75, 0.25), SF.mse_membrane_loss(1, -1), SF.l1_rate_sparsity(0.125)]


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
