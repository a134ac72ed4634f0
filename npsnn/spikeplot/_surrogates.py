"""The surrogates: what takes the place of the spike's derivative, and what it would be the derivative of."""

from itertools import cycle
from typing import Any

import numpy as np

from npsnn import surrogate
from npsnn.spikeplot import _door
from npsnn.surrogate import Surrogate

DOTS = (0, (6, 1.5, 1, 1.5, 1, 1.5))
STYLES = ("-", "--", "-.", ":", DOTS)  # beside the colours, for curves that cross; as many as few lists of colours have


def surrogates(*surrogates: Any, axes: Any = None, x: Any = None, **kwargs: Any) -> Any:
    """Draw each surrogate's derivative sigma'(x), and beside it its primitive, the function that has this derivative.

    x = U - theta, the distance of the membrane from the threshold: above 0 the neuron fires.

    Parameters
    ----------
    *surrogates : Surrogate
        Which; `fast_sigmoid()`, `atan()`, `sigmoid(slope=4)` and `straight_through_estimator()` if none is given.
    axes : pair of Axes, optional
        Where to draw the derivatives and the primitives alone; one Axes twice draws both into it. Without it a new
        figure is made, with a legend.
    x : (N,) array, optional
        Where they are computed; 801 places from -1 to 1 without it.
    **kwargs
        Go to `ax.plot`: `linewidth`, `color`, `linestyle`. The label of each line is its surrogate's name.

    Returns
    -------
    list of (Line2D, Line2D or None)
        Of each surrogate, its derivative and its primitive; None where there is none, as of SSO.

    Raises
    ------
    TypeError, ValueError
        For what is no surrogate, `fast_sigmoid` without its parentheses say, an x that is not finite, axes that are not
        two. Nothing is drawn then.

    Example
    -------
    >>> from npsnn import spikeplot, surrogate
    >>> lines = spikeplot.surrogates(surrogate.fast_sigmoid(slope=1), surrogate.SSO(), x=[-1.0, 0.0, 1.0])
    >>> derivative, primitive = lines[0]
    >>> derivative.get_label(), derivative.get_ydata().tolist(), primitive.get_ydata().tolist()
    ('fast_sigmoid(slope=1)', [0.25, 1.0, 0.25], [-0.5, 0.0, 0.5])
    >>> lines[1][1] is None
    True
    """
    _door.matplotlib("figure")
    chosen = surrogates or _usual()
    for sigma in chosen:
        if not isinstance(sigma, Surrogate):
            name = getattr(sigma, "__name__", type(sigma).__name__)
            hint = f"; write {name}()" if callable(sigma) and hasattr(surrogate, name) else ""
            raise TypeError(f"surrogates: takes surrogates, such as surrogate.atan(), got {name}{hint}")
    places = _door.recording(np.arange(-400, 401) / 400 if x is None else x, "x", {1: "(N,)"}, "surrogates")
    own = axes is None
    if not own:
        _pair(axes)
    curves = [(s.derivative(places), s.primitive(places) if s.has_primitive else None) for s in chosen]

    if own:
        axes = _door.new_figure(8.0, 3.4).subplots(1, 2)
    lines = []
    for sigma, style, (slope, primitive) in zip(chosen, cycle(STYLES), curves):
        options = {"linestyle": style, **kwargs, "label": str(sigma)}
        (derivative_line,) = axes[0].plot(places, slope, **options)
        primitive_line = None
        if primitive is not None:
            options.setdefault("color", derivative_line.get_color())
            (primitive_line,) = axes[1].plot(places, primitive, **options)
        lines.append((derivative_line, primitive_line))
    for ax, title in zip(axes, ("derivative", "primitive"), strict=True):
        ax.set(xlabel="x = U - theta", title=title)
    if own:
        handles = [line for line, _ in lines]
        axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return lines


def _usual() -> tuple[Surrogate, ...]:
    """Of much the same height, so that one scale serves them."""
    s = surrogate
    return s.fast_sigmoid(), s.atan(), s.sigmoid(slope=4), s.straight_through_estimator()


def _pair(axes: Any) -> None:
    """Refuse what is not two Axes."""
    try:
        found = list(axes)
    except TypeError:
        found = []
    if len(found) != 2:
        raise TypeError(f"surrogates: axes must be two Matplotlib Axes, got {type(axes).__name__}")
    for ax in found:
        _door.axes(ax, "surrogates")
