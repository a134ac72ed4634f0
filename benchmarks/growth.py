"""How a training step of the tutorial's network grows with T, with the batch and with the width: a table and a plot.

    python -m benchmarks.growth
    python -m benchmarks.growth --write        and put them into docs/

Time linear in T and in the batch is what is claimed, a fitted exponent between 0.9 and 1.1. Width counts channels:
twice as many make four times the work of the second convolution, and twice that of the rest.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import engines, page
from benchmarks.networks import NETWORKS, Network, tutorial
from benchmarks.timing import interleaved

PLOT = "benchmarks_growth.svg"
_TUTORIAL = NETWORKS["tutorial, B 128, T 50"]
GROWTH: dict[str, dict[int, Network]] = {
    "T": {T: _TUTORIAL._replace(batch=64, num_steps=T) for T in (25, 50, 100, 200, 400)},
    "batch": {B: _TUTORIAL._replace(batch=B) for B in (16, 32, 64, 128, 256)},
    "width": {k: _TUTORIAL._replace(layers=partial(tutorial, k), batch=32) for k in (1, 2, 3, 4)},
}
AT = {"T": "batch 64", "batch": "T 50", "width": "batch 32, T 50"}


def growth(rounds: int) -> dict[str, Any]:
    """Seconds of npsnn's training step, every round's, as each axis grows, and the exponent that fits the medians."""
    found: dict[str, Any] = {}
    for axis, networks in GROWTH.items():
        jobs = {str(size): engines.Npsnn(network).train for size, network in networks.items()}
        interleaved(jobs, 1)
        seconds = interleaved(jobs, rounds)
        medians = [median(times) for times in seconds.values()]
        exponent = float(np.polyfit(np.log(list(networks)), np.log(medians), 1)[0])
        found[axis] = {"seconds": seconds, "exponent": exponent}
    return found


def table(found: dict[str, Any]) -> str:
    """Milliseconds of a training step."""
    lines = ["| of | sizes | ms | fitted exponent |", "| --- | --- | --- | --- |"]
    for axis, result in found.items():
        ms = " ".join(f"{1000 * median(times):.0f}" for times in result["seconds"].values())
        lines.append(f"| {axis}, at {AT[axis]} | {' '.join(result['seconds'])} | {ms} | {result['exponent']:.2f} |")
    return "\n".join(lines)


def plot(found: dict[str, Any], file: Path) -> None:
    """The same on two logarithmic axes: medians, the least and the most as bars, and a line of exponent 1."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    for ax, (axis, result) in zip(figure.subplots(1, len(found)), found.items(), strict=True):
        sizes = np.array([float(size) for size in result["seconds"]])
        ms = 1000 * np.array([[median(t), min(t), max(t)] for t in result["seconds"].values()]).T
        ax.errorbar(sizes, ms[0], [ms[0] - ms[1], ms[2] - ms[0]], fmt="o", color="#0072B2", label="npsnn cpu")
        ax.plot(sizes, ms[0, 0] * sizes / sizes[0], "--", color="#777777", label="linear")
        ax.set(xscale="log", yscale="log", xlabel=f"{axis} (at {AT[axis]})", ylabel="ms a training step")
        ax.set_xticks(sizes, [f"{size:g}" for size in sizes], minor=False)
        ax.set_xticks([], minor=True)
        for kind in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
            kind("{x:g}")
        ax.set_title(f"exponent {result['exponent']:.2f}", fontsize="medium")
        ax.legend(frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "npsnn", "svg.fonttype": "none"}):
        figure.savefig(file, metadata={"Date": None})


def write(found: dict[str, Any]) -> None:
    """Into docs/: the table, the numbers and the plot."""
    page.write({"growth": table(found)}, {"growth": found})
    plot(found, page.DOCS / PLOT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="into docs/")
    args = parser.parse_args()
    found = growth(args.rounds)
    print(table(found))
    if args.write:
        write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
