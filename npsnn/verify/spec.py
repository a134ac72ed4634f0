"""A layer as JSON says it, and back: what golden cases and recordings tell of a network."""

import ast
from typing import Any

import numpy as np

from npsnn import surrogate
from npsnn._check import Array
from npsnn.layer import Layer
from npsnn.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from npsnn.neuron import Leaky
from npsnn.surrogate import Surrogate

Spec = dict[str, Any]

# Type -> its arguments, by the names that they have as arguments and as attributes.
ARGUMENTS: dict[type[Layer], tuple[str, ...]] = {
    Conv2d: ("in_channels", "out_channels", "kernel_size", "stride", "padding", "bias"),
    MaxPool2d: ("kernel_size", "stride", "padding"),
    AvgPool2d: ("kernel_size", "stride", "padding"),
    Linear: ("in_features", "out_features", "bias"),
    Flatten: (),
    Leaky: ("beta", "threshold", "spike_grad", "learn_beta", "learn_threshold", "reset_mechanism", "detach_reset"),
}
TYPES = {kind.__name__: kind for kind in ARGUMENTS}
SURROGATES = (
    "fast_sigmoid", "atan", "sigmoid", "straight_through_estimator", "triangular", "heaviside", "spike_rate_escape",
    "LSO", "SFS",
)  # fmt: skip


def spec_of(layer: Layer) -> Spec:
    """The JSON object of a layer.

    >>> spec_of(Linear(3, 2))
    {'type': 'Linear', 'in_features': 3, 'out_features': 2, 'bias': True}
    """
    spec: Spec = {"type": type(layer).__name__}
    for name in ARGUMENTS[type(layer)]:
        value = getattr(layer, name)
        if isinstance(value, np.ndarray):
            value = value.tolist()
        elif isinstance(value, Surrogate):
            value = _spec_of_surrogate(value)
        spec[name] = list(value) if isinstance(value, tuple) else value
    return spec


def layer_of(spec: Spec) -> Layer:
    """The layer of a JSON object; ValueError where it is none.

    >>> layer_of({"type": "Linear", "in_features": 3, "out_features": 2, "bias": True})
    Linear(3, 2)
    """
    kind = TYPES.get(spec.get("type", "")) if isinstance(spec, dict) else None
    if kind is None:
        raise ValueError(f"not a layer: {str(spec)[:100]}")
    options: Spec = {name: tuple(v) if name in _PAIRS else v for name, v in spec.items() if name != "type"}
    if isinstance(options.get("spike_grad"), dict):
        options["spike_grad"] = surrogate_of(options["spike_grad"])
    try:
        return kind(**options)
    except TypeError as error:
        raise ValueError(f"{spec['type']}: {error}") from None


_PAIRS = ("kernel_size", "stride", "padding")


def surrogate_of(spec: Spec) -> Surrogate:
    """The surrogate of a JSON object: its name and constants."""
    if spec.get("name") == "boxcar":
        return surrogate.custom_surrogate(_boxcar)
    if spec.get("name") not in SURROGATES:
        raise ValueError(f"not a surrogate that a recording can name: {str(spec)[:100]}")
    options = {name: value for name, value in spec.items() if name != "name"}
    return getattr(surrogate, spec["name"])(**options)  # type: ignore[no-any-return]


def _spec_of_surrogate(sigma: Surrogate) -> Spec:
    """From the name that it prints, which is how it was made."""
    call = ast.parse(sigma.name, mode="eval").body
    if isinstance(call, ast.Call):
        name, constants = ast.unparse(call.func), call.keywords
        if name in SURROGATES:
            return {"name": name, **{str(k.arg): ast.literal_eval(k.value) for k in constants}}
    return {"name": sigma.name}


def _boxcar(x: Array) -> Array:
    return np.asarray(np.abs(x) < 0.5)
