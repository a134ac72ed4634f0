"""Time npsnn beside snnTorch on every network, one process, interleaved, after checking that they agree.

    python -m benchmarks                       the tables
    python -m benchmarks --write               and put them into docs/benchmarks.md and docs/benchmarks.json
    python -m benchmarks --only dense --rounds 9
    python -m benchmarks --peers all           and a table of every peer that is installed, on the tutorial's network

A row's ratio is the median of snnTorch's times over the median of npsnn's. No time is asserted anywhere.
`python -m benchmarks.peers` prints the table of peers alone.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import npsnn
from benchmarks import engines, peers
from benchmarks.networks import NETWORKS, Network
from benchmarks.peers import spread
from benchmarks.timing import AGREE, agreement, interleaved
from npsnn import training

DOCS = Path(__file__).parents[1] / "docs"


def compare(name: str, rounds: int, threads: int) -> dict[str, Any]:
    """One row: training step and inference of both engines."""
    network = NETWORKS[name]
    ours, theirs = engines.Npsnn(network), engines.SnnTorch(network, threads)
    apart = agreement(network, threads)
    if not apart <= AGREE:
        raise SystemExit(f"{name}: losses or gradients are {apart:.1e} apart; nothing is timed")
    tape = ours.net.forward(ours.x, ours.steps)[2]
    row: dict[str, Any] = {"network": name, "apart": apart}
    row["rates"] = [round(float(v.rate), 3) for v in ours.net.firing(tape).values()]
    for what in ("train", "infer"):
        times = interleaved({"npsnn": getattr(ours, what), "snntorch": getattr(theirs, what)}, rounds)
        row[what] = times
    return row


def children(name: str) -> dict[str, Any]:
    """Peak memory of both engines, and npsnn's first step with an empty and a warm cache of kernels."""
    found: dict[str, Any] = {"network": name}
    with tempfile.TemporaryDirectory() as folder:
        found["npsnn cold"] = _child("Npsnn", name, folder)
        found["npsnn warm"] = _child("Npsnn", name, folder)
        found["snntorch"] = _child("SnnTorch", name, folder)
    return found


def _child(engine: str, name: str, cache: str, *more: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.child", engine, name, *more]
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    start = time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    return {**result, "seconds": time.time() - start}


LONG, BUDGET = (50, 200, 1000), 64_000_000


def long_runs(name: str) -> dict[str, Any]:
    """Peak memory and seconds of a step as T grows, with all that backward needs kept and with a budget."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as cache:
        for T in LONG:
            steps = ("--num-steps", str(T))
            _child("Npsnn", name, cache, *steps)  # kernels
            budget = _child("Npsnn", name, cache, *steps, "--memory-budget", str(BUDGET))
            found[str(T)] = {"all": _child("Npsnn", name, cache, *steps), "budget": budget}
    return found


GROWTH: dict[str, list[Network]] = {
    "T": [NETWORKS["tutorial, B 128, T 50"]._replace(batch=64, num_steps=T) for T in (25, 50, 100, 200, 400)],
    "batch": [NETWORKS["tutorial, B 128, T 50"]._replace(batch=B) for B in (16, 32, 64, 128, 256)],
}


def growth(rounds: int) -> dict[str, Any]:
    """Median seconds of npsnn's training step as T and the batch grow, and the exponent that fits."""
    found: dict[str, Any] = {}
    for axis, networks in GROWTH.items():
        jobs = {str(_size(axis, n)): engines.Npsnn(n).train for n in networks}
        interleaved(jobs, 1)
        seconds = {name: median(times) for name, times in interleaved(jobs, rounds).items()}
        sizes = np.log([float(name) for name in seconds])
        exponent = float(np.polyfit(sizes, np.log(list(seconds.values())), 1)[0])
        found[axis] = {"seconds": seconds, "exponent": exponent}
    return found


def _size(axis: str, network: Network) -> int:
    return network.num_steps if axis == "T" else network.batch


# --- the tables ----------------------------------------------------------------------------------------------------


def grid_table(rows: list[dict[str, Any]]) -> str:
    """Medians in milliseconds, least and most in brackets."""
    lines = [
        "| network | firing rates | step | npsnn ms | snnTorch ms | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        for what in ("train", "infer"):
            ours, theirs = row[what]["npsnn"], row[what]["snntorch"]
            rates = " ".join(f"{r:.2f}" for r in row["rates"])
            ratio = median(theirs) / median(ours)
            lines.append(
                f"| {row['network']} | {rates} | {what} | {spread(ours)} | {spread(theirs)} | **{ratio:.1f}** |"
            )
    return "\n".join(lines)


def children_table(rows: list[dict[str, Any]]) -> str:
    """Megabytes above what was held before the first step; seconds from the start of the process."""
    lines = [
        "| network | npsnn MB | snnTorch MB | share | first step, cold | warm |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ours, theirs = (row[name]["peak_bytes"] / 1e6 for name in ("npsnn warm", "snntorch"))
        cold, warm = (row[name]["first_step_s"] for name in ("npsnn cold", "npsnn warm"))
        share = ours / theirs
        lines.append(f"| {row['network']} | {ours:.0f} | {theirs:.0f} | {share:.2f} | {cold:.1f} s | {warm:.1f} s |")
    return "\n".join(lines)


def growth_table(found: dict[str, Any]) -> str:
    """Milliseconds of a training step."""
    lines = ["| of | sizes | ms | fitted exponent |", "| --- | --- | --- | --- |"]
    for axis, result in found.items():
        ms = " ".join(f"{1000 * s:.0f}" for s in result["seconds"].values())
        lines.append(f"| {axis} | {' '.join(result['seconds'])} | {ms} | {result['exponent']:.2f} |")
    return "\n".join(lines)


def long_table(found: dict[str, Any]) -> str:
    """Megabytes above what was held before the first step; milliseconds of the second step."""
    budget = f"{BUDGET / 1e6:.0f} MB"
    lines = [
        f"| T | everything kept: MB | ms | budget of {budget}: MB | ms |",
        "| --- | --- | --- | --- | --- |",
    ]
    for T, row in found.items():
        cells = (f"{row[k]['peak_bytes'] / 1e6:.0f} | {1000 * row[k]['step_s']:.0f}" for k in ("all", "budget"))
        lines.append(f"| {T} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write(tables: dict[str, str], results: dict[str, Any]) -> None:
    """Put each table between its marks in docs/benchmarks.md, and everything into docs/benchmarks.json.

    A table without marks there is only in the file of numbers. Where no peers were timed, the last ones' stay in both.
    """
    page, numbers = DOCS / "benchmarks.md", DOCS / "benchmarks.json"
    text = page.read_text("utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}: written by python -m benchmarks --write -->\n", f"<!-- end of {name} -->"
        if begin not in text:
            print(f"docs/benchmarks.md has no block of {name}")
            continue
        head, rest = text.split(begin)
        text = f"{head}{begin}{table}\n{end}{rest.split(end)[1]}"
    page.write_text(text, "utf-8")
    last = json.loads(numbers.read_text("utf-8")) if numbers.exists() else {}
    kept = {name: last[name] for name in ("peers",) if name in last}
    numbers.write_text(json.dumps({**kept, **results}, indent=1) + "\n", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="the peers'; npsnn's are NPSNN_NUM_THREADS")
    parser.add_argument("--only", default="", help="networks whose name has this in it")
    parser.add_argument(
        "--peers", default=peers.DEFAULT, help=f"all, or of {', '.join(peers.PEERS)}, with commas between"
    )
    parser.add_argument("--write", action="store_true", help="into docs/")
    args = parser.parse_args()
    try:
        chosen = peers.chosen(args.peers)
    except ValueError as error:
        parser.error(str(error))
    if training.installed("snntorch") == "not installed":
        raise SystemExit('needs PyTorch and snnTorch to stand beside: pip install "npsnn[peers]"')
    names = [name for name in NETWORKS if args.only in name]
    versions = {**training.versions(), "processor": platform.machine(), "threads": args.threads}
    results: dict[str, Any] = {"npsnn": npsnn.__version__, "versions": versions}
    results["grid"] = [compare(name, args.rounds, args.threads) for name in names]
    print(grid_table(results["grid"]), flush=True)
    results["children"] = [children(name) for name in names]
    print(children_table(results["children"]), flush=True)
    results["long"] = long_runs(peers.TUTORIAL)
    print(long_table(results["long"]), flush=True)
    results["growth"] = growth(args.rounds)
    tables = {"grid": grid_table(results["grid"]), "memory and start": children_table(results["children"])}
    tables["long runs"] = long_table(results["long"])
    tables["growth"] = growth_table(results["growth"])
    print(tables["growth"], flush=True)
    if chosen != [peers.DEFAULT]:  # whom the grid has already
        results["peers"] = peers.compare(chosen, args.rounds, args.threads)
        tables["peers"] = peers.table(results["peers"])
        print(tables["peers"])
    if args.write:
        write(tables, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
