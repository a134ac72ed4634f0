"""The five losses as value and gradient: the law (conventions C8, C13).

With rec (T, B, C) the recorded spikes S or membranes U of the output layer, y (B,) the class numbers, onehot (B, C),
and for a row of C numbers z

    log_softmax(z) = (z - max z) - log(sum exp(z - max z))                                                     (F1)
    CE(z, y)       = - mean over b of log_softmax(z[b])[y[b]]                                                  (F2)
    dCE/dz[b]      = (softmax(z[b]) - onehot[b]) / B                                                           (F3)

    ce_rate          mean over t of CE(S[t], y)                          gradient (F3) / T at every t          (F4)
    ce_count         CE(sum over t of S[t], y)                           gradient (F3), the same at every t     (F5)
    ce_max_membrane  CE(max over t of U[t], y)                           gradient (F3) at the first maximum     (F6)
    mse_count        mean over b, c of (sum over t of S[t] - N)^2 / T    gradient 2 (count - N) / (B C T)       (F7)
                     N = int(T correct_rate) where onehot, int(T incorrect_rate) elsewhere
    mse_membrane     mean over t, b, c of (U[t] - V)^2                   gradient 2 (U - V) / (T B C)           (F8)
                     V = on_target where onehot, off_target elsewhere

Sums run in NumPy's fixed order for the shape at hand, in the recording's dtype. For complex rec, max and argmax look at
the real part. Each function returns (value, gradient), the gradient of rec's shape and dtype.
"""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def log_softmax(z: Array) -> Array:
    """(F1) along the last axis.

    >>> log_softmax(np.array([1000.0, 1000.0])).round(6)
    array([-0.693147, -0.693147])
    """
    shifted = z - z.real.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def one_hot(y: Array, rec: Array) -> Array:
    """(B, C) in rec's dtype: 1 at y[b], 0 elsewhere."""
    return np.asarray(np.arange(rec.shape[-1]) == y[:, None]).astype(rec.dtype)


def cross_entropy(z: Array, y: Array) -> tuple[Any, Array]:
    """(F2) and (F3) for z (B, C).

    >>> value, dz = cross_entropy(np.zeros((1, 4)), np.array([2]))
    >>> float(round(value, 6)), dz
    (1.386294, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    log_p = log_softmax(z)
    value = -np.take_along_axis(log_p, y[:, None], axis=-1).mean()
    # (F1), (F2): d log_softmax(z)[y] / dz = onehot - softmax(z); so:
    return value, (np.exp(log_p) - one_hot(y, z)) / len(y)


def ce_rate(rec: Array, y: Array) -> tuple[Any, Array]:
    """(F4)."""
    T, B, C = rec.shape
    value, drec = cross_entropy(rec.reshape(T * B, C), np.tile(y, T))
    return value, drec.reshape(rec.shape)


def ce_count(rec: Array, y: Array) -> tuple[Any, Array]:
    """(F5)."""
    value, dcount = cross_entropy(rec.sum(axis=0), y)
    # count = sum over t of S[t]; so every step receives dcount:
    return value, np.repeat(dcount[None], len(rec), axis=0)


def ce_max_membrane(rec: Array, y: Array) -> tuple[Any, Array]:
    """(F6)."""
    first = rec.real.argmax(axis=0)[None]
    value, dmax = cross_entropy(np.take_along_axis(rec, first, axis=0)[0], y)
    # max picks U at `first`; so only that step receives dmax:
    drec = np.zeros_like(rec)
    np.put_along_axis(drec, first, dmax[None], axis=0)
    return value, drec


def mse_count(rec: Array, y: Array, correct_rate: float, incorrect_rate: float) -> tuple[Any, Array]:
    """(F7)."""
    T, B, C = rec.shape
    hot = one_hot(y, rec)
    N = hot * int(T * correct_rate) + (1 - hot) * int(T * incorrect_rate)
    miss = rec.sum(axis=0) - N
    dcount = 2 * miss / (B * C * T)
    return (miss * miss).mean() / T, np.repeat(dcount[None], T, axis=0)


def mse_membrane(rec: Array, y: Array, on_target: float, off_target: float) -> tuple[Any, Array]:
    """(F8)."""
    hot = one_hot(y, rec)
    miss = rec - (hot * on_target + (1 - hot) * off_target)
    return (miss * miss).mean(), 2 * miss / miss.size
