"""The loss along one weight: of the network that is run, of its smooth twin, and what the surrogate says its slope is.

The network of tutorial 4: two neurons in a row, the second of which is to spike four times in ten steps.
"""

from dataclasses import replace

import numpy as np

import npsnn
from docs.figures.style import BLUE, FAINT, GREEN, ORANGE, new_figure
from npsnn import functional, surrogate

SIGMA = surrogate.sigmoid(slope=4)
X = np.array([1, 0.75, 0, 0.5, 0.25, 1, 0, 0.75, 0.25, 0.5]).reshape(10, 1, 1)
LOSS = functional.mse_count_loss(correct_rate=0.4)


def build(sigma):
    """Two weights, each before a neuron without reset."""
    net = npsnn.Sequential(
        npsnn.Linear(1, 1, bias=False),
        npsnn.Leaky(beta=0.5, spike_grad=sigma, reset_mechanism="none"),
        npsnn.Linear(1, 1, bias=False),
        npsnn.Leaky(beta=0.5, spike_grad=sigma, reset_mechanism="none"),
        dtype=np.float64,
        backend="reference",
    )
    net.params["2.weight"][:] = 1.1
    return net


def along(net, weights):
    """(loss, dL/dw) at every value of the first weight."""
    rows = []
    for w in weights:
        net.params["0.weight"][:] = w
        spk_rec, _, tape = net.forward(X)
        loss, dspk = LOSS.value_and_grad(spk_rec, np.array([0]))
        rows.append((loss, net.backward(tape, dspk=dspk)["0.weight"].item()))
    return np.array(rows).T


def figure():
    """The figure."""
    weights = np.linspace(0.4, 2.0, 641)
    points = np.linspace(0.45, 1.95, 16)
    hard, surrogate_slope = along(build(SIGMA), weights)
    smooth, smooth_slope = along(build(replace(SIGMA, smooth=True)), weights)
    loss, slope = along(build(SIGMA), points)

    drawn = new_figure(7.0, 5.6)
    top, bottom = drawn.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    jumps = np.flatnonzero(np.diff(hard))
    flat = np.insert(hard, jumps + 1, np.nan)
    top.plot(np.insert(weights, jumps + 1, np.nan), flat, color=BLUE, label="the network that is run")
    top.plot(weights, smooth, color=ORANGE, label="its smooth twin")
    for w, value, d in zip(points, loss, slope, strict=True):
        half = 0.035 / np.hypot(1, d / 2.4)  # of about one length on the page, whatever the slope
        top.plot([w - half, w + half], [value - half * d, value + half * d], color=GREEN, linewidth=1.6)
    top.plot(points, loss, "o", color=GREEN, markersize=4, label="the surrogate's slope, at points")
    top.set(ylabel="loss L", ylim=(-0.3, 5.0))
    top.legend(loc="upper center")

    bottom.axhline(0, color=BLUE, label="of the network that is run: 0")
    bottom.plot(weights, smooth_slope, color=ORANGE, label="of its smooth twin")
    breaks = np.flatnonzero(np.abs(np.diff(surrogate_slope)) > 0.1)
    bottom.plot(np.insert(weights, breaks + 1, np.nan), np.insert(surrogate_slope, breaks + 1, np.nan), color=GREEN)
    bottom.plot(points, slope, "o", color=GREEN, markersize=4)
    bottom.set(xlabel="the first weight w", ylabel="dL/dw")
    for axes in (top, bottom):
        axes.grid(visible=True, color=FAINT)
    return drawn
