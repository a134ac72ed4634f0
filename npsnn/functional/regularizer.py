"""A price on spikes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.functional.loss import as_number, recording


@dataclass(frozen=True)
class RateSparsity:
    """Lambda times the number of output spikes: `reg(spk_rec)`, and `reg.value_and_grad(spk_rec)`.

    It takes targets too, and ignores them, so that it can stand wherever a loss stands.
    """

    Lambda: float
    on: str = "spk"

    def __call__(self, spk_rec: Any, targets: Any = None) -> float:
        """The price alone."""
        return self.value_and_grad(spk_rec)[0]

    def value_and_grad(self, spk_rec: Any, targets: Any = None) -> tuple[float, Array]:
        """Lambda sum S, and its gradient, Lambda everywhere."""
        S = recording(spk_rec, "l1_rate_sparsity")
        return as_number(self.Lambda * S.sum()), np.full_like(S, self.Lambda)


def l1_rate_sparsity(Lambda: float = 1e-5) -> RateSparsity:
    """Lambda times the sum of the output spikes; divided by nothing, so it grows with T, batch and classes.

    >>> import numpy as np
    >>> l1_rate_sparsity(Lambda=0.5)(np.ones((2, 1, 3)))
    3.0
    """
    return RateSparsity(_check.real(Lambda, "Lambda", "l1_rate_sparsity"))
