"""The losses as objects that know which recording they read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.functional import reference

ValueAndGrad = Callable[..., tuple[Any, Array]]


@dataclass(frozen=True)
class Loss:
    """A loss on one recording: `loss(rec, targets)` is a float, `loss.value_and_grad(rec, targets)` adds dL/drec.

    `rec` is (T, B, classes), the output layer's spikes where `loss.on` is "spk", its membranes where it is "mem";
    `targets` is (B,), class numbers. ValueError and TypeError for a wrong shape, dtype or class, and for NaN.

    Example
    -------
    >>> import numpy as np
    >>> from npsnn import functional as SF
    >>> silent = np.zeros((5, 2, 10))
    >>> round(SF.ce_rate_loss()(silent, np.array([3, 7])), 6)
    2.302585
    """

    name: str
    on: str
    law: ValueAndGrad
    numbers: tuple[float, ...] = ()  # that the law takes too

    def __call__(self, rec: Any, targets: Any) -> float:
        """The loss alone."""
        return self.value_and_grad(rec, targets)[0]

    def value_and_grad(self, rec: Any, targets: Any) -> tuple[float, Array]:
        """The loss and its gradient, of rec's shape and dtype."""
        rec = recording(rec, self.name)
        y = _check.labels(targets, rec.shape[1], rec.shape[2], steps=len(rec))
        value, drec = self.law(rec, y, *self.numbers)
        return as_number(value), drec


def as_number(value: Any) -> float:
    """A NumPy scalar as Python's float; complex stays complex, for the proof's mode."""
    return value.item()  # type: ignore[no-any-return]


def recording(rec: Any, name: str, complex_too: bool = True) -> Array:
    """`rec` as a finite, C-contiguous (T, B, classes) array of at least one step, sample and class.

    complex128, the proof's mode, is let through where `complex_too`.
    """
    if rec is None:
        raise TypeError(f"{name}: the recording is None: the network's last layer has no membrane")
    a = _check.plain(rec, "the recording", name)
    dtype = a.dtype.newbyteorder("=")
    if dtype not in _check.FLOATS and not (complex_too and dtype == np.complex128):
        convert = "; convert it: np.asarray(rec, np.float32)" if dtype.kind in "iubf" else ""
        raise TypeError(f"{name}: the recording is {a.dtype}, expected float32 or float64{convert}")
    if a.ndim != 3:
        raise ValueError(f"{name}: the recording has shape {a.shape}, expected (T, B, classes)")
    if 0 in a.shape:
        raise ValueError(f"{name}: the recording has shape {a.shape}: no step, no sample or no class in it")
    a = _check.in_order(a, dtype)  # the order of NumPy's sums follows the memory
    _check.finite(a, "the recording", name)
    return a


def ce_rate_loss() -> Loss:
    """Mean over time and batch of the cross-entropy of softmax(S[t]): a loss at every step, on the spikes.

    >>> import numpy as np
    >>> value, drec = ce_rate_loss().value_and_grad(np.zeros((2, 1, 2)), np.array([1]))
    >>> drec.ravel()
    array([ 0.25, -0.25,  0.25, -0.25])
    """
    return Loss("ce_rate_loss", "spk", reference.ce_rate)


def ce_count_loss() -> Loss:
    """Cross-entropy of softmax(spike count), on the spikes.

    >>> import numpy as np
    >>> round(ce_count_loss()(np.ones((2, 1, 4)), np.array([0])), 6)
    1.386294
    """
    return Loss("ce_count_loss", "spk", reference.ce_count)


def ce_max_membrane_loss() -> Loss:
    """Cross-entropy of softmax(largest membrane over time), on the membranes; ties go to the first step.

    >>> import numpy as np
    >>> ce_max_membrane_loss().value_and_grad(np.zeros((3, 1, 2)), np.array([1]))[1][:, 0]
    array([[ 0.5, -0.5],
           [ 0. ,  0. ],
           [ 0. ,  0. ]])
    """
    return Loss("ce_max_membrane_loss", "mem", reference.ce_max_membrane)


def mse_count_loss(correct_rate: float = 1, incorrect_rate: float = 0) -> Loss:
    """Mean squared error of the spike count against int(T rate), divided by T, on the spikes; rates in [0, 1].

    >>> import numpy as np
    >>> perfect = np.zeros((4, 1, 2))
    >>> perfect[:, 0, 1] = 1
    >>> mse_count_loss()(perfect, np.array([1]))
    0.0
    """
    rates = []
    for rate, name in ((correct_rate, "correct_rate"), (incorrect_rate, "incorrect_rate")):
        rates.append(_check.real(rate, name, "mse_count_loss"))
        if not 0 <= rates[-1] <= 1:
            raise ValueError(f"mse_count_loss: {name} must be in [0, 1], got {rate!r}")
    return Loss("mse_count_loss", "spk", reference.mse_count, tuple(rates))


def mse_membrane_loss(on_target: float = 1, off_target: float = 0) -> Loss:
    """Mean squared error of the membrane at every step, on_target for the right class, off_target for the others.

    snnTorch 1.0.0 raises an off_target that is below on_target to at least 0; here it is what it says (C13).

    >>> import numpy as np
    >>> perfect = np.tile([[-1.0, 1.0]], (4, 1, 1))
    >>> mse_membrane_loss(on_target=1, off_target=-1)(perfect, np.array([1]))
    0.0
    """
    on = _check.real(on_target, "on_target", "mse_membrane_loss")
    off = _check.real(off_target, "off_target", "mse_membrane_loss")
    return Loss("mse_membrane_loss", "mem", reference.mse_membrane, (on, off))
