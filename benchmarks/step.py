"""One training step of the tutorial's network, batch 128, 50 steps: npsnn's backends and, where installed, snnTorch.

All start from the same weights and batch, must agree on the loss before they are timed, and take turns, so that a
machine that slows down slows all of them. Prints medians and the ratio to the first.

    python -m benchmarks.step [--rounds 5] [--reference] [--warm-up-steps 20]
"""

import argparse
import time
import warnings
from statistics import median

import numpy as np

import npsnn
from npsnn import training

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
    """The tutorial's own loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import snntorch as snn
        import torch
        from snntorch import functional, surrogate, utils
        from torch import nn

    torch.set_num_threads(2)

    def neuron(**more):
        return snn.Leaky(beta=0.5, spike_grad=surrogate.fast_sigmoid(slope=25), init_hidden=True, **more)

    net = nn.Sequential(
        nn.Conv2d(1, 12, 5), nn.MaxPool2d(2), neuron(), nn.Conv2d(12, 64, 5), nn.MaxPool2d(2), neuron(),
        nn.Flatten(), nn.Linear(1024, 10), neuron(output=True),
    )  # fmt: skip
    net.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in params.items()}, strict=False)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    loss_fn = functional.ce_rate_loss()
    x, targets = torch.from_numpy(x.copy()), torch.from_numpy(targets.copy())

    def step():
        utils.reset(net)
        spk_rec = torch.stack([net(x)[0] for _ in range(T)])
        loss = loss_fn(spk_rec, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


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
    if training.installed("snntorch") != "not installed":
        steps["snntorch " + training.installed("snntorch")] = snntorch_step(params, x, targets)

    losses = {name: step() for name, step in steps.items()}
    print("loss of the first step:", {k: round(v, 6) for k, v in losses.items()})
    np.testing.assert_allclose(list(losses.values()), next(iter(losses.values())), rtol=2e-3)
    times = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    first = median(next(iter(times.values())))
    print(f"npsnn {npsnn.__version__}; median of {args.rounds}, interleaved; min to max")
    for name, values in times.items():
        m = median(values)
        print(
            f"{name:20} {1000 * m:8.0f} ms   {1000 * min(values):.0f} to {1000 * max(values):.0f}   x {m / first:.2f}"
        )


if __name__ == "__main__":
    main()
