"""Sums whose order is written down, for the twins (floor 0)."""

from typing import Any

import numpy as np

from npsnn._jit import borrows

Array = np.ndarray[Any, Any]


@borrows
def add_to(part, total):  # type: ignore[no-untyped-def]
    """Total += part. As a statement on arrays it would take longer to compile than a loop."""
    for k in range(len(part)):
        total[k] += part[k]


def ordered_sum(parts: Array) -> Array:
    """The sum over the first axis, ascending."""
    total: Array = np.zeros(parts.shape[1:], parts.dtype)
    for part in parts:
        total += part
    return total
