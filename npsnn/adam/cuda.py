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
    def update(total, p, g, m, v, bad, rates):  # type: ignore[no-untyped-def]
        step, correction, b1, one_b1 = rates[0], rates[1], rates[2], rates[3]
        b2, one_b2, eps, weight_decay = rates[4], rates[5], rates[6], rates[7]
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


def rates(t: int, lr: float, betas: tuple[float, float], eps: float, weight_decay: float, dtype: Any) -> Any:
    """What step `t` multiplies with, (8,): an array, so that a step is launched with the same arguments as the last."""
    b1, b2 = betas
    step, correction = lr / (1 - b1**t), float(np.sqrt(1 - b2**t))
    return np.array([step, correction, b1, 1 - b1, b2, 1 - b2, eps, weight_decay], dtype)


def update(
    p: DeviceArray, g: DeviceArray, m: DeviceArray, v: DeviceArray, bad: DeviceArray, rates: DeviceArray
) -> None:
    """As `adam_step`, of arrays on the device; bad (1,) becomes 1 where a number of g is not finite."""
    _cuda.launch(_update(), p.size, p, g, m, v, bad, rates)


def adam_step(
    p: Array, g: Array, m: Array, v: Array, t: int, *, lr: float, b1: float, b2: float, eps: float, weight_decay: float
) -> None:
    """As reference.adam_step; arrays of the host go to the device and come back."""
    p_there, g_there, m_there, v_there = (send(x) for x in (p, g, m, v))
    bad, there = send(np.zeros(1, np.int32)), send(rates(t, lr, (b1, b2), eps, weight_decay, p_there.dtype))
    update(p_there, g_there, m_there, v_there, bad, there)
    for host, x in zip((p, m, v), (p_there, m_there, v_there), strict=True):
        if host is not x:
            host[...] = np.asarray(x)
