# %% [markdown]
# # Surrogate gradient descent in a convolutional SNN
#
# snnTorch's tutorial 6, section by section, in npsnn. A line that changed says why; the rest is the tutorial's.
# It trains on one tenth of MNIST (`subset = 10`), which comes with the package, so nothing is downloaded.

# %%
import sys
from pathlib import Path

import numpy as np

import npsnn
from npsnn import backprop, data, optim, spikeplot, surrogate, utils
from npsnn import functional as SF

num_epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 1

# %% [markdown]
# ## 1. Surrogate gradient descent
#
# Forward, a spike is a step; backward, its derivative is replaced by 1 / (k|U - theta| + 1)^2.

# %%
spike_grad = surrogate.fast_sigmoid(slope=25)
beta = 0.5
num_steps = 50

# %% [markdown]
# ## 2. Setting up the CSNN
# ### 2.1 DataLoaders

# %%
batch_size = 128
generator = npsnn.Generator(0)  # torch.manual_seed(0); nothing here draws from a global generator

# The embedded images are what utils.data_subset(mnist, 10) leaves of MNIST: the first 6,000 and the first 1,000.
mnist_train = data.mnist("train")
mnist_test = data.mnist("test")

# %% [markdown]
# ### 2.2 The network: 12C5-MP2-64C5-MP2-1024FC10

# %%
net = npsnn.Sequential(
    npsnn.Conv2d(1, 12, 5),
    npsnn.MaxPool2d(2),
    npsnn.Leaky(beta=beta, spike_grad=spike_grad),  # no init_hidden: state is explicit
    npsnn.Conv2d(12, 64, 5),
    npsnn.MaxPool2d(2),
    npsnn.Leaky(beta=beta, spike_grad=spike_grad),
    npsnn.Flatten(),
    npsnn.Linear(64 * 4 * 4, 10),
    npsnn.Leaky(beta=beta, spike_grad=spike_grad),  # no output=True: the last layer gives both
    seed=generator,
)
print(net.summary((1, 28, 28), num_steps))

train_loader = data.DataLoader(mnist_train, batch_size=batch_size, shuffle=True, drop_last=True, seed=generator)
test_loader = data.DataLoader(mnist_test, batch_size=batch_size, shuffle=True)

# %% [markdown]
# ### 2.3 Forward pass
#
# The loop over time is inside: `net(images, num_steps)` records the output's spikes and membranes. utils.reset has no
# counterpart, since every call starts at rest.

# %%
images, targets = next(iter(train_loader))
spk_rec, mem_rec = net(images, num_steps)

# %% [markdown]
# ## 3. Training loop
# ### 3.1 Loss: cross-entropy at every time step

# %%
loss_fn = SF.ce_rate_loss()
loss_val = loss_fn(spk_rec, targets)
print(f"The loss from an untrained network is {loss_val:.3f}")

# %% [markdown]
# ### 3.2 Accuracy: the class that fires most

# %%
acc = SF.accuracy_rate(spk_rec, targets)
print(f"The accuracy of a single batch using an untrained network is {acc * 100:.3f}%")


def batch_accuracy(loader, net, num_steps):
    total, acc = 0, 0.0
    for images, targets in loader:
        spk_rec, _ = net(images, num_steps)
        acc += SF.accuracy_rate(spk_rec, targets) * spk_rec.shape[1]
        total += spk_rec.shape[1]
    return acc / total


print(f"The total accuracy on the test set is: {batch_accuracy(test_loader, net, num_steps) * 100:.2f}%")

# %% [markdown]
# ### 3.3 Training
#
# The tutorial calls the accuracy on its training loader "Test Acc". Here are both, each under its own name.

# %%
optimizer = optim.Adam(net, lr=1e-2, betas=(0.9, 0.999))
test_acc_hist = []
for epoch in range(num_epochs):
    avg_loss = backprop.BPTT(
        net, train_loader, optimizer=optimizer, criterion=loss_fn, num_steps=num_steps, time_var=False
    )
    train_acc = batch_accuracy(train_loader, net, num_steps)
    test_acc_hist.append(batch_accuracy(test_loader, net, num_steps))
    print(f"Epoch {epoch}, Train Loss: {avg_loss:.2f}")
    print(f"Epoch {epoch}, Train Acc: {train_acc * 100:.2f}%, Test Acc: {test_acc_hist[-1] * 100:.2f}%")

# %% [markdown]
# ## 4. Results
# ### 4.1 Spike counter

# %%
idx = 0
images, targets = next(iter(test_loader))
spk_rec, mem_rec = net(images, num_steps)
print(f"The target label is: {targets[idx]}, the network fired {spk_rec[:, idx].sum(axis=0).astype(int)}")

folder = Path("runs")
folder.mkdir(exist_ok=True)
try:
    from matplotlib.figure import Figure
except ImportError:
    print('no picture: pip install "npsnn[plot]"')
else:
    fig = Figure(figsize=(12, 7), facecolor="w", layout="constrained")
    labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    anim = spikeplot.spike_count(spk_rec[:, idx], fig, fig.subplots(), labels=labels, animate=True, interpolate=1)
    spikeplot.save(anim, folder / "spike_bar.gif")
    print(f"The spikes are counted in {folder / 'spike_bar.gif'}")

# %%
utils.save(folder / "tutorial.npz", net, optimizer)
again = npsnn.Sequential(*net.layers, seed=1)
again.load_state_dict(utils.load(folder / "tutorial.npz")["net"])
np.testing.assert_array_equal(again(images, num_steps)[0], spk_rec)
# With this seed one class may stay silent, which leaves some 84 per cent (docs/benchmarks.md says why).
assert test_acc_hist[-1] > 0.8, "the tutorial's network learns MNIST in one epoch"
