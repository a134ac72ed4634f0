"""A second engine, small and slow, that can be told to misread the law in one way. npsnn is not imported.

`run` gives the arrays of a recording (docs/compare.md) of a network of Conv2d, MaxPool2d, Flatten, Linear and Leaky
layers with the fast sigmoid surrogate; `wrong` names the misreading, or is "" for none.
"""

import numpy as np


def run(layers, params, x, d_last, dmem_last=None, wrong=""):
    """x (T, B, ...), d_last = dL/dspk_rec, dmem_last = dL/dmem_rec."""
    arrays, inputs, y = {"x": x, **params}, [], x
    for i, layer in enumerate(layers):
        inputs.append(y)
        if layer["type"] == "Leaky":
            arrays[f"{i}.U"], arrays[f"{i}.S"] = fire(layer, y, wrong)
            y = arrays[f"{i}.S"]
        else:
            y = arrays[f"{i}.y"] = FORWARD[layer["type"]](y, layer, i, params, wrong)
    d = d_last
    for i, layer in reversed(list(enumerate(layers))):
        if layer["type"] == "Leaky":
            arrays[f"{i}.dS"] = d
            dmem = np.zeros_like(d)
            if i == len(layers) - 1 and dmem_last is not None:
                arrays[f"{i}.dmem"] = dmem = dmem_last
            d = arrays[f"{i}.dU"] = fire_back(layer, arrays[f"{i}.U"], d, dmem, wrong)
        else:
            arrays[f"{i}.dy"] = d
            d = BACKWARD[layer["type"]](d, inputs[i], layer, i, params, arrays, wrong)
    return {**arrays, "grad.x": d}


# --- the neuron ----------------------------------------------------------------------------------------------------


def fire(layer, current, wrong):
    beta, theta, reset = layer["beta"], layer["threshold"], layer["reset_mechanism"]
    reset = wrong.removeprefix("reset ") if wrong.startswith("reset ") else reset
    beta = {"no memory": 0.0, "other beta": 0.8125}.get(wrong, beta)
    U, spikes, membranes = np.zeros(current.shape[1:]), [], []
    history = [np.zeros_like(U), np.zeros_like(U)]  # spikes of the two steps before

    def step(v):
        return (v >= theta if wrong == "at threshold" else v > theta).astype(float)

    for I in current:
        I = (1 - beta) * I if wrong == "scaled input" else I
        R = history[-2] if wrong == "late" else step(U)
        R = 0 * R if wrong == "early" else R
        before = U
        if reset == "subtract":
            U = beta * (U - R * theta) + I if wrong == "decayed reset" else (beta * U + I) - R * theta
        elif reset == "zero":
            U = (1 - R) * (beta * U + I) if wrong == "input dropped" else beta * ((1 - R) * U) + I
        else:
            U = beta * U + I
        S = step(before) if wrong == "previous spike" else step(U)
        if wrong == "early":
            U = U - S * theta if reset == "subtract" else U * (1 - S)
        spikes.append(S)
        membranes.append(U)
        history.append(S)
    return np.array(membranes), np.array(spikes)


def fire_back(layer, U, dS, dmem, wrong):
    beta, theta, reset = layer["beta"], layer["threshold"], layer["reset_mechanism"]
    detach = layer["detach_reset"] != (wrong in ("attached", "detached"))
    k = layer["spike_grad"]["slope"] * (2 if wrong == "steeper" else 1)
    x = U if wrong == "at U" else U - theta
    slope = 1 / (1 + k * abs(x)) ** 2 * (0.125 if wrong == "smaller" else 1)
    if wrong == "other surrogate":
        slope = 1 / (1 + (np.pi * x) ** 2)
    dmem = 0 * dmem if wrong == "no dmem" else dmem
    dU, after = np.zeros_like(U), np.zeros(U.shape[1:])
    for t in reversed(range(len(U))):
        R = (U[t] > theta).astype(float)
        dR = 0.0
        if not detach and reset == "subtract":
            dR = -theta * after
        if not detach and reset == "zero":
            dR = -beta * U[t] * after
        kept = 1 - R if reset == "zero" and wrong != "not cut" else 1
        path = 0.0 if wrong == "no path" else after * beta * kept
        after = dU[t] = (dS[t] + dR) * slope[t] + dmem[t] + path
    return dU


# --- the other layers ----------------------------------------------------------------------------------------------


def linear(x, layer, i, params, wrong):
    bias = {"no bias": 0, "bias twice": 2}.get(wrong, 1)
    return x @ params[f"{i}.weight"].T + bias * params[f"{i}.bias"]


def linear_back(d, x, layer, i, params, arrays, wrong):
    share = {"mean over batch": x.shape[1], "mean over time": x.shape[0]}.get(wrong, 1)
    arrays[f"grad.{i}.weight"] = np.einsum("tbm,tbk->mk", d, x) / share
    arrays[f"grad.{i}.bias"] = d.sum(axis=(0, 1)) / share
    return d @ params[f"{i}.weight"]


def conv2d(x, layer, i, params, wrong):
    W = params[f"{i}.weight"]
    W = W[..., ::-1, ::-1] if wrong == "flipped" else W
    return np.einsum("tbchwij,ocij->tbohw", windows(x, W.shape[2:]), W) + params[f"{i}.bias"][:, None, None]


def conv2d_back(d, x, layer, i, params, arrays, wrong):
    W = params[f"{i}.weight"]
    arrays[f"grad.{i}.weight"] = np.einsum("tbchwij,tbohw->ocij", windows(x, W.shape[2:]), d)
    arrays[f"grad.{i}.bias"] = d.sum(axis=(0, 1, 3, 4))
    dx = np.zeros_like(x)
    for y, z in np.ndindex(d.shape[3:]):
        dx[..., y : y + W.shape[2], z : z + W.shape[3]] += np.einsum("tbo,ocij->tbcij", d[..., y, z], W)
    return dx


def windows(x, kernel):
    return np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(-2, -1))


def maxpool(x, layer, i, params, wrong):
    kh, kw = layer["kernel_size"]
    return windows(x, (kh, kw))[..., ::kh, ::kw, :, :].max(axis=(-2, -1))


def maxpool_back(d, x, layer, i, params, arrays, wrong):
    (kh, kw), dx = layer["kernel_size"], np.zeros_like(x)
    for at in np.ndindex(d.shape):
        *lead, y, z = at
        block = (*lead, slice(y * kh, y * kh + kh), slice(z * kw, z * kw + kw))
        places = np.argwhere(x[block] == x[block].max())
        share = 1 / len(places) if wrong == "shared" else 1
        chosen = {"last": places[-1:], "shared": places, "whole": places}.get(wrong, places[:1])
        for u, v in chosen:
            dx[block][u, v] += share * d[at]
    return dx


def flatten(x, layer, i, params, wrong):
    return x.reshape(*x.shape[:2], -1)


def flatten_back(d, x, layer, i, params, arrays, wrong):
    return d.reshape(x.shape)


FORWARD = {"Linear": linear, "Conv2d": conv2d, "MaxPool2d": maxpool, "Flatten": flatten}
BACKWARD = {"Linear": linear_back, "Conv2d": conv2d_back, "MaxPool2d": maxpool_back, "Flatten": flatten_back}
