"""What backpropagation through time keeps of the tutorial's network, against the number of steps."""

import numpy as np

import npsnn
from docs.figures.style import BLUE, GREEN, ORANGE, new_figure
from npsnn import backends, sizes, surrogate

BATCH, BUDGET = 128, 64_000_000
STEPS = np.array([1, 2, 5, 10, 20, 50, 100, 200, 500, 1000])
LINES = (("reference", None, BLUE, "o-"), ("cpu", None, ORANGE, "s-"), ("cpu", BUDGET, GREEN, "^-"))


def network(backend):
    """12C5-MP2-64C5-MP2-1024FC10."""
    neuron = npsnn.Leaky(0.5, 1.0, surrogate.fast_sigmoid(slope=25))
    return npsnn.Sequential(
        npsnn.Conv2d(1, 12, 5), npsnn.MaxPool2d(2), neuron,
        npsnn.Conv2d(12, 64, 5), npsnn.MaxPool2d(2), neuron,
        npsnn.Flatten(), npsnn.Linear(64 * 4 * 4, 10), neuron,
        backend=backend,
    )  # fmt: skip


def figure():
    """Megabytes a training step, both axes logarithmic."""
    figure = new_figure(6.4, 3.8)
    ax = figure.subplots()
    for backend, budget, colour, marks in LINES:
        net = network(backend)
        ops = backends.load(backend)
        kept = [sizes.tape(net._items, ops, net.dtype, (1, BATCH, 1, 28, 28), int(T), budget) for T in STEPS]
        label = backend if budget is None else f"{backend}, a budget of {budget // 10**6} MB"
        ax.loglog(STEPS, np.array(kept) / 1e6, marks, color=colour, label=label, markersize=5)
    ax.set(xlabel="time steps T", ylabel="MB kept for the backward pass", title=f"the network of digits, batch {BATCH}")
    ax.grid(True)
    ax.legend()
    return figure
