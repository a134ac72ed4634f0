"""Adam on flat arrays: the law (Kingma & Ba 2015, Algorithm 1; conventions C9).

With t counting steps from 1, lambda the L2 weight decay

    g = g + lambda p                                                            (A1)
    m = b1 m + (1 - b1) g                    mean of the gradient                (A2)
    v = b2 v + (1 - b2) g^2                  mean of its square                  (A3)
    p = p - (lr / (1 - b1^t)) m / (sqrt(v) / sqrt(1 - b2^t) + eps)               (A4)

The two 1 - b^t undo the bias of starting m and v at zero. eps stands outside the root and is added after the
correction, as in PyTorch (the paper's own eps^ stands elsewhere). (A1) is L2 decay, not AdamW's. b1 and b2, because
beta is the membrane's decay here. The scalars are computed in double precision, the arrays stay in their dtype.
Twin: cpu.py.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def adam_step(
    p: Array, g: Array, m: Array, v: Array, t: int, *, lr: float, b1: float, b2: float, eps: float, weight_decay: float
) -> None:
    """Update p, m and v in place, from the gradient g, which is not changed; all (P,), one dtype.

    >>> p, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
    >>> adam_step(p, np.array([4.0]), m, v, 1, lr=0.5, b1=0.9, b2=0.99, eps=0.0, weight_decay=0.0)
    >>> round(p.item(), 12), round(m.item(), 12), round(v.item(), 12)
    (0.5, 0.4, 0.16)
    """
    g = g + weight_decay * p  # (A1)
    m[...] = b1 * m + (1 - b1) * g  # (A2)
    v[...] = b2 * v + (1 - b2) * (g * g)  # (A3)
    step, correction = lr / (1 - b1**t), float(np.sqrt(1 - b2**t))
    p -= step * m / (np.sqrt(v) / correction + eps)  # (A4)
