"""The first epochs of the main job in npsnn and in snnTorch, seed by seed, from the same weights and the same batches.

A single seed says little: the two engines round differently, a rounding decides a spike, and a spike the next update.
What can be asked is whether the mean over many seeds differs. Prints each pair as it comes, then the mean difference
and its standard error.

python -m benchmarks.many_seeds [--first 3] [--seeds 20] [--epochs 1]
"""

import argparse

import numpy as np

from benchmarks.peer import SnnTorch
from npsnn import training


def pair(seed, epochs, **settings):
    """(epochs, 2): npsnn's and snnTorch's test accuracy in per cent after each epoch."""
    ours = training.Run(training.Settings(seed=seed, **settings))
    again = training.Run(training.Settings(seed=seed, **settings))
    theirs = SnnTorch(again.net.state_dict())
    accuracies = []
    for number in range(1, epochs + 1):
        epoch = ours.epoch()
        losses = [theirs.step(x, targets) for x, targets in again.train]
        accuracies.append((100 * epoch.test_accuracy, 100 * theirs.accuracy(again.test)))
        print("seed {}, epoch {}: npsnn {:.1f}, snnTorch {:.1f};".format(seed, number, *accuracies[-1]), end=" ")
        print(f"loss {epoch.train_loss:.3f}, {np.mean(losses):.3f}", flush=True)
    return accuracies


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1)
    args = parser.parse_args()
    accuracies = np.array([pair(seed, args.epochs) for seed in range(args.first, args.first + args.seeds)])
    for number in range(args.epochs):
        ours, theirs = accuracies[:, number].T
        difference = ours - theirs
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        print(f"epoch {number + 1}: means {ours.mean():.2f}, {theirs.mean():.2f}; ", end="")
        print(f"medians {np.median(ours):.1f}, {np.median(theirs):.1f}; ", end="")
        print(f"ours less theirs {difference.mean():+.2f} points, standard error {error:.2f}")


if __name__ == "__main__":
    main()
