"""Accuracy by spike count and by first spike: numbers by hand, ties, silence."""

import numpy as np
import pytest

from npsnn import functional as SF


def spikes(*samples, steps=6):
    """(T, B, C) from the steps at which each class of each sample fires."""
    S = np.zeros((steps, len(samples), len(samples[0])), np.float32)
    for b, classes in enumerate(samples):
        for c, times in enumerate(classes):
            S[list(times), b, c] = 1
    return S


def test_rate_by_hand():
    S = spikes(([0, 3], [1], []), ([], [2], [1, 4, 5]), ([0], [1, 2], [3]))
    assert SF.accuracy_rate(S, np.array([0, 2, 1])) == 1
    assert SF.accuracy_rate(S, np.array([0, 2, 2])) == pytest.approx(2 / 3, rel=1e-15)
    assert SF.accuracy_rate(S, np.array([1, 1, 2])) == 0


def test_on_a_tie_of_counts_the_smaller_class_wins():
    S = spikes(([], [4, 5], [0, 1]))
    assert SF.accuracy_rate(S, np.array([1])) == 1
    assert SF.accuracy_rate(S, np.array([2])) == 0


def test_a_silent_network_has_the_accuracy_of_class_0():
    S = spikes(*[([], [], [])] * 5)
    y = np.array([0, 1, 2, 0, 1])
    assert SF.accuracy_rate(S, y) == SF.accuracy_temporal(S, y) == 0.4


def test_temporal_by_hand():
    S = spikes(([3], [1, 5], [2]), ([4], [], [0]), ([2, 3, 4], [5], [3]))
    assert SF.accuracy_temporal(S, np.array([1, 2, 0])) == 1
    assert SF.accuracy_temporal(S, np.array([0, 2, 1])) == pytest.approx(1 / 3, rel=1e-15)


def test_a_silent_class_counts_as_firing_in_the_last_step():
    # Class 1 fires in the last step, class 0 never: a tie, and the smaller number wins.
    assert SF.accuracy_temporal(spikes(([], [5], [])), np.array([0])) == 1
    assert SF.accuracy_temporal(spikes(([], [4], [])), np.array([1])) == 1


def test_temporal_on_a_tie_of_times_the_smaller_class_wins():
    assert SF.accuracy_temporal(spikes(([], [2], [2, 3])), np.array([1])) == 1


@pytest.mark.parametrize("accuracy", [SF.accuracy_rate, SF.accuracy_temporal])
def test_a_float_and_nothing_changed(rng, accuracy):
    S, y = (rng.random((7, 5, 3)) < 0.3).astype(np.float32), rng.integers(0, 3, 5)
    before = S.tobytes(), y.tobytes()
    value = accuracy(S, y)
    assert type(value) is float
    assert 0 <= value <= 1
    assert (S.tobytes(), y.tobytes()) == before
    order = rng.permutation(5)
    assert accuracy(S[:, order], y[order]) == value
