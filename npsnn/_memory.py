"""How the features of an array follow each other in memory (floor 0).

An op may hand on images whose channels lie last. Their shape says (T, B, C, H, W) as everywhere; NumPy's strides say
the rest, and whoever works through memory in its order, number by number, asks here.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from npsnn import _buffers

Array = np.ndarray[Any, Any]
Order = tuple[int, ...]
CHANNELS_LAST: Order = (0, 2, 3, 1)  # of images (N, C, H, W)
IMAGES_LAST: Order = (0, 1, 3, 4, 2)  # of their steps (T, B, C, H, W)


def order_of(x: Array) -> Order:
    """The axes of x (T, B, *N), those of *N as they follow each other in memory.

    >>> order_of(np.zeros((1, 1, 8, 8, 3)).transpose(0, 1, 4, 2, 3))
    (0, 1, 3, 4, 2)
    """
    return (0, 1, *sorted(range(2, x.ndim), key=lambda axis: -x.strides[axis]))


@lru_cache
def back(order: Order) -> Order:
    """The order that undoes one.

    >>> back((0, 1, 3, 4, 2))
    (0, 1, 4, 2, 3)
    """
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def empty(shape: tuple[int, ...], dtype: Any, order: Order) -> Array:
    """An array whose axes lie in memory in that order."""
    return _buffers.empty(tuple(shape[axis] for axis in order), dtype).transpose(back(order))


def rows(x: Array, order: Order) -> Array:
    """(T, B, *N) as (T, M), the numbers in that order; a copy where they do not lie so in memory."""
    return np.ascontiguousarray(x.transpose(order)).reshape(len(x), -1)


def flat(images: Array) -> Array:
    """(N, C, H, W) as (N, numbers of an image), channels last: no copy where they already lie so."""
    last = np.ascontiguousarray(images.transpose(CHANNELS_LAST))
    return last.reshape(len(last), math.prod(last.shape[1:]))
