"""What computes: the versions of the packages that have a part in a number (floor 0)."""

import platform
from functools import lru_cache
from importlib import metadata

import numpy as np


def versions() -> dict[str, str]:
    """Package -> version, of Python and npsnn too."""
    from npsnn import __version__

    found = {"npsnn": __version__, "python": platform.python_version(), "numpy": np.__version__}
    for name in ("numba", "scipy", "matplotlib", "tqdm"):
        found[name] = installed(name)
    return found


@lru_cache
def installed(package: str) -> str:
    """The version of a package, or "not installed"; it is not imported.

    >>> installed("surely-no-such-package")
    'not installed'
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
