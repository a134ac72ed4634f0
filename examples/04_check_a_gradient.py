# %% [markdown]
# # Check a gradient, four ways
#
# A hand-written backward pass can be wrong and still train, only worse. Here is one derivative of a small network, that
# of the loss along a single weight, as the backward pass gives it, and then from four witnesses. At the end a fault of
# one per cent is planted, and the witnesses are asked again.

# %%
from unittest import mock

import numpy as np

import npsnn
from npsnn import functional as SF
from npsnn import surrogate
from npsnn.leaky.reference import leaky_forward
from npsnn.linear import reference as linear
from npsnn.verify import central_differences, gradcheck, rtrl

T, at = 20, (0, 0)  # at: the weight that is looked at
x, y = np.random.default_rng(1).uniform(0, 2, (T, 4, 3)), np.array([0, 1, 0, 1])
sigma, loss_fn = surrogate.fast_sigmoid(slope=5), SF.ce_rate_loss()
neuron = npsnn.Leaky(beta=0.9, spike_grad=sigma)
net = npsnn.Sequential(npsnn.Linear(3, 2), neuron, dtype="float64", backend="reference", seed=0)
W, b = net.params["0.weight"].copy(), net.params["0.bias"].copy()


def backward():
    """(dL/dW[at], dL/dspk_rec): the backward pass, which is on trial."""
    spk_rec, _, tape = net.forward(x)
    dspk = loss_fn.value_and_grad(spk_rec, y)[1]
    return net.backward(tape, dspk=dspk)["0.weight"][at], dspk


by_hand, dspk = backward()
print(f"by hand: {by_hand:.15f}")

# %% [markdown]
# ## 1. The difference quotient, and why it is poor
#
# L(W + h) - L(W), over h. Spikes are 0 or 1, so along a weight L is a staircase: where no spike changes the quotient is
# 0, and where one does it is a jump over h. Both are true of the staircase; the network is trained with neither. Where
# neurons emit the surrogate's primitive in place of a spike there is a slope to measure, and `central_differences` does
# so. But it subtracts two nearly equal numbers, and half of the digits go.


# %%
def loss(step):
    """L where W[at] has moved by `step`, which may be complex: the law of two layers, and the loss."""
    moved = W.astype(complex)
    moved[at] += step
    I = np.stack([linear.linear_forward(x_t.astype(complex), moved, b)[0] for x_t in x])
    S, _ = leaky_forward(I, np.array(0.9), np.array(1.0), num_steps=T, sigma=sigma)
    return loss_fn.value_and_grad(S, y)[0]


for h in (1e-1, 1e-2, 3e-3, 1e-4):
    print(f"quotient, h = {h:.0e}: {((loss(h) - loss(0)) / h).real:.6f}")
row = central_differences(net, x, y, loss_fn)[0]
print(f"smooth spikes, a random direction: by hand {row.by_hand:.12f}, by difference {row.by_difference:.12f}")

# %% [markdown]
# ## 2. The complex step
#
# Move W by i h with h = 1e-100; the derivative is Im L / h. Nothing is subtracted, so nothing is lost. The law keeps
# its hard spikes, and their imaginary part carries the surrogate's slope.
#
# ## 3. Real-time recurrent learning
#
# It walks forward with dU/dW beside U, records nothing, and shares no line with the backward pass.
#
# ## 4. gradcheck: the complex step for every entry of every array, with a verdict

# %%
by_step, forward_in_time = loss(1e-100j).imag / 1e-100, rtrl(net, x, dspk=dspk)["0.weight"][at]
print(f"complex step: {by_step:.15f}\nforward in time: {forward_in_time:.15f}")
print(report := gradcheck(net, x, y, loss_fn))
np.testing.assert_allclose([by_step, forward_in_time], by_hand, rtol=1e-12)
assert report.ok and row.ok

# %% [markdown]
# ## A fault of one per cent

# %%
right = linear.linear_backward


def wrong(*args, **kwargs):
    dX, dW, db = right(*args, **kwargs)
    return dX, 1.01 * dW, db


with mock.patch.object(linear, "linear_backward", wrong):
    report, row, (by_hand, _) = gradcheck(net, x, y, loss_fn), central_differences(net, x, y, loss_fn)[0], backward()
print(report)
assert not report.ok and report.worst.name == "0.weight" and not row.ok
assert abs(by_hand / by_step - 1.01) < 1e-12, "and by the factor that was planted"
