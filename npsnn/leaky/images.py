"""Neurons that are pixels, as the compiled ops with a convolution after them take them: channels last in memory."""

from typing import Any

import numpy as np

from npsnn._memory import CHANNELS_LAST, IMAGES_LAST, empty, rows
from npsnn.leaky.constants import decay, per_neuron
from npsnn.leaky.inside import Neurons

Array = np.ndarray[Any, Any]


def currents(neurons: Neurons) -> tuple[Array, Array, Array]:
    """I as one row, and beta^ and theta of one sample's M neurons."""
    one = (1, *neurons.I.shape[2:])
    beta, theta = decay(neurons.beta, one, IMAGES_LAST), per_neuron(neurons.theta, one, IMAGES_LAST)
    return rows(neurons.I, IMAGES_LAST).reshape(-1), beta, theta


def images_last(U: Array) -> Array:
    """A copy of membranes (B, C, H, W)."""
    last = empty(U.shape, U.dtype, CHANNELS_LAST)
    last[...] = U
    return last
