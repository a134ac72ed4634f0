"""Adam's law: by hand in exact binary fractions, and against a scalar written from the paper's lines."""

import math

import numpy as np
import pytest

from npsnn.adam.reference import adam_step


def test_two_steps_by_hand():
    """b1 = 1/2, b2 = 3/4: 1 - b2 = 1/4, its root 1/2, so that step 1 is exact; its p, m, v are binary fractions."""
    p, m, v = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    options = {"lr": 0.25, "b1": 0.5, "b2": 0.75, "eps": 0.0, "weight_decay": 0.0}
    adam_step(p, np.array([4.0, -0.5]), m, v, 1, **options)
    # The first step is lr times the sign of g: m / (1 - b1) = g, sqrt(v) / sqrt(1 - b2) = |g|.
    assert (p.tolist(), m.tolist(), v.tolist()) == ([0.75, -1.75], [2, -0.25], [4, 0.0625])
    adam_step(p, np.array([0.0, 1.0]), m, v, 2, **options)
    assert (m.tolist(), v.tolist()) == ([1, 0.375], [3, 0.296875])
    # lr / (1 - 1/4) = 1/3; sqrt(v) / sqrt(1 - 9/16) = sqrt(v) / sqrt(7/16).
    expected = [0.75 - (1 / 3) * 1 / math.sqrt(3 * 16 / 7), -1.75 - (1 / 3) * 0.375 / math.sqrt(0.296875 * 16 / 7)]
    np.testing.assert_allclose(p, expected, rtol=1e-15)


def test_eps_stands_outside_the_root():
    p, m, v = np.array([0.0]), np.zeros(1), np.zeros(1)
    adam_step(p, np.array([1.0]), m, v, 1, lr=0.5, b1=0.5, b2=0.75, eps=1.0, weight_decay=0.0)
    assert p.item() == -0.25  # 0.5 * 1 / (1 + 1); within the root it would be 0.5 / sqrt(2)


def test_a_zero_gradient_moves_nothing():
    p, m, v = np.array([3.0]), np.zeros(1), np.zeros(1)
    adam_step(p, np.zeros(1), m, v, 1, lr=0.5, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0)
    assert (p.item(), m.item(), v.item()) == (3, 0, 0)


def test_weight_decay_is_added_to_the_gradient():
    decayed, plain = ([np.array([2.0, -4.0]), np.zeros(2), np.zeros(2)] for _ in range(2))
    g = np.array([1.0, 0.5])
    options = {"lr": 0.125, "b1": 0.5, "b2": 0.75, "eps": 0.0}
    adam_step(decayed[0], g, *decayed[1:], 1, weight_decay=0.25, **options)
    adam_step(plain[0], np.array([1.5, -0.5]), *plain[1:], 1, weight_decay=0.0, **options)
    for a, b in zip(decayed, plain, strict=True):
        assert a.tolist() == b.tolist()
    assert g.tolist() == [1, 0.5]


@pytest.mark.parametrize("weight_decay", [0.0, 0.125])
def test_ten_steps_equal_a_scalar_loop(rng, weight_decay):
    lr, b1, b2, eps = 0.02, 0.9, 0.99, 1e-3
    p = rng.standard_normal(7)
    ours, m, v = p.copy(), np.zeros(7), np.zeros(7)
    gradients = rng.standard_normal((10, 7))
    for t, g in enumerate(gradients, 1):
        adam_step(ours, g, m, v, t, lr=lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    for i in range(7):
        x, mean, square = float(p[i]), 0.0, 0.0
        for t, g in enumerate(gradients[:, i].tolist(), 1):
            g += weight_decay * x
            mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g**2
            x -= lr * (mean / (1 - b1**t)) / (math.sqrt(square / (1 - b2**t)) + eps)
        # The paper divides under the root and rounds in another order: a few ulp a step, ten steps.
        assert ours[i] == pytest.approx(x, rel=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_in_place_in_the_arrays_dtype(rng, dtype):
    p, g, m, v = (rng.random(5).astype(dtype) for _ in range(4))
    before, given = p.copy(), g.copy()
    view = p
    assert adam_step(p, g, m, v, 3, lr=0.1, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.01) is None
    assert view is p
    assert p.dtype == m.dtype == v.dtype == dtype
    assert (p != before).all()
    np.testing.assert_array_equal(g, given)
