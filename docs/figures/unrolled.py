"""One neuron through four steps as a graph: what depends on what, and by which kind of edge.

The numbers in the nodes are those of the tutorial's first chapter, computed by the law.
"""

from fractions import Fraction as F

import numpy as np
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from docs.figures.style import BLUE, FAINT, GREEN, ORANGE, PURPLE, new_figure
from npsnn import surrogate
from npsnn.leaky.reference import leaky_forward

I = [F(3, 4), F(3, 4), F(3, 2), F(1, 2)]
WIDE, RADIUS, SMALL = 2.0, 0.47, 0.36  # between steps; of a node, of a reset
Y_I, Y_U, Y_R, Y_S, Y_L = 0.0, 1.6, 2.65, 3.35, 4.95


def run():
    """U and S of the four steps, exact: the law takes fractions as they are."""
    column = np.array(I, dtype=object).reshape(-1, 1, 1)
    one = {"num_steps": len(I), "sigma": surrogate.fast_sigmoid(slope=1)}
    S, cache = leaky_forward(column, np.array([F(1, 2)]), np.array([F(1)]), **one)
    return list(cache.U.ravel()), [int(s) for s in S.ravel()]


def figure():
    """The unrolled graph; edges are numbered by kind, a plus marks a fork."""
    U, S = run()
    T = len(I)
    fig = new_figure(5.4, 4.55)
    ax = fig.add_subplot()
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_xlim(-0.85, WIDE * (T - 1) + 0.6)
    ax.set_ylim(-0.55, Y_L + 0.35)

    bar = FancyBboxPatch((-0.6, Y_L - 0.25), WIDE * (T - 1) + 1.1, 0.5, "round,pad=0.03", ec=PURPLE, fc="none", lw=1.8)
    ax.add_patch(bar)
    ax.text(WIDE * (T - 1) / 2, Y_L, "loss L", ha="center", va="center", fontsize=13)
    for t in range(T):
        x = WIDE * t
        node(ax, x, Y_I, f"I[{t}]", I[t], FAINT)
        node(ax, x, Y_U, f"U[{t}]", U[t], BLUE, fork=True)
        node(ax, x, Y_S, f"S[{t}]", S[t], GREEN, fork=t + 1 < T)
        edge(ax, (x, Y_I + RADIUS), (x, Y_U - RADIUS), 1, BLUE, (x + 0.18, (Y_I + Y_U) / 2))
        edge(ax, (x, Y_U + RADIUS), (x, Y_S - RADIUS), 2, GREEN, (x + 0.18, (Y_U + Y_S) / 2))
        edge(ax, (x, Y_S + RADIUS), (x, Y_L - 0.28), 5, PURPLE, (x + 0.18, Y_S + 0.85))
        way = Path(
            [(x - 0.1, Y_U + 0.46), (x - 0.5, Y_U + 0.75), (x - 0.58, Y_S - 0.6), (x - 0.58, Y_L - 0.28)],
            [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
        )
        ax.add_patch(FancyArrowPatch(path=way, color=PURPLE, lw=1.6, arrowstyle="-|>", mutation_scale=11))
        number(ax, x - 0.4, Y_S + 0.85, 6, PURPLE)
        if t + 1 < T:
            edge(ax, (x + RADIUS, Y_U), (x + WIDE - RADIUS, Y_U), 3, BLUE, (x + WIDE / 2, Y_U - 0.2))
            middle = x + WIDE / 2
            edge(ax, *between((x, Y_S), (middle, Y_R), RADIUS, SMALL), None, ORANGE)
            edge(ax, *between((middle, Y_R), (x + WIDE, Y_U), SMALL, RADIUS), 4, ORANGE, (middle + 0.22, Y_R - 0.52))
            ax.add_patch(Circle((middle, Y_R), SMALL, ec=ORANGE, fc="none", lw=1.6))
            ax.text(middle, Y_R, f"R[{t + 1}]\n{S[t]}", ha="center", va="center", fontsize=10, linespacing=1.0)
    return fig


def node(ax, x, y, name, value, colour, fork=False):
    """A circle with a name and a value; where it leaves in several ways, a plus at its shoulder."""
    ax.add_patch(Circle((x, y), RADIUS, ec=colour, fc="none", lw=1.8))
    ax.text(x, y, f"{name}\n{value}", ha="center", va="center", fontsize=12, linespacing=1.05)
    if fork:
        at = (x + 0.47, y + 0.42)
        ax.text(*at, "+", ha="center", va="center", fontsize=15, fontweight="bold", color=ORANGE)


def edge(ax, begin, end, kind, colour, at=None):
    """An arrow, dashed for the reset, with its kind's number at `at`."""
    dashes = (0, (4, 2)) if colour == ORANGE else "-"
    shape = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(begin, end, color=colour, lw=1.6, linestyle=dashes, **shape))
    if at is not None:
        number(ax, *at, kind, colour)


def number(ax, x, y, kind, colour):
    """The number of an edge's kind, beside it."""
    ax.text(x, y, str(kind), ha="center", va="center", fontsize=14, fontweight="bold", color=colour)


def between(a, b, leave, arrive):
    """The piece of the line from a to b outside of circles of these radii."""
    a, b = np.array(a), np.array(b)
    along = (b - a) / np.hypot(*(b - a))
    return tuple(a + leave * along), tuple(b - arrive * along)
