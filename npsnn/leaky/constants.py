"""Constants as the compiled neurons take them: one number for each neuron, shared by the ops with neurons in them."""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from npsnn._memory import Order, rows
from npsnn.leaky.reference import clip01

Array = np.ndarray[Any, Any]


def per_neuron(constant: Array, shape: tuple[int, ...], order: Order) -> Array:
    """What broadcasts against (B, *N), as (M,) in that order. It is read only, though its flag says otherwise.

    >>> per_neuron(np.array(0.5), (1, 3), (0, 1, 2))
    array([0.5, 0.5, 0.5])
    """
    if constant.ndim == 0:
        return _everywhere(constant.tobytes(), constant.dtype, math.prod(shape))
    own: Array = rows(np.broadcast_to(constant, shape)[None], order)[0]
    return own if own.flags.writeable else own.copy()  # an array's flag is part of its type


def decay(beta: Array, shape: tuple[int, ...], order: Order) -> Array:
    """beta^ (C3) likewise."""
    return per_neuron(_clipped(beta.tobytes(), beta.dtype) if beta.ndim == 0 else clip01(beta), shape, order)


@lru_cache(maxsize=8)  # a training step asks for the same some fifty times
def _everywhere(number: bytes, dtype: np.dtype[Any], count: int) -> Array:
    return np.full(count, np.frombuffer(number, dtype)[0])


@lru_cache(maxsize=64)
def _clipped(number: bytes, dtype: np.dtype[Any]) -> Array:
    return clip01(np.frombuffer(number, dtype).reshape(()))
