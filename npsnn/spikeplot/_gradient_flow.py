"""The gradient through time: how much of it reaches each neuron layer at each step."""

from typing import Any

import numpy as np

from npsnn import _check, walk
from npsnn._check import Array
from npsnn.layer import where
from npsnn.network import Sequential, Tape
from npsnn.spikeplot import _door

ZERO = "#8a8a8a"  # no colour of the usual maps, and to be seen on white and on black
SAID = "log10 of the root mean square of dL/dU"


def gradient_flow(
    net: Sequential, tape: Tape, dspk: Any = None, dmem: Any = None, ax: Any = None, **kwargs: Any
) -> Any:
    """Draw how large the gradient of each neuron layer's membranes is at each step: where credit flows, where it dies.

        shown[k, t] = log10 sqrt(mean over samples and neurons of dU[t]^2)    of the k-th neuron layer, dU = dL/dU

    A row is a neuron layer, the first at the bottom, a column a time step. The gradient comes in at the top, and goes
    down and to the left. Where every entry of dU[t] is zero there is no logarithm: such a cell is masked, and grey. A
    colour one unit lower is a gradient ten times smaller.

    The tape is read and not changed; the whole batch is run forward and backward once more, a chunk of samples at a
    time.

    Parameters
    ----------
    net, tape : Sequential, Tape
        The network, and what its `forward` gave.
    dspk, dmem : (T, B, *out) arrays
        dL/dspk_rec and dL/dmem_rec, one or both, as in `Sequential.backward`.
    ax : Axes, optional
        Where to draw the map alone; without it a new figure is made, with a colour bar.
    **kwargs
        Go to `ax.imshow`: `cmap`, `vmin`, `vmax`. The "bad" colour of a colormap is for the zeros, if it has one.

    Returns
    -------
    AxesImage
        `.get_array()` is the masked array (neuron layers, T) that is shown; `.figure` the figure.

    Raises
    ------
    TypeError, ValueError
        For a tape of another network, a gradient that is missing, does not fit or is not finite, a network without
        neurons. Nothing is drawn then.

    Example
    -------
    >>> import numpy as np
    >>> import npsnn
    >>> from npsnn import spikeplot
    >>> net = npsnn.Sequential(npsnn.Leaky(beta=0.1, reset_mechanism="none"), dtype=np.float64)
    >>> spk_rec, mem_rec, tape = net.forward(np.ones((4, 1, 2)))
    >>> dmem = np.zeros_like(mem_rec)
    >>> dmem[2] = 100  # the loss looks at step 2 alone: it reaches back, a tenth a step, and nothing is after it
    >>> image = spikeplot.gradient_flow(net, tape, dmem=dmem)
    >>> image.get_array().round(9).tolist()
    [[0.0, 1.0, 2.0, None]]
    """
    _door.matplotlib("figure")
    _door.run(net, tape, "gradient_flow")
    if dspk is None and dmem is None:
        raise ValueError("gradient_flow: give dspk, dmem or both")
    dspk, dmem = net._upstream(tape, dspk, dmem, None)
    if ax is not None:
        _door.axes(ax, "gradient_flow")
    sizes = _sizes(tape, dspk, dmem)
    by_row = np.stack(list(sizes.values()))
    alive = by_row > 0
    shown = np.ma.MaskedArray(np.log10(by_row, where=alive, out=np.zeros_like(by_row)), mask=~alive)
    kwargs["cmap"] = _with_zeros(kwargs.get("cmap"))
    if not {"vmin", "vmax", "norm"} & kwargs.keys():
        kwargs["vmin"], kwargs["vmax"] = _limits(shown)

    own = ax is None
    if own:
        ax = _door.new_figure(7.0, 1.5 + 0.5 * len(sizes)).subplots()
    image = ax.imshow(shown, **{"aspect": "auto", "origin": "lower", "interpolation": "none", **kwargs})
    ax.set_yticks(range(len(sizes)), [where(tape.layers, i) for i in sizes])
    ax.set_xlabel("time step")
    ax.xaxis.get_major_locator().set_params(integer=True)
    if own:
        ax.figure.colorbar(image, ax=ax, label=SAID.replace(" square", "\nsquare"))
    return image


def _sizes(tape: Tape, dspk: Array | None, dmem: Array | None) -> dict[int, Array]:
    """Neuron layer -> (T,) the root mean square of dL/dU by step, the lowest layer first."""
    norms: dict[int, Array] = {}
    entries: dict[int, int] = {}
    for (begin, end), chunk in zip(tape.run.cuts.samples, tape.chunks, strict=True):
        before = tuple(None if U is None else np.asarray(U) for U in chunk.blocks[0].before)
        mine = [None if d is None else d[:, begin:end] for d in (dspk, dmem)]
        with np.errstate(all="ignore"):
            for back, _ in walk.neurons_backward(tape.layers, tape.run, np.asarray(chunk.x), before, *mine):
                assert back.dU is not None
                norms[back.i] = np.hypot(norms.get(back.i, 0.0), walk.norms(back.dU))
                entries[back.i] = entries.get(back.i, 0) + back.dU[0].size
    for i, norm in norms.items():
        _check.finite(norm, "dL/dU by step", f"gradient_flow: {where(tape.layers, i)}")
    return {i: norms[i] / np.sqrt(entries[i]) for i in sorted(norms)}


def _with_zeros(cmap: Any) -> Any:
    """A copy of the colormap in which what is masked can be seen."""
    cmap = _door.matplotlib("cm").ScalarMappable(cmap=cmap).get_cmap()
    return cmap if cmap.get_bad()[3] else cmap.with_extremes(bad=ZERO)


def _limits(shown: Any) -> tuple[float, float]:
    """The ends of the colour scale, with room where all that is shown is one number, or nothing is."""
    if shown.mask.all():
        return -1.0, 0.0
    low, high = float(shown.min()), float(shown.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)
