"""As reference.py; what differs follows.

- A sample goes through all of its steps before the next one: forward, its membranes, spikes and convolution are one
  image each; backward, its membranes and spikes of all steps are computed again, and then a step's deltas go through
  the pool, the convolution and the neurons before the step before. Only Y, the places and dI are written.
- The gradients of W and b wait for all steps of a sample, or STEPS of them where there are more: trains.py.
- A step of the neurons is leaky's, an image's convolution and pool convpool2d's, and so are their orders of sums, but
  for (K3) and (K4): sample by sample, the last STEPS steps first, and within these as trains.py says. Their partial
  sums are those of as many samples as make GROUP images, one at least.
- A thread owns such groups of samples. Memory: for each that is worked, three images a step; dW once for every group.
"""

from functools import lru_cache
from typing import Any

import numpy as np

from npsnn._jit import Kernel, chunked_jit, variant_of
from npsnn._lanes import RESETS, aligned, charge, fetch
from npsnn._memory import CHANNELS_LAST, IMAGES_LAST, empty, flat, rows
from npsnn._sums import add_to, ordered_sum
from npsnn._threads import parts
from npsnn.conv2d.image import (
    convolve,
    cut_out,
    for_backward,
    for_forward,
    has_border,
    input_gradient_of_listed,
    padded_bias,
    rows_of_outputs,
    scratch,
    sizes,
    stairs_of_inputs,
    weights_of_rows,
)
from npsnn.convpool2d.image import choose, list_routed, pixels_of, pooled_shape, windows
from npsnn.leaky.images import currents, images_last
from npsnn.leaky.inside import Neurons
from npsnn.leaky.steps import back_room, begin_back, charge_all, end_back, slopes_of, step_back
from npsnn.leakyconvpool2d.reference import LeakyConvPool2dCache, Pair
from npsnn.leakyconvpool2d.trains import (
    STEPS,
    bias_gradient,
    find_trains,
    keep_deltas,
    trains_room,
    weight_gradient_of_trains,
)
from npsnn.pool2d.reference import MaxPool2dCache, place_dtype
from npsnn.surrogate import Formula

Array = np.ndarray[Any, Any]

GROUP = 256


@chunked_jit
def _forward(begin, end, I, beta, theta, U, Wt, b, Y, place, s, pool, pooled, reset):  # type: ignore[no-untyped-def]
    """U comes in as U_before."""
    (B, M), size = U.shape, pooled[0] * pooled[1] * s.channels[1]
    T, step, S = len(Y) // (B * size), B * M if len(I) > B * M else 0, np.empty(M, np.bool_)
    room = scratch(S, Wt, s, s.shape[0] * s.shape[1])
    pixels = pixels_of(s, pool, pooled, place)
    for n in range(begin, end):
        now = U[n]
        for t in range(T):
            charge(reset, now, 0, I, t * step + n * M, beta, theta, 0, now, 0, S, 0, M)
            convolve(S, Wt, b, s, room)
            choose(room.rows, Y, place, (t * B + n) * size, s, pixels)


@lru_cache
def _backward_kernel(formula: Formula) -> Kernel:
    """The backward kernel with one surrogate's formula compiled in."""
    slopes = slopes_of(formula)

    @chunked_jit
    @variant_of(formula)
    def backward(  # type: ignore[no-untyped-def]
        begin, end, group, dY, place, dU_after, I, beta, theta, U_before, stairs, dI, dWt, db, dU_before, s, pool,
        pooled, reset, static, a, b,
    ):  # fmt: skip
        (B, M), one, size = U_before.shape, stairs.dtype.type(1), pooled[0] * pooled[1] * s.channels[1]
        step, T = 0 if static else B * M, len(dY) // (B * size)
        U, S = np.empty((T + 1) * M, stairs.dtype), np.empty((T, M), np.bool_)
        dU, neurons = np.empty(M, U.dtype), back_room(U)
        room, total = scratch(S, stairs, s, 0), np.empty(s.L, U.dtype)
        padded, seen_by, cells = aligned(stairs, len(room.image) + s.R), windows(s, pool, pooled), pooled[0] * pooled[1]
        dS = np.empty(M, U.dtype) if has_border(s) else padded
        together = trains_room(M, cells, place, stairs, s)
        for chunk in range(begin, end):
            dWt[chunk], db[chunk] = 0, 0
            for n in range(chunk * group, min((chunk + 1) * group, B)):
                after = dU_after[n]
                charge_all(reset, I, n * M, step, beta, theta, U_before[n], U, S)
                begin_back(static, dU, dI, n * M)
                for end_at in range(T, 0, -STEPS):
                    first = max(0, end_at - STEPS)
                    for t in range(end_at - 1, first - 1, -1):
                        image = (t * B + n) * size
                        if t > 0:
                            fetch(dY, image - B * size, size)
                            fetch(place, image - B * size, size)
                        keep_deltas(dY, place, image, t - first, cells, s, together)
                        list_routed(dY, place, image, s, seen_by, room)
                        input_gradient_of_listed(stairs, s, room, padded)
                        if has_border(s):
                            cut_out(padded, s, dS)
                        last, at = t == T - 1, t * step + n * M
                        step_back(
                            slopes, reset, static, t, dS, after, last, U, beta, theta, one, a, b, neurons, dU,
                            dI, at,
                        )  # fmt: skip
                    bias_gradient(end_at - first, cells, s, together, total)
                    add_to(total[: s.channels[1]], db[chunk])
                    find_trains(S[first:end_at], s, together)
                    weight_gradient_of_trains(end_at - first, s, seen_by, together, dWt[chunk])
                end_back(reset, U, beta, theta, neurons, dU, dU_before[n])

    return backward


def leakyconvpool2d_forward(
    neurons: Neurons, W: Array, b: Array | None, *, stride: Pair, padding: Pair, pool: tuple[Pair, Pair, Pair]
) -> tuple[Array, Array, LeakyConvPool2dCache]:
    """As reference.leakyconvpool2d_forward."""
    B, C, H, width = neurons.U_before.shape
    s = sizes((C, H, width), W, stride, padding)
    pooled = pooled_shape(s.shape, pool)
    Y = empty((neurons.num_steps * B, len(W), *pooled), W.dtype, CHANNELS_LAST)
    place = empty(Y.shape, place_dtype(pool[0]), CHANNELS_LAST)
    U = images_last(neurons.U_before)
    _forward(
        B, *currents(neurons), flat(U), rows_of_outputs(W, s.L), padded_bias(b, W, s.L), flat(Y).reshape(-1),
        flat(place).reshape(-1), for_forward(s), pool, pooled, RESETS[neurons.reset_mechanism],
    )  # fmt: skip
    chosen = MaxPool2dCache(place, (*Y.shape[:2], *s.shape), *pool)
    return Y.reshape(neurons.num_steps, B, *Y.shape[1:]), U, LeakyConvPool2dCache(neurons, stride, padding, chosen)


def leakyconvpool2d_backward(
    dY: Array, dU_after: Array | None, cache: LeakyConvPool2dCache, W: Array, *, bias: bool = True
) -> tuple[Array, Array, Array | None, Array]:
    """As reference.leakyconvpool2d_backward."""
    neurons, stride, padding, (place, _, *pool) = cache
    U_before, sigma = neurons.U_before, neurons.sigma
    (B, C, H, width), T, pooled = U_before.shape, neurons.num_steps, dY.shape[3:]
    s = sizes((C, H, width), W, stride, padding)
    group = max(1, GROUP // T)
    chunks = parts(B, group)
    dWt, db = aligned(W, chunks * W[0].size * s.L).reshape(chunks, -1), np.empty((chunks, len(W)), W.dtype)
    static = len(neurons.I) == 1 and T != 1
    dI, dU_before = empty(neurons.I.shape, W.dtype, IMAGES_LAST), empty(U_before.shape, W.dtype, CHANNELS_LAST)
    dU = np.zeros(U_before.shape, W.dtype) if dU_after is None else dU_after
    _backward_kernel(sigma.formula)(
        chunks, group, flat(dY.reshape(-1, *dY.shape[2:])).reshape(-1), flat(place).reshape(-1), flat(dU),
        *currents(neurons), flat(U_before), stairs_of_inputs(W, s), rows(dI, IMAGES_LAST).reshape(-1), dWt, db,
        flat(dU_before), for_backward(s, True, listed=True), tuple(pool), pooled,
        RESETS[neurons.reset_mechanism], static, *sigma.constants(W.dtype)[1:],
    )  # fmt: skip
    dW = weights_of_rows(ordered_sum(dWt), W.shape)
    return dI, dW, ordered_sum(db) if bias else None, dU_before
