"""The conventions once more, in exact arithmetic: layers, neurons and losses on `Exact` arrays. npsnn is not imported.

Written from docs/conventions.md (C1 to C9) and not from the engine. A network is a list of JSON objects, as in
case.json.
"""

from fractions import Fraction

import mpmath
import numpy as np

from tests.golden.exact import Bits, Exact, gradients, stack

mpmath.mp.dps = 100
TRANSCENDENTAL = ("atan", "sigmoid", "spike_rate_escape")


def fractions(values) -> np.ndarray:
    """An array of doubles as the exact Fractions that they are."""
    values = np.asarray(values, float)
    return np.array([Fraction(float(x)) for x in values.flat], object).reshape(values.shape)


def mp(values) -> np.ndarray:
    """The same in 100 digits."""
    values = np.asarray(values, object)
    return np.array([to_mp(x) for x in values.flat], object).reshape(values.shape)


def to_mp(x):
    return mpmath.mpf(x.numerator) / x.denominator if isinstance(x, Fraction) else mpmath.mpf(x)


# --- surrogates (C5) -----------------------------------------------------------------------------------------------


def slope_of(sigma: dict):
    """sigma'(x) as a function of one number."""
    c = {name: Fraction(value) for name, value in sigma.items() if name != "name"}
    k = c.get("slope")

    def escape(x):
        return to_mp(k) * mpmath.exp(-to_mp(c["beta"]) * abs(x - 1))

    def sigmoid(x):
        e = mpmath.exp(-to_mp(k) * abs(x))
        return to_mp(k) * e / (1 + e) ** 2

    def arc(x):
        a = to_mp(c["alpha"])
        return a / 2 / (1 + (mpmath.pi * a * x / 2) ** 2)

    return {
        "straight_through_estimator": lambda x: x * 0 + 1,
        "heaviside": lambda x: x * 0 + (1 if x > 0 else 0),
        "triangular": lambda x: x * 0 + (c["threshold"] if x < 0 else -c["threshold"]),
        "LSO": lambda x: x * 0 + (1 if x > 0 else k),
        "boxcar": lambda x: x * 0 + (1 if abs(x) < Fraction(1, 2) else 0),
        "fast_sigmoid": lambda x: 1 / (1 + k * abs(x)) ** 2,
        "SFS": lambda x: 1 / (1 + k * abs(x)) ** 2 if x > c["B"] else x * 0,
        "atan": arc,
        "sigmoid": sigmoid,
        "spike_rate_escape": escape,
    }[sigma["name"]]


# --- layers --------------------------------------------------------------------------------------------------------


def windows(shape, kernel, stride, padding) -> np.ndarray:
    """(C, H_out, W_out, kh kw): the flat places, in an image (C, H, W), of every window's pixels; -1 outside."""
    (C, H, W), (kh, kw), (sh, sw), (ph, pw) = shape, kernel, stride, padding
    H_out, W_out = (H + 2 * ph - kh) // sh + 1, (W + 2 * pw - kw) // sw + 1
    places = np.full((C, H_out, W_out, kh * kw), -1)
    for c, y, x, i, j in np.ndindex(C, H_out, W_out, kh, kw):
        u, v = y * sh + i - ph, x * sw + j - pw
        if 0 <= u < H and 0 <= v < W:
            places[c, y, x, i * kw + j] = (c * H + u) * W + v
    return places


def per_image(places: np.ndarray, images: int, size: int) -> np.ndarray:
    """The places of every image of several."""
    return np.stack([np.where(places >= 0, places + n * size, -1) for n in range(images)])


def conv2d(x: Exact, layer: dict, params: dict[str, Exact]) -> Exact:
    """(N, C, H, W) -> (N, O, H_out, W_out)."""
    W = params["weight"]
    O, C, kh, kw = W.value.shape
    N, shape = len(x.value), x.value.shape[1:]
    at = windows(shape, (kh, kw), layer["stride"], layer["padding"])
    H_out, W_out = at.shape[1:3]
    at = at.transpose(1, 2, 0, 3).reshape(H_out * W_out, C * kh * kw)
    columns = x.take(per_image(at, N, int(np.prod(shape)))).reshape(N * H_out * W_out, C * kh * kw)
    transposed = np.arange(W.value.size).reshape(O, -1).T
    y = columns @ W.take(transposed)
    if "bias" in params:
        y = y + params["bias"]
    back = np.arange(y.value.size).reshape(N, H_out, W_out, O).transpose(0, 3, 1, 2)
    return y.take(back)


def pool2d(x: Exact, layer: dict) -> Exact:
    """(N, C, H, W) -> (N, C, H_out, W_out)."""
    N, shape = len(x.value), x.value.shape[1:]
    kernel = layer["kernel_size"]
    at = per_image(windows(shape, kernel, layer["stride"], layer["padding"]), N, int(np.prod(shape)))
    if layer["type"] == "AvgPool2d":
        return x.take(at).sum(axis=-1) * Exact(np.array(Fraction(1, kernel[0] * kernel[1])))
    flat = x.value.reshape(-1)
    first = np.empty(at.shape[:-1], int)
    for place in np.ndindex(first.shape):
        inside = [p for p in at[place] if p >= 0]
        first[place] = max(inside, key=lambda p: flat[p])  # max keeps the first of equals, row by row (C6)
    return x.take(first)


def linear(x: Exact, params: dict[str, Exact]) -> Exact:
    """(N, K) -> (N, M)."""
    M, K = params["weight"].value.shape
    y = x @ params["weight"].take(np.arange(M * K).reshape(M, K).T)
    return y + params["bias"] if "bias" in params else y


def leaky(I: list[Exact], layer: dict, params: dict[str, Exact], U: Exact, margins: list) -> tuple[list, list]:
    """(S, U) at every step, from the membrane U before them (C1 to C4)."""
    beta = params.get("beta", Exact(fractions(layer["beta"])))
    theta = params.get("threshold", Exact(fractions(layer["threshold"])))
    beta = beta.map(lambda b: min(max(b, 0 * b), 0 * b + 1), lambda b: 1 if 0 <= b <= 1 else 0)  # (C3)
    sigma = slope_of(layer["spike_grad"])
    if layer["spike_grad"]["name"] in TRANSCENDENTAL:
        beta, theta, U = (a if isinstance(a.value.flat[0], mpmath.mpf) else in_mp(a) for a in (beta, theta, U))

    def spike(x: Exact) -> Exact:
        return x.map(lambda v: v * 0 + (1 if v > 0 else 0), sigma)

    S_all, U_all = [], []
    for I_t in I:
        R = spike(U - theta)
        margins += [abs(v) for v in (U - theta).value.flat]
        R = R.constant() if layer["detach_reset"] else R
        if layer["reset_mechanism"] == "zero":
            one = Exact(np.array(Fraction(1)))
            kept = (one - R) * U
            U = beta * kept + I_t
        else:
            charge, lost = beta * U, R * theta
            if layer["reset_mechanism"] == "none":
                U = charge + I_t
            else:
                Bits.note(charge.value, I_t.value, lost.value)  # these three in any order
                U = (charge + I_t) - lost
        S_all.append(spike(U - theta))
        U_all.append(U)
        margins += [abs(v) for v in (U - theta).value.flat]
    return S_all, U_all


def in_mp(a: Exact) -> Exact:
    """The array in 100 digits; its gradient goes back unchanged."""
    return Exact(mp(a.value), ((a, lambda g: g),))


def apply(x: Exact, layer: dict, params: dict[str, Exact]) -> Exact:
    """A layer without time, on one step's input."""
    kind = layer["type"]
    if kind == "Conv2d":
        return conv2d(x, layer, params)
    if kind == "Linear":
        return linear(x, params)
    return x.reshape(len(x.value), -1) if kind == "Flatten" else pool2d(x, layer)


def run(layers: list[dict], arrays: dict[str, Exact], num_steps: int | None) -> tuple[Exact, Exact | None, list]:
    """(spk_rec, mem_rec, every |U - theta|) of a network on x, shown num_steps times or varying in time."""
    x = arrays["x"]
    T = num_steps or len(x.value)
    size = x.value[0].size if num_steps is None else x.value.size
    shape = x.value.shape if num_steps else x.value.shape[1:]
    steps = [x.take((t * size * (num_steps is None) + np.arange(size)).reshape(shape)) for t in range(T)]
    if num_steps:
        steps = [x] * T  # one array used T times: its gradient is the sum over time (C12)
    margins: list = []
    U = None
    for i, layer in enumerate(layers):
        params = {n: arrays[f"{i}.{n}"] for n in ("weight", "bias", "beta", "threshold") if f"{i}.{n}" in arrays}
        if layer["type"] == "Leaky":
            steps, U = leaky(steps, layer, params, arrays[f"state.{i}"], margins)
            continue
        U, done = None, {}
        for x_t in steps:  # an input that does not change is computed once
            if id(x_t) not in done:
                done[id(x_t)] = apply(x_t, layer, params)
        steps = [done[id(x_t)] for x_t in steps]
    return stack(steps), None if U is None else stack(U), margins


# --- losses (C8) ---------------------------------------------------------------------------------------------------


def loss(name: str, options: dict, rec: Exact, targets: np.ndarray) -> Exact:
    """The loss of a recording (T, B, C), as an array of one number."""
    T, B, C = rec.value.shape
    hot = np.array([[Fraction(int(c == y)) for c in range(C)] for y in targets], object)
    if name == "l1_rate_sparsity":
        return everything(rec) * Exact(np.array(Fraction(options["Lambda"])))
    if name == "mse_count_loss":
        on, off = (int(T * options[n]) for n in ("correct_rate", "incorrect_rate"))
        miss = rec.sum(axis=0) - Exact(hot * on + (1 - hot) * off)
        return everything(miss * miss) * Exact(np.array(Fraction(1, B * C * T)))
    if name == "mse_membrane_loss":
        on, off = (Fraction(options[n]) for n in ("on_target", "off_target"))
        miss = rec - Exact(hot * on + (1 - hot) * off)
        return everything(miss * miss) * Exact(np.array(Fraction(1, T * B * C)))
    rec = in_mp(rec)
    if name == "ce_rate_loss":
        rows, y = rec.reshape(T * B, C), np.tile(targets, T)
    elif name == "ce_count_loss":
        rows, y = rec.sum(axis=0), targets
    else:
        at = np.arange(T * B * C).reshape(T, B, C)
        first = np.empty((B, C), int)
        for b, c in np.ndindex(B, C):
            first[b, c] = max(at[:, b, c], key=lambda p: rec.value.flat[p])
        rows, y = rec.take(first), targets
    return cross_entropy(rows, y)


def cross_entropy(z: Exact, y: np.ndarray) -> Exact:
    """Mean over rows of -log softmax(z)[y]."""
    exp, log = z.map(mpmath.exp, mpmath.exp), lambda a: a.map(mpmath.log, lambda v: 1 / v)
    N, C = z.value.shape
    right = z.take(np.arange(N) * C + y)
    return everything(log(exp.sum(axis=1)) - right) * Exact(np.array(Fraction(1, N)))


def loss_size(name: str, value: Exact) -> float:
    """The size of what is added up to a loss: a cross-entropy is a difference of numbers of about 1 or more."""
    return max(float(value.value), 1.0 if name.startswith("ce") else 0.0)


def everything(a: Exact) -> Exact:
    """The sum of all entries."""
    return a.reshape(a.value.size).sum(axis=0)


def few_digits(b) -> bool:
    """Whether b has at most ten binary places."""
    return bool(b * 1024 == mpmath.floor(b * 1024))


def adam(p, grads, lr, b1, b2, eps, weight_decay) -> list[np.ndarray]:
    """(p, m, v) after one step for each of `grads` (C9), in 100 digits, and the size of what was added up to p."""
    p, lr, b1, b2, eps, decay = mp(fractions(p)), *(mp(fractions(c)).item() for c in (lr, b1, b2, eps, weight_decay))
    m, v, size = p * 0, p * 0, abs(p)
    for t, g in enumerate(grads, start=1):
        g = mp(fractions(g)) + decay * p
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        root = np.frompyfunc(mpmath.sqrt, 1, 1)
        step = lr / (1 - b1**t) * m / (root(v) / mpmath.sqrt(1 - b2**t) + eps)
        # 1 - b^t cancels, unless b has so few digits that b^t is exact; under the root it counts half.
        cancelled = (1 if few_digits(b1) else (1 + b1**t) / (1 - b1**t)) + (
            0 if few_digits(b2) else b2**t / (1 - b2**t)
        )
        p, size = p - step, size + abs(step) * cancelled
    return [p, m, v, size]


def gradients_of(value: Exact, a: Exact) -> np.ndarray:
    """The gradient of one number with respect to one array."""
    return gradients([(value, np.array(Fraction(1)))], {"a": a})["a"]
