"""As reference.py, on the device; what differs follows.

- Arrays are npsnn._device's; what comes from the host is sent. S is bool, a byte a spike.
- (B, *N) is one axis of M neurons. A thread owns a neuron and takes it through all of time; neighbours read and write
  neighbouring numbers.
- Order of sums: as in cpu.py, neuron by neuron, the last step first. The sums of (L8), (L9) over batch and broadcast
  axes are made on the host.
- The surrogate's source is the law's, compiled into the kernel; a surrogate that is a NumPy function is called on the
  host, and what it gave is sent. The reset, and which terms there are, are compiled in too.
"""

import math
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from npsnn import _cuda
from npsnn._cuda import Kernel
from npsnn._device import DeviceArray, constant, empty, send
from npsnn.leaky.reference import LeakyCache, sum_to_shape
from npsnn.surrogate import Formula, Surrogate

cuda = _cuda.driver()

Array = Any


@lru_cache
def _forward(dtype: Any, reset: str) -> Kernel:
    kind = np.dtype(dtype).type
    subtracts, zeroes, zero, one = reset == "subtract", reset == "zero", kind(0), kind(1)

    @_cuda.kernel
    def forward(M, I, beta, theta, U_before, U, S, T, moving, betas, thetas):  # type: ignore[no-untyped-def]
        m = cuda.grid(1)
        while m < M:
            b, th, u = min(max(beta[m % betas], zero), one), theta[m % thetas], U_before[m]
            for t in range(T):
                current = I[t * moving + m]
                R = one if u > th else zero  # (L1)
                if subtracts:
                    u = (b * u + current) - R * th  # (L2)
                elif zeroes:
                    u = b * ((one - R) * u) + current
                else:
                    u = b * u + current
                U[t * M + m] = u
                S[t * M + m] = u > th  # (L3)
            m += cuda.gridsize(1)

    return forward


@lru_cache
def _backward(formula: Formula | None, dtype: Any, reset: str, attached: bool, constants: bool) -> Kernel:
    """`formula` None: the slopes are recorded."""
    kind = np.dtype(dtype).type
    subtracts, zeroes, zero, one, recorded = reset == "subtract", reset == "zero", kind(0), kind(1), formula is None
    sigma = _cuda.device(_no_formula if formula is None else _with_math(formula))

    @_cuda.kernel
    def backward(  # type: ignore[no-untyped-def]
        M, dS, dmem, U, U_before, beta, theta, slopes, a, b, T, has_dS, has_dmem, static, betas, thetas,
        dI, dbeta, dtheta, dU_before,
    ):  # fmt: skip
        m = cuda.grid(1)
        while m < M:
            beta_hat, th = min(max(beta[m % betas], zero), one), theta[m % thetas]
            dU, dI_all, db, dth = zero, zero, zero, zero
            for back in range(T + 1):
                t = T - 1 - back
                u = U[t * M + m] if t >= 0 else U_before[m]
                dS_t = dS[t * M + m] if has_dS and t >= 0 else zero
                dmem_t = dmem[t * M + m] if has_dmem and t >= 0 else zero
                R = one if u > th else zero
                dR, kept = zero, one
                # --- reset
                if subtracts:
                    if constants:
                        dth -= dU * R  # (L9), its second sum
                    if attached:
                        dR = -th * dU  # (L4)
                elif zeroes:
                    kept = one - R
                    if attached:
                        dR = -beta_hat * u * dU  # (L4)
                # --- fire
                slope = slopes[(t + 1) * M + m] if recorded else kind(sigma(u - th, one, a, b))
                g = (dS_t + dR) * slope  # (L5)
                # --- charge
                if constants:
                    dth -= g  # (L9), its first sum
                    db += dU * (kept * u)  # (L8)
                dU = g + dmem_t + dU * (beta_hat * kept)  # (L6)
                if t >= 0:
                    dI_all += dU
                    if not static:
                        dI[t * M + m] = dU  # (L7)
            if static:
                dI[m] = dI_all
            if constants:
                dbeta[m], dtheta[m] = db, dth
            dU_before[m] = dU  # (L10)
            m += cuda.gridsize(1)

    return backward


def _with_math(formula: Formula) -> Formula:
    """The same code, whose exp is math's: NumPy's is not to be had on the device."""
    return FunctionType(formula.__code__, {**formula.__globals__, "exp": math.exp})


def _no_formula(x: Any, one: Any, _: Any, __: Any) -> Any:
    return one


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
) -> tuple[DeviceArray, LeakyCache]:
    """As reference.leaky_forward."""
    if sigma.smooth:
        raise ValueError(f"surrogate {sigma}: the smooth mode is for the reference backend")
    I = send(I)
    T, shape = num_steps, I.shape[1:]
    before = constant(np.zeros(shape, I.dtype)) if U_before is None else send(U_before)
    U, S = empty((T, *shape), I.dtype), empty((T, *shape), np.bool_)
    betas, thetas = (_per_neuron(c, shape) for c in (beta, theta))
    _cuda.launch(
        _forward(I.dtype, reset_mechanism), before.size, I, betas, thetas, before, U, S, T,
        before.size if len(I) > 1 else 0, betas.size, thetas.size,
    )  # fmt: skip
    static = len(I) == 1 and T != 1
    cache: Any = (U, before, beta, theta, static, sigma, reset_mechanism, detach_reset)
    return S, LeakyCache(*cache)


def leaky_backward(
    dS: Array | None, dmem: Array | None, cache: LeakyCache, *, constants: bool = True
) -> tuple[DeviceArray, Any, Any, DeviceArray]:
    """As reference.leaky_backward."""
    _, _, beta, theta, static, sigma, reset_mechanism, detach_reset = cache
    U, U_before = send(cache.U), send(cache.U_before)
    T, shape, dtype = len(U), U_before.shape, U.dtype
    dI, dU_before = empty((1 if static else T, *shape), dtype), empty(shape, dtype)
    dbeta, dtheta = (empty(shape if constants else (1,), dtype) for _ in range(2))
    betas, thetas = (_per_neuron(c, shape) for c in (beta, theta))
    has_dS, has_dmem, formula = dS is not None, dmem is not None, sigma.formula if sigma.compiles else None
    slopes = U if formula else _recorded(cache)
    _cuda.launch(
        _backward(formula, dtype, reset_mechanism, not detach_reset, constants), U_before.size,
        U if dS is None else send(dS).astype(dtype, copy=False), U if dmem is None else send(dmem), U, U_before,
        betas, thetas, slopes, *sigma.constants(dtype)[1:], T, has_dS, has_dmem, static, betas.size, thetas.size,
        dI, dbeta, dtheta, dU_before,
    )  # fmt: skip
    if not constants:
        return dI, None, None, dU_before
    b = np.asarray(beta)
    # (C3) beta^ = clip(beta, 0, 1); so its gradient stops outside, and passes at both ends:
    clipped = np.where((b >= 0) & (b <= 1), sum_to_shape(np.asarray(dbeta), b.shape), dtype.type(0))
    return dI, clipped, sum_to_shape(np.asarray(dtheta), np.shape(theta)), dU_before


def _per_neuron(c: Any, shape: tuple[int, ...]) -> DeviceArray:
    """What broadcasts against (B, *N): a single number, or one for each of a sample's neurons."""
    if c.size == 1 or c.shape == shape[1:]:
        return constant(c)
    return constant(np.broadcast_to(np.asarray(c), shape[1:]))


def _recorded(cache: LeakyCache) -> DeviceArray:
    """sigma' at every step, from t = -1 on: (T + 1, B, *N)."""
    U, U_before, theta = (np.asarray(x) for x in (cache.U, cache.U_before, cache.theta))
    return send(np.stack([cache.sigma.derivative(U_t - theta, t - 1) for t, U_t in enumerate([U_before, *U])]))
