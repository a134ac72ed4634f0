"""Neurons inside an op that goes on with their spikes: what it is given, and what they do (floor 1)."""

from typing import Any, NamedTuple

import numpy as np

from npsnn.leaky.reference import LeakyCache, leaky_forward
from npsnn.surrogate import Surrogate

Array = np.ndarray[Any, Any]


class Neurons(NamedTuple):
    """The neurons, and what they were given: their reset is detached, and no constant of theirs is learnt."""

    I: Array  # (T, B, *N), or (1, B, *N) for an input shown T times
    beta: Array  # broadcasts against *N, as given, not clipped
    theta: Array  # broadcasts against *N
    U_before: Array  # (B, *N)  U[-1]
    num_steps: int
    sigma: Surrogate
    reset_mechanism: str


def fire(neurons: Neurons) -> tuple[Array, LeakyCache]:
    """S (T, B, *N) and leaky's cache, by the law."""
    I, beta, theta, U_before, num_steps, sigma, reset_mechanism = neurons
    return leaky_forward(I, beta, theta, U_before, num_steps=num_steps, sigma=sigma, reset_mechanism=reset_mechanism)
