"""As reference.py; what differs follows.

- A sample goes through all of its steps before the next one: forward, its membranes and spikes are one image each;
  backward, its membranes and spikes of all steps are computed again, and then a step's deltas go through the
  convolution and the neurons before the step before. Only Y and dI are written.
- A step of the neurons is leaky's, an image's convolution conv2d's, and so are their orders of sums, but for the order
  of the images in (K3) and (K4): sample by sample, the last step first, and then groups of samples.
- A thread owns groups of as many samples as make GROUP images, one at least. Memory: for each that is worked, a
  sample's membranes and spikes; dW once for every group.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from npsnn._jit import Kernel, chunked_jit, variant_of
from npsnn._lanes import RESETS, aligned, charge
from npsnn._memory import CHANNELS_LAST, IMAGES_LAST, empty, flat, rows
from npsnn._sums import add_to, ordered_sum
from npsnn._threads import parts
from npsnn.conv2d.image import (
    convolve,
    cut_out,
    for_backward,
    for_forward,
    has_border,
    input_gradient,
    padded_bias,
    put_deltas,
    put_outputs,
    rows_of_inputs,
    rows_of_outputs,
    scratch,
    sizes,
    weight_gradient,
    weights_of_rows,
)
from npsnn.leaky.images import currents, images_last
from npsnn.leaky.inside import Neurons
from npsnn.leaky.steps import back_room, begin_back, charge_all, end_back, slopes_of, step_back
from npsnn.leakyconv2d.reference import LeakyConv2dCache, Pair
from npsnn.surrogate import Formula

Array = np.ndarray[Any, Any]

GROUP = 64


@chunked_jit
def _forward(begin, end, I, beta, theta, U, Wt, b, Y, s, reset):  # type: ignore[no-untyped-def]
    """U comes in as U_before."""
    (B, M), T = U.shape, len(Y) // len(U)
    step = B * M if len(I) > B * M else 0
    S = np.empty((1, M), np.bool_)
    room = scratch(S, Wt, s, s.shape[0] * s.shape[1])
    for n in range(begin, end):
        for t in range(T):
            charge(reset, U[n], 0, I, t * step + n * M, beta, theta, 0, U[n], 0, S[0], 0, M)
            convolve(S[0], Wt, b, s, room)
            put_outputs(s, room, Y[t * B + n])


@lru_cache
def _backward_kernel(formula: Formula) -> Kernel:
    """The backward kernel with one surrogate's formula compiled in."""
    slopes = slopes_of(formula)

    @chunked_jit
    @variant_of(formula)
    def backward(  # type: ignore[no-untyped-def]
        begin, end, group, dY, dU_after, I, beta, theta, U_before, Wr, dI, dWt, db, dU_before, s, reset, static, a, b
    ):
        (B, M), one, T = U_before.shape, Wr.dtype.type(1), len(dY) // len(U_before)
        step = 0 if static else B * M
        U, S = np.empty((T + 1) * M, Wr.dtype), np.empty((T, M), np.bool_)
        dU, neurons = np.empty(M, U.dtype), back_room(U)
        room, total = scratch(S, Wr, s, s.shape[0] * s.seen[1] + s.kernel[1] - 1), np.empty(s.L, U.dtype)
        padded = aligned(Wr, len(room.image) + s.R)
        dS = np.empty(M, U.dtype) if has_border(s) else padded
        for chunk in range(begin, end):
            dWt[chunk], db[chunk] = 0, 0
            for n in range(chunk * group, min((chunk + 1) * group, B)):
                charge_all(reset, I, n * M, step, beta, theta, U_before[n], U, S)
                begin_back(static, dU, dI, n * M)
                for t in range(T - 1, -1, -1):
                    put_deltas(dY[t * B + n], s, room, total)
                    add_to(total[: s.channels[1]], db[chunk])
                    weight_gradient(S[t], s, room, dWt[chunk])
                    input_gradient(Wr, s, room, padded)
                    if has_border(s):
                        cut_out(padded, s, dS)
                    last, at = t == T - 1, t * step + n * M
                    step_back(
                        slopes, reset, static, t, dS, dU_after[n], last, U, beta, theta, one, a, b, neurons, dU, dI,
                        at,
                    )  # fmt: skip
                end_back(reset, U, beta, theta, neurons, dU, dU_before[n])

    return backward


def leakyconv2d_forward(
    neurons: Neurons, W: Array, b: Array | None, *, stride: Pair, padding: Pair
) -> tuple[Array, Array, LeakyConv2dCache]:
    """As reference.leakyconv2d_forward."""
    B, T = len(neurons.U_before), neurons.num_steps
    s = sizes(neurons.U_before.shape[1:], W, stride, padding)
    Y, U = empty((T * B, len(W), *s.shape), W.dtype, CHANNELS_LAST), images_last(neurons.U_before)
    Wt, bias = rows_of_outputs(W, s.L), padded_bias(b, W, s.L)
    _forward(B, *currents(neurons), flat(U), Wt, bias, flat(Y), for_forward(s), RESETS[neurons.reset_mechanism])
    return Y.reshape(T, B, *Y.shape[1:]), U, LeakyConv2dCache(neurons, stride, padding)


def leakyconv2d_backward(
    dY: Array, dU_after: Array | None, cache: LeakyConv2dCache, W: Array, *, bias: bool = True
) -> tuple[Array, Array, Array | None, Array]:
    """As reference.leakyconv2d_backward."""
    neurons = cache.neurons
    U_before, sigma, T = neurons.U_before, neurons.sigma, neurons.num_steps
    s = sizes(U_before.shape[1:], W, cache.stride, cache.padding)
    group = max(1, GROUP // T)
    chunks, static = parts(len(U_before), group), len(neurons.I) == 1 and T != 1
    dWt, db = aligned(W, chunks * W[0].size * s.L).reshape(chunks, -1), np.empty((chunks, len(W)), W.dtype)
    dI, dU_before = empty(neurons.I.shape, W.dtype, IMAGES_LAST), empty(U_before.shape, W.dtype, CHANNELS_LAST)
    dU = np.zeros(U_before.shape, W.dtype) if dU_after is None else dU_after
    _backward_kernel(sigma.formula)(
        chunks, group, flat(dY.reshape(-1, *dY.shape[2:])), flat(dU), *currents(neurons), flat(U_before),
        rows_of_inputs(W, s.R), rows(dI, IMAGES_LAST).reshape(-1), dWt, db, flat(dU_before),
        for_backward(s, True, listed=False), RESETS[neurons.reset_mechanism], static, *sigma.constants(W.dtype)[1:],
    )  # fmt: skip
    dW = weights_of_rows(ordered_sum(dWt), W.shape)
    return dI, dW, ordered_sum(db) if bias else None, dU_before
