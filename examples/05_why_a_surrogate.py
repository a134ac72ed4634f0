# %% [markdown]
# # Why a surrogate: a task that the true gradient cannot learn
#
# Zenke's first task in SpyTorch (github.com/fzenke/spytorch): patterns of random spikes, each with a label that has
# nothing to do with it. A network can do no better than to learn the patterns by heart, and before it has learnt any it
# is right for every second one. The same network is trained twice, from the same weights, with the same optimiser. Only
# what the backward pass takes for the slope of a spike differs:
#
# - the true one, which is 0 wherever it exists;
# - a surrogate, sigma'(x) = 1 / (1 + 10 |x|)^2.

# %%
import numpy as np

import npsnn
from npsnn import functional as SF
from npsnn import optim, surrogate

STEPS, PATTERNS, INPUTS, HIDDEN, UPDATES = 100, 64, 100, 8, 100

# %% [markdown]
# ## The task
#
# Every input spikes in one step of fifty. (100, 64, 100) are steps, patterns, inputs: an input that changes in time.

# %%
rng = np.random.default_rng(0)
x = (rng.random((STEPS, PATTERNS, INPUTS)) < 0.02).astype(np.float32)
labels = np.arange(PATTERNS) % 2

# %% [markdown]
# ## The network
#
# One hidden layer of eight neurons. Two inputs spike in a step, so the first weights are drawn five times as wide as
# usual: else no hidden neuron would ever reach its threshold.


# %%
def build(spike_grad):
    net = npsnn.Sequential(
        npsnn.Linear(INPUTS, HIDDEN, bias=False),
        npsnn.Leaky(beta=0.9, spike_grad=spike_grad),
        npsnn.Linear(HIDDEN, 2, bias=False),
        npsnn.Leaky(beta=0.9, spike_grad=spike_grad),
        seed=0,
    )
    net.params["0.weight"][:] *= 5
    return net


def train(net):
    """Loss and accuracy before each update: of the two output neurons, the one that spikes more is the answer."""
    optimizer, loss_fn, history = optim.Adam(net, lr=1e-2), SF.ce_count_loss(), []
    for update in range(UPDATES + 1):
        spk_rec, _, tape = net.forward(x)
        loss, dspk = loss_fn.value_and_grad(spk_rec, labels)
        grads = net.backward(tape, dspk=dspk)
        history.append((loss, SF.accuracy_rate(spk_rec, labels)))
        if update % 20 == 0:
            largest = max(float(np.abs(d).max()) for d in grads.values())
            print(f"update {update:3}: loss {loss:.3f}, accuracy {history[-1][1]:.2f}, largest gradient {largest:.3f}")
        optimizer.step(grads)
    return history


# %% [markdown]
# ## With the true slope
#
# The forward pass is in order and the loss is there, but every chain from the loss to a weight has a factor 0 in it.

# %%
flat = build(surrogate.custom_surrogate(np.zeros_like))
before = flat.state_dict()
failed = train(flat)

# %% [markdown]
# ## With the surrogate

# %%
learnt = train(build(surrogate.fast_sigmoid(slope=10)))

# %%
assert all(np.array_equal(flat.params[name], before[name]) for name in flat.params)  # not one bit of a weight moved
assert failed[0] == failed[-1] == learnt[0]  # the same forward pass: the surrogate stands in the backward pass only
assert failed[-1][1] <= 0.6
assert learnt[-1][1] >= 0.95 and learnt[-1][0] < 0.2
