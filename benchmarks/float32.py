"""How exact are float32 gradients? The tutorial's network on one batch, npsnn's cpu and snnTorch against float64.

Trains for a few steps first. Batches on which a float32 spike differs from the float64 one are left out, and counted:
there the two are gradients of different runs. Prints, for each parameter, the largest error as a share of the largest
gradient.

python -m benchmarks.float32 [--batches 10]
"""

import argparse

import numpy as np

from benchmarks.peer import SnnTorch, T
from npsnn import training


def gradients(run, x, targets):
    """(gradients by name, the spikes of every neuron layer)."""
    spk_rec, _, tape = run.net.forward(x, T)
    grads = run.net.backward(tape, dspk=run.criterion.value_and_grad(spk_rec, targets)[1])
    return grads, [neurons.S for neurons in tape.neurons().values()]


def errors(grads, exact):
    """By name; NaN where the exact gradient is zero throughout, as the last weight's is before anything fires."""
    return {name: np.abs(grads[name] - d).max() / np.abs(d).max() if d.any() else np.nan for name, d in exact.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=10)
    args = parser.parse_args()
    single = training.Run(training.Settings(backend="cpu"))
    double = training.Run(training.Settings(backend="cpu", dtype="float64"))
    ours, theirs, parted = [], [], 0
    for number, (x, targets) in zip(range(args.batches), single.train, strict=False):
        params = single.net.state_dict()
        double.net.load_state_dict({name: value.astype(np.float64) for name, value in params.items()})
        grads, spikes = gradients(single, x, targets)
        exact, exact_spikes = gradients(double, x.astype(np.float64), targets)
        if all(np.array_equal(a, b) for a, b in zip(spikes, exact_spikes, strict=True)):
            peer = SnnTorch(params)
            peer.step(x, targets)
            ours.append(errors(grads, exact))
            theirs.append(errors({n: p.grad.numpy() for n, p in peer.net.named_parameters()}, exact))
        else:
            parted += 1
        single.optimizer.step(grads)
        print("." * (number < args.batches - 1), end="" if number < args.batches - 1 else "\n", flush=True)
    print(f"{len(ours)} batches; on {parted} more a spike differed. Median and largest error:")
    for name in exact:
        cells = [f"{name:10}"]
        for engine, rows in (("npsnn", ours), ("snnTorch", theirs)):
            values = [e[name] for e in rows]
            cells.append(f"{engine} {np.nanmedian(values):.1e} {np.nanmax(values):.1e}")
        print("  ".join(cells))


if __name__ == "__main__":
    main()
