"""Weights as a .safetensors file, which other libraries write and read too (floor 4).

The tensors have PyTorch's names, `"0.weight"`, and the neurons' constants those of snnTorch's buffers, `"2.beta"`, so
that the file is a state dict in either. The format has no checksum: a damaged header is refused, a damaged number is
not noticed. A checkpoint (checkpoint.py) has one, and the optimiser.
"""

import importlib
import os
from typing import Any

import numpy as np

from npsnn import _files, state_dict
from npsnn._check import Array
from npsnn.network import Sequential

NEED = 'npsnn: .safetensors files need safetensors: pip install "npsnn[safetensors]"'


def save_safetensors(path: str | os.PathLike[str], net: Sequential) -> None:
    """Write a network's parameters and its neurons' constants; a crash at any moment leaves the old file or the new.

    A network of PyTorch or snnTorch with the same layers takes the file:
    ``theirs.load_state_dict(safetensors.torch.load_file(path))``.

    Parameters
    ----------
    path : str or Path
        Its folder exists.
    net : Sequential
        Its ``state_dict()`` is written in its dtype, and for every neuron layer ``"2.beta"``, ``"2.threshold"`` and
        ``"2.graded_spikes_factor"`` in the same dtype, ``"2.reset_mechanism_val"`` as int64.

    Raises
    ------
    ImportError
        The package `safetensors` is not installed.
    TypeError
        `net` is no Sequential.
    OSError
        `path` cannot be written; an old file is then as it was.

    Example
    -------
    >>> import tempfile, npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(2, 1), npsnn.Leaky(0.5))
    >>> other = npsnn.Sequential(npsnn.Linear(2, 1), npsnn.Leaky(0.75))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_safetensors(folder + "/net.safetensors", net)
    ...     loaded = load_safetensors(folder + "/net.safetensors")
    >>> net.load_state_dict(loaded)
    LoadResult(missing_keys=[], unexpected_keys=[])
    >>> other.load_state_dict(loaded)
    Traceback (most recent call last):
      ...
    ValueError: state dict: 1.beta is 0.5, the network's is 0.75
    """
    package = _safetensors()
    if not isinstance(net, Sequential):
        raise TypeError(f"save_safetensors: net must be a Sequential, got {type(net).__name__}")
    neurons = state_dict.constants(net.layers)
    tensors = {name: a.astype(net.dtype if a.dtype.kind == "f" else np.int64) for name, a in neurons.items()}
    data = package.numpy.save({**tensors, **net.state_dict()})
    _files.write(path, lambda file: file.write(data))


def load_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The tensors of a .safetensors file, by name, for ``net.load_state_dict``.

    Parameters
    ----------
    path : str or Path
        A file of `save_safetensors`, or of ``safetensors.torch.save_file(model.state_dict(), path)``.

    Returns
    -------
    tensors : dict of arrays
        Fresh ones, in the file's shapes and dtypes, layer by layer.

    Raises
    ------
    ImportError
        The package `safetensors` is not installed.
    FileNotFoundError
        There is no such file.
    ValueError
        It is a folder, no such file or a damaged one, or holds numbers that NumPy does not have, as bfloat16.

    Example
    -------
    >>> import tempfile, npsnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_safetensors(folder + "/net.safetensors", npsnn.Sequential(npsnn.Linear(2, 1)))
    ...     tensors = load_safetensors(folder + "/net.safetensors")
    >>> {name: a.shape for name, a in tensors.items()}
    {'0.bias': (1,), '0.weight': (1, 2)}
    """
    package = _safetensors()
    data = _files.read(path, expected="a .safetensors file")
    try:
        tensors: dict[str, Array] = package.numpy.load(data)
    except KeyError as error:  # of its table of NumPy's dtypes
        kind = error.args[0]
        raise ValueError(
            f"{os.fspath(path)}: holds {kind} numbers, which NumPy does not have; convert them before they are saved"
        ) from None
    except (package.SafetensorError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: not a readable .safetensors file: {error}") from None
    # The package has its own order, which changes from run to run; 2.weight comes before 10.weight.
    return dict(sorted(tensors.items(), key=lambda item: (len(item[0].partition(".")[0]), item[0])))


def _safetensors() -> Any:
    """The package, imported now; ImportError with the sentence `NEED` where there is none."""
    try:
        package = importlib.import_module("safetensors")
    except ModuleNotFoundError as error:
        if error.name == "safetensors":
            raise ImportError(NEED) from None
        raise
    importlib.import_module("safetensors.numpy")
    return package
