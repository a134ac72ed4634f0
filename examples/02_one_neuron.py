# %% [markdown]
# # One neuron, four steps, exact fractions
#
# Forward from left to right, backward from right to left, every cell a fraction that you can check by hand; then the
# same through npsnn's law. The page docs/tutorial/1_neuron.md works every cell in words. The equations are those of
# npsnn/leaky/reference.py:
#
#     U[t]  = (beta U[t-1] + I[t]) - R[t] theta,   R[t] = S[t-1],   S[t] = 1 if U[t] > theta else 0
#     dU[t] = dS[t] sigma'(U[t] - theta) + beta dU[t+1],   dI[t] = dU[t]          (the reset counts as a constant)
#
# with beta = 1/2, theta = 1, and the fast sigmoid of slope 1: sigma'(x) = 1 / (1 + |x|)^2.

# %%
from fractions import Fraction as F

import numpy as np

from npsnn import surrogate
from npsnn.leaky.reference import leaky_backward, leaky_forward

T, beta, theta = 4, F(1, 2), F(1)
I = [F(3, 4), F(3, 4), F(3, 2), F(1, 2)]
dS = [F(1), F(-1), F(2), F(1)]  # of the loss L = S[0] - S[1] + 2 S[2] + S[3]

# %% [markdown]
# ## Forward

# %%
U, S = [], []
for t in range(T):
    U_last, R = (U[t - 1], S[t - 1]) if t > 0 else (F(0), 0)
    U.append((beta * U_last + I[t]) - R * theta)
    S.append(1 if U[t] > theta else 0)

# %% [markdown]
# ## Backward

# %%
sigma = [1 / (1 + abs(u - theta)) ** 2 for u in U]
dU = [F(0)] * (T + 1)
for t in reversed(range(T)):
    dU[t] = dS[t] * sigma[t] + beta * dU[t + 1]
dbeta = sum(dU[t] * (U[t - 1] if t > 0 else 0) for t in range(T))
dtheta = -sum(dS[t] * sigma[t] for t in range(T)) - sum(dU[t] * S[t - 1] for t in range(1, T))

# %%
rows = {"I": I, "U": U, "S": S, "dS": dS, "sigma'": sigma, "dU = dI": dU[:T]}
print("t".ljust(9) + "".join(str(t).rjust(17) for t in range(T)))
for name, row in rows.items():
    print(name.ljust(9) + "".join(str(value).rjust(17) for value in row))
print(f"dbeta = {dbeta}, dtheta = {dtheta}")

# %% [markdown]
# ## The same through the law

# %%


def column(values):
    return np.array([float(v) for v in values]).reshape(T, 1, 1)


S_law, cache = leaky_forward(
    column(I), np.array(0.5), np.array(1.0), num_steps=T, sigma=surrogate.fast_sigmoid(slope=1)
)
dI_law, dbeta_law, dtheta_law, _ = leaky_backward(column(dS), None, cache)

np.testing.assert_array_equal(S_law, column(S))
np.testing.assert_array_equal(cache.U, column(U))  # these fractions are exact in binary, so the law has them exactly
np.testing.assert_allclose(dI_law, column(dU[:T]), rtol=1e-15)
np.testing.assert_allclose([dbeta_law, dtheta_law], [float(dbeta), float(dtheta)], rtol=1e-15)
print("npsnn agrees in every cell")
