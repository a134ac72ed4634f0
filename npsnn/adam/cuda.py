"""As reference.py, on the device; what differs: a thread owns parameters, and there are no temporary arrays.

A gradient that is not finite sets a flag, and changes its parameter all the same: who calls this looks at the flag.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from npsnn import _cuda
from npsnn._cuda import Kernel
from npsnn._device import DeviceArray, send

cuda = _cuda.driver()

Array = Any


@lru_cache
def _update() -> Kernel:
    @_cuda.kernel
    def update(total, p, g, m, v, bad, step, correction, b1, one_b1, b2, one_b2, eps, weight_decay):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        while i < total:
            if not math.isfinite(g[i]):
                bad[0] = 1
            d = g[i] + weight_decay * p[i]  # (A1)
            m[i] = b1 * m[i] + one_b1 * d  # (A2)
            v[i] = b2 * v[i] + one_b2 * (d * d)  # (A3)
            p[i] -= step * m[i] / (math.sqrt(v[i]) / correction + eps)  # (A4)
            i += cuda.gridsize(1)

    return update


def update(
    p: DeviceArray, g: DeviceArray, m: DeviceArray, v: DeviceArray, t: int, bad: DeviceArray, *,
    lr: float, b1: float, b2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """As `adam_step`, of arrays on the device; bad (1,) becomes 1 where a number of g is not finite."""
    scalars = (lr / (1 - b1**t), float(np.sqrt(1 - b2**t)), b1, 1 - b1, b2, 1 - b2, eps, weight_decay)
    _cuda.launch(_update(), p.size, p, g, m, v, bad, *(p.dtype.type(s) for s in scalars))


def adam_step(
    p: Array, g: Array, m: Array, v: Array, t: int, *, lr: float, b1: float, b2: float, eps: float, weight_decay: float
) -> None:
    """As reference.adam_step; arrays of the host go to the device and come back."""
    p_there, g_there, m_there, v_there = (send(x) for x in (p, g, m, v))
    bad = send(np.zeros(1, np.int32))
    update(p_there, g_there, m_there, v_there, t, bad, lr=lr, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    for host, x in zip((p, m, v), (p_there, m_there, v_there), strict=True):
        if host is not x:
            host[...] = np.asarray(x)
