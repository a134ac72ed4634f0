"""What every layer offers: parameters, shapes and checks at its doors (floor 2).

A layer holds no arrays: its parameters are an argument, its cache a return value, so one layer can serve in several
networks. Arrays are time first, (T, B, *features).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npsnn import _check, _free, backends
from npsnn._check import Array
from npsnn.backends import Backend
from npsnn.generator import Generator

Params = Mapping[str, Array]
Shape = tuple[int, ...]


def where(layers: "Sequence[Layer]", i: int) -> str:
    """How a layer is called in errors and tables: its index and type, as in `"3 Conv2d"`."""
    return f"{i} {type(layers[i]).__name__}"


class Layer:
    """What every layer offers; the methods here are those of a layer without parameters."""

    image = False  # whether a sample must be (channels, height, width)
    remembers = False  # whether it has membranes; such a layer has the methods of neuron.Remembers
    takes_spikes = False  # whether its op takes bool arrays beside numbers, as neurons of some backends give them

    def init_params(self, generator: Generator, dtype: Any = np.float32) -> dict[str, Array]:
        """Fresh parameters, name -> array, drawn in PyTorch's order (C10)."""
        return {}

    def out_shape(self, shape: Shape, where: str = "") -> Shape:
        """The output's shape (..., *features) for an input of `shape`; ValueError where it does not fit."""
        raise NotImplementedError

    def forward(self, x: Array, params: Params, *, backend: str = "reference") -> tuple[Array, Any]:
        """(y, cache) for x (..., *features); the cache is all that backward needs beside the parameters."""
        backend, where = backends.resolve(backend), type(self).__name__
        x = self._door(x, "x", backend)
        shape = self.out_shape(x.shape, where)
        _free.require(math.prod(shape) * x.itemsize, f"{where}: an output of shape {shape}", "take a smaller input")
        y, cache = self.run(x, self._checked_params(params, x.dtype), backends.load(backend))
        return np.asarray(y), cache

    def backward(
        self, dy: Array, cache: Any, params: Params, *, backend: str = "reference"
    ) -> tuple[Array, dict[str, Array]]:
        """(dx, grads) for dy = dL/dy and the same parameters as in forward; grads has the keys of params."""
        backend = backends.resolve(backend)
        dy = self._door(dy, "dy", backend)
        _check.shape(dy, self._y_shape(cache), "dy", type(self).__name__)
        params = self._checked_params(params, dy.dtype)
        dx, grads = self.run_back(dy, cache, params, backends.load(backend), True)
        return np.asarray(dx), {name: np.asarray(d) for name, d in grads.items()}

    def run(self, x: Array, params: Params, ops: Backend) -> tuple[Array, Any]:
        """`forward` behind the door: nothing is checked."""
        raise NotImplementedError

    def run_back(
        self, dy: Array, cache: Any, params: Params, ops: Backend, input_grad: bool
    ) -> tuple[Array | None, dict[str, Array]]:
        """`backward` behind the door: nothing is checked; dx may be None where `input_grad` is False."""
        raise NotImplementedError

    def cache_bytes(self, shape: Shape, num_steps: int, dtype: np.dtype[Any]) -> int:
        """Bytes that the tape keeps for an input of `shape` (T, B, *features), T = 1 where static, and `dtype`."""
        return 0

    def param_shapes(self) -> dict[str, Shape]:
        """Name -> shape of every parameter."""
        return {}

    def y_shape(self, cache: Any) -> Shape:
        """The shape of the y that came with this cache."""
        raise NotImplementedError

    def _y_shape(self, cache: Any) -> Shape:
        """`y_shape`; TypeError for what is no cache of this layer."""
        try:
            return self.y_shape(cache)
        except (AttributeError, TypeError, ValueError, IndexError):
            where = type(self).__name__
            raise TypeError(f"{where}: cache must be what forward gave, got {type(cache).__name__}") from None

    def _checked_params(self, params: Params, dtype: np.dtype[Any]) -> dict[str, Array]:
        """The parameters as an op takes them; refused where names, shapes or dtypes are not those they should be."""
        where, expected = type(self).__name__, self.param_shapes()
        if not isinstance(params, Mapping):
            raise TypeError(f"{where}: params must map names to arrays, got {type(params).__name__}")
        if set(params) != set(expected):
            names, wanted = (", ".join(sorted(map(str, p))) or "none" for p in (params, expected))
            raise ValueError(f"{where}: params are {names}, expected {wanted}")
        checked = {}
        for name, shape in expected.items():
            value = _check.plain(params[name], name, where)
            _check.shape(value, shape, name, where)
            own = value.dtype.newbyteorder("=")
            if own != dtype and not (dtype.kind == "c" and own.kind in "fc"):
                raise TypeError(f"{where}: {name} is {value.dtype}, the input is {dtype}")
            _check.finite(value, name, where)
            checked[name] = _check.in_order(value, own)
        return checked

    def _door(self, x: Any, name: str, backend: str) -> Array:
        """x as a finite float array of its own; on the reference backend also as a complex one, for the proof's mode.

        Of its own, because a cache keeps it, and what becomes of the caller's must not change a backward.
        """
        where = type(self).__name__
        given = _check.plain(x, name, where)
        dtype = given.dtype.newbyteorder("=")
        if dtype == np.complex128 and backend == "reference":
            own = _check.in_order(given, dtype)
            _check.finite(own, name, where)
        else:
            own = _check.array(x, dtype if dtype in _check.FLOATS else np.dtype(np.float32), name, where)
        return own.copy() if np.may_share_memory(own, given) else own
