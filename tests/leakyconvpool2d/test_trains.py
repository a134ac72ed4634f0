"""The weights' gradient by spike trains: its order of sums is the one that trains.py states."""

import numpy as np
import pytest

from npsnn.leaky.reference import leaky_forward
from npsnn.pool2d.reference import maxpool2d_backward

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.leakyconvpool2d import cpu
from npsnn.leakyconvpool2d.trains import STEPS
from tests.leakyconvpool2d.test_twins import CASES, draw

MOVING = (*CASES[1][:-1], ((2, 1), (2, 1), (1, 0)))  # its pool's windows do not overlap: no order of (P3) is in it


def in_the_stated_order(S, dC, case):
    """dW of one sample: S (T, C, H, W) as 0 and 1, dC (T, O, H_out, W_out)."""
    *_, O, (kh, kw), (sh, sw), (ph, pw), _ = case
    image = np.pad(S, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    dW = np.zeros((O, S.shape[1], kh, kw), dC.dtype)
    for last in range(len(S), 0, -STEPS):
        steps = range(max(0, last - STEPS), last)
        for y in range(dC.shape[2]):
            for x in range(dC.shape[3]):
                H = np.zeros_like(dW)
                for t in steps:
                    window = image[t, :, y * sh : y * sh + kh, x * sw : x * sw + kw]
                    H += dC[t, :, y, x][:, None, None, None] * window
                dW += H
    return dW


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("case", [MOVING, CASES[-1]], ids=str)
def test_the_bits_are_those_of_the_stated_order_whatever_neurons_share(case, share):
    neurons, W, b, dY, _, settings = draw((*case[:2], 1, *case[3:]), "float32")
    if share:  # two currents, and so two trains, everywhere
        I = np.where(neurons.I > 0.3, np.float32(0.7), np.float32(0.4))
        beta, theta, at_rest = np.float32(0.8), np.float32(0.5), np.zeros_like(neurons.U_before)
        neurons = neurons._replace(I=I, beta=np.asarray(beta), theta=np.asarray(theta), U_before=at_rest)
    _, _, cache = cpu.leakyconvpool2d_forward(neurons, W, b, **settings)
    dW = cpu.leakyconvpool2d_backward(dY, None, cache, W)[1]
    S = leaky_forward(*neurons[:4], num_steps=neurons.num_steps, sigma=neurons.sigma)[0]
    trains = {S[:, 0, c, h, w].tobytes() for c, h, w in np.ndindex(S.shape[2:])}
    assert len(trains) <= 2 * len(neurons.I) ** 3 if share else len(trains) > 5
    dC = maxpool2d_backward(dY[:, 0], cache.pool)
    np.testing.assert_array_equal(dW, in_the_stated_order(S[:, 0], dC, case))
