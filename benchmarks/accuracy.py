"""Train the main job for seeds 0, 1, 2 and hold it against what snnTorch 1.0.0 reaches on the same data and settings.

python -m benchmarks.accuracy
"""

import numpy as np

from npsnn import training

# snnTorch 1.0.0 and PyTorch 2.13, the same weights and batches, per cent of the 1,000 test images after each epoch.
SNNTORCH = np.array([[89.8, 94.8, 94.2], [88.9, 93.7, 93.7], [89.5, 93.3, 95.2]])
SNNTORCH_LOSS = np.array([[1.83, 1.54, 1.51], [1.76, 1.55, 1.52], [1.81, 1.54, 1.51]])


def trained(seed, **settings):
    """What three epochs came to."""
    run = training.Run(training.Settings(seed=seed, **settings))
    return [run.epoch() for _ in range(3)]


def main():
    accuracies, losses = [], []
    for seed in range(3):
        epochs = trained(seed)
        accuracies.append([100 * e.test_accuracy for e in epochs])
        losses.append([e.train_loss for e in epochs])
        print(f"seed {seed}: test accuracy", np.round(accuracies[-1], 1), "train loss", np.round(losses[-1], 2))
        print(f"  snnTorch: test accuracy {SNNTORCH[seed]} train loss {SNNTORCH_LOSS[seed]}", flush=True)
    difference = np.mean(accuracies, axis=0) - SNNTORCH.mean(axis=0)
    print("mean over seeds, ours less theirs, points:", np.round(difference, 2))
    assert np.all(np.abs(difference) <= 1.5), "more than 1.5 points from snnTorch"


if __name__ == "__main__":
    main()
