"""How far the gradients through the reset and with it detached part, over the firing rate.

Four hundred neurons, a hundred steps, beta 0.9, random currents whose mean grows; the loss sends random dS.
"""

import numpy as np

from docs.figures.style import BLUE, FAINT, GREEN, ORANGE, PURPLE, new_figure
from npsnn import surrogate
from npsnn.leaky.reference import leaky_backward, leaky_forward

T, NEURONS = 100, 400
MEANS = np.array([0.072, 0.076, 0.08, 0.085, 0.09, 0.1, 0.115, 0.14, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0, 1.15])
CURVES = (
    (surrogate.sigmoid(slope=25), ORANGE, "-"),
    (surrogate.atan(), PURPLE, "--"),
    (surrogate.fast_sigmoid(slope=5), GREEN, "-."),
    (surrogate.fast_sigmoid(slope=25), BLUE, "-"),
)


def both(sigma, mean):
    """(rate, dI detached, dI through the reset) for currents between 0 and 2 mean."""
    rng = np.random.default_rng(0)
    I = rng.uniform(0, 2 * mean, (T, 1, NEURONS))
    dS = rng.standard_normal((T, 1, NEURONS))
    dI = []
    for detach_reset in (True, False):
        S, cache = leaky_forward(
            I, np.array(0.9), np.array(1.0), num_steps=T, sigma=sigma, detach_reset=detach_reset
        )  # fmt: skip
        dI.append(leaky_backward(dS, None, cache, constants=False)[0])
    return S.mean(), *dI


def figure():
    """The figure."""
    drawn = new_figure(7.0, 5.6)
    top, bottom = drawn.subplots(2, 1, sharex=True)
    for sigma, colour, line in CURVES:
        rates, apart, turned = [], [], []
        for mean in MEANS:
            rate, detached, through = both(sigma, mean)
            rates.append(rate)
            apart.append(np.linalg.norm(through - detached) / np.linalg.norm(detached))
            turned.append(np.mean(through * detached < 0))
        label = f"{sigma.name}, {float(sigma.derivative(0.0)):g} at threshold"
        top.plot(rates, apart, line, color=colour, label=label, marker=".")
        bottom.plot(rates, 100 * np.array(turned), line, color=colour, marker=".")
    top.set(yscale="log", ylabel="distance, as a multiple\nof the detached gradient")
    drawn.legend(loc="outside upper center", ncols=2, fontsize=10)
    bottom.set(xscale="log", xlabel="spikes per neuron and step", ylabel="entries of dI whose\nsign differs, in %")
    for axes in (top, bottom):
        axes.grid(visible=True, color=FAINT)
    return drawn
