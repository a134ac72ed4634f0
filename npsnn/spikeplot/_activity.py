"""The activity of a network: how many neurons of each layer are silent, and how many always fire."""

from typing import Any

import numpy as np

from npsnn._check import Array
from npsnn.health import SATURATED
from npsnn.layer import where
from npsnn.network import Sequential, Tape
from npsnn.spikeplot import _door

ORANGE, BLUE, PURPLE = "#d55e00", "#2f7fc1", "#b8609a"  # apart for every eye, on white and on black


def activity(net: Sequential, tape: Tape, ax: Any = None, **kwargs: Any) -> Any:
    """Draw which share of each layer's neurons was silent, active and saturated in a batch: a bar a neuron layer.

        silent       no spike in any sample at any step
        saturated    a spike at more than 95% of the steps, over all samples
        active       all others

    The first layer is at the bottom. Its name stands beside its bar, with its rate: spikes a neuron and step. A dead
    layer, in which nothing fired, is one hatched bar and says "no spike"; what is above it can only fire by its bias.

    Parameters
    ----------
    net, tape : Sequential, Tape
        The network, and what its `forward` gave, which is not changed.
    ax : Axes, optional
        Where to draw the bars alone; without it a new figure is made, with a legend.
    **kwargs
        Go to `ax.barh`: `height`, `linewidth`.

    Returns
    -------
    tuple of three BarContainers
        Silent, active, saturated; `.datavalues` of each are the shares, in 0..1, the first layer first.

    Raises
    ------
    TypeError, ValueError
        For a tape of another network and a network without neurons. Nothing is drawn then.

    Example
    -------
    >>> import numpy as np
    >>> import npsnn
    >>> from npsnn import spikeplot
    >>> net = npsnn.Sequential(npsnn.Leaky(beta=0.5, threshold=[1.0, 1.0, 1.0, 1.0]))
    >>> x = np.array([[0.0, 0.4, 0.9, 9.0]], np.float32)  # one sample, four neurons
    >>> silent, active, saturated = spikeplot.activity(net, net.forward(x, num_steps=20)[2])
    >>> [bars.datavalues.tolist() for bars in (silent, active, saturated)]
    [[0.5], [0.25], [0.25]]
    """
    _door.matplotlib("figure")
    _door.run(net, tape, "activity")
    if ax is not None:
        _door.axes(ax, "activity")
    rates = _rates(tape)
    silent = np.array([np.mean(rate == 0) for rate in rates.values()])
    saturated = np.array([np.mean(rate > SATURATED) for rate in rates.values()])
    active = 1.0 - silent - saturated

    own = ax is None
    if own:
        ax = _door.new_figure(7.0, 1.5 + 0.6 * len(rates)).subplots()
    places, style = np.arange(len(rates)), {"height": 0.7, **kwargs}
    # A silent neuron is hollow: the difference is one of pattern too, not of colour alone.
    hollow = {"facecolor": "none", "edgecolor": ORANGE, "hatch": "///", "linewidth": 1.0}
    bars = (
        ax.barh(places, silent, label="silent", **{**hollow, **style}),
        ax.barh(places, active, left=silent, label="active", **{"color": BLUE, **style}),
        ax.barh(places, saturated, left=silent + active, label="saturated", **{"color": PURPLE, **style}),
    )
    ax.set_yticks(places, [_name(where(tape.layers, i), rate) for i, rate in rates.items()])
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the neurons")
    if own:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
    return bars


def _rates(tape: Tape) -> dict[int, Array]:
    """Neuron layer -> (neurons,) spikes a sample and step."""
    return {i: neurons.S.mean(axis=(0, 1)).ravel() for i, neurons in tape.neurons().items()}


def _name(layer: str, rate: Array) -> str:
    """What stands beside a bar."""
    return f"{layer}\nrate {rate.mean():.2g}" if rate.any() else f"{layer}\nno spike"
