"""What every plot asks before it draws: Matplotlib, a recording, a figure with its axes, a number of steps."""

import importlib
from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.network import Sequential, Tape
from npsnn.neuron import Leaky

NEED = 'npsnn: plots need Matplotlib: pip install "npsnn[plot]"'


def matplotlib(part: str) -> Any:
    """The module `matplotlib.part`, imported now; ImportError with the sentence `NEED` where there is none.

    A Matplotlib that is installed and broken keeps its own error, which says more than ours would.
    """
    try:
        importlib.import_module("matplotlib")
        return importlib.import_module(f"matplotlib.{part}")
    except ModuleNotFoundError as error:
        if error.name == "matplotlib":
            raise ImportError(NEED) from None
        raise


def new_figure(width: float, height: float) -> Any:
    """A figure of so many inches, drawn in memory: no window, no pyplot, whatever the backend of the day."""
    figure = matplotlib("figure").Figure(figsize=(width, height), layout="constrained")
    matplotlib("backends.backend_agg").FigureCanvasAgg(figure)
    return figure


def recording(data: Any, name: str, layouts: dict[int, str], where: str) -> Array:
    """A float64 copy of `data`, time first, in one of the `layouts` (dimensions -> its text).

    A copy, because an animation draws later, when the caller may have written into the array again.
    """
    a = _check.plain(data, name, where)
    if a.dtype.kind not in "biuf":
        got = f"an array of {a.dtype}" if isinstance(data, np.ndarray) else type(data).__name__
        raise TypeError(f"{where}: {name} must be an array of bools, integers or floats, got {got}")
    wanted = " or ".join(layouts.values())
    if a.ndim not in layouts:
        raise ValueError(f"{where}: {name} has shape {_check.shape_text(a.shape)}, expected {wanted}")
    if a.size == 0:
        raise ValueError(f"{where}: {name} is empty: shape {_check.shape_text(a.shape)}, expected {wanted}")
    a = a.astype(np.float64)
    _check.finite(a, name, where)
    return a


def axes(ax: Any, where: str) -> None:
    """Refuse what is no Axes: the array that `plt.subplots(2, 2)` returns, and a figure."""
    if not isinstance(ax, matplotlib("axes").Axes):
        raise TypeError(f"{where}: ax must be one Matplotlib Axes, got {type(ax).__name__}")


def figure_of(fig: Any, ax: Any, where: str) -> Any:
    """The figure to animate, refused unless `ax` is one of its axes; for a subfigure the whole that holds it."""
    axes(ax, where)
    if not isinstance(fig, matplotlib("figure").FigureBase):
        raise TypeError(f"{where}: fig must be a Matplotlib Figure, got {type(fig).__name__}")
    root = fig.figure
    if ax not in root.axes:
        raise ValueError(f"{where}: ax is not one of the axes of fig")
    return root


def run(net: Any, tape: Any, where: str) -> None:
    """Refuse what is no network, no tape, a tape of another network, and a network in which nothing can fire."""
    if not isinstance(net, Sequential):
        raise TypeError(f"{where}: net must be a Sequential, got {type(net).__name__}")
    if not isinstance(tape, Tape):
        raise TypeError(f"{where}: tape must be what forward gave, got {type(tape).__name__}")
    if tape.layers != net.layers:
        raise ValueError(f"{where}: the tape is of another network")
    if not any(isinstance(layer, Leaky) for layer in net.layers):
        raise ValueError(f"{where}: net has no neuron layer")


def steps(num_steps: Any, total: int, where: str) -> int:
    """How many time steps to draw; None, and snnTorch's False, mean all of them."""
    if num_steps is None or num_steps is False:
        return total
    count = _check.whole(num_steps, "num_steps", 1, where)
    if count > total:
        raise ValueError(f"{where}: num_steps is {count}, but data has {total} time steps")
    return count


def positive(value: Any, name: str, where: str) -> float:
    """A finite number above zero."""
    number = _check.real(value, name, where)
    if number <= 0:
        raise ValueError(f"{where}: {name} must be above 0, got {value!r}")
    return number


def names(values: Any, name: str, where: str) -> list[str]:
    """A list, tuple, range or array of names, as strings.

    A lone string is refused, because its letters would pass for names; so is a set, which has no order.
    """
    if not isinstance(values, list | tuple | range | np.ndarray):
        raise TypeError(f"{where}: {name} must be a list of strings, got {type(values).__name__}")
    return [str(value) for value in values]
