"""How often the network is right."""

from typing import Any

import numpy as np

from npsnn import _check
from npsnn.functional.loss import recording


def accuracy_rate(spk_rec: Any, targets: Any) -> float:
    """The share of samples whose class fired most; on a tie the smaller class number wins.

    spk_rec (T, B, classes), targets (B,). Where nothing fires, class 0 wins the tie (C13).

    >>> import numpy as np
    >>> S = np.zeros((3, 2, 4))
    >>> S[0, 1, 2] = 1
    >>> accuracy_rate(S, np.array([0, 2])), accuracy_rate(S, np.array([1, 2]))
    (1.0, 0.5)
    """
    S = recording(spk_rec, "accuracy_rate", complex_too=False)
    y = _check.labels(targets, S.shape[1], S.shape[2], steps=len(S))
    return float((S.sum(axis=0).argmax(axis=-1) == y).mean())


def accuracy_temporal(spk_rec: Any, targets: Any) -> float:
    """The share of samples whose class fired first; a silent class counts as firing in the last step.

    spk_rec (T, B, classes), targets (B,). On a tie the smaller class number wins.

    >>> import numpy as np
    >>> S = np.zeros((3, 1, 3))
    >>> S[1, 0, 2] = S[2, 0, 0] = 1
    >>> accuracy_temporal(S, np.array([2]))
    1.0
    """
    S = recording(spk_rec, "accuracy_temporal", complex_too=False)
    y = _check.labels(targets, S.shape[1], S.shape[2], steps=len(S))
    fired = S != 0
    first = np.where(fired.any(axis=0), fired.argmax(axis=0), len(S) - 1)
    return float((first.argmin(axis=-1) == y).mean())
