"""A second oracle for time: real-time recurrent learning, true forward-mode sensitivities (Williams & Zipser 1989).

BPTT walks back over a recorded run. This walks forward beside it, and records nothing: with p any scalar of the network
(an entry of a weight, of a neuron's constant, of an initial membrane), and V = dU/dp, Q = dS/dp, J = dI/dp

    Q_R[t] = sigma'(U[t-1] - theta) (V[t-1] - dtheta/dp), or 0 where the reset is detached                 (V6)
    V[t]   = beta V[t-1] + (dbeta/dp) U[t-1] + J[t] - Q_R[t] theta - R[t] dtheta/dp         "subtract"     (V7)
    V[t]   = beta ((1 - R[t]) V[t-1] - Q_R[t] U[t-1])
             + (dbeta/dp) (1 - R[t]) U[t-1] + J[t]                                          "zero"
    V[t]   = beta V[t-1] + (dbeta/dp) U[t-1] + J[t]                                         "none"
    Q[t]   = sigma'(U[t] - theta) (V[t] - dtheta/dp)                                                       (V8)
    dL/dp  = sum over t of dL/dS[t] Q[t] + dL/dU[t] V[t]      of the output layer                          (V9)

and through the layers between neurons, y = op(x, W, b) being linear in x and in (W, b),

    dy/dp  = op(dx/dp, W, 0) + op(x, dW/dp, db/dp)                                                        (V10)

It shares with BPTT the forward pass and sigma', and no line of the backward. It costs a forward pass a parameter at
every step: for networks of some hundred parameters, to check by. Slow on purpose.
"""

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.conv2d.reference import conv2d_forward
from npsnn.layer import Layer
from npsnn.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from npsnn.linear.reference import linear_forward
from npsnn.network import Sequential
from npsnn.neuron import Leaky
from npsnn.pool2d.reference import avgpool2d_forward, maxpool2d_forward, windows
from npsnn.surrogate import StochasticSurrogate, Surrogate

Params = dict[str, Array]


def rtrl(
    net: Sequential, x: Array, num_steps: int | None = None, dspk: Array | None = None, dmem: Array | None = None
) -> dict[str, Array]:
    """dL/dp for every parameter of `net` and, as `"state.2"`, for the membranes before the first step, by (V9).

    x and num_steps as in `net.forward`, dspk and dmem as in `net.backward`; computed in float64 by the law, from rest.
    ValueError for arguments of the wrong shape and for a random surrogate, TypeError for a layer it does not know.

    Example
    -------
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(3, 2), npsnn.Leaky(beta=0.5), dtype=np.float64, backend="reference")
    >>> x = np.linspace(0, 3, 6).reshape(2, 3)
    >>> spk_rec, _, tape = net.forward(x, num_steps=4)
    >>> by_bptt = net.backward(tape, dspk=spk_rec)
    >>> by_rtrl = rtrl(net, x, 4, dspk=spk_rec)
    >>> bool(np.allclose(by_rtrl["0.weight"], by_bptt["0.weight"], rtol=1e-14, atol=0))
    True
    """
    x = _check.array(x, np.dtype(np.float64), "x")
    spk_rec, mem_rec = net(x.astype(net.dtype), num_steps)
    for given, name, rec in ((dspk, "dspk", spk_rec), (dmem, "dmem", mem_rec)):
        if given is not None:
            _check.shape(np.asarray(given), (0,) if rec is None else rec.shape, name)
    x = np.broadcast_to(x, (num_steps, *x.shape)) if num_steps is not None else x
    params = {name: value.astype(np.float64) for name, value in net.params.items()}
    U = _rest(net, x.shape)
    unknowns = {**params, **{f"state.{i}": u for i, u in U.items()}}
    slots = [(name, at) for name, value in unknowns.items() for at in np.ndindex(value.shape)]
    V = {i: np.stack([_unit(u.shape, at, name == f"state.{i}") for name, at in slots]) for i, u in U.items()}
    sigmas = {i: _certain(layer) for i, layer in enumerate(net.layers) if isinstance(layer, Leaky)}

    gradient = np.zeros(len(slots))
    for t in range(len(x)):
        y, Q = x[t], np.zeros((len(slots), *x.shape[1:]))
        for i, layer in enumerate(net.layers):
            own = {name: params[f"{i}.{name}"] for name in layer.param_shapes()}
            moved = {
                name: np.stack([_unit(value.shape, at, slot == f"{i}.{name}") for slot, at in slots])
                for name, value in own.items()
            }
            if isinstance(layer, Leaky):
                y, Q, U[i], V[i] = _neuron(layer, y, Q, U[i], V[i], own, moved, sigmas[i], t)
            else:
                y, Q = _between(layer, y, Q, own, moved)
        if dspk is not None:
            gradient += (dspk[t] * Q).reshape(len(slots), -1).sum(axis=1)  # (V9)
        if dmem is not None:
            gradient += (dmem[t] * V[len(net.layers) - 1]).reshape(len(slots), -1).sum(axis=1)

    grads = {name: np.zeros(value.shape) for name, value in unknowns.items()}
    for (name, at), d in zip(slots, gradient, strict=True):
        grads[name][at] = d
    return grads


def _neuron(
    layer: Leaky, I: Array, J: Array, U: Array, V: Array, own: Params, moved: Params, sigma: Surrogate, t: int
) -> tuple[Array, Array, Array, Array]:
    """(S, Q, U, V) after step t, from I (B, *N), J (P, B, *N) and the U and V before it."""
    raw = own.get("beta", layer.beta)
    beta, theta = np.clip(raw, 0.0, 1.0), own.get("threshold", layer.threshold)
    zero = np.zeros((len(J), 1))
    inside = (raw >= 0) & (raw <= 1)  # (C3)
    dbeta = _against(moved["beta"] * inside, V) if "beta" in moved else _against(zero, V)
    dtheta = _against(moved["threshold"], V) if "threshold" in moved else _against(zero, V)
    R = np.where(U - theta > 0, 1.0, 0.0)
    Q_R = np.zeros_like(V)
    if not layer.detach_reset:
        Q_R = sigma.derivative(U - theta, t - 1) * (V - dtheta)  # (V6)
    if layer.reset_mechanism == "subtract":
        V = beta * V + dbeta * U + J - Q_R * theta - R * dtheta  # (V7)
        U = beta * U + I - R * theta
    elif layer.reset_mechanism == "zero":
        V = beta * ((1 - R) * V - Q_R * U) + dbeta * (1 - R) * U + J
        U = beta * (1 - R) * U + I
    else:
        V = beta * V + dbeta * U + J
        U = beta * U + I
    Q = sigma.derivative(U - theta, t) * (V - dtheta)  # (V8)
    return np.where(U - theta > 0, 1.0, 0.0), Q, U, V


def _between(layer: Layer, x: Array, dx: Array, own: Params, moved: Params) -> tuple[Array, Array]:
    """(y, dy/dp) of a layer without a memory, x (B, *features), dx (P, B, *features): (V10)."""
    P, B = dx.shape[:2]
    folded = dx.reshape(P * B, *dx.shape[2:])
    if isinstance(layer, Flatten):
        return x.reshape(B, -1), dx.reshape(P, B, -1)
    if isinstance(layer, MaxPool2d):
        geometry = (layer.kernel_size, layer.stride, layer.padding)
        y, cache = maxpool2d_forward(x, kernel=geometry[0], stride=geometry[1], padding=geometry[2])
        place = np.tile(cache.place.astype(np.intp), (P, 1, 1, 1))[..., None]
        dy = np.take_along_axis(windows(folded, *geometry, 0.0), place, axis=-1)[..., 0]
        return y, dy.reshape(P, *y.shape)
    if isinstance(layer, AvgPool2d):
        options = {"kernel": layer.kernel_size, "stride": layer.stride, "padding": layer.padding}
        y = avgpool2d_forward(x, **options)[0]
        return y, avgpool2d_forward(folded, **options)[0].reshape(P, *y.shape)
    if not isinstance(layer, Conv2d | Linear):
        raise TypeError(f"rtrl: no forward-mode rule for {layer!r}")

    def op(x: Array, W: Array, b: Array | None) -> Array:
        if isinstance(layer, Conv2d):
            return conv2d_forward(x, W, b, stride=layer.stride, padding=layer.padding)[0]
        return linear_forward(x, W, b)[0]

    y = op(x, own["weight"], own.get("bias"))
    dy = op(folded, own["weight"], None).reshape(P, *y.shape)
    for p in range(P):
        db = moved["bias"][p] if "bias" in moved else None
        if moved["weight"][p].any() or (db is not None and db.any()):
            dy[p] += op(x, moved["weight"][p], db)
    return y, dy


def _certain(layer: Leaky) -> Surrogate:
    """The neuron's surrogate; a random one is refused, since it would draw other numbers than the pass it checks."""
    if isinstance(layer.spike_grad, StochasticSurrogate):
        raise ValueError(f"rtrl: surrogate {layer.spike_grad} is random")
    return layer.spike_grad


def _rest(net: Sequential, x_shape: tuple[int, ...]) -> dict[int, Array]:
    """The membranes before the first step, by layer."""
    shape, U = x_shape, {}
    for i, layer in enumerate(net.layers):
        shape = layer.out_shape(shape, f"{i} {type(layer).__name__}")
        if isinstance(layer, Leaky):
            U[i] = np.zeros(shape[1:])
    return U


def _unit(shape: tuple[int, ...], at: tuple[int, ...], here: bool) -> Array:
    """Zeros, and 1 at `at` where p is an entry of this very array."""
    v = np.zeros(shape)
    if here:
        v[at] = 1.0
    return v


def _against(d: Array, V: Array) -> Array:
    """(P, *constant) with axes put in, so that it broadcasts against V (P, B, *N) as the constant does against *N."""
    return d.reshape(len(d), *(1,) * (V.ndim - d.ndim), *d.shape[1:])
