"""The spike count: one bar for every output neuron, at rest or growing with time."""

import math
from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.spikeplot import _door

BLUE, LIGHT, ORANGE = "#007ACC", "#7FBCE5", "tab:orange"  # snnTorch's; they stay apart for colour-blind eyes
OURS = "_spike_count"  # marks what we drew; the underscore keeps it out of legends


def spike_count(
    data: Any,
    fig: Any,
    ax: Any,
    labels: Any,
    num_steps: int | None = None,
    animate: bool = False,
    interpolate: int = 1,
    gridshader: bool = True,
    interval: float = 25,
    time_step: float | bool = False,
) -> Any:
    """Draw how often each output neuron has spiked, as horizontal bars from the bottom up.

        at rest     bar[n] = sum of data[:num_steps, n]
        frame i     bar[n] = sum of data[:k, n] with k = i // interpolate, and the orange line at i / interpolate,
                    for i = 0 ... num_steps * interpolate

    Differs from snnTorch on purpose: there the last frame leaves out the last time step, so its animation never shows
    a spike of that step. Here there is one frame more, and the last one shows the full count, the same bars as at rest.

    A second call on the same axes replaces the bars of the first. Keep the animation: Matplotlib plays one only as long
    as something holds it.

    Parameters
    ----------
    data : (T, N) array
        Spikes of one sample, 0 or 1.
    fig, ax : Figure, Axes
        Where to draw, `ax` on `fig`.
    labels : N names
        Of the neurons, bottom to top.
    num_steps : int, optional
        The first so many time steps; all T without it.
    animate : bool
        Grow the bars with time.
    interpolate : int
        Frames for each time step, for a smoother line.
    gridshader : bool
        Shade every second stretch between the ticks.
    interval : float
        Milliseconds from frame to frame.
    time_step : float or False
        Seconds of one time step, which puts seconds on the time axis.

    Returns
    -------
    FuncAnimation if `animate`, else None

    Example
    -------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from npsnn import spikeplot
    >>> spikes = np.array([[1, 0], [0, 0], [1, 1]])
    >>> fig = Figure()
    >>> ax = fig.subplots()
    >>> spikeplot.spike_count(spikes, fig, ax, ["left", "right"])
    >>> [bar[1].tolist() for bar in ax.collections[0].get_segments()]
    [[2.0, 1.0], [1.0, 2.0]]
    """
    animation = _door.matplotlib("animation")
    spikes = _spikes(data)
    names = _labels(labels, spikes.shape[1])
    count = _door.steps(num_steps, len(spikes), "spike_count")
    moving = _check.flag(animate, "animate", "spike_count")
    frames_per_step = _check.whole(interpolate, "interpolate", 1, "spike_count")
    shaded = _check.flag(gridshader, "gridshader", "spike_count")
    pause = _door.positive(interval, "interval", "spike_count")
    seconds = None if time_step is None or time_step is False else _door.positive(time_step, "time_step", "spike_count")
    root = _door.figure_of(fig, ax, "spike_count")

    _clear(ax)
    _frame(ax, names)
    ticks = _time_axis(ax, count, seconds)
    if shaded:
        _shade(ax, ticks)
    totals = np.concatenate([np.zeros((1, len(names))), np.cumsum(spikes[:count], axis=0)])
    bars = _Bars(ax, len(names))
    if not moving:
        bars.show(totals[count])
        return None
    line = ax.axvline(0, color=ORANGE, linewidth=3, clip_on=False, label=OURS)

    def show(i: int) -> list[Any]:
        bars.show(totals[i // frames_per_step])
        line.set_xdata([i / frames_per_step] * 2)
        return [bars.lines, bars.dots, line]

    show(0)
    return animation.FuncAnimation(
        root, show, frames=count * frames_per_step + 1, interval=pause, cache_frame_data=False
    )


class _Bars:
    """A line and a dot for each neuron: what moves in the animation."""

    def __init__(self, ax: Any, count: int) -> None:
        self.places = np.arange(1, count + 1)
        width = min(8.0, 0.5 * _points(ax)[1] / count)  # many neurons, thinner bars: they never touch
        self.lines = ax.hlines(self.places, 0, np.zeros(count), color=LIGHT, linewidth=width, label=OURS)
        # Not clipped: the dot of a silent neuron sits on the edge, and half a dot looks like a mistake.
        (self.dots,) = ax.plot(
            np.zeros(count), self.places, "o", color=BLUE, markersize=width, clip_on=False, zorder=3, label=OURS
        )

    def show(self, counts: Array) -> None:
        """Bars of these lengths."""
        self.lines.set_segments([[(0.0, y), (x, y)] for x, y in zip(counts, self.places, strict=True)])
        self.dots.set_xdata(counts)


def _spikes(data: Any) -> Array:
    """The recording, refused if it holds what no spike can be: a membrane passed by mistake draws nonsense."""
    spikes = _door.recording(data, "data", {2: "(T, N)"}, "spike_count")
    wrong = np.argwhere((spikes < 0) | (spikes > 1))
    if len(wrong):
        t, n = (int(i) for i in wrong[0])
        raise ValueError(f"spike_count: data must hold spikes, 0 or 1, got {spikes[t, n]:g} at {(t, n)}")
    return spikes


def _labels(labels: Any, neurons: int) -> list[str]:
    """One name for each neuron."""
    names = _door.names(labels, "labels", "spike_count")
    if len(names) != neurons:
        raise ValueError(f"spike_count: labels has {len(names)} names, but data has {neurons} neurons")
    return names


def _points(ax: Any) -> tuple[float, float]:
    """Width and height of the axes in points, the unit of fonts and lines."""
    box = ax.get_position()
    width, height = ax.figure.figure.get_size_inches()
    return 72.0 * box.width * width, 72.0 * box.height * height


def _clear(ax: Any) -> None:
    """Take away what an earlier call drew here."""
    for artist in list(ax.get_children()):
        if artist.get_label() == OURS:
            artist.remove()


def _frame(ax: Any, names: list[str]) -> None:
    """Spines, the labels' axis and the fonts, which shrink with the axes so that all stays on the figure."""
    height = _points(ax)[1]
    font = min(15.0, max(7.0, 0.0375 * height))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines["bottom"].set_position(("outward", 4))
    ax.set_ylim(0.3, len(names) + 0.7)
    every = math.ceil(len(names) / max(1.0, height / 8.0))  # too many names to read: every second, third, ...
    ax.set_yticks(np.arange(1, len(names) + 1)[::every], names[::every])
    ax.set_xlabel("Time Step", fontsize=font, fontweight="bold")
    ax.set_ylabel("Labels", fontsize=font, fontweight="bold")
    ax.tick_params(axis="x", labelsize=0.8 * font)
    ax.tick_params(axis="y", labelsize=min(0.8 * font, max(6.0, 0.8 * height / len(names))))


def _time_axis(ax: Any, count: int, seconds: float | None) -> list[int]:
    """Limits and ticks of the time axis, 0 to `count`; the ticks, which do not move when the figure grows."""
    room = int(min(9, max(1, _points(ax)[0] // 36)))
    locator = _door.matplotlib("ticker").MaxNLocator(nbins=room, steps=[1, 2, 5, 10], integer=True)
    ticks = [round(x) for x in locator.tick_values(0, count) if 0 <= x <= count]
    ax.set_xlim(0, count)
    if seconds is None:
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
    else:
        ax.set_xticks(ticks, [f"{tick * seconds:g}" for tick in ticks])
        ax.set_xlabel("Time [s]")
    return ticks


def _shade(ax: Any, ticks: list[int]) -> None:
    """A grey band over every second stretch between ticks; see-through, so it suits a dark background too."""
    right = ax.get_xlim()[1]
    edges = [*ticks, right] if ticks[-1] < right else ticks
    for start, stop in zip(edges[1::2], edges[2::2], strict=False):
        ax.axvspan(start, stop, facecolor="grey", alpha=0.2, linewidth=0, zorder=0, label=OURS)
