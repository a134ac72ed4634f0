# %% [markdown]
# # Events: input that changes in time
#
# An event camera sends no pictures. Each pixel says when it became brighter (channel 0) or darker (channel 1), so a
# film is (T, B, 2, H, W) of 0 and 1. Here a bar moves to the left or to the right over 12 steps, and a small
# convolutional network has to say which.
#
# Half of the bars are brighter than their ground, half are darker. So one frame alone says nothing: a bright bar that
# moves right and a dark one that moves left make the same events. The order of the frames is all there is to go by, and
# only the membranes can carry it from one step to the next.

# %%
import numpy as np

import npsnn
from npsnn import backprop, optim, surrogate
from npsnn import functional as SF

T, H, W = 12, 8, 12
rng = np.random.default_rng(0)

# %% [markdown]
# ## The films


# %%
def films(count):
    """(T, count, 2, H, W) events and (count,) directions: 0 is left, 1 is right."""
    right, dark = rng.integers(0, 2, count), rng.integers(0, 2, count)
    top, height, start = rng.integers(0, H // 2, count), rng.integers(3, H // 2 + 1, count), rng.integers(0, W, count)
    x = np.zeros((T, count, 2, H, W), np.float32)
    for b in range(count):
        rows = slice(top[b], top[b] + height[b])
        for t in range(T):
            ahead = (start[b] + t) % W if right[b] else (start[b] - t) % W  # the bar leaves, and comes in again
            behind = (ahead - 1) % W if right[b] else (ahead + 1) % W
            x[t, b, dark[b], rows, ahead] = 1
            x[t, b, 1 - dark[b], rows, behind] = 1
    return x, right


train_x, train_y = films(400)
test_x, test_y = films(200)
print(f"{train_x.shape[1]} films of shape {train_x.shape[:1] + train_x.shape[2:]}, {train_x.mean():.1%} of it events")

# %% [markdown]
# ## The network
#
# Without num_steps, x has a time axis of its own. beta = 0.8 lets a membrane remember some five steps.

# %%
neuron = npsnn.Leaky(beta=0.8, spike_grad=surrogate.fast_sigmoid(slope=10))
net = npsnn.Sequential(
    npsnn.Conv2d(2, 12, 3, padding=1),
    neuron,
    npsnn.Conv2d(12, 12, 3, padding=1),
    npsnn.MaxPool2d(2),
    neuron,
    npsnn.Flatten(),
    npsnn.Linear(12 * (H // 2) * (W // 2), 2),
    neuron,
    seed=0,
)


def batches(size=40):
    order = rng.permutation(len(train_y)).reshape(-1, size)
    return [(train_x[:, some], train_y[some]) for some in order]


def accuracy(x):
    return SF.accuracy_rate(net(x)[0], test_y)


optimizer = optim.Adam(net, lr=5e-3)
for epoch in range(10):
    loss = backprop.BPTT(net, batches(), optimizer, SF.ce_rate_loss())
    print(f"epoch {epoch + 1}: loss {loss:.3f}, test accuracy {accuracy(test_x):.1%}")

# %% [markdown]
# ## Is it the order?
#
# With its frames in another order, drawn for each film, a film has the same events at the same pixels, and the network
# can but guess. Played backwards, a bar moves the other way, and the network must now say the other direction.

# %%
shuffled_x = np.stack([test_x[rng.permutation(T), b] for b in range(len(test_y))], axis=1)
forwards, shuffled, backwards = accuracy(test_x), accuracy(shuffled_x), accuracy(test_x[::-1])
print(f"right: {forwards:.1%}; frames shuffled: {shuffled:.1%}; played backwards: {backwards:.1%}")
assert forwards > 0.9, "the network learns the direction"
assert 0.25 < shuffled < 0.75 and backwards < 0.1, "and has it from the order of the frames"
