"""A training step on a GPU beside PyTorch's engines on the same card.

    python -m benchmarks --cuda                the tables
    python -m benchmarks --cuda --write        and put them into docs/benchmarks.md and docs/benchmarks.json

Two times of each step: the host's, with the device synchronised before and after, and the device's own, between two
events. Losses and gradients of an engine must agree with npsnn's before it is timed. Where an engine cannot be run, the
table says why.
"""

import importlib
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

from benchmarks import engines, page, timing
from benchmarks.growth import GROWTH
from benchmarks.networks import NETWORKS, Network
from npsnn import _cuda, _graph
from npsnn._versions import installed

TUTORIAL = NETWORKS["tutorial, B 128, T 50"]
LAUNCHED = "npsnn cuda, launch by launch"
WARM_UPS = 3


class Npsnn(engines.Npsnn):
    """npsnn with everything on the device, as `backprop` trains it; a step is one graph, or is launched by kernels."""

    def __init__(self, network: Network, graph: bool = True) -> None:
        from npsnn.resident import Resident

        super().__init__(network, "cuda")
        self.there, self.graph = Resident(self.net, self.optimizer), graph

    def train(self) -> None:
        _graph.wanted = self.graph
        self.there.step(self.criterion, None, self.x, self.steps, None, self.targets)

    def clock(self) -> "Clock":
        """Of Numba's stream."""
        cuda = _cuda.driver()
        return Clock(cuda.synchronize, cuda.event, lambda event: event.record(), cuda.event_elapsed_time)


class Clock:
    """A device's own time, of whichever library drives it."""

    def __init__(self, synchronize: Any, event: Any, record: Any, elapsed: Any) -> None:
        self.synchronize, self.event, self.record, self.elapsed = synchronize, event, record, elapsed

    def __call__(self, job: Callable[[], Any]) -> tuple[float, float]:
        """(the host's seconds, the device's) of a job."""
        begin, end = self.event(), self.event()
        self.synchronize()

        def work() -> None:
            self.record(begin)
            job()
            self.record(end)
            self.synchronize()

        host = timing.seconds(work)
        return host, self.elapsed(begin, end) / 1000


class OnGpu:
    """An engine of PyTorch's, moved to the device."""

    def __init__(self, engine: Any, network: Network, graph: bool = False) -> None:
        self.engine = engine(network, 1)
        torch = self.torch = self.engine.torch
        self.engine.net.to("cuda")
        self.engine.x, self.engine.targets = (t.to("cuda") for t in (self.engine.x, self.engine.targets))
        self.engine.optimizer = torch.optim.Adam(self.engine.net.parameters(), lr=1e-3, capturable=graph)
        self.gradients, self.train = self.engine.gradients, self.engine.train
        if graph:
            self.train = self._captured()

    def _captured(self) -> Callable[[], None]:
        """The whole step as one graph, after some steps beside it."""
        torch, stream = self.torch, self.torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                self.engine.train()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.engine.train()
        return graph.replay  # type: ignore[no-any-return]

    def clock(self) -> Clock:
        """Of PyTorch's stream."""
        cuda = self.torch.cuda
        event = partial(cuda.Event, enable_timing=True)
        return Clock(cuda.synchronize, event, lambda event: event.record(), lambda a, b: a.elapsed_time(b))


def _peer(module: str, name: str, **options: Any) -> Callable[[Network], Any]:
    return lambda network: OnGpu(getattr(importlib.import_module(module), name), network, **options)


PEERS: dict[str, Callable[[Network], Any]] = {
    "snnTorch eager": _peer("benchmarks.engines", "SnnTorch"),
    "snnTorch, CUDA graph": _peer("benchmarks.engines", "SnnTorch", graph=True),
    "PyTorch multi-step": _peer("benchmarks.peers.multistep", "MultiStep"),
    "PyTorch multi-step, CUDA graph": _peer("benchmarks.peers.multistep", "MultiStep", graph=True),
    "SpikingJelly": _peer("benchmarks.peers.jelly", "SpikingJelly"),
    "SpikingJelly, its own neurons": _peer("benchmarks.peers.jelly", "OwnNeurons"),
}


def timed(made: dict[str, Any], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of a training step of each engine, interleaved: the host's, and the device's."""
    clocks = {name: engine.clock() for name, engine in made.items()}
    for engine in made.values():
        for _ in range(WARM_UPS):
            engine.train()
    times: dict[str, dict[str, list[float]]] = {name: {"host": [], "device": []} for name in made}
    for _ in range(rounds):
        for name, engine in made.items():
            engine.train()
            host, device = clocks[name](engine.train)
            times[name]["host"].append(host)
            times[name]["device"].append(device)
    return times


def compare(rounds: int) -> dict[str, Any]:
    """The tutorial's training step of npsnn and every peer, and who was left out and why."""
    few = TUTORIAL._replace(batch=2, num_steps=4)
    ours = engines.Npsnn(few, "cuda").gradients()
    made: dict[str, Any] = {"npsnn cuda": Npsnn(TUTORIAL), LAUNCHED: Npsnn(TUTORIAL, graph=False)}
    apart, left_out = {}, {}
    for name, peer in PEERS.items():
        try:
            if not name.endswith(("graph", "neurons")):  # the same engine again; another model
                apart[name] = engines.disagreement(ours, peer(few).gradients())
                if not apart[name] <= timing.AGREE:
                    raise RuntimeError(f"losses or gradients are {apart[name]:.1e} apart")
            made[name] = peer(TUTORIAL)
        except Exception as error:  # a library that is missing, or cannot be captured: theirs to raise
            left_out[name] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            print(f"{name}: left out, {left_out[name]}", flush=True)
    packages = ("torch", "snntorch", "spikingjelly", "triton", "numba-cuda", "numba")
    versions = {package: installed(package) for package in packages}
    times = timed(made, rounds)
    if not made["npsnn cuda"].there.replays.count:
        left_out["npsnn cuda, CUDA graph"] = "no graph could be made, or it gave other bits: both rows are launches"
    return {"device": _cuda.device_name(), "versions": versions, "apart": apart, "left out": left_out, "times": times}


def growth(rounds: int) -> dict[str, Any]:
    """Seconds of npsnn's step as T, the batch and the width grow."""
    return {
        axis: timed({str(size): Npsnn(network) for size, network in networks.items()}, rounds)
        for axis, networks in GROWTH.items()
    }


def table(found: dict[str, Any]) -> str:
    """Medians in milliseconds, and the ratio of the host's to npsnn's."""
    lines = [f"| engine, on {found['device']} | host ms | device ms | ratio |", "| --- | --- | --- | --- |"]
    ours = median(found["times"]["npsnn cuda"]["host"])
    for name, times in found["times"].items():
        host, device = (1000 * median(times[clock]) for clock in ("host", "device"))
        lines.append(f"| {name} | {host:.3g} | {device:.3g} | **{host / 1000 / ours:.1f}** |")
    lines += [f"| {name} | left out: {why} | | |" for name, why in found["left out"].items()]
    return "\n".join(lines)


def growth_table(found: dict[str, Any]) -> str:
    """Medians in milliseconds."""
    lines = ["| of | sizes | host ms | device ms |", "| --- | --- | --- | --- |"]
    for axis, result in found.items():
        cells = (" ".join(f"{1000 * median(t[c]):.3g}" for t in result.values()) for c in ("host", "device"))
        lines.append(f"| {axis} | {' '.join(result)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run(rounds: int, write: bool) -> int:
    """Measure and print; 1, and a sentence, where there is no GPU."""
    works, why = _cuda.available()
    if not works or _cuda.SIMULATED:
        print(f"nothing was timed: {'a simulator has no speed' if works else why}")
        return 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {"step": compare(rounds), "growth": growth(rounds)}
    tables = {"cuda": table(found["step"]), "cuda growth": growth_table(found["growth"])}
    print("\n\n".join(tables.values()))
    if write:
        page.write(tables, {"cuda": found})
    return 0
