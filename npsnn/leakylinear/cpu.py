"""As reference.py; what differs follows.

- A sample goes through all of its steps before the next one; backward, its membranes and spikes are computed again.
  Its spikes, and the gradients that come back to them, are one sample's arrays. Only Y and dI are written.
- A step of the neurons is leaky's, rows of the dense layer are linear's, and so are their orders of sums, but for the
  order of the rows in (D3) and (D4): a sample's steps ascending, within ROWS of them, then their partial sums, then
  samples, then groups of samples.
- A thread owns groups of samples, of about GROUP rows. Memory: for each that is worked, three arrays (T, K); dW once
  for every group, and so the outputs should be few.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from npsnn import _buffers
from npsnn._jit import Kernel, chunked_jit, register_jitable, variant_of
from npsnn._lanes import RESETS, ROUND, charge, copy, fetch, padded_lanes, row_of
from npsnn._sums import add_to, ordered_sum
from npsnn._threads import parts
from npsnn.leaky.constants import decay, per_neuron
from npsnn.leaky.inside import Neurons
from npsnn.leaky.steps import back_room, begin_back, charge_all, end_back, slopes_of, step_back
from npsnn.leakylinear.reference import LeakyLinearCache
from npsnn.linear.rows import (
    BLOCK,
    SPARSE_COLUMNS,
    are_few,
    bias_gradient,
    columns_of_all,
    columns_of_few,
    columns_tile,
    padded,
    products,
    products_of_all,
    products_room,
)
from npsnn.surrogate import Formula

Array = np.ndarray[Any, Any]

GROUP = 512


@chunked_jit
def _forward(begin, end, I, beta, theta, U, rows, L, row, tile, b, Y, reset):  # type: ignore[no-untyped-def]
    """U comes in as U_before."""
    (B, K), M, T = U.shape, len(b), len(Y) // (len(U) * len(b))
    step = B * K if len(I) > B * K else 0
    S, y, room = np.empty((T, K), np.bool_), np.empty((T, M), U.dtype), products_room(rows, K, L, tile)
    for n in range(begin, end):
        for t in range(T):
            if step > 0 and t + 2 < T:
                fetch(I, (t + 2) * step + n * K, K)
            charge(reset, U[n], 0, I, t * step + n * K, beta, theta, 0, U[n], 0, S[t], 0, K)
        products(S, 0, T, rows, L, row, tile, b, y, room)
        for t in range(T):
            copy(y[t], 0, M, Y, (t * B + n) * M)


@lru_cache
def _backward_kernel(formula: Formula) -> Kernel:
    """The backward kernel with one surrogate's formula compiled in."""
    slopes = slopes_of(formula)

    @chunked_jit
    @variant_of(formula)
    def backward(  # type: ignore[no-untyped-def]
        begin, end, group, dY, dU_after, I, beta, theta, U_before, rows, R, in_row, in_tile, L, row, tile, dI, dW, db,
        dU_before, reset, static, a, b,
    ):  # fmt: skip
        (B, K), one, M, T = U_before.shape, rows.dtype.type(1), db.shape[1], len(dY) // (len(U_before) * db.shape[1])
        step = 0 if static else B * K
        U, S, dS = np.empty((T + 1) * K, rows.dtype), np.empty((T, K), np.bool_), np.empty((T, K), rows.dtype)
        dU, nothing, neurons = np.empty(K, U.dtype), np.zeros(K, U.dtype), back_room(U)
        dy, dW_n, db_n = np.empty((T, M), U.dtype), np.empty((M, K), U.dtype), np.empty(M, U.dtype)
        room = products_room(rows, M, R, in_tile)
        for chunk in range(begin, end):
            dW[chunk], db[chunk] = 0, 0
            for n in range(chunk * group, min((chunk + 1) * group, B)):
                charge_all(reset, I, n * K, step, beta, theta, U_before[n], U, S)
                for t in range(T):
                    copy(dY, (t * B + n) * M, M, dy[t], 0)
                products_of_all(dy, 0, T, rows, R, in_row, in_tile, nothing, dS, room)
                begin_back(static, dU, dI, n * K)
                for t in range(T - 1, -1, -1):
                    if step > 0 and t > 0:
                        fetch(dI, (t - 1) * step + n * K, K)
                    last, at = t == T - 1, t * step + n * K
                    step_back(
                        slopes, reset, static, t, dS[t], dU_after[n], last, U, beta, theta, one, a, b, neurons, dU, dI,
                        at,
                    )  # fmt: skip
                end_back(reset, U, beta, theta, neurons, dU, dU_before[n])
                _columns(dy, S, L, row, tile, dW_n)
                add_to(dW_n.reshape(-1), dW[chunk].reshape(-1))
                bias_gradient(dy, db_n)
                add_to(db_n, db[chunk])

    return backward


@register_jitable
def _columns(dy, S, L, row, tile, dW):  # type: ignore[no-untyped-def]
    """(D3) of one sample; no row: few outputs, for which a list never pays, and whose kernel is compiled without."""
    K = dW.shape[1]
    if row is None:
        columns_of_all(dy, S, 0, K, tile, dW)
    elif are_few(S, 0, len(S), SPARSE_COLUMNS):
        for first in range(0, K, BLOCK):
            columns_of_few(dy, S, first, min(first + BLOCK, K), L, row, dW)
    else:
        columns_of_all(dy, S, 0, K, tile, dW)


def leakylinear_forward(neurons: Neurons, W: Array, b: Array | None) -> tuple[Array, Array, LeakyLinearCache]:
    """As reference.leakylinear_forward."""
    B, bias = len(neurons.U_before), np.zeros(len(W), W.dtype) if b is None else b
    Y = _buffers.empty((neurons.num_steps, B, len(W)), W.dtype)
    U = np.array(neurons.U_before, order="C")
    _forward(B, *_constants(neurons), U, *padded(W.T), bias, Y.reshape(-1), RESETS[neurons.reset_mechanism])
    return Y, U, LeakyLinearCache(neurons)


def leakylinear_backward(
    dY: Array, dU_after: Array | None, cache: LeakyLinearCache, W: Array, *, bias: bool = True
) -> tuple[Array, Array, Array | None, Array]:
    """As reference.leakylinear_backward."""
    neurons, (M, K) = cache.neurons, W.shape
    U_before, sigma, B, T = neurons.U_before, neurons.sigma, len(neurons.U_before), neurons.num_steps
    group, L = max(1, GROUP // T), padded_lanes(M)
    chunks, static = parts(B, group), len(neurons.I) == 1 and T != 1
    dI, dU_before = _buffers.empty(neurons.I.shape, W.dtype), np.empty(U_before.shape, W.dtype)
    dW, db = np.empty((chunks, M, K), W.dtype), np.empty((chunks, M), W.dtype)
    dU = np.zeros(U_before.shape, W.dtype) if dU_after is None else np.ascontiguousarray(dU_after)
    columns = L, row_of(L) if M > ROUND else None, columns_tile(M, W.itemsize)
    _backward_kernel(sigma.formula)(
        chunks, group, np.ascontiguousarray(dY).reshape(-1), dU, *_constants(neurons), np.ascontiguousarray(U_before),
        *padded(W), *columns, dI.reshape(-1), dW, db, dU_before, RESETS[neurons.reset_mechanism], static,
        *sigma.constants(W.dtype)[1:],
    )  # fmt: skip
    return dI, ordered_sum(dW), ordered_sum(db) if bias else None, dU_before


def _constants(neurons: Neurons) -> tuple[Array, Array, Array]:
    """I as one row, and beta^ and theta of one sample's K neurons."""
    one, in_order = (1, neurons.I.shape[2]), (0, 1, 2)
    beta, theta = decay(neurons.beta, one, in_order), per_neuron(neurons.theta, one, in_order)
    return np.ascontiguousarray(neurons.I).reshape(-1), beta, theta
