"""The raster: one dot for every spike."""

from typing import Any

import numpy as np

from npsnn.spikeplot import _door

SMALL = 6.0  # points squared; Matplotlib's 36 makes neighbouring spikes one blot


def raster(data: Any, ax: Any, **kwargs: Any) -> Any:
    """Draw a dot at (t, n) for every spike of neuron n at time step t.

    Every time step and neuron is in view, the silent ones too.

    Parameters
    ----------
    data : (T, N) or (T,) array
        Spikes; whatever is not 0 is one.
    ax : Axes
        Where to draw.
    **kwargs
        Go to `ax.scatter`: `s` (size, 6 unless told), `c` (colour), `marker`.

    Returns
    -------
    PathCollection
        Its offsets are the pairs (t, n).

    Example
    -------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from npsnn import spikeplot
    >>> fig = Figure()
    >>> spikes = np.array([[0, 1], [0, 0], [1, 1]])
    >>> dots = spikeplot.raster(spikes, fig.subplots(), s=2, c="black")
    >>> np.asarray(dots.get_offsets()).tolist()
    [[0.0, 1.0], [2.0, 0.0], [2.0, 1.0]]
    """
    _door.axes(ax, "raster")
    spikes = _door.recording(data, "data", {1: "(T,)", 2: "(T, N)"}, "raster")
    spikes = spikes.reshape(len(spikes), -1)
    t, n = np.nonzero(spikes)
    if "sizes" not in kwargs:
        kwargs.setdefault("s", SMALL)
    dots = ax.scatter(t, n, **kwargs)
    ax.update_datalim([(0, 0), (spikes.shape[0] - 1, spikes.shape[1] - 1)])
    ax.autoscale_view()
    return dots
