"""A sample's neurons inside a compiled kernel, all of their steps: shared by the twins of ops with neurons in them.

U is flat: U[t + 1] is the membrane after step t, U[0] that before the first. A static input's dI is summed over time.
"""

from typing import Any, NamedTuple

import numpy as np

from npsnn._jit import Kernel, borrows, register_jitable, variant_of
from npsnn._lanes import charge, copy, credit, fetch
from npsnn.surrogate import Formula

BLOCK = 2048  # neurons: what a few steps of them read and write stays near


@borrows
def charge_all(reset, I, at, step, beta, theta, U_before, U, S):  # type: ignore[no-untyped-def]
    """(L1) to (L3) of all steps; the currents begin at `at`, and a step's so far after those before."""
    T, M = S.shape
    for m in range(0, M, BLOCK):
        count = min(BLOCK, M - m)
        copy(U_before, m, count, U, m)
        for t in range(T):
            if step > 0 and t + 2 < T:
                fetch(I, at + (t + 2) * step + m, count)
            charge(reset, U, t * M + m, I, at + t * step + m, beta, theta, m, U, (t + 1) * M + m, S[t], m, count)


class Room(NamedTuple):
    """What a block of neurons is worked in on the way back."""

    slope: Any
    none: Any  # zeros


@register_jitable
def back_room(like):  # type: ignore[no-untyped-def]
    """Of like's dtype."""
    return Room(np.empty(BLOCK, like.dtype), np.zeros(BLOCK, like.dtype))


@borrows
def begin_back(static, dU, dI, at):  # type: ignore[no-untyped-def]
    """Nothing has come back yet."""
    for m in range(len(dU)):
        dU[m] = 0
        if static:
            dI[at + m] = 0


def slopes_of(formula: Formula) -> Kernel:
    """sigma' of (L5) over some membranes, with one surrogate's formula compiled in; it is what `step_back` is given."""
    sigma = register_jitable(formula)

    @borrows
    @variant_of(formula)
    def slopes(U, theta, one, a, b, slope):  # type: ignore[no-untyped-def]
        for m in range(len(U)):
            slope[m] = sigma(U[m] - theta[m], one, a, b)

    return slopes  # type: ignore[no-any-return]


@borrows
def step_back(  # type: ignore[no-untyped-def]
    slopes, reset, static, t, dS, dU_after, last, U, beta, theta, one, a, b, room, dU, dI, at
):
    """(L4) to (L7) of step t, whose dI begins at `at`; dU_after enters where it is the last."""
    M = len(dU)
    for m in range(0, M, BLOCK):
        count, u = min(BLOCK, M - m), (t + 1) * M + m
        slopes(U[u : u + count], theta[m : m + count], one, a, b, room.slope)
        dmem, r = (dU_after, m) if last else (room.none, 0)
        credit(reset, static, dS, m, room.slope, dmem, r, U, u, beta, theta, dU, m, dI, at + m, count)


@borrows
def end_back(reset, U, beta, theta, room, dU, dU_before):  # type: ignore[no-untyped-def]
    """(L10): no spike left from U[0]."""
    M, none = len(dU), room.none
    for m in range(0, M, BLOCK):
        count = min(BLOCK, M - m)
        credit(reset, False, none, 0, none, none, 0, U, m, beta, theta, dU, m, dU_before, m, count)
