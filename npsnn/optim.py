"""The optimiser: state around one op (floor 3)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from npsnn import _check, backends
from npsnn.network import Sequential


class Adam:
    """Adam on all of a network's parameters (Kingma & Ba 2015; conventions C9; the law is npsnn/adam/reference.py).

    `weight_decay` is L2, added to the gradient. ValueError for settings out of range.

    Example
    -------
    >>> import numpy as np
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(2, 1), seed=0, backend="reference")
    >>> before = net.params["0.bias"].copy()
    >>> optimizer = Adam(net, lr=0.5)
    >>> optimizer.step({"0.weight": np.zeros((1, 2), np.float32), "0.bias": np.ones(1, np.float32)})
    >>> (net.params["0.bias"] - before).round(6)
    array([-0.5], dtype=float32)
    """

    def __init__(
        self,
        net: Sequential,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(net, Sequential):
            raise TypeError(f"Adam: net must be a Sequential, got {type(net).__name__}")
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"Adam: betas must be a pair, got {betas!r}")
        self.net = net
        self.lr = _at_least_zero(lr, "lr")
        self.eps = _at_least_zero(eps, "eps")
        self.weight_decay = _at_least_zero(weight_decay, "weight_decay")
        self.betas = (_below_one(betas[0], "betas[0]"), _below_one(betas[1], "betas[1]"))
        self.t = 0
        self.m = np.zeros_like(net.flat_params)
        self.v = np.zeros_like(net.flat_params)

    def step(self, grads: Mapping[str, Any]) -> None:
        """One update in place, from every parameter's gradient; `"input"` is ignored, `grads` not changed.

        ValueError for a missing, unknown, misshapen or non-finite gradient; the network is then as it was.
        """
        g = self.net.flatten(grads)
        self.t += 1
        backends.load(self.net.backend).adam.adam_step(
            self.net.flat_params, g, self.m, self.v, self.t,
            lr=self.lr, b1=self.betas[0], b2=self.betas[1], eps=self.eps, weight_decay=self.weight_decay,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that a resumed run needs: settings, the step count t, and m and v as flat vectors."""
        settings = {"lr": self.lr, "betas": self.betas, "eps": self.eps, "weight_decay": self.weight_decay}
        return {**settings, "t": self.t, "m": self.m.copy(), "v": self.v.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict()`, all or nothing; ValueError or TypeError where it does not fit this network."""
        if not isinstance(state, Mapping):
            raise TypeError(f"Adam state: must be a state_dict(), got {type(state).__name__}")
        expected = self.state_dict()
        if set(state) != set(expected):
            names = (", ".join(sorted(map(str, which))) for which in (state, expected))
            raise ValueError("Adam state: has {}, expected {}".format(*names))
        t = _check.whole(state["t"], "t", 0, "Adam state")
        if t >= 2**63:
            raise ValueError(f"Adam state: t must be below 2**63, got a number of {t.bit_length()} bits")
        moments = []
        for name in ("m", "v"):
            a = _check.array(state[name], self.m.dtype, name, "Adam state")
            _check.shape(a, self.m.shape, name, "Adam state")
            moments.append(a.copy())
        if (moments[1] < 0).any():
            raise ValueError("Adam state: v, a mean of squares, has a negative entry")
        fresh = Adam(self.net, state["lr"], state["betas"], state["eps"], state["weight_decay"])
        self.lr, self.betas, self.eps, self.weight_decay = fresh.lr, fresh.betas, fresh.eps, fresh.weight_decay
        self.t, (self.m, self.v) = t, moments


def _at_least_zero(value: Any, name: str) -> float:
    number = _check.real(value, name, "Adam")
    if number < 0:
        raise ValueError(f"Adam: {name} must be at least 0, got {value!r}")
    return number


def _below_one(value: Any, name: str) -> float:
    number = _at_least_zero(value, name)
    if number >= 1:
        raise ValueError(f"Adam: {name} must be in [0, 1), got {value!r}")
    return number
