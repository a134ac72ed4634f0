# %% [markdown]
# # Check another engine
#
# Somebody has written a spiking network, and its numbers are not npsnn's. Which is the first step where they differ,
# and what was misread? Record a run of each, and ask `compare`. The engine needs no npsnn and may be in any language:
# it writes what it computed as NumPy files of agreed names (docs/compare.md).

# %%
import tempfile

import numpy as np

import npsnn
from npsnn.verify.compare import compare
from npsnn.verify.recording import Recording, load, record, save

# %% [markdown]
# ## Theirs: an engine of twenty lines, in NumPy
#
# Two layers of neurons with leak 1/2 and threshold 1. Its author resets a neuron in the very step in which it fires
# (`late=False`), and lets it fire at the threshold, not above it (`above=False`). Both look harmless.


# %%
def engine(x, weights, late, above, beta=0.5, theta=1.0):
    """Arrays by the names of a recording: layers 0 and 2 are linear, 1 and 3 are neurons."""
    arrays = {"x": x}
    for i, (W, b) in weights.items():
        arrays |= {f"{i}.weight": W, f"{i}.bias": b, f"{i}.y": x @ W.T + b}
        U, S = np.zeros((x.shape[1], len(W))), np.zeros((x.shape[1], len(W)))
        membranes, spikes = [], []
        for I in arrays[f"{i}.y"]:
            U = beta * U + I - (theta * S if late else 0.0)
            S = (U > theta if above else U >= theta).astype(float)
            if not late:
                U = U - theta * S
            membranes.append(U)
            spikes.append(S)
        x = np.stack(spikes)
        arrays |= {f"{i + 1}.U": np.stack(membranes), f"{i + 1}.S": x}
    return arrays


# %% [markdown]
# ## Ours, on the same weights and input
#
# Weights and input are small multiples of 1/4 and 1/2, so that a membrane now and then stands exactly at its threshold.
# With drawn real numbers it never would, and the second fault would stay unseen.

# %%
neuron = npsnn.Leaky(beta=0.5)
net = npsnn.Sequential(npsnn.Linear(3, 4), neuron, npsnn.Linear(4, 2), neuron, dtype="float64", backend="reference")
rng = np.random.default_rng(0)
for name, value in net.params.items():
    net.params[name] = rng.integers(-1, 4, value.shape) / 4
x = rng.integers(0, 3, (10, 2, 3)) / 2
weights = {i: (net.params[f"{i}.weight"].copy(), net.params[f"{i}.bias"].copy()) for i in (0, 2)}


def held_against_ours(late, above):
    with tempfile.TemporaryDirectory() as folder:
        save(record(net, x), f"{folder}/ours")
        save(Recording((), None, engine(x, weights, late, above)), f"{folder}/theirs")
        found = compare(load(f"{folder}/ours"), load(f"{folder}/theirs"))  # as `npsnn compare ours theirs` does
    print(f"--- late={late}, above={above}\n{found}\n")
    return found


# %% [markdown]
# ## The first wrong step, and why
#
# `compare` looks from the lowest layer up and from the first step on, so nothing before the place it names can have
# caused the difference. Then it runs each common misreading on what went into that layer, and names those that give
# all of theirs. Mend one thing, and ask again.

# %%
first = held_against_ours(late=False, above=False)
assert (first.place.array, first.place.step) == ("1.U", 0)
assert first.explanations[0].startswith("The reset one step early")

second = held_against_ours(late=True, above=False)
assert (second.place.array, second.place.step) == ("3.S", 1)
assert second.explanations[0].startswith("A membrane at its threshold fires")

assert held_against_ours(late=True, above=True).verdict == "same"
