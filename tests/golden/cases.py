"""The list of golden cases: what is drawn, at which level of difficulty. Seeded, the same on every machine."""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import mpmath
import numpy as np

from tests.golden import model
from tests.golden.case import Case, TooManyBitsError, finish, largest, network
from tests.golden.exact import Bits

RESETS = [(reset, detach) for reset in ("subtract", "zero", "none") for detach in (True, False)]
DYADIC = [
    {"name": "straight_through_estimator"}, {"name": "heaviside"}, {"name": "triangular", "threshold": 0.5},
    {"name": "LSO", "slope": 0.25}, {"name": "boxcar"},
]  # fmt: skip
RATIONAL = [{"name": "fast_sigmoid", "slope": 3.0}, {"name": "SFS", "slope": 2.0, "B": -0.5}]
IRRATIONAL = [
    {"name": "atan", "alpha": 2.0}, {"name": "sigmoid", "slope": 4.0},
    {"name": "spike_rate_escape", "beta": 1.0, "slope": 2.0},
]  # fmt: skip


# --- drawing -------------------------------------------------------------------------------------------------------


def grid(rng, shape, low, high, step) -> np.ndarray:
    """Multiples of `step` from low to high."""
    return np.asarray(rng.integers(round(low / step), round(high / step) + 1, shape) * step, float)


def conv(rng, C, O, kernel, stride=(1, 1), padding=(0, 0), bias=True) -> dict:
    return {
        "type": "Conv2d", "in_channels": C, "out_channels": O, "kernel_size": list(kernel), "stride": list(stride),
        "padding": list(padding), "bias": bias,
    }  # fmt: skip


def pool(kind, kernel, stride=None, padding=(0, 0)) -> dict:
    return {"type": kind, "kernel_size": list(kernel), "stride": list(stride or kernel), "padding": list(padding)}


def dense(K, M, bias=True) -> dict:
    return {"type": "Linear", "in_features": K, "out_features": M, "bias": bias}


def neuron(sigma, reset="subtract", detach=True, beta=0.5, theta=1.0, learn=(False, False)) -> dict:
    return {
        "type": "Leaky", "beta": np.asarray(beta, float).tolist(), "threshold": np.asarray(theta, float).tolist(),
        "learn_beta": learn[0], "learn_threshold": learn[1], "reset_mechanism": reset, "detach_reset": detach,
        "spike_grad": sigma,
    }  # fmt: skip


def weights(rng, layers, step=0.25, size=1.0) -> dict[str, np.ndarray]:
    """Parameters on a grid, for every layer that has some."""
    params = {}
    for i, layer in enumerate(layers):
        if layer["type"] == "Conv2d":
            shape = (layer["out_channels"], layer["in_channels"], *layer["kernel_size"])
        elif layer["type"] == "Linear":
            shape = (layer["out_features"], layer["in_features"])
        else:
            for name, learn in (("beta", "learn_beta"), ("threshold", "learn_threshold")):
                if layer.get(learn):
                    params[f"{i}.{name}"] = np.asarray(layer[name], float)
            continue
        params[f"{i}.weight"] = grid(rng, shape, -size, size, step)
        if layer["bias"]:
            params[f"{i}.bias"] = grid(rng, shape[:1], -size, size, step)
    return params


def drawn(make: Callable, seed: int) -> Case:
    """The first of several draws whose sums fit a double and whose spikes no rounding decides."""
    for attempt in range(50):
        try:
            return make(np.random.default_rng([seed, attempt]))
        except TooManyBitsError:
            continue
    raise TooManyBitsError(f"no draw fits, seed {seed}")


def upstream(rng, case_shape) -> np.ndarray:
    return grid(rng, case_shape, -1, 1, 0.5)


# --- one op at a time ----------------------------------------------------------------------------------------------

CONSTANTS = {  # beta, theta, learnable, for 2 x 3 neurons
    "scalar": (0.5, 1.0, (False, False)),
    "no_decay": (1.0, 0.75, (True, True)),
    "full_decay": (0.0, 1.0, (True, False)),
    "per_neuron": ([[0.0, 0.5, 1.0], [0.25, 0.75, 0.5]], [0.5, 1.0, 1.25], (True, True)),
    "per_channel": ([[0.5], [0.75]], [[0.75], [1.5]], (True, True)),
}


def leaky_cases(sigmas, kind, T=4) -> Iterator[Case]:
    """Every reset, surrogate and shape of constants; varying and static input; from rest and from a given state."""
    shapes = list(CONSTANTS) if kind == "dyadic" else ["scalar", "full_decay", "per_neuron"]
    for seed, (sigma, (reset, detach), shape) in enumerate(itertools.product(sigmas, RESETS, shapes)):
        beta, theta, learn = CONSTANTS[shape]
        B = 2 if kind == "dyadic" else 1
        for static in (False, True):
            # Half of them have no membrane at its threshold: theta lies between the grid's points.
            layers = [neuron(sigma, reset, detach, beta, np.add(theta, static / 64), learn)]
            name = f"leaky-{kind}-{sigma['name']}-{reset}-{'detached' if detach else 'attached'}-{shape}"
            name += "-static" if static else "-varying"

            def make(rng, layers=layers, static=static, name=name, B=B):
                x = grid(rng, (B, 2, 3) if static else (T, B, 2, 3), -0.5, 1.5, 0.25)
                state = {0: grid(rng, (B, 2, 3), -0.5, 1.5, 0.25)} if static else None
                d = (upstream(rng, (T, B, 2, 3)) for _ in range(2))
                steps = T if static else None
                params = weights(rng, layers)
                return network(name, kind, "leaky", layers, params, x, steps, state=state, dspk=next(d), dmem=next(d))

            yield drawn(make, seed)


def learnt_cases() -> Iterator[Case]:
    """Constants where training may take them: beta beyond [0, 1] (C3), theta below 0."""
    for seed, ((reset, detach), beta, theta) in enumerate(
        itertools.product(RESETS, (-0.5, 0.0, 1.0, 1.5), (-0.5, 0.75))
    ):
        layers = [neuron(DYADIC[3], reset, detach, 0.5, 1.0, (True, True))]
        name = f"leaky-learnt-{reset}-{'detached' if detach else 'attached'}-beta{beta}-theta{theta}"

        def make(rng, layers=layers, name=name, beta=beta, theta=theta):
            x, d = grid(rng, (4, 2, 3), -0.5, 1.5, 0.25), [upstream(rng, (4, 2, 3)) for _ in range(2)]
            params = {"0.beta": np.array(beta), "0.threshold": np.array(theta)}
            return network(name, "dyadic", "leaky", layers, params, x, None, dspk=d[0], dmem=d[1])

        yield drawn(make, 1000 + seed)


def image_cases() -> Iterator[Case]:
    """Convolutions and pools alone: strides, paddings, pairs; pools on spikes, where ties are the rule."""
    convs = [
        conv(None, 2, 3, kernel, stride, padding, bias)
        for kernel, stride, padding, bias in itertools.product(
            ((3, 3), (2, 3), (1, 1), (5, 2)), ((1, 1), (2, 1), (2, 3)), ((0, 0), (1, 2)), (True, False)
        )
    ]
    pools = [
        pool(kind, kernel, stride, padding)
        for kind, kernel, stride, padding in itertools.product(
            ("MaxPool2d", "AvgPool2d"), ((2, 2), (2, 1), (4, 2)), (None, (1, 1), (2, 1), (3, 2)), ((0, 0), (1, 0))
        )
    ]
    for seed, (layer, spikes) in enumerate(
        [(c, False) for c in convs] + [(p, s) for p in pools for s in (False, True)]
    ):
        kind = layer["type"]
        name = f"{kind.lower()}-{seed:03d}" + ("-spikes" if spikes else "")

        def make(rng, layer=layer, name=name, spikes=spikes):
            x = grid(rng, (2, 2, 2, 6, 7), 0, 1, 1) if spikes else grid(rng, (2, 2, 2, 6, 7), -1, 1, 0.25)
            params = weights(rng, [layer])
            out = model.run([layer], {"x": model.Exact(model.fractions(x)), **_exact(params)}, None)[0].value.shape
            op = "conv2d" if layer["type"] == "Conv2d" else "pool2d"
            return network(name, "dyadic", op, [layer], params, x, None, dspk=upstream(rng, out))

        yield drawn(make, 2000 + seed)


def _exact(params):
    return {n: model.Exact(model.fractions(v)) for n, v in params.items()}


def linear_cases() -> Iterator[Case]:
    for seed, (K, M, bias, static) in enumerate(
        itertools.product((1, 3, 17), (1, 2, 20), (True, False), (True, False))
    ):
        layers = [dense(K, M, bias)]

        def make(rng, layers=layers, K=K, M=M, static=static, seed=seed):
            x = grid(rng, (2, K) if static else (3, 2, K), -1, 1, 0.125)
            T = 3
            d = upstream(rng, (T, 2, M))
            name = f"linear-{seed:02d}"
            return network(name, "dyadic", "linear", layers, weights(rng, layers), x, T if static else None, dspk=d)

        yield drawn(make, 3000 + seed)


# --- networks ------------------------------------------------------------------------------------------------------


def small_network(rng, sigma, reset, detach, shape) -> list[dict]:
    """One of three kinds: dense, convolution then pool then neuron, convolution then neuron then pool."""
    between = 1 / 64 if shape == "dense" else 0.0  # so that there no membrane is at its threshold
    first = neuron(sigma, reset, detach, 0.5, 0.75 + between)
    last = neuron(sigma, reset, detach, 0.5, 0.5 + between, (True, True))
    if shape == "dense":
        return [dense(3, 4), first, dense(4, 2), last]
    body = [conv(rng, 1, 2, (3, 3)), pool("MaxPool2d", (2, 2)), first]
    if shape == "pool_last":
        body = [conv(rng, 1, 2, (3, 3)), first, pool("MaxPool2d", (2, 2))]
    return [*body, {"type": "Flatten"}, dense(8, 2), last]


def network_cases(sigmas, kind, T, losses=(None,)) -> Iterator[Case]:
    shapes = ("dense", "pool_first", "pool_last")
    for seed, (sigma, (reset, detach), shape, which) in enumerate(itertools.product(sigmas, RESETS, shapes, losses)):
        static = seed % 2 == 0
        name = f"network-{kind}-{shape}-{sigma['name']}-{reset}-{'detached' if detach else 'attached'}"
        name += "" if which is None else f"-{which[0]}"

        def make(rng, sigma=sigma, reset=reset, detach=detach, shape=shape, static=static, name=name, which=which):
            layers = small_network(rng, sigma, reset, detach, shape)
            features = (3,) if shape == "dense" else (1, 6, 6)
            x = grid(rng, (2, *features) if static else (T, 2, *features), 0, 1, 0.25)
            params = weights(rng, layers, 0.25, 1.0)
            if which is None:
                d = {"dspk": upstream(rng, (T, 2, 2)), "dmem": upstream(rng, (T, 2, 2))}
            else:
                d = {"loss": (*which, rng.integers(0, 2, 2))}
            return network(name, kind, "network", layers, params, x, T if static else None, **d)

        yield drawn(make, 4000 + seed)


def tutorial_cases() -> Iterator[Case]:
    """12C5-MP2-64C5-MP2-1024FC10 itself, on a drawn image."""
    for seed, sigma in enumerate((DYADIC[0], DYADIC[3])):
        layers = [
            conv(None, 1, 12, (5, 5)), pool("MaxPool2d", (2, 2)), neuron(sigma),
            conv(None, 12, 64, (5, 5)), pool("MaxPool2d", (2, 2)), neuron(sigma),
            {"type": "Flatten"}, dense(1024, 10), neuron(sigma),
        ]  # fmt: skip
        rng = np.random.default_rng([5000, seed])
        x = np.where(rng.random((1, 1, 28, 28)) < 0.25, grid(rng, (1, 1, 28, 28), 0, 1, 0.25), 0.0)
        params = weights(rng, layers, 0.125, 0.25)
        yield network(
            f"network-tutorial-{sigma['name']}", "dyadic", "network", layers, params, x, 3,
            dspk=upstream(rng, (3, 1, 10)), dmem=upstream(rng, (3, 1, 10)),
        )  # fmt: skip


# --- hard cases ----------------------------------------------------------------------------------------------------


def hard_cases() -> Iterator[Case]:
    """U at theta; a decay of 1 - 2^-20; membranes of 1e8; all silent; all firing; a hundred steps."""
    for seed, ((reset, detach), what) in enumerate(
        itertools.product(RESETS, ("at_theta", "slow_decay", "huge", "silent", "firing", "hundred"))
    ):
        name = f"leaky-hard-{what}-{reset}-{'detached' if detach else 'attached'}"

        def make(rng, what=what, reset=reset, detach=detach, name=name):
            T, beta, theta = {"slow_decay": 2, "hundred": 100}.get(what, 4), 0.5, 1.0
            x = grid(rng, (T, 2, 4), -0.5, 1.5, 0.25)
            state = {0: grid(rng, (2, 4), -0.5, 1.5, 0.25)}
            if what == "at_theta":
                x, state = np.full((T, 2, 4), 0.5), {0: np.ones((2, 4))}  # U stays at 1, its threshold
            elif what == "slow_decay":
                beta, x, state = 1 - 2.0**-20, grid(rng, (T, 2, 4), 0, 1, 0.5), None
            elif what == "huge":
                # An attached reset to zero multiplies by U at every step: two steps of 2^20 are all a double holds.
                steps, size = (2, 2.0**20) if (reset, detach) == ("zero", False) else (4, 2.0**27)
                x, state = grid(rng, (steps, 2, 4), -size, size, 1.0), None
            elif what == "silent":
                x, state = -np.abs(x), {0: np.zeros((2, 4))}
            elif what == "firing":
                x = np.abs(x) + 4
            elif what == "hundred":
                beta, x = 1.0, grid(rng, (T, 2, 4), -0.5, 1.0, 0.25)
            sigma = {"slow_decay": DYADIC[0], "hundred": DYADIC[1] if detach else DYADIC[4]}.get(what, DYADIC[3])
            layers = [neuron(sigma, reset, detach, beta, theta, (True, True))]
            d = [upstream(rng, x.shape) for _ in range(2)]
            level = "average" if what == "hundred" else "higher"
            params = weights(rng, layers)
            return network(
                name, "dyadic", "leaky", layers, params, x, None, state=state, dspk=d[0], dmem=d[1], level=level
            )

        yield drawn(make, 6000 + seed)


def long_certified() -> Iterator[Case]:
    """A hundred steps of a decay of one half: a hundred binary places, which no double holds."""
    for seed, (reset, detach) in enumerate(RESETS):
        for scale in (1.0, 2.0**-10):
            layers = [neuron(DYADIC[0 if detach else 1], reset, detach, 0.5, scale, (True, True))]
            name = f"leaky-hundred-{reset}-{'detached' if detach else 'attached'}-scale{scale:g}"

            def make(rng, layers=layers, scale=scale, name=name):
                x = grid(rng, (100, 1, 3), -0.5, 1.25, 0.125) * scale
                d = [upstream(rng, x.shape) for _ in range(2)]
                params = weights(rng, layers)
                return network(
                    name, "certified", "leaky", layers, params, x, None, dspk=d[0], dmem=d[1], level="average"
                )

            yield drawn(make, 7000 + seed)


# --- losses, the optimiser, tables ---------------------------------------------------------------------------------

LOSSES = [
    ("ce_rate_loss", {}), ("ce_count_loss", {}), ("ce_max_membrane_loss", {}),
    ("mse_count_loss", {"correct_rate": 1.0, "incorrect_rate": 0.0}),
    ("mse_count_loss", {"correct_rate": 0.75, "incorrect_rate": 0.25}),
    ("mse_membrane_loss", {"on_target": 1.0, "off_target": -0.5}), ("l1_rate_sparsity", {"Lambda": 0.125}),
]  # fmt: skip


def loss_cases() -> Iterator[Case]:
    """Value and gradient of every loss; on powers of two the rational ones are dyadic."""
    for seed, ((name, options), (T, B, C)) in enumerate(
        itertools.product(LOSSES, ((4, 2, 4), (1, 1, 2), (5, 3, 7), (8, 4, 8)))
    ):
        rng = np.random.default_rng([8000, seed])
        rec = grid(rng, (T, B, C), -2, 2, 0.25) if "membrane" in name else grid(rng, (T, B, C), 0, 1, 1)
        targets = rng.integers(0, C, B)
        Bits.start()
        a = model.Exact(model.fractions(rec))
        value = model.loss(name, options, a, targets)
        found = model.gradients_of(value, a)
        kind = "certified" if name.startswith("ce") or T * B * C & (T * B * C - 1) else "dyadic"
        meta = {"loss": {"name": name, **options}, "margin": None}
        if kind == "certified":
            meta["scale"] = {"out.loss": model.loss_size(name, value)}
        given = {"in.rec": rec, "in.targets": targets.astype(np.int64)}
        expected = {"loss": value.value, "grad.rec": found}
        yield finish(f"loss-{seed:02d}-{name}", kind, "loss", "lower", meta, given, expected)


def adam_cases() -> Iterator[Case]:
    betas = ((0.9, 0.999), (0.875, 1 - 2.0**-10), (0.0, 0.5))
    settings = itertools.product((1e-3, 0.125), betas, (1e-8, 0.125), (0.0, 0.25))
    for seed, (lr, (b1, b2), eps, decay) in enumerate(settings):
        rng = np.random.default_rng([9000, seed])
        p, g = rng.standard_normal(6), rng.standard_normal((3, 6))
        g[:, 0] = 0.0  # a parameter whose gradient is always zero
        p_after, m, v, size = model.adam(p, g, lr, b1, b2, eps, decay)
        meta = {"lr": lr, "betas": [b1, b2], "eps": eps, "weight_decay": decay, "margin": None}
        meta["scale"] = {"out.p": largest(size)}
        expected = {"p": p_after, "m": m, "v": v}
        yield finish(f"adam-{seed:02d}", "certified", "adam", "lower", meta, {"in.p": p, "in.g": g}, expected)


def surrogate_cases() -> Iterator[Case]:
    """sigma' at 0, next to it, and far away."""
    sizes = np.array([0.0, 2.0**-52, 1e-8, 0.3, 0.5, 1.0, 1.5, 2.25, 40.0, 1e6])
    x = np.concatenate([sizes, -sizes])
    steep = [{"name": name, "slope": 25.0} for name in ("fast_sigmoid", "sigmoid")]
    for sigma in (*DYADIC, *RATIONAL, *IRRATIONAL, *steep):
        slope = model.slope_of(sigma)
        values = np.array([slope(Fraction(v)) for v in x], object)
        kind = "dyadic" if sigma in DYADIC else "certified"
        Bits.start()
        meta = {"spike_grad": sigma, "margin": None}
        name = f"surrogate-{sigma['name']}" + (f"-{sigma['slope']:g}" if "slope" in sigma else "")
        yield finish(name, kind, "surrogate", "higher", meta, {"in.x": x}, {"derivative": values})


def every_case() -> Iterator[Case]:
    """All of them, in the order of the archive."""
    mpmath.mp.dps = 100
    yield from leaky_cases(DYADIC, "dyadic")
    yield from learnt_cases()
    yield from image_cases()
    yield from linear_cases()
    yield from network_cases(DYADIC, "dyadic", 4)
    rates = [("mse_count_loss", {"correct_rate": 1.0, "incorrect_rate": 0.0}),
             ("mse_membrane_loss", {"on_target": 1.0, "off_target": 0.0})]  # fmt: skip
    yield from network_cases(DYADIC[3:], "dyadic", 4, rates)
    yield from tutorial_cases()
    yield from hard_cases()
    yield from leaky_cases(RATIONAL, "certified")
    yield from leaky_cases(IRRATIONAL, "certified")
    yield from network_cases(RATIONAL + IRRATIONAL, "certified", 3)
    cross_entropies = [("ce_rate_loss", {}), ("ce_count_loss", {}), ("ce_max_membrane_loss", {})]
    yield from network_cases(RATIONAL[:1], "certified", 3, cross_entropies)
    yield from long_certified()
    yield from loss_cases()
    yield from adam_cases()
    yield from surrogate_cases()
