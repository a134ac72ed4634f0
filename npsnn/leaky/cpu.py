"""As reference.py; what differs follows.

- (B, *N) is one axis of M neurons, in the order in which I has them in memory; arrays are (T, M). A thread owns blocks
  of BLOCK neurons, which are contiguous, and takes each through all of time; the inner loop runs over them.
- S is bool, a byte a spike: True and False for the law's 1 and 0.
- The forward bits are the law's. Order of sums: a static input's gradient (L7) and the sums (L8), (L9) over t run
  backwards in time, neuron by neuron; the batch and broadcast axes are then summed as in the law.
- A step forward, and a step back where the reset is detached and no constant learns, is one pass over the block
  (_lanes.py). Elsewhere every term has a loop of its own, few arrays at a time, so that each vectorises. A term that
  the law has not is left out, not multiplied by 0: that would turn an infinite one into NaN.
- The surrogate's source is the law's, compiled into the kernel; a surrogate that is a NumPy function is called first,
  step by step, and the kernel reads what it gave: T + 1 further arrays of M.
- No other array of (T, M) is made than S, U and dI.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from npsnn._jit import Kernel, borrows, chunked_jit, register_jitable, variant_of
from npsnn._lanes import RESETS, SUBTRACT, ZERO, charge, credit, fetch
from npsnn._memory import Order, empty, order_of, rows
from npsnn._threads import parts
from npsnn.leaky.constants import decay, per_neuron
from npsnn.leaky.reference import LeakyCache, sum_to_shape
from npsnn.surrogate import Formula, Surrogate

Array = np.ndarray[Any, Any]

BLOCK = 2048  # neurons: long enough that memory is read ahead, short enough that their dU stays near


@chunked_jit
def _forward(begin, end, I, beta, theta, U_before, U, S, reset):  # type: ignore[no-untyped-def]
    (T, M), moving = U.shape, I.shape[0] > 1
    U, S, I = U.reshape(-1), S.reshape(-1), I.reshape(-1)
    for block in range(begin, end):
        m = block * BLOCK
        count = min(BLOCK, M - m)
        for t in range(T):
            now, u = t * M + m if moving else m, t * M + m
            # (L1), (L2), (L3)
            if t == 0:
                charge(reset, U_before, m, I, now, beta, theta, m, U, u, S, u, count)
            else:
                charge(reset, U, u - M, I, now, beta, theta, m, U, u, S, u, count)


@borrows
def _step_back(  # type: ignore[no-untyped-def]
    U_t, dS_t, dmem_t, slope, R_next, dR_next, beta, theta, subtract, zero, attached, constants, dbeta, dtheta, dU
):
    """One step of one block; slope comes in as sigma', and R_next and dR_next are scratch."""
    one, nothing = U_t.dtype.type(1), U_t.dtype.type(0)
    if zero or constants:
        for m in range(len(U_t)):
            R_next[m] = one if U_t[m] > theta[m] else nothing
    # --- reset
    if constants and subtract:
        for m in range(len(U_t)):
            dtheta[m] -= dU[m] * R_next[m]  # (L9), its second sum
    if attached and subtract:
        for m in range(len(U_t)):
            dR_next[m] = -theta[m] * dU[m]  # (L4)
    elif attached and zero:
        for m in range(len(U_t)):
            dR_next[m] = -beta[m] * U_t[m] * dU[m]  # (L4)
    # --- fire
    for m in range(len(U_t)):
        slope[m] = (dS_t[m] + dR_next[m]) * slope[m]  # (L5): from here on, g
    if constants:
        for m in range(len(U_t)):
            dtheta[m] -= slope[m]  # (L9), its first sum
    # --- charge
    if zero:
        if constants:
            for m in range(len(U_t)):
                dbeta[m] += dU[m] * ((one - R_next[m]) * U_t[m])  # (L8)
        for m in range(len(U_t)):
            dU[m] = slope[m] + dmem_t[m] + dU[m] * (beta[m] * (one - R_next[m]))  # (L6)
    else:
        if constants:
            for m in range(len(U_t)):
                dbeta[m] += dU[m] * U_t[m]  # (L8)
        for m in range(len(U_t)):
            dU[m] = slope[m] + dmem_t[m] + dU[m] * beta[m]  # (L6)


@lru_cache
def _backward_kernels(formula: Formula) -> tuple[Kernel, Kernel]:
    """The backward kernels with one surrogate's formula compiled in: for few terms, and for every one."""
    sigma = register_jitable(formula)

    @borrows
    @variant_of(formula)
    def slopes(t, mine, U, U_before, theta, recorded, a, b, slope):  # type: ignore[no-untyped-def]
        if recorded.shape[0] > 0:
            for m in range(mine.stop - mine.start):
                slope[m] = recorded[t + 1, mine.start + m]
        else:
            one, U_t, theta = U.dtype.type(1), U[t, mine] if t >= 0 else U_before[mine], theta[mine]
            for m in range(len(U_t)):
                slope[m] = sigma(U_t[m] - theta[m], one, a, b)

    @chunked_jit
    @variant_of(formula)
    def few_terms(  # type: ignore[no-untyped-def]
        begin, end, dS, dmem, U, U_before, beta, theta, recorded, a, b, reset, static, attached, constants, dI, dbeta,
        dtheta, dU,
    ):  # fmt: skip
        M = U.shape[1]
        slope, none = np.empty(min(BLOCK, M), U.dtype), np.zeros(min(BLOCK, M), U.dtype)
        for block in range(begin, end):
            mine = slice(block * BLOCK, min((block + 1) * BLOCK, M))
            dU[mine] = 0
            if static:
                dI[0, mine] = 0
            for t in range(len(U) - 1, -2, -1):
                if t > 0:
                    _fetch(t - 1, mine, dS, U, dI, static)
                slopes(t, mine, U, U_before, theta, recorded, a, b, slope)
                _few_terms(t, mine, dS, dmem, U, U_before, beta, theta, slope, none, reset, static, dI, dU)

    @chunked_jit
    @variant_of(formula)
    def every_term(  # type: ignore[no-untyped-def]
        begin, end, dS, dmem, U, U_before, beta, theta, recorded, a, b, reset, static, attached, constants, dI, dbeta,
        dtheta, dU,
    ):  # fmt: skip
        M = U.shape[1]
        slope, none = np.empty(min(BLOCK, M), U.dtype), np.zeros(min(BLOCK, M), U.dtype)
        for block in range(begin, end):
            mine = slice(block * BLOCK, min((block + 1) * BLOCK, M))
            dbeta[mine], dtheta[mine], dU[mine] = 0, 0, 0
            if static:
                dI[0, mine] = 0
            for t in range(len(U) - 1, -2, -1):
                slopes(t, mine, U, U_before, theta, recorded, a, b, slope)
                _every_term(
                    t, mine, dS, dmem, U, U_before, beta, theta, slope, none, reset, static, attached, constants,
                    dI, dbeta, dtheta, dU,
                )  # fmt: skip

    return few_terms, every_term


@borrows
def _fetch(t, mine, dS, U, dI, static):  # type: ignore[no-untyped-def]
    """Ask for what the next step, t, reads and writes of a block."""
    at, count = t * U.shape[1] + mine.start, mine.stop - mine.start
    fetch(U.reshape(-1), at, count)
    if dS.shape[0] > 0:
        fetch(dS.reshape(-1), at, count)
    if not static:
        fetch(dI.reshape(-1), at, count)


@borrows
def _few_terms(  # type: ignore[no-untyped-def]
    t, mine, dS, dmem, U, U_before, beta, theta, slope, none, reset, static, dI, dU
):
    """(L5), (L6), (L7) of one block and step: the reset detached, and no gradient of a constant wanted."""
    M, m, count = U.shape[1], mine.start, mine.stop - mine.start
    if t < 0:
        credit(reset, False, none, 0, slope, none, 0, U_before, m, beta, theta, dU, m, slope, 0, count)
        return
    (dS_t, s), (dmem_t, r) = (dS.reshape(-1), t * M + m), (dmem.reshape(-1), t * M + m)
    if dS.shape[0] == 0:
        dS_t, s = none, 0
    if dmem.shape[0] == 0:
        dmem_t, r = none, 0
    now = m if static else t * M + m
    credit(
        reset, static, dS_t, s, slope, dmem_t, r, U.reshape(-1), t * M + m, beta, theta, dU, m, dI.reshape(-1), now,
        count,
    )  # fmt: skip


@register_jitable
def _every_term(  # type: ignore[no-untyped-def]
    t, mine, dS, dmem, U, U_before, beta, theta, slope, none, reset, static, attached, constants, dI, dbeta, dtheta, dU
):
    """(L4) to (L9) of one block and step."""
    count = mine.stop - mine.start
    dS_t = dS[t, mine] if t >= 0 and dS.shape[0] > 0 else none[:count]
    dmem_t = dmem[t, mine] if t >= 0 and dmem.shape[0] > 0 else none[:count]
    U_t, R_next, dR_next = U[t, mine] if t >= 0 else U_before[mine], np.empty(count, U.dtype), np.zeros(count, U.dtype)
    _step_back(
        U_t, dS_t, dmem_t, slope[:count], R_next, dR_next, beta[mine], theta[mine],
        reset == SUBTRACT, reset == ZERO, attached, constants, dbeta[mine], dtheta[mine], dU[mine],
    )  # fmt: skip
    if t >= 0:
        dI_t, dU_t = dI[0 if static else t, mine], dU[mine]
        for m in range(count):
            dI_t[m] = dI_t[m] + dU_t[m] if static else dU_t[m]  # (L7)


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
    """As reference.leaky_forward."""
    if sigma.smooth:
        raise ValueError(f"surrogate {sigma}: the smooth mode is for the reference backend")
    T, shape = num_steps, I.shape[1:]
    order = order_of(I)
    if U_before is None:
        U_before = empty((1, *shape), I.dtype, order)[0]
        U_before[...] = 0
    U, S = empty((T, *shape), I.dtype, order), empty((T, *shape), bool, order)
    _forward(
        parts(U_before.size, BLOCK), rows(I, order), decay(beta, shape, order), per_neuron(theta, shape, order),
        per_neuron(U_before, shape, order), rows(U, order), rows(S, order), RESETS[reset_mechanism],
    )  # fmt: skip
    static = I.shape[0] == 1 and T != 1
    return S, LeakyCache(U, U_before, beta, theta, static, sigma, reset_mechanism, detach_reset)


def leaky_backward(
    dS: Array | None, dmem: Array | None, cache: LeakyCache, *, constants: bool = True
) -> tuple[Array, Array | None, Array | None, Array]:
    """As reference.leaky_backward."""
    U, U_before, beta, theta, static, sigma, reset_mechanism, detach_reset = cache
    T, shape, number, order = len(U), U.shape[1:], U.dtype.type, order_of(U)
    dI = empty((1 if static else T, *shape), U.dtype, order)
    dbeta, dtheta, dU_before = (empty((1, *shape), U.dtype, order) for _ in range(3))
    absent = np.empty((0, U_before.size), U.dtype)
    _backward_kernels(sigma.formula)[constants or not detach_reset](
        parts(U_before.size, BLOCK), absent if dS is None else rows(dS.astype(U.dtype, copy=False), order),
        absent if dmem is None else rows(dmem, order), rows(U, order), per_neuron(U_before, shape, order),
        decay(beta, shape, order), per_neuron(theta, shape, order),
        absent if sigma.compiles else _recorded(cache, order), *sigma.constants(U.dtype)[1:],
        RESETS[reset_mechanism], static, not detach_reset, constants,
        rows(dI, order), *(rows(d, order)[0] for d in (dbeta, dtheta, dU_before)),
    )  # fmt: skip
    if not constants:
        return dI, None, None, dU_before[0]
    dbeta, dtheta = np.ascontiguousarray(dbeta[0]), np.ascontiguousarray(dtheta[0])
    # (C3) beta^ = clip(beta, 0, 1); so its gradient stops outside, and passes at both ends:
    dbeta = np.where((beta >= 0) & (beta <= 1), sum_to_shape(dbeta, beta.shape), number(0))
    return dI, dbeta, sum_to_shape(dtheta, theta.shape), dU_before[0]  # (L10)


def _recorded(cache: LeakyCache, order: Order) -> Array:
    """sigma' at every step, from t = -1 on: (T + 1, M)."""
    membranes = [cache.U_before, *cache.U]
    slopes = [cache.sigma.derivative(U_t - cache.theta, t - 1)[None] for t, U_t in enumerate(membranes)]
    return np.concatenate([rows(slope, order) for slope in slopes])
