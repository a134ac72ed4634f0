"""What the packages above a CUDA driver make of npsnn, with a driver that needs no GPU (benchmarks/driver.py).

Kernels do nothing there, so no number is looked at: only what is launched, copied, recorded and refused.
"""

import json
from itertools import pairwise

import pytest

from benchmarks import driver
from npsnn import _cuda
from tests.processes import python

PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
import numpy as np
from benchmarks import driver
seen = driver.load(Path(sys.argv[1]))
from npsnn import _cuda, _graph, backprop, optim
from npsnn import functional as SF
from npsnn.resident import _left
from npsnn.training import Settings, build

found = {"available": _cuda.available(), "wanted": _graph.wanted}
_graph.wanted = sys.argv[2] == "graphs"
rng = np.random.default_rng(0)
loader = [(rng.random((4, 1, 28, 28), np.float32), rng.integers(0, 10, 4)) for _ in range(5)]
net = build(Settings(channels=(2, 3), backend="cuda"), 0)
adam = optim.Adam(net)
steps = []
for batch in backprop.batches(net, loader, adam, SF.ce_rate_loss(), 3, time_var=False):
    steps.append((_cuda.launches, seen.seen_launched(), seen.seen_graph_launches()))
found["steps"], found["graphs"], found["replayed"] = steps, seen.seen_graphs(), _left[adam].replays.count
found["rates"] = [f.rate for f in net.firing(batch.tape).values()]

timed = [(rng.random((6, 4, 1, 28, 28), np.float32), rng.integers(0, 10, 4))]
backprop.TBPTT(net, timed, adam, SF.mse_count_loss(), K=2)
spk, mem, tape = net.forward(loader[0][0], 3)
grads = net.backward(tape, dspk=np.ones_like(spk), dmem=np.ones_like(mem), input_grad=True)
found["shapes"] = [list(g.shape) for g in grads.values()]
adam.step(grads)

from benchmarks.cuda import Npsnn
from benchmarks.networks import NETWORKS
engine = Npsnn(NETWORKS["tutorial, B 128, T 50"]._replace(batch=2, num_steps=3))
found["clock"] = engine.clock()(engine.train)

seen.set_limit(60_000_000)
before = net.flat_params.copy(), adam.t
try:
    big = [(rng.random((512, 1, 28, 28), np.float32), rng.integers(0, 10, 512))]
    backprop.BPTT(net, big, adam, SF.ce_rate_loss(), num_steps=50, time_var=False)
except MemoryError as error:
    found["error"] = str(error)
found["kept"] = bool((before[0] == net.flat_params).all()) and before[1] == adam.t
backprop.BPTT(net, loader, adam, SF.ce_rate_loss(), num_steps=3, time_var=False)
found["goes on"] = adam.t - before[1]
print(json.dumps(found))
"""


@pytest.fixture(scope="module", params=["graphs", "launches"])
def found(request, tmp_path_factory):
    """What the program saw, with graphs and without."""
    if _cuda.SIMULATED:
        pytest.skip("the simulator is its own driver")
    if (package := _cuda.package()) not in ("numba_cuda", "numba_cuda_mlir"):
        pytest.skip('needs numba-cuda or numba-cuda-mlir, and a compiler: pip install "numba-cuda[cu12]"')
    if (why := driver.why_not()) is not None:
        pytest.skip(f"needs a C compiler: {why}")
    from tests.cuda.kernels import no_compiler

    if (why := no_compiler()) is not None:
        pytest.skip(f"{package} has no compiler here: {why}")
    said = " ".join(python(PROGRAM, str(tmp_path_factory.mktemp("driver")), request.param))
    return {**json.loads(said), "graphs wanted": request.param == "graphs"}


def test_it_is_a_device_to_the_package(found):
    assert found["available"] == [True, "no GPU"]
    assert found["wanted"], "graphs are used unasked"


def test_a_step_becomes_a_graph(found):
    """The first sends constants; the second and third are recorded, for a loop holds a batch, and tried; then replays.

    A recorded step has three launches more, which copy the last membranes.
    """
    steps = [[0, 0, 0], *found["steps"]]
    gone = [[b - a for a, b in zip(*pair, strict=True)] for pair in pairwise(steps)]
    if found["graphs wanted"]:
        assert gone == [[23, 23, 0], [23, 46, 1], [23, 46, 1], [0, 23, 1], [0, 23, 1]]
        assert (found["graphs"], found["replayed"]) == (2, 2)
    else:
        assert gone == [[20, 20, 0]] * 5
        assert (found["graphs"], found["replayed"]) == (0, 0)


def test_every_way_through_a_network_runs(found):
    assert found["rates"] == [0.0, 0.0, 0.0]
    assert found["shapes"] == [[2, 1, 5, 5], [2], [3, 2, 5, 5], [3], [10, 48], [10], [4, 1, 28, 28]]


def test_events_are_read(found):
    host, device = found["clock"]
    assert host > 0 and device == 0.001


def test_out_of_memory_is_said_and_passes(found):
    assert found["error"].startswith("the GPU has ") and " MB free of 60 MB, and an array needs " in found["error"]
    assert found["kept"]
    assert found["goes on"] == 5
