"""The traces: one small line plot for every neuron."""

from typing import Any

from npsnn import _check
from npsnn._check import Array
from npsnn.spikeplot import _door

CELL = (2.2, 1.6)  # inches of one small plot, width and height


def traces(data: Any, spk: Any = None, dim: tuple[int, int] = (3, 3), spk_height: float = 5, titles: Any = None) -> Any:
    """Draw each neuron's trace, its membrane say, in a grid of small plots on one scale, spikes riding on top.

        drawn[t, n] = data[t, n] + spk_height * spk[t, n]

    Differs from snnTorch, which draws into pyplot's current figure and returns nothing: the figure is a new one, needs
    no display and no pyplot, and is returned. A grid too small for the neurons is refused, where snnTorch leaves the
    last ones out; a larger one has empty places.

    Parameters
    ----------
    data : (T, N) array
        The traces.
    spk : (T, N) array, optional
        Their spikes.
    dim : (rows, columns)
        Of the grid, rows * columns >= N.
    spk_height : float
        How far a spike rises above its trace.
    titles : list of str, optional
        Of the first plots; at most N.

    Returns
    -------
    Figure
        `.savefig("traces.png")` writes it; a notebook shows it.

    Example
    -------
    >>> import numpy as np
    >>> from npsnn import spikeplot
    >>> membrane = np.array([[0.25, 0.0], [0.5, 1.0]])
    >>> spikes = np.array([[0, 0], [0, 1]])
    >>> fig = spikeplot.traces(membrane, spikes, dim=(1, 2), spk_height=2)
    >>> [ax.lines[0].get_ydata().tolist() for ax in fig.axes]
    [[0.25, 0.5], [0.0, 3.0]]
    """
    _door.matplotlib("figure")
    drawn = _with_spikes(_door.recording(data, "data", {2: "(T, N)"}, "traces"), spk, spk_height)
    rows, columns = _grid(dim, drawn.shape[1])
    heads = _titles(titles, drawn.shape[1])
    fig = _door.new_figure(columns * CELL[0], rows * CELL[1])
    cells = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for n, ax in enumerate(cells):
        ax.axis("off")
        if n < drawn.shape[1]:
            ax.plot(drawn[:, n], color="#007ACC", linewidth=1.2)
            ax.set_title(heads[n], fontsize="medium")
    return fig


def _with_spikes(data: Array, spk: Any, spk_height: Any) -> Array:
    """The traces with their spikes on top, or as they are."""
    height = _check.real(spk_height, "spk_height", "traces")
    if spk is None:
        return data
    spikes = _door.recording(spk, "spk", {2: "(T, N)"}, "traces")
    _check.shape(spikes, data.shape, "spk", "traces")
    return data + height * spikes


def _grid(dim: Any, neurons: int) -> tuple[int, int]:
    """Rows and columns, enough for all neurons."""
    if not isinstance(dim, tuple | list):
        raise TypeError(f"traces: dim must be a pair (rows, columns), got {dim!r}")
    rows, columns = _check.pair(dim, "dim", 1, "traces")
    if rows * columns < neurons:
        raise ValueError(f"traces: dim {(rows, columns)} has {rows * columns} places, but data has {neurons} neurons")
    return rows, columns


def _titles(titles: Any, neurons: int) -> list[str]:
    """A title for every neuron, empty where none was given."""
    given = [] if titles is None else _door.names(titles, "titles", "traces")
    if len(given) > neurons:
        raise ValueError(f"traces: titles has {len(given)} names, but data has {neurons} neurons")
    return given + [""] * (neurons - len(given))
