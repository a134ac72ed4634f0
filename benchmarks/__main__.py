"""Time npsnn beside snnTorch on every network, one process, interleaved, after checking that they agree.

    python -m benchmarks                       the tables
    python -m benchmarks --write               and put them into docs/benchmarks.md and docs/benchmarks.json
    python -m benchmarks --only dense --rounds 9
    python -m benchmarks --peers all           and a table of every peer that is installed, on the tutorial's network
    python -m benchmarks --cuda                a training step on a GPU

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
from statistics import median
from typing import Any

import npsnn
from benchmarks import cuda, engines, growth, page, peers
from benchmarks.networks import NETWORKS
from benchmarks.peers import spread
from benchmarks.timing import AGREE, agreement, interleaved
from npsnn._versions import installed
from npsnn._versions import versions as all_versions


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="the peers'; npsnn's are NPSNN_NUM_THREADS")
    parser.add_argument("--only", default="", help="networks whose name has this in it")
    parser.add_argument(
        "--peers", default=peers.DEFAULT, help=f"all, or of {', '.join(peers.PEERS)}, with commas between"
    )
    parser.add_argument("--write", action="store_true", help="into docs/")
    parser.add_argument("--cuda", action="store_true", help="a training step on a GPU, beside PyTorch's engines on it")
    args = parser.parse_args()
    if args.cuda:
        return cuda.run(args.rounds, args.write)
    try:
        chosen = peers.chosen(args.peers)
    except ValueError as error:
        parser.error(str(error))
    if installed("snntorch") == "not installed":
        raise SystemExit('needs PyTorch and snnTorch to stand beside: pip install "npsnn[peers]"')
    names = [name for name in NETWORKS if args.only in name]
    versions = {**all_versions(), "processor": platform.machine(), "threads": args.threads}
    results: dict[str, Any] = {"npsnn": npsnn.__version__, "versions": versions}
    results["grid"] = [compare(name, args.rounds, args.threads) for name in names]
    print(grid_table(results["grid"]), flush=True)
    results["children"] = [children(name) for name in names]
    print(children_table(results["children"]), flush=True)
    results["long"] = long_runs(peers.TUTORIAL)
    print(long_table(results["long"]), flush=True)
    results["growth"] = growth.growth(args.rounds)
    tables = {"grid": grid_table(results["grid"]), "memory and start": children_table(results["children"])}
    tables["long runs"] = long_table(results["long"])
    print(growth.table(results["growth"]), flush=True)
    if chosen != [peers.DEFAULT]:  # whom the grid has already
        results["peers"] = peers.compare(chosen, args.rounds, args.threads)
        tables["peers"] = peers.table(results["peers"])
        print(tables["peers"])
    if args.write:
        page.write(tables, results)
        growth.write(results["growth"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
