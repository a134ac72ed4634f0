"""Whom npsnn can be timed beside, each where it is installed and once its loss and gradients agree with npsnn's."""

import importlib
from collections.abc import Iterable
from statistics import median
from typing import Any, NamedTuple

from benchmarks import engines, timing
from benchmarks.networks import NETWORKS, Network
from npsnn._versions import installed


class Peer(NamedTuple):
    """An engine, imported only when it is asked for: its libraries may not be there."""

    title: str
    packages: tuple[str, ...]
    module: str
    engine: str
    compiles: bool = False


PEERS = {
    "snntorch": Peer("snnTorch eager", ("torch", "snntorch"), "benchmarks.engines", "SnnTorch"),
    "compile": Peer("snnTorch, torch.compile", ("torch", "snntorch"), "benchmarks.peers.compiled", "Compiled", True),
    "multistep": Peer("PyTorch multi-step", ("torch",), "benchmarks.peers.multistep", "MultiStep"),
    "spikingjelly": Peer("SpikingJelly", ("torch", "spikingjelly"), "benchmarks.peers.jelly", "SpikingJelly"),
    "jax": Peer("JAX, jit and scan", ("jax",), "benchmarks.peers.jax_scan", "Jax", True),
}
DEFAULT = "snntorch"
TUTORIAL = "tutorial, B 128, T 50"


def chosen(names: str) -> list[str]:
    """The peers of a comma-separated list, or all; ValueError for a name that is none."""
    found = list(PEERS) if names == "all" else [name for name in names.split(",") if name]
    unknown = [name for name in found if name not in PEERS]
    if unknown or not found:
        raise ValueError(f"peers: {', '.join(unknown) or 'none'} given; there are all, {', '.join(PEERS)}")
    return found


def versions(names: Iterable[str]) -> dict[str, str]:
    """Of the packages that the peers are made of."""
    packages = [package for name in names for package in PEERS[name].packages]
    return {package: installed(package) for package in dict.fromkeys(packages)}


def ready(name: str, network: Network, threads: int) -> tuple[Any, float]:
    """(engine, how far its loss and gradients are from npsnn's); RuntimeError with the reason why it is left out."""
    missing = [package for package, version in versions([name]).items() if version == "not installed"]
    if missing:
        raise RuntimeError(f"{' and '.join(missing)} not installed")
    try:
        engine = getattr(importlib.import_module(PEERS[name].module), PEERS[name].engine)
        apart = timing.agreement(network, threads, engine)
        made = engine(network, threads)
    except Exception as error:  # a compiler that is missing, a library that is half installed: theirs to raise
        raise RuntimeError(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error
    if not apart <= timing.AGREE:
        raise RuntimeError(f"losses or gradients are {apart:.1e} apart")
    return made, apart


def compare(names: Iterable[str], rounds: int, threads: int, network: Network = NETWORKS[TUTORIAL]) -> dict[str, Any]:
    """Training step and inference of npsnn and the peers, all in the same rounds, and who was left out and why."""
    made, apart, left_out = {"npsnn": engines.Npsnn(network)}, {}, {}
    for name in names:
        try:
            made[name], apart[name] = ready(name, network, threads)
        except RuntimeError as error:
            left_out[name] = str(error)
            print(f"{PEERS[name].title}: left out, {error}", flush=True)
    found: dict[str, Any] = {"apart": apart, "left out": left_out, "versions": {**versions(names), "threads": threads}}
    warm_up = _warm_up(made)
    for what in ("train", "infer"):
        times = timing.interleaved({name: getattr(engine, what) for name, engine in made.items()}, rounds)
        found[what] = times
        found[f"compile {what}"] = {
            name: max(0.0, warm_up[name, what] - WARM_UPS * median(times[name]))
            for name in made
            if name in PEERS and PEERS[name].compiles
        }
    return found


WARM_UPS = 2  # the first call compiles; the second may again, now that another kind of call has been between


def _warm_up(made: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Seconds of the calls before the rounds, in which whatever compiles does so."""
    spent: dict[tuple[str, str], float] = {}
    for _ in range(WARM_UPS):
        for name, engine in made.items():
            for what in ("train", "infer"):
                spent[name, what] = spent.get((name, what), 0.0) + timing.seconds(getattr(engine, what))
    return spent


def table(found: dict[str, Any]) -> str:
    """Medians in milliseconds, least and most in brackets; seconds of compiling, which are not in them."""
    lines = ["| engine | step | ms | ratio to npsnn | compile s |", "| --- | --- | --- | --- | --- |"]
    for name in found["train"]:
        title = PEERS[name].title if name in PEERS else name
        for what in ("train", "infer"):
            times, compiling = found[what][name], found[f"compile {what}"].get(name)
            ratio = median(times) / median(found[what]["npsnn"])
            wait = "" if compiling is None else f"{compiling:.1f}"
            lines.append(f"| {title} | {what} | {spread(times)} | **{ratio:.1f}** | {wait} |")
    return "\n".join(lines)


def spread(times: list[float]) -> str:
    """The median in milliseconds, least and most in brackets."""
    return f"{1000 * median(times):.3g} ({1000 * min(times):.3g} to {1000 * max(times):.3g})"
