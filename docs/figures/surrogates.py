"""Each surrogate's derivative and its primitive, by `spikeplot.surrogates`."""

import numpy as np

from docs.figures.style import TEXT, new_figure
from npsnn import spikeplot, surrogate

BELLS = (
    surrogate.fast_sigmoid(slope=25),
    surrogate.atan(alpha=2),
    surrogate.sigmoid(slope=4),
    surrogate.SFS(slope=4, B=0.25),
    surrogate.spike_rate_escape(beta=3, slope=1),
)
STEPS = (
    surrogate.straight_through_estimator(),
    surrogate.heaviside(),
    surrogate.LSO(slope=0.1),
    surrogate.triangular(threshold=1),
)
X = np.arange(-400, 801) / 400


def figure():
    """Above those that are largest about the threshold, below those that are constant on either side of it."""
    figure = new_figure(6.4, 7.4)
    for part, chosen in zip(figure.subfigures(2, 1, hspace=0.05), (BELLS, STEPS), strict=True):
        part.patch.set_alpha(0)
        axes = part.subplots(1, 2)
        lines = spikeplot.surrogates(*chosen, axes=axes, x=X)
        for ax in axes:
            ax.axvline(0, color=TEXT, linewidth=0.8, zorder=0)
            ax.set_xticks([-1, 0, 1, 2])
            ax.grid(True)
        part.legend(handles=[line for line, _ in lines], loc="outside upper center", ncols=2)
    return figure
