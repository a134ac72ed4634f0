"""adam: the Numba twin has the law's bits."""

import numpy as np
import pytest

from npsnn.adam import reference
from tests.twins import DTYPES, drawn, same_bits, same_signatures, unchanged

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.adam import cpu


def test_signature_is_the_laws():
    same_signatures(reference, cpu, ["adam_step"])


@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("eps", [1e-8, 0.5])
@pytest.mark.parametrize("size", [1, 1003])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_are_the_laws(dtype, size, eps, weight_decay):
    rng = np.random.default_rng(4)
    p = drawn(rng, size, dtype, zeros=0.1)
    law, twin = ([p.copy(), np.zeros_like(p), np.zeros_like(p)] for _ in range(2))
    for t in range(1, 6):
        g = drawn(rng, size, dtype, zeros=0.3)
        with unchanged(g):
            for op, (p, m, v) in ((reference, law), (cpu, twin)):
                op.adam_step(p, g, m, v, t, lr=1e-2, b1=0.9, b2=0.999, eps=eps, weight_decay=weight_decay)
        same_bits(tuple(twin), tuple(law))
