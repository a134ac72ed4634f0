"""The name of a backend -> the modules that compute (floor 2). No mathematics, and nothing is imported unasked."""

import importlib
import importlib.util
from functools import lru_cache
from types import ModuleType
from typing import NamedTuple

NAMES = ("reference", "cpu")
OPS = ("conv2d", "pool2d", "convpool2d", "leakyconvpool2d", "linear", "leaky", "adam")


class Backend(NamedTuple):
    """The ops of one backend, each a module with the same functions."""

    name: str
    conv2d: ModuleType
    pool2d: ModuleType
    convpool2d: ModuleType
    leakyconvpool2d: ModuleType
    linear: ModuleType
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
        raise ValueError('backend "cuda" is not built yet; use "cpu" or "reference"')
    if name not in NAMES:
        raise ValueError(f'backend must be "auto" or one of {", ".join(NAMES)}, got {name!r}')
    return name


@lru_cache
def load(name: str) -> Backend:
    """The modules of a resolved name."""
    return Backend(name, *(importlib.import_module(f"npsnn.{op}.{name}") for op in OPS))
