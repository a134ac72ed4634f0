"""The name of a backend -> the modules that compute (floor 2). No mathematics, and nothing is imported unasked."""

import importlib
import importlib.util
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

from npsnn import _cuda

NAMES = ("reference", "cpu", "cuda")
OPS = ("conv2d", "pool2d", "convpool2d", "leakyconv2d", "leakyconvpool2d", "linear", "leakylinear", "leaky", "adam")
FUSING = ("leakyconv2d", "leakyconvpool2d", "leakylinear")  # ops with neurons inside


class Backend(NamedTuple):
    """The ops of one backend, each a module with the same functions."""

    name: str
    conv2d: ModuleType
    pool2d: ModuleType
    convpool2d: ModuleType
    leakyconv2d: Any  # no module where neurons are not fused
    leakyconvpool2d: Any
    linear: ModuleType
    leakylinear: Any
    leaky: ModuleType
    adam: ModuleType


def resolve(name: str) -> str:
    """`"auto"` -> `"cpu"` where Numba is installed, else `"reference"`; other names are checked and returned.

    >>> resolve("reference")
    'reference'
    """
    if name == "auto":
        return "cpu" if importlib.util.find_spec("numba") else "reference"
    if name == "cpu" and not importlib.util.find_spec("numba"):
        raise ValueError('backend "cpu" needs Numba: pip install "npsnn[fast]"')
    if name == "cuda":
        works, why = _cuda.available()
        if not works:
            raise ValueError(f'backend "cuda" cannot run here: {why}')
    if name not in NAMES:
        raise ValueError(f'backend must be "auto" or one of {", ".join(NAMES)}, got {name!r}')
    return name


@lru_cache
def load(name: str) -> Backend:
    """The modules of a resolved name."""
    return Backend(name, *(_module(op, name) for op in OPS))


def _module(op: str, name: str) -> Any:
    if op in FUSING and name == "cuda":  # there the neurons' launch is one more, and no memory is short
        return None
    return importlib.import_module(f"npsnn.{op}.{name}")
