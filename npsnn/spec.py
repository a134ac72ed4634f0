"""Layers and networks as JSON says them, and back: what golden cases, recordings and checkpoints tell of a network."""

import ast
import inspect
import json
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np

from npsnn import surrogate
from npsnn._check import Array
from npsnn.layer import Layer
from npsnn.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from npsnn.neuron import Leaky
from npsnn.surrogate import Surrogate

Spec = dict[str, Any]
T = TypeVar("T")

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


def layer_of(spec: Any) -> Layer:
    """The layer of a JSON object; ValueError, which begins with its type, where it is none.

    >>> layer_of({"type": "Linear", "in_features": 3, "out_features": 2, "bias": True})
    Linear(3, 2)
    >>> layer_of({"type": "Linear", "in_features": 3.5, "out_features": 2})
    Traceback (most recent call last):
      ...
    ValueError: Linear: in_features must be an integer, got 3.5
    """
    name = spec.get("type") if isinstance(spec, dict) else None
    kind = TYPES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"not a layer: {reprlib.repr(spec)}")
    options: Spec = {key: value for key, value in spec.items() if key != "type"}
    _check_names(options, ARGUMENTS[kind], kind.__name__)
    for key in _PAIRS & options.keys():
        options[key] = tuple(options[key]) if isinstance(options[key], list) else options[key]
    if isinstance(options.get("spike_grad"), dict):
        options["spike_grad"] = surrogate_of(options["spike_grad"])
    return _made(kind.__name__, kind, options)


_PAIRS = {"kernel_size", "stride", "padding"}


def network_of(layers: Sequence[Layer], dtype: np.dtype[Any]) -> dict[str, Any]:
    """The JSON object of a network: its dtype and its layers.

    >>> network_of([Flatten()], np.dtype(np.float32))
    {'dtype': 'float32', 'layers': [{'type': 'Flatten'}]}
    """
    found: dict[str, Any] = json.loads(
        json.dumps({"dtype": dtype.name, "layers": [spec_of(layer) for layer in layers]})
    )
    return found


def difference(theirs: Any, ours: dict[str, Any]) -> str:
    """The first difference between two networks, of which one may be anything that JSON can say; none: an empty text.

    >>> difference({"dtype": "float32", "layers": []}, network_of([Flatten()], np.dtype(np.float32)))
    'it has 0 layers, this one 1'
    """
    if not isinstance(theirs, dict) or theirs.keys() != ours.keys() or not isinstance(theirs["layers"], list):
        return "what it says of its layers is no list of layers"
    if theirs["dtype"] != ours["dtype"]:
        return f"it computes in {theirs['dtype']}, this one in {ours['dtype']}"
    for i, (a, b) in enumerate(zip(theirs["layers"], ours["layers"], strict=False)):
        found = _layer_difference(a, b)
        if found:
            return f"{i} {found}"
    if len(theirs["layers"]) != len(ours["layers"]):
        return f"it has {len(theirs['layers'])} layers, this one {len(ours['layers'])}"
    return ""


def _layer_difference(theirs: Any, ours: Spec) -> str:
    if not isinstance(theirs, dict) or theirs.get("type") != ours["type"]:
        return f"is {theirs.get('type') if isinstance(theirs, dict) else theirs}, this one {ours['type']}"
    learnt = {name for name in ("beta", "threshold") if ours.get(f"learn_{name}")}  # a parameter, which is loaded
    for name in sorted(ours.keys() | theirs.keys()):
        if theirs.get(name) != ours.get(name) and name not in learnt:
            return f"{ours['type']} has {name} {theirs.get(name)}, this one {ours.get(name)}"
    return ""


def surrogate_of(spec: Spec) -> Surrogate:
    """The surrogate of a JSON object: its name and constants; ValueError where it is none."""
    if spec == {"name": "boxcar"}:
        return surrogate.custom_surrogate(_boxcar)
    name = spec.get("name")
    if name not in SURROGATES:
        raise ValueError(f"not a surrogate that a recording can name: {reprlib.repr(spec)}")
    options = {key: value for key, value in spec.items() if key != "name"}
    function: Callable[..., Surrogate] = getattr(surrogate, name)
    _check_names(options, inspect.signature(function).parameters, f"surrogate {name}")
    return _made(f"surrogate {name}", function, options)


def _check_names(options: Iterable[str], allowed: Iterable[str], where: str) -> None:
    for unknown in (name for name in options if name not in allowed):
        raise ValueError(f"{where}: has no {reprlib.repr(unknown)}; it has {', '.join(allowed) or 'no arguments'}")


def _made(where: str, kind: Callable[..., T], options: Spec) -> T:
    """`kind(**options)`; ValueError, which begins with `where`, for all that numbers and lists can be wrong in."""
    try:
        return kind(**options)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        text = str(error)
        raise ValueError(text if text.startswith(f"{where}: ") else f"{where}: {text}") from None


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
