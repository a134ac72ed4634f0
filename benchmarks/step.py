"""A training step and an inference of the tutorial's network, batch 128, 50 steps: npsnn, and snnTorch if installed.

All start from the same weights and batch, before every call, because a step that trains on changes who fires. They must
agree on the loss before they are timed, and take turns, so that a machine that slows down slows all of them
(benchmarks/timing.py). Prints medians and the ratio to the first.

    python -m benchmarks.step [--rounds 5] [--reference] [--warm-up-steps 20]
"""

import argparse
from statistics import median

import numpy as np

import npsnn
from benchmarks import timing
from npsnn import training
from npsnn._versions import installed

T = 50


def npsnn_step(backend, params, x, targets):
    """(step function returning the loss, inference, what puts the weights back)."""
    run = training.Run(training.Settings(backend=backend))

    def step():
        spk_rec, _, tape = run.net.forward(x, T)
        loss, dspk = run.criterion.value_and_grad(spk_rec, targets)
        run.optimizer.step(run.net.backward(tape, dspk=dspk))
        return loss

    return step, lambda: run.net(x, T), lambda: run.net.load_state_dict(params)


def snntorch_step(params, x, targets):
    """The same of the tutorial's own loop."""
    import torch

    from benchmarks.peer import SnnTorch

    peer = SnnTorch(params)

    def infer():
        with torch.no_grad():
            peer.spikes(x)

    return lambda: peer.step(x, targets), infer, lambda: peer.load(params)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--warm-up-steps", type=int, default=20, help="of training, for the rates of a trained network")
    parser.add_argument("--reference", action="store_true", help="time the law too (seconds a step)")
    args = parser.parse_args()

    run = training.Run(training.Settings(backend="cpu"))
    loader = iter(run.train)
    for _ in range(args.warm_up_steps):
        x, targets = next(loader)
        spk_rec, _, tape = run.net.forward(x, T)
        run.optimizer.step(run.net.backward(tape, dspk=run.criterion.value_and_grad(spk_rec, targets)[1]))
    if args.warm_up_steps:
        print("firing rates:", {k: round(v.rate, 3) for k, v in run.net.firing(tape).items()})
    params, (x, targets) = run.net.state_dict(), next(loader)

    steps = {"npsnn cpu": npsnn_step("cpu", params, x, targets)}
    if args.reference:
        steps["npsnn reference"] = npsnn_step("reference", params, x, targets)
    if installed("snntorch") != "not installed":
        steps["snntorch " + installed("snntorch")] = snntorch_step(params, x, targets)

    def restore():
        for *_, put_back in steps.values():
            put_back()

    restore()
    losses = {name: step() for name, (step, *_) in steps.items()}
    print("loss of the first step:", {k: round(v, 6) for k, v in losses.items()})
    np.testing.assert_allclose(list(losses.values()), next(iter(losses.values())), rtol=2e-3)
    print(f"npsnn {npsnn.__version__}; median of {args.rounds}, interleaved; min to max")
    for what, which in (("train", 0), ("infer", 1)):
        times = timing.interleaved({name: calls[which] for name, calls in steps.items()}, args.rounds, restore)
        first = median(next(iter(times.values())))
        for name, values in times.items():
            m, least, most = (1000 * t for t in (median(values), min(values), max(values)))
            print(f"{what} {name:20} {m:8.0f} ms   {least:.0f} to {most:.0f}   x {m / 1000 / first:.2f}")


if __name__ == "__main__":
    main()
