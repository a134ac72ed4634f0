"""The film: one image for every time step."""

from typing import Any

from npsnn._check import Array
from npsnn.spikeplot import _door


def animator(
    data: Any, fig: Any, ax: Any, num_steps: int | None = None, interval: float = 40, cmap: Any = "plasma"
) -> Any:
    """Animate a recording of images: frame t shows data[t], the last frame the last time step.

    One colour scale, that of the whole of `data`, serves all frames. Keep the result: Matplotlib plays an animation
    only as long as something holds it.

    Parameters
    ----------
    data : (T, H, W) array
        Spikes, or any recording of images.
    fig, ax : Figure, Axes
        Where to draw, `ax` on `fig`; its axis lines are switched off.
    num_steps : int, optional
        The first so many time steps; all T without it.
    interval : float
        Milliseconds from frame to frame.
    cmap : str or Colormap
        Matplotlib's.

    Returns
    -------
    FuncAnimation
        Of `num_steps` frames; see `save` and `html5`.

    Example
    -------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from npsnn import spikeplot
    >>> spikes = np.eye(3).reshape(3, 1, 3)
    >>> fig = Figure(figsize=(1, 1))
    >>> film = spikeplot.animator(spikes, fig, fig.subplots())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spikeplot.save(film, os.path.join(folder, "film.gif"))
    """
    animation = _door.matplotlib("animation")
    images = _door.recording(data, "data", {3: "(T, H, W)"}, "animator")
    count = _door.steps(num_steps, len(images), "animator")
    pause = _door.positive(interval, "interval", "animator")
    root = _door.figure_of(fig, ax, "animator")
    low, high = _limits(images)
    picture = ax.imshow(images[0], cmap=cmap, vmin=low, vmax=high)
    ax.axis("off")

    def show(t: int) -> list[Any]:
        picture.set_data(images[t])
        return [picture]

    return animation.FuncAnimation(root, show, frames=count, interval=pause, cache_frame_data=False)


def _limits(images: Array) -> tuple[float, float]:
    """The ends of the colour scale; a recording of one value gets 0 and 1 too, or all spikes would look like none."""
    low, high = float(images.min()), float(images.max())
    return (low, high) if low < high else (min(low, 0.0), max(high, 1.0))
