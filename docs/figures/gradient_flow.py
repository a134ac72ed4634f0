"""Where credit flows and where it dies: a loss that looks at the last step alone, in three networks."""

import numpy as np

import npsnn
from docs.figures.style import HEAT, new_figure
from npsnn import spikeplot, surrogate

STEPS, SAMPLES, WIDTH, LAYERS = 40, 4, 60, 5
LOW, HIGH = -10, -2  # of the colours, in powers of ten


def boxcar(x):
    """A little near the threshold, nothing away from it."""
    return np.where(np.abs(x) < 0.5, 0.05, 0.0)


SMOOTH, CUT = surrogate.fast_sigmoid(slope=25), surrogate.custom_surrogate(boxcar)
NETWORKS = {  # title -> beta, surrogate, threshold of the layer in the middle
    "beta = 0.9: it flows": (0.9, SMOOTH, 1.0),
    "beta = 0.5: it dies over time": (0.5, SMOOTH, 1.0),
    "layer 5 never near its threshold: it ends there": (0.9, CUT, 100.0),
}


def network(beta, sigma, middle):
    """Dense, with weights large enough for all layers to fire, but for the one in the middle if `middle` is too."""
    layers = []
    for k in range(LAYERS):
        threshold = middle if k == LAYERS // 2 else 1.0
        layers += [npsnn.Linear(WIDTH, WIDTH), npsnn.Leaky(beta, threshold, sigma)]
    net = npsnn.Sequential(*layers, dtype=np.float64, backend="reference", seed=0)
    net.flat_params[...] *= 3 if beta > 0.8 else 4
    return net


def figure():
    """A map a network, on one scale."""
    x = np.random.default_rng(0).uniform(0, 1, (SAMPLES, WIDTH))
    figure = new_figure(6.4, 7.4)
    panels = figure.subplots(len(NETWORKS), 1, sharex=True)
    for ax, (title, chosen) in zip(panels, NETWORKS.items(), strict=True):
        net = network(*chosen)
        spk_rec, _, tape = net.forward(x, STEPS)
        dspk = np.zeros_like(spk_rec)
        dspk[-1] = 1 / SAMPLES
        image = spikeplot.gradient_flow(net, tape, dspk, ax=ax, cmap=HEAT, vmin=LOW, vmax=HIGH)
        ax.set_title(title, loc="left")
        ax.spines[:].set_visible(False)
    for ax in panels[:-1]:
        ax.set_xlabel("")
    bar = figure.colorbar(image, ax=panels, location="bottom", extend="min", aspect=40)
    bar.set_label("log10 of the root mean square of dL/dU; grey: exactly 0")
    bar.outline.set_visible(False)
    return figure
