# %% [markdown]
# # Break it: a wrong gradient trains too
#
# Three lines of the law are broken, one at a time. Each time a network is trained on 6,000 digits, and three checks are
# run. Training does not notice any of them, and no check notices all: before you read the table, predict its rows.
#
# `npsnn lab` has ten such lines; docs/lab.md goes through them.

# %%
from contextlib import nullcontext
from itertools import pairwise

import numpy as np

import npsnn
from npsnn import data, optim, surrogate
from npsnn import functional as SF
from npsnn.functional.reference import mse_membrane
from npsnn.leaky.reference import leaky_backward
from npsnn.verify import gradcheck
from npsnn.verify.planted import planted

# %% [markdown]
# ## Three faults
#
# `planted` changes a function's own source for the length of a block: no file is touched, and afterwards all is as it
# was. The faults are in the law, so everything here runs on the reference backend.

# %%
FAULTS = {
    "none": nullcontext,
    "time forwards": lambda: planted(leaky_backward, "range(len(U) - 1, -2, -1)", "range(-1, len(U))"),
    "slope lost": lambda: planted(surrogate.fast_sigmoid_derivative, "k * abs(x)", "abs(x)"),
    "sum, not mean": lambda: planted(mse_membrane, ".mean(), 2 * miss / miss.size", ".sum(), 2 * miss"),
}


# %%
def network(*sizes):
    layers = [npsnn.Flatten()]
    for K, M in pairwise(sizes):
        layers += [npsnn.Linear(K, M), npsnn.Leaky(beta=0.5, spike_grad=surrogate.fast_sigmoid(slope=5))]
    return npsnn.Sequential(*layers, dtype=np.float64, backend="reference", seed=0)


loss_fn = SF.mse_membrane_loss(on_target=2)

# %% [markdown]
# ## Does training notice?
#
# One pass over the digits that come with the package, ten steps each, and the accuracy on 1,000 others.

# %%
train, test = data.mnist("train"), data.mnist("test")


def accuracy():
    net = network(784, 50, 10)
    optimizer = optim.Adam(net, lr=5e-3)
    for x, targets in data.DataLoader(train, batch_size=100):
        _, mem_rec, tape = net.forward(x.astype(np.float64), num_steps=10)
        optimizer.step(net.backward(tape, dmem=loss_fn.value_and_grad(mem_rec, targets)[1]))
    spk_rec, _ = net(test.images().astype(np.float64), num_steps=10)
    return SF.accuracy_rate(spk_rec, test.targets)


# %% [markdown]
# ## Do the checks?
#
# - Hard: is the backward pass the complex-step derivative of the run with its spikes? Both sides use the same sigma'.
# - Smooth: the same with sigma's primitive in place of the spike, so that sigma' meets another formula.
# - Batch: is the loss of two samples the mean of their losses?

# %%
small, targets = network(6, 4, 3), np.array([0, 2])
x = np.random.default_rng(1).uniform(0, 3, (2, 6))


def batch_is_mean():
    def loss(rows):
        return loss_fn(small(x[rows], num_steps=5)[1], targets[rows])

    return abs(loss([0, 1]) - (loss([0]) + loss([1])) / 2) < 1e-12


# %%
print(f"{'fault':16}{'accuracy':>10}{'hard':>8}{'smooth':>8}{'batch':>8}")
table = {}
for name, fault in FAULTS.items():
    with fault():
        checks = [gradcheck(small, x, targets, loss_fn, 5, smooth=mode).ok for mode in (False, True)]
        table[name] = (accuracy(), *checks, batch_is_mean())
    print(f"{name:16}{table[name][0]:10.1%}" + "".join(f"{'ok' if ok else 'FAILS':>8}" for ok in table[name][1:]))

# %%
assert all(row[0] > 0.8 for row in table.values())  # each of them trains
assert [row[1:] for row in table.values()] == [
    (True, True, True), (False, False, True), (True, False, True), (True, True, False),
]  # fmt: skip
