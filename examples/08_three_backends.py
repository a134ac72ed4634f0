# %% [markdown]
# # Three backends, one network
#
# `reference` is NumPy, written to be read: the law. `cpu` is the same in compiled loops, and needs Numba. `cuda` is the
# same in kernels, a thread a neuron, and needs a GPU; without one, Numba can play the GPU in plain Python:
#
#     NUMBA_ENABLE_CUDASIM=1 python examples/08_three_backends.py
#
# They share the surrogate's formula and no loop. A slip in one shows as a difference from the others.

# %%
import time

import numpy as np

import npsnn
from npsnn import functional as SF
from npsnn import surrogate

T, B = 10, 3
rng = np.random.default_rng(0)
x, y = rng.random((B, 1, 10, 10)), rng.integers(0, 3, B)
loss_fn = SF.ce_rate_loss()
neuron = npsnn.Leaky(beta=0.8, spike_grad=surrogate.fast_sigmoid(slope=10))
layers = [npsnn.Conv2d(1, 4, 3), npsnn.MaxPool2d(2), neuron, npsnn.Flatten(), npsnn.Linear(4 * 4 * 4, 3), neuron]

# %% [markdown]
# ## A training step on each
#
# A backend that cannot run here says what is missing. The first step of a compiled backend compiles its kernels, so the
# time that is printed is a second step's; on so small a network it is mostly the cost of calling.


# %%
def step(net):
    """What a training step computes, but for the update."""
    spk_rec, mem_rec, tape = net.forward(x, num_steps=T)
    loss, dspk = loss_fn.value_and_grad(spk_rec, y)
    return {"spikes": spk_rec, "membranes": mem_rec, "loss": np.array(loss), **net.backward(tape, dspk=dspk)}


results = {}
for backend in ("reference", "cpu", "cuda"):
    try:
        net = npsnn.Sequential(*layers, dtype="float64", backend=backend, seed=0)
    except ValueError as error:
        print(f"{backend:9} {error}")
        continue
    net.flat_params[:] *= 3  # so that the neurons of so small a network fire
    step(net)
    begin = time.perf_counter()
    results[backend] = step(net)
    print(f"{backend:9} {1000 * (time.perf_counter() - begin):.2f} ms, {results[backend]['spikes'].mean():.3f} spikes")

# %% [markdown]
# ## Do they agree?
#
# Spikes must be the same. What was summed in another order may differ in its last digits: here it is shown as a share
# of the array's largest entry. Float64, because in float32 a rounding may one day decide a spike.

# %%
law = results["reference"]
assert law["spikes"].any() and all(d.any() for d in law.values()), "or there would be nothing to compare"
for backend, found in results.items():
    shares = {name: np.abs(found[name] - law[name]).max() / np.abs(law[name]).max() for name in law}
    print(f"{backend:9} " + ", ".join(f"{name} {share:.0e}" for name, share in shares.items()))
    assert shares["spikes"] == 0 and max(shares.values()) < 1e-12
print(f"{', '.join(results)}: the same spikes in all {law['spikes'].size}, and the same gradients")
