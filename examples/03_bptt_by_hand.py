# %% [markdown]
# # Backpropagation through time by hand
#
# Two layers, 3 inputs, 2 hidden neurons, 2 outputs, five steps: forward and backward as plain loops over numbers, one
# sum for each way in which a quantity is used. Then npsnn's answer, and a third one that knows no backward pass at all.
# Weights and inputs are dyadic (a whole number over a power of two), so the forward pass has no rounding.

# %%
import numpy as np

import npsnn
from npsnn import functional as SF
from npsnn import surrogate
from npsnn.verify import gradcheck

T, K, H, M = 5, 3, 2, 2  # steps, inputs, hidden neurons, outputs
beta, theta = 0.5, 1.0
W1 = np.array([[0.75, 0.5, -0.25], [0.25, -0.5, 1.25]])  # (H, K)
W2 = np.array([[1.0, 0.5], [0.75, 1.25]])  # (M, H)
X = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1], [1, 0, 1]]) * 1.0  # (T, K)
target = np.array([T, 0])  # output 0 is to spike at every step, output 1 never


def sigma(x):
    """The stand-in for the slope of a spike: the fast sigmoid's, slope 1."""
    return 1 / (1 + abs(x)) ** 2


# %% [markdown]
# ## Forward: leak, add up the weighted inputs, take theta for the last spike, compare


# %%
def layer(W, X):
    """U and S (T, rows of W) of a layer of neurons whose inputs are X (T, columns of W)."""
    U, S = np.zeros((T, len(W))), np.zeros((T, len(W)))
    for t in range(T):
        for m in range(len(W)):
            U_last, R = (U[t - 1, m], S[t - 1, m]) if t > 0 else (0.0, 0.0)
            I = sum(X[t, k] * W[m, k] for k in range(W.shape[1]))
            U[t, m] = (beta * U_last + I) - R * theta
            S[t, m] = 1.0 if U[t, m] > theta else 0.0
    return U, S


U1, S1 = layer(W1, X)
U2, S2 = layer(W2, S1)
count = S2.sum(axis=0)
loss = sum((count[m] - target[m]) ** 2 for m in range(M)) / (M * T)
print(f"hidden spikes {S1.astype(int).T.tolist()}\noutput spikes {S2.astype(int).T.tolist()}\nloss {loss}")

# %% [markdown]
# ## Backward: the last step first, the last layer first


# %%
def layer_back(dS, U, W, X):
    """dW and dX from dS; the reset counts as a constant."""
    dW, dX, dU = np.zeros_like(W), np.zeros_like(X), np.zeros((T + 1, len(W)))
    for t in reversed(range(T)):
        for m in range(len(W)):
            dU[t, m] = dS[t, m] * sigma(U[t, m] - theta) + beta * dU[t + 1, m]  # U leaves to S and to the next U
            for k in range(W.shape[1]):
                dW[m, k] += dU[t, m] * X[t, k]  # a weight is used at every step
                dX[t, k] += dU[t, m] * W[m, k]  # an input goes to every neuron
    return dW, dX


dcount = [2 * (count[m] - target[m]) / (M * T) for m in range(M)]
dS2 = np.array([dcount] * T)  # every spike counts alike, whenever it comes
dW2, dS1 = layer_back(dS2, U2, W2, S1)  # what layer 2 says of its inputs is what layer 1 hears of its spikes
dW1, _ = layer_back(dS1, U1, W1, X)
print(f"dW1\n{dW1.round(4)}\ndW2\n{dW2.round(4)}")

# %% [markdown]
# ## The same by npsnn, and by complex steps
#
# A complex step adds a tiny imaginary number to one weight and runs forward; a spike hands it on with the slope sigma,
# and what arrives in the loss is the derivative. `gradcheck` does that for every weight and compares.

# %%
sg = surrogate.fast_sigmoid(slope=1)
layers = [npsnn.Linear(K, H, bias=False), npsnn.Leaky(beta, theta, sg), npsnn.Linear(H, M, bias=False)]
net = npsnn.Sequential(*layers, npsnn.Leaky(beta, theta, sg), dtype=np.float64)
net.load_state_dict({"0.weight": W1, "2.weight": W2})
x, y, loss_fn = X.reshape(T, 1, K), np.array([0]), SF.mse_count_loss()

spk_rec, mem_rec, tape = net.forward(x)
value, dspk = loss_fn.value_and_grad(spk_rec, y)
grads = net.backward(tape, dspk=dspk)
np.testing.assert_array_equal(spk_rec[:, 0], S2)
np.testing.assert_array_equal(mem_rec[:, 0], U2)  # to the bit, because the numbers are dyadic
assert value == loss
np.testing.assert_allclose(grads["0.weight"], dW1, rtol=1e-14)
np.testing.assert_allclose(grads["2.weight"], dW2, rtol=1e-14)

report = gradcheck(net, x, y, loss_fn)
print(report)
assert report.ok
