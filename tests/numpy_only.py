"""Run as a script where NumPy is all there is: import, forward, backward and one training step on the reference."""

import importlib.util
import sys

import numpy as np

import npsnn
from npsnn import functional as SF


def main():
    for name in ("numba", "scipy", "matplotlib", "tqdm", "torch"):
        assert importlib.util.find_spec(name) is None, (
            f"{name} is installed: this checks an environment with NumPy alone"
        )

    net = npsnn.Sequential(
        npsnn.Conv2d(1, 3, 5),
        npsnn.MaxPool2d(4),
        npsnn.Leaky(beta=0.5),
        npsnn.Flatten(),
        npsnn.Linear(3 * 6 * 6, 10),
        npsnn.Leaky(beta=0.5),
    )
    assert net.backend == "reference", net.backend
    for name in ("0.weight", "4.weight"):
        net.params[name] *= 4  # so that it fires from the first step
    images, targets = next(iter(npsnn.data.DataLoader(npsnn.data.mnist("train"), 32)))
    loss_fn, optimizer = SF.ce_rate_loss(), npsnn.optim.Adam(net, lr=1e-2)
    losses = []
    for _ in range(6):
        spk_rec, _, tape = net.forward(images, num_steps=8)
        loss, dspk = loss_fn.value_and_grad(spk_rec, targets)
        optimizer.step(net.backward(tape, dspk=dspk))
        losses.append(loss)
    assert losses[-1] < losses[0], losses
    try:
        npsnn.spikeplot.traces(np.zeros((3, 1)))
    except ImportError as error:
        assert str(error) == 'npsnn: plots need Matplotlib: pip install "npsnn[plot]"', error
    else:
        raise AssertionError("a plot without Matplotlib")
    try:
        npsnn.Sequential(npsnn.Linear(1, 1), backend="cpu")
    except ValueError as error:
        assert str(error) == 'backend "cpu" needs Numba: pip install "npsnn[fast]"', error
    else:
        raise AssertionError("backend cpu without Numba")
    print(
        f"npsnn {npsnn.__version__} with NumPy {np.__version__} alone, Python {sys.version.split()[0]}: losses {losses}"
    )


if __name__ == "__main__":
    main()
