"""snnTorch under torch.compile."""

from typing import Any

import torch

from benchmarks.engines import SnnTorch
from benchmarks.networks import Network


class Compiled(SnnTorch):
    """The network at one step of time is what is compiled: unrolled over T, compiling would take T times as long.

    Its states, at rest or not, with a gradient or without, are a handful of graphs, all made by the first calls.
    """

    def __init__(self, network: Network, threads: int = 2) -> None:
        super().__init__(network, threads)
        # Graphs of sizes known in advance, and none left by a network of other sizes or by an earlier run.
        torch.compiler.reset()
        torch.compiler.config.force_disable_caches = True
        self.compiled = torch.compile(self.net, dynamic=False)

    def step(self, x_t: Any) -> Any:
        return self.compiled(x_t)
