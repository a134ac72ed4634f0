"""What every layer offers: parameters, shapes and checks at its doors (floor 2).

A layer holds no arrays: its parameters are an argument, its cache a return value, so one layer can serve in several
networks. Arrays are time first, (T, B, *features).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from npsnn import _check, backends
from npsnn._check import Array
from npsnn.backends import Backend
from npsnn.generator import Generator

Params = Mapping[str, Array]
Shape = tuple[int, ...]


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
        backend = backends.resolve(backend)
        x = self._door(x, "x", backend)
        self.out_shape(x.shape, type(self).__name__)
        self._check_params(params, x.dtype)
        y, cache = self.run(x, params, backends.load(backend))
        return np.asarray(y), cache

    def backward(
        self, dy: Array, cache: Any, params: Params, *, backend: str = "reference"
    ) -> tuple[Array, dict[str, Array]]:
        """(dx, grads) for dy = dL/dy and the same parameters as in forward; grads has the keys of params."""
        backend = backends.resolve(backend)
        dy = self._door(dy, "dy", backend)
        _check.shape(dy, self.y_shape(cache), "dy", type(self).__name__)
        self._check_params(params, dy.dtype)
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

    def _check_params(self, params: Params, dtype: np.dtype[Any]) -> None:
        """Refuse parameters of other names, shapes or dtypes than the layer and its input have."""
        where, expected = type(self).__name__, self.param_shapes()
        if set(params) != set(expected):
            names, wanted = (", ".join(sorted(p)) or "none" for p in (params, expected))
            raise ValueError(f"{where}: params are {names}, expected {wanted}")
        for name, shape in expected.items():
            value = np.asarray(params[name])
            _check.shape(value, shape, name, where)
            if value.dtype != dtype and dtype.kind != "c":
                raise TypeError(f"{where}: {name} is {value.dtype}, the input is {dtype}")

    def _door(self, x: Any, name: str, backend: str) -> Array:
        """x as a finite float array; on the reference backend also as a complex one, for the proof's mode."""
        where = type(self).__name__
        x = _check.plain(x, name, where)
        if x.dtype == np.complex128 and backend == "reference":
            _check.finite(x, name, where)
            return np.ascontiguousarray(x)
        return _check.array(x, x.dtype if x.dtype in _check.FLOATS else np.dtype(np.float32), name, where)
