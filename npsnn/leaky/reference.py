"""The leaky integrate-and-fire neuron through time: the law.

Forward, for t = 0 .. T-1, from U[-1] (zero unless given), with beta^ = clip(beta, 0, 1) (C1, C2, C3)

    R[t] = H(U[t-1] - theta)                                                     (L1)
    U[t] = (beta^ U[t-1] + I[t]) - R[t] theta             "subtract"             (L2)
    U[t] = beta^ ((1 - R[t]) U[t-1]) + I[t]               "zero"
    U[t] = beta^ U[t-1] + I[t]                            "none"
    S[t] = H(U[t] - theta)                                                       (L3)

Backward, for t = T-1 .. 0, from dS = dL/dS and dmem = dL/dU through the recorded membrane, with dU[T] = 0 (C4)

    dR[t+1] = -theta dU[t+1]   "subtract";   -beta^ U[t] dU[t+1]   "zero";   0   "none" or a detached reset    (L4)
    g[t]    = (dS[t] + dR[t+1]) sigma'(U[t] - theta)            S[t] leaves to the output and to the next reset (L5)
    dU[t]   = g[t] + dmem[t] + dU[t+1] beta^ (1 - R[t+1] if "zero")                                            (L6)
    dI[t]   = dU[t]                              summed over t where one I was shown at every step (C12)       (L7)
    dbeta   = sum over t of dU[t] (1 - R[t] if "zero") U[t-1]         where 0 <= beta <= 1, else 0             (L8)
    dtheta  = - sum over t of g[t] - sum over t of dU[t] R[t] (the second only for "subtract")                 (L9)
    dU[-1]  = what (L4) to (L6) give at t = -1                                                                (L10)

A step's spike is decided by this step's U, its reset by the last step's: the reset follows one step later, and equals
the last spike. "Detached" means that the reset counts as a constant. Shapes: I (T, B, *N), or (1, B, *N) for an input
shown T times; beta and theta broadcast against *N; S, U, dS, dmem (T, B, *N); time is in steps. float32, float64 or
complex128. Source: Eshraghian et al. 2023, eq. 9 (subtract); Neftci, Mostafa & Zenke 2019 (surrogate gradients).
Twin: cpu.py.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn.surrogate import Surrogate, spike

Array = np.ndarray[Any, Any]


class LeakyCache(NamedTuple):
    """What backward needs of forward; S and R follow from U."""

    U: Array  # (T, B, *N)  membrane potentials, before the next step's reset
    U_before: Array  # (B, *N)  U[-1]
    beta: Array  # broadcasts against *N, as given, not clipped
    theta: Array  # broadcasts against *N
    static: bool  # one I was shown at every step
    sigma: Surrogate
    reset_mechanism: str
    detach_reset: bool


def leaky_forward(
    I: Array,
    beta: Array,
    theta: Array,
    U_before: Array | None = None,
    *,
    num_steps: int,
    sigma: Surrogate,
    reset_mechanism: str = "subtract",
    detach_reset: bool = True,
) -> tuple[Array, LeakyCache]:
    """S (T, B, *N) and the cache, whose U is the membrane recording, by (L1) to (L3).

    >>> from npsnn import surrogate
    >>> I = np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1)
    >>> S, cache = leaky_forward(I, np.array(0.5), np.array(1.0), num_steps=3, sigma=surrogate.atan())
    >>> cache.U.ravel(), S.ravel()
    (array([ 0.75  ,  1.125 , -0.4375]), array([0., 1., 0.]))
    """
    T, shape = num_steps, I.shape[1:]
    static = I.shape[0] == 1 and T != 1
    if U_before is None:
        U_before = np.zeros(shape, I.dtype)
    beta_hat = clip01(beta)
    U = np.empty((T, *shape), np.result_type(I, beta, theta, U_before))
    S = np.empty_like(U)
    for t in range(T):
        U_last = U[t - 1] if t > 0 else U_before
        I_t = I[0] if static else I[t]
        # --- reset (L1)
        R = spike(U_last - theta, sigma, t - 1)
        R = R.real if detach_reset else R
        # --- charge (L2)
        if reset_mechanism == "subtract":
            U[t] = (beta_hat * U_last + I_t) - R * theta
        elif reset_mechanism == "zero":
            U[t] = beta_hat * ((1 - R) * U_last) + I_t
        else:
            U[t] = beta_hat * U_last + I_t
        # --- fire (L3)
        S[t] = spike(U[t] - theta, sigma, t)
    return S, LeakyCache(U, U_before, beta, theta, static, sigma, reset_mechanism, detach_reset)


def leaky_backward(
    dS: Array | None, dmem: Array | None, cache: LeakyCache, *, constants: bool = True
) -> tuple[Array, Array | None, Array | None, Array]:
    """(dI, dbeta, dtheta, dU_before) by (L4) to (L10); None for dS or dmem means zero.

    dbeta and dtheta, the constants' gradients, are None where not asked for.

    >>> from npsnn import surrogate
    >>> I = np.array([0.75, 0.75, 0.0]).reshape(3, 1, 1)
    >>> sigma = surrogate.straight_through_estimator()
    >>> _, cache = leaky_forward(I, np.array(0.5), np.array(1.0), num_steps=3, sigma=sigma)
    >>> dI, dbeta, dtheta, dU_before = leaky_backward(np.ones((3, 1, 1)), None, cache)
    >>> dI.ravel(), dbeta, dtheta
    (array([1.75, 1.5 , 1.  ]), array(2.25), array(-4.))
    """
    U, U_before, beta, theta, static, sigma, reset_mechanism, detach_reset = cache
    beta_hat = clip01(beta)
    zero = np.zeros_like(U_before)
    dI = np.zeros((1 if static else len(U), *U.shape[1:]), U.dtype)
    dbeta, dtheta = zero.copy(), zero.copy()
    dU_next = zero
    for t in range(len(U) - 1, -2, -1):
        U_t = U[t] if t >= 0 else U_before
        dS_t = dS[t] if dS is not None and t >= 0 else zero
        dmem_t = dmem[t] if dmem is not None and t >= 0 else zero
        R_next = spike(U_t - theta, sigma, t)

        # --- reset: (L2) U[t+1] = (beta^ U[t] + I[t+1]) - R[t+1] theta, or beta^ ((1 - R[t+1]) U[t]) + I[t+1]; so:
        dR_next = zero
        if reset_mechanism == "subtract":
            dtheta -= dU_next * R_next  # (L9), its second sum
            dR_next = -theta * dU_next  # (L4)
        elif reset_mechanism == "zero":
            dR_next = -beta_hat * U_t * dU_next  # (L4)
        if detach_reset:
            dR_next = zero

        # --- fire: (L3) S[t] = H(U[t] - theta), and (L1) R[t+1] is the same step; so:
        g = (dS_t + dR_next) * sigma.derivative(U_t - theta, t)  # (L5)
        dtheta -= g  # (L9), its first sum

        # --- charge: (L2) U[t+1] = beta^ U[t] + ..., and U[t] leaves to S[t], to the recording and to U[t+1]; so:
        kept = 1 - R_next if reset_mechanism == "zero" else np.ones_like(R_next)
        dbeta += dU_next * (kept * U_t)  # (L8)
        dU_next = g + dmem_t + dU_next * (beta_hat * kept)  # (L6)
        if t >= 0:
            dI[0 if static else t] += dU_next  # (L7): U[t] = ... + I[t]
    if not constants:
        return dI, None, None, dU_next
    # (C3) beta^ = clip(beta, 0, 1); so its gradient stops outside, and passes at both ends:
    dbeta = np.where((beta >= 0) & (beta <= 1), sum_to_shape(dbeta, beta.shape), zero.dtype.type(0))
    return dI, dbeta, sum_to_shape(dtheta, theta.shape), dU_next  # (L10)


def clip01(beta: Array) -> Array:
    """beta^ = clip(beta, 0, 1) (C3); for complex beta, decided by its real part."""
    return np.where(beta.real < 0, 0 * beta, np.where(beta.real > 1, 0 * beta + 1, beta))


def sum_to_shape(d: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of broadcasting: d, of shape (B, *N), summed down to `shape`, over the batch first."""
    d = d.sum(axis=0)
    d = d.sum(axis=tuple(range(d.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and d.shape[i] != 1)
    return np.asarray(d.sum(axis=stretched, keepdims=True))
