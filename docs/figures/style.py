"""What all figures share: colours that can be read on white and on a dark page, by the colour-blind too.

Each colour of a line or mark has a contrast of at least 3 against white and against a dark page (WCAG 1.4.11); text is
grey, with at least 4 against both, which no colour much exceeds. The background is transparent.
"""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
TEXT = "#7d7d7d"
BLUE, ORANGE, GREEN, PURPLE = "#2f7fc1", "#d55e00", "#009e73", "#b8609a"
FAINT = "#8a8a8a"  # grids and helper lines, with alpha
HEAT = "viridis"  # for images, which bring their own ground

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "npsnn",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "axes.titlecolor": TEXT,
    "axes.titlesize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=[BLUE, ORANGE, GREEN, PURPLE]),
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "grid.color": FAINT,
    "grid.alpha": 0.3,
    "lines.linewidth": 2.0,
    "legend.frameon": False,
}


def new_figure(width: float = 7.0, height: float = 3.5) -> Any:
    """A figure of so many inches in this style; call it, and draw, inside `matplotlib.rc_context(STYLE)`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    return figure


def save(figure: Any, path: Path) -> None:
    """An SVG with nothing in it that changes from run to run."""
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
