"""As reference.py; what differs: one loop over the parameters, no temporary arrays. The bits are the law's."""

from typing import Any

import numpy as np

from npsnn._jit import jit

Array = np.ndarray[Any, Any]


@jit
def _update(p, g, m, v, step, correction, b1, one_b1, b2, one_b2, eps, weight_decay):  # type: ignore[no-untyped-def]
    for i in range(p.size):
        d = g[i] + weight_decay * p[i]  # (A1)
        m[i] = b1 * m[i] + one_b1 * d  # (A2)
        v[i] = b2 * v[i] + one_b2 * (d * d)  # (A3)
        p[i] -= step * m[i] / (np.sqrt(v[i]) / correction + eps)  # (A4)


def adam_step(
    p: Array, g: Array, m: Array, v: Array, t: int, *, lr: float, b1: float, b2: float, eps: float, weight_decay: float
) -> None:
    """As reference.adam_step."""
    scalars = (lr / (1 - b1**t), float(np.sqrt(1 - b2**t)), b1, 1 - b1, b2, 1 - b2, eps, weight_decay)
    _update(p, g, m, v, *(p.dtype.type(s) for s in scalars))
