"""How long the host needs for a training step of the tutorial on a GPU: a step can be no quicker.

    python -m benchmarks.host

measures with a driver that does nothing (driver.py), so without a GPU: Python, npsnn, and the package that launches.
It needs numba-cuda or numba-cuda-mlir with a compiler, `pip install "numba-cuda[cu12]"`, and a C compiler.
"""

import argparse
import tempfile
import warnings
from pathlib import Path
from statistics import median

from benchmarks import driver, timing
from npsnn import _cuda


def run(rounds: int) -> int:
    """Measure and print; 1, and a sentence, where that cannot be."""
    why = driver.why_not()
    if _cuda.package() not in ("numba_cuda", "numba_cuda_mlir"):
        why = "neither numba-cuda nor numba-cuda-mlir is installed"
    if why or _cuda.SIMULATED:
        print(f"nothing was timed: {why or 'the simulator launches nothing'}")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        driver.load(Path(folder))
    from benchmarks.cuda import TUTORIAL, Npsnn

    engines = {}
    for name, graph in (("one graph", True), ("launch by launch", False)):
        engines[name] = Npsnn(TUTORIAL, graph)
        for _ in range(4):
            engines[name].train()
        print(f"{name}: {engines[name].there.replays.count} of 4 steps were a graph's", flush=True)
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            times[name].append(timing.seconds(engine.train))
    print(f"host's time of a step, without a GPU; median of {rounds}, interleaved; min to max")
    for name, seconds in times.items():
        low, middle, high = (1000 * f(seconds) for f in (min, median, max))
        print(f"{name:20} {middle:.2f} ms   {low:.2f} to {high:.2f}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raise SystemExit(run(parser.parse_args().rounds))
