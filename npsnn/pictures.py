"""The three pictures of a training run (floor 4): accuracy.png, spike_count.gif, raster.png."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from npsnn import _files, data, spikeplot
from npsnn._check import Array
from npsnn.network import Sequential
from npsnn.spikeplot._door import new_figure
from npsnn.training import Epoch, Run

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's, apart for every eye


def draw(run: Run, epochs: Sequence[Epoch], folder: Path) -> list[str]:
    """Draw all three into `folder` and return their names; ImportError where Matplotlib is missing."""
    image = data.mnist("test", run.settings.data)
    x, label = image.images()[:1].astype(run.net.dtype), int(image.targets[0])
    spikes = layer_spikes(run.net, x, run.settings.num_steps)
    accuracy(epochs, folder / "accuracy.png")
    counts(spikes[-1], label, folder / "spike_count.gif")
    rasters(spikes, label, folder / "raster.png")
    return ["accuracy.png", "spike_count.gif", "raster.png"]


def layer_spikes(net: Sequential, x: Array, num_steps: int) -> list[Array]:
    """The spikes (T, neurons) of every neuron layer for one image x (1, C, H, W)."""
    _, _, tape = net.forward(x, num_steps)
    return [neurons.S.reshape(num_steps, -1).astype(net.dtype) for neurons in tape.neurons().values()]


def accuracy(epochs: Sequence[Epoch], path: Path) -> None:
    """Train and test accuracy against the epoch."""
    figure = new_figure(6, 4)
    ax = figure.add_subplot()
    numbers = [e.epoch for e in epochs]
    ax.plot(numbers, [100 * e.train_accuracy for e in epochs], "o-", color=BLUE, label="train (while training)")
    ax.plot(numbers, [100 * e.test_accuracy for e in epochs], "s-", color=ORANGE, label="test (held out)")
    ax.set(xlabel="epoch", ylabel="accuracy (%)", xticks=numbers)
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
    _save(figure, path)


def counts(S: Array, label: int, path: Path) -> None:
    """The output spikes (T, 10) of one image, counted up as a moving picture."""
    figure = new_figure(6, 4)
    ax = figure.add_subplot()
    movie = spikeplot.spike_count(S, figure, ax, [str(c) for c in range(S.shape[1])], animate=True)
    ax.set_title(f"output spikes for a test image of a {label}")
    spikeplot.save(movie, path)


def rasters(spikes: Sequence[Array], label: int, path: Path) -> None:
    """Every neuron layer's spikes against time."""
    figure = new_figure(7, 2 + 2 * len(spikes))
    axes = figure.subplots(len(spikes), 1, sharex=True, squeeze=False)[:, 0]
    for i, (ax, S) in enumerate(zip(axes, spikes, strict=True)):
        spikeplot.raster(S, ax, s=1.5 if S.shape[1] > 100 else 12, c="black", marker="|" if S.shape[1] <= 100 else ".")
        ax.set(ylabel="neuron", title=f"neuron layer {i + 1}: {S.shape[1]:,} neurons, rate {S.mean():.3f}")
    axes[-1].set_xlabel("time step")
    figure.suptitle(f"a test image of a {label} crosses the network")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    with _files.replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
