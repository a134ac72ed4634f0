"""The same network three times: its weights too small, well chosen, and its biases too large."""

import numpy as np

import npsnn
from docs.figures.style import new_figure
from npsnn import spikeplot, surrogate

NETWORKS = {  # title -> what weights and biases are multiplied by, what is added to the biases
    "weights as drawn: it dies with depth": (1.0, 0.0),
    "three times as large: it fires": (3.0, 0.0),
    "and 2 added to every bias: it saturates": (3.0, 2.0),
}
STEPS, SAMPLES, WIDTH, LAYERS = 25, 64, 100, 4


def network(scale, bias):
    """Dense; at a scale of 1 its weights are as they are drawn."""
    layers = []
    for _ in range(LAYERS):
        layers += [npsnn.Linear(WIDTH, WIDTH), npsnn.Leaky(0.8, 1.0, surrogate.fast_sigmoid())]
    net = npsnn.Sequential(*layers, dtype=np.float64, backend="reference", seed=0)
    for name, value in net.params.items():
        value[...] = scale * value + (bias if name.endswith("bias") else 0.0)
    return net


def figure():
    """A panel a network."""
    x = np.random.default_rng(0).uniform(0, 1, (SAMPLES, WIDTH))
    figure = new_figure(6.0, 7.2)
    panels = figure.subplots(len(NETWORKS), 1, sharex=True)
    for ax, (title, chosen) in zip(panels, NETWORKS.items(), strict=True):
        net = network(*chosen)
        spikeplot.activity(net, net.forward(x, STEPS)[2], ax)
        ax.set_title(title, loc="left")
    for ax in panels[:-1]:
        ax.set_xlabel("")
    figure.legend(handles=panels[0].containers, loc="outside upper right", ncols=3)
    return figure
