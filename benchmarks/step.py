"""One training step of the tutorial's network, batch 128, 50 steps: npsnn's backends and, where installed, snnTorch.

All start from the same weights and batch, must agree on the loss before they are timed, and take turns, so that a
machine that slows down slows all of them (benchmarks/timing.py). Prints medians and the ratio to the first.

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
    """(step function returning the loss, name)."""
    run = training.Run(training.Settings(backend=backend))
    run.net.load_state_dict(params)

    def step():
        spk_rec, _, tape = run.net.forward(x, T)
        loss, dspk = run.criterion.value_and_grad(spk_rec, targets)
        run.optimizer.step(run.net.backward(tape, dspk=dspk))
        return loss

    return step


def snntorch_step(params, x, targets):
    """The same of the tutorial's own loop."""
    from benchmarks.peer import SnnTorch

    peer = SnnTorch(params)
    return lambda: peer.step(x, targets)


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

    losses = {name: step() for name, step in steps.items()}
    print("loss of the first step:", {k: round(v, 6) for k, v in losses.items()})
    np.testing.assert_allclose(list(losses.values()), next(iter(losses.values())), rtol=2e-3)
    times = timing.interleaved(steps, args.rounds)
    first = median(next(iter(times.values())))
    print(f"npsnn {npsnn.__version__}; median of {args.rounds}, interleaved; min to max")
    for name, values in times.items():
        m = median(values)
        print(
            f"{name:20} {1000 * m:8.0f} ms   {1000 * min(values):.0f} to {1000 * max(values):.0f}   x {m / first:.2f}"
        )


if __name__ == "__main__":
    main()
