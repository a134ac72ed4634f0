"""One epoch of the tutorial's network on all of MNIST: how long it takes npsnn, and what it would take snnTorch.

python -m benchmarks.epoch ROOT [--snntorch-steps N] [--backend cuda]

ROOT is a folder of MNIST's four IDX files, gzipped or not; `npsnn.data.download_mnist` makes one. snnTorch takes the
first N steps of the epoch only, from the same weights and batches, after one step that is not counted; its time for
the whole epoch is extrapolated from them.
"""

import argparse
import time
from itertools import islice

from npsnn import backprop, training
from npsnn._versions import installed


def npsnn_epoch(run: training.Run) -> tuple[float, float]:
    """Seconds of every training step of one epoch, and of the first, which may compile kernels; then it is tested."""
    start = time.perf_counter()
    first, losses = 0.0, []
    steps = backprop.batches(run.net, run.train, run.optimizer, run.criterion, run.settings.num_steps, time_var=False)
    for batch in steps:
        first = first or time.perf_counter() - start
        losses.append(batch.loss)
    seconds = time.perf_counter() - start
    loss, accuracy = training.evaluate(run.net, run.test, run.settings.num_steps, run.criterion)
    print(f"mean loss {sum(losses) / len(losses):.3f}; test loss {loss:.3f}, test accuracy {100 * accuracy:.2f}%")
    return seconds, first


def snntorch_steps(run: training.Run, steps: int) -> float:
    """Seconds of snnTorch's first `steps` training steps, a first one not counted."""
    from benchmarks.peer import SnnTorch

    peer, batches = SnnTorch(run.net.state_dict()), iter(run.train)
    peer.step(*next(batches))
    start = time.perf_counter()
    for x, targets in islice(batches, steps):
        peer.step(x, targets)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", metavar="ROOT", help="a folder of MNIST's four IDX files")
    parser.add_argument("--snntorch-steps", type=int, default=0, metavar="N", help="of snnTorch, to extrapolate from")
    parser.add_argument("--backend", default="auto", choices=["auto", "cpu", "cuda", "reference"], help="default: auto")
    args = parser.parse_args()
    settings = training.Settings(data=args.root, backend=args.backend)
    run = training.Run(settings)
    steps = len(run.train)
    if not 0 <= args.snntorch_steps < steps:
        parser.error(f"--snntorch-steps must be in 0..{steps - 1}, one less than the epoch's {steps} steps")
    if args.snntorch_steps and installed("snntorch") == "not installed":
        parser.error('--snntorch-steps needs PyTorch and snnTorch: pip install "npsnn[peers]"')
    print(
        f"{len(run.train.dataset)} images, {steps} steps of B {settings.batch_size}, T {settings.num_steps}", flush=True
    )
    seconds, first = npsnn_epoch(run)
    print(f"npsnn: {seconds:.1f} s for the epoch's {steps} steps, of which the first {first:.1f} s", flush=True)
    if args.snntorch_steps:
        taken = snntorch_steps(training.Run(settings), args.snntorch_steps)
        whole = taken * steps / args.snntorch_steps
        print(f"snnTorch: {taken:.1f} s for {args.snntorch_steps} steps; extrapolated, not measured: {whole:.0f} s")
        print(f"for the epoch's {steps} steps, {whole / seconds:.1f} times npsnn's (extrapolated)")


if __name__ == "__main__":
    main()
