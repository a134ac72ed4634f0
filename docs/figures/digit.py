"""One MNIST digit crosses a network: the image, the spikes of its layers, and the class that wins."""

import numpy as np

import npsnn
from docs.figures.style import BLUE, HEAT, ORANGE, new_figure
from npsnn import data, optim, spikeplot, surrogate
from npsnn import functional as SF

STEPS, IMAGES, BATCH, EPOCHS = 25, 2000, 100, 2
GRID = 2**16  # steps of a parameter in 1
SHOWN = 9  # of the test images


def network():
    """Trained for two epochs, in float64, its parameters rounded after each update.

    A difference in the last bit grows several times larger with each update; rounded away, it has no time to grow, and
    every processor draws the same picture.
    """
    sg = surrogate.fast_sigmoid(slope=25)
    net = npsnn.Sequential(
        npsnn.Conv2d(1, 9, 5), npsnn.MaxPool2d(2), npsnn.Leaky(0.5, 1.0, sg),
        npsnn.Conv2d(9, 16, 5), npsnn.MaxPool2d(2), npsnn.Leaky(0.5, 1.0, sg),
        npsnn.Flatten(), npsnn.Linear(16 * 4 * 4, 10), npsnn.Leaky(0.5, 1.0, sg),
        dtype=np.float64, seed=0,
    )  # fmt: skip
    mnist = data.mnist("train")
    x, targets = mnist.images()[:IMAGES].astype(np.float64), mnist.targets[:IMAGES]
    optimizer, loss_fn = optim.Adam(net, lr=2e-2), SF.ce_rate_loss()
    for _ in range(EPOCHS):
        for begin in range(0, IMAGES, BATCH):
            batch = slice(begin, begin + BATCH)
            spk_rec, _, tape = net.forward(x[batch], STEPS)
            dspk = loss_fn.value_and_grad(spk_rec, targets[batch])[1]
            optimizer.step(net.backward(tape, dspk=dspk))
            net.flat_params[...] = np.round(net.flat_params * GRID) / GRID
    return net


def figure():
    """Above the image and how often each neuron of two layers fired, below the output's spikes and their number."""
    mnist = data.mnist("test")
    image, label = mnist.images()[SHOWN].astype(np.float64), int(mnist.targets[SHOWN])
    net = network()
    tape = net.forward(image[None], STEPS)[2]
    first, second, last = (neurons.S[:, 0] for neurons in tape.neurons().values())

    figure = new_figure(6.4, 6.1)
    above, below = figure.subfigures(2, 1, height_ratios=[1.1, 1], hspace=0.02)
    for part in (above, below):
        part.patch.set_alpha(0)
    maps = above.subplots(1, 3)
    _map(maps[0], image[0], "gray", f"a test image: {label}")
    _map(maps[1], _tiled(first.sum(axis=0), 3), HEAT, "layer 1: 9 maps")
    counts = _map(maps[2], _tiled(second.sum(axis=0), 4), HEAT, "layer 2: 16 maps")
    bar = above.colorbar(counts, ax=maps, location="bottom", shrink=0.66, anchor=(1, 0), aspect=40, pad=0.04)
    bar.set_label(f"spikes of a neuron in {STEPS} steps")
    bar.outline.set_visible(False)
    _output(below.subplots(1, 2, sharey=True, width_ratios=[2.2, 1]), last)
    return figure


def _tiled(maps, columns):
    """Feature maps (C, H, W) in a grid, with nothing between them."""
    C, H, W = maps.shape
    rows = -(-C // columns)
    tiled = np.full((rows * (H + 1) - 1, columns * (W + 1) - 1), np.nan)
    for c in range(C):
        i, j = c // columns * (H + 1), c % columns * (W + 1)
        tiled[i : i + H, j : j + W] = maps[c]
    return tiled


def _map(ax, values, cmap, title):
    ax.set_title(title)
    ax.axis("off")
    top = 1 if cmap == "gray" else STEPS
    return ax.imshow(values, cmap=cmap, vmin=0, vmax=top, interpolation="none")


def _output(axes, S):
    """Of each class when it fired, and how often; the one that fired most in another colour."""
    left, right = axes
    totals = S.sum(axis=0)
    colours = [ORANGE if c == totals.argmax() else BLUE for c in range(10)]
    for c in range(10):
        only = S & (np.arange(10) == c)
        spikeplot.raster(only, left, marker="|", s=90, linewidths=2, color=colours[c])
    right.barh(range(10), totals, height=0.6, color=colours)
    left.set(title="output spikes", xlabel="time step", ylabel="class", yticks=range(10), xlim=(-1, STEPS))
    right.set(title="their number", xlabel="spikes", xlim=(0, STEPS))
    for ax in axes:
        ax.set_ylim(-0.6, 9.6)
        ax.grid(True, axis="x")
    right.tick_params(axis="y", left=False)
