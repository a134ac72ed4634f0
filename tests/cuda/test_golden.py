"""The golden vectors on the device: dyadic ones bit for bit, fused or not, certified ones to 15 digits.

A GPU takes all of them. The simulator takes a twelfth, and with NPSNN_WHOLE=1 all but the two of the tutorial size.
"""

import os

import pytest

from npsnn import _cuda
from npsnn.verify import golden

SHARES = 12
WHOLE = not _cuda.SIMULATED or os.environ.get("NPSNN_WHOLE") == "1"
LARGE = ("network-tutorial-LSO", "network-tutorial-straight_through_estimator")


@pytest.mark.parametrize("share", range(SHARES if WHOLE else 1))
def test_golden_vectors(share):
    bad, count = [], 0
    for case in list(golden.cases())[share::SHARES]:
        if _cuda.SIMULATED and case.name in LARGE:
            continue
        for dtype in ("float64", "float32") if case.meta.get("float32") else ("float64",):
            result = golden.judge(case, golden.compute(case, "cuda", dtype), dtype)
            count += 1
            if not result.ok:
                bad.append((case.name, dtype, result.array, result.error))
    assert not bad and count > 125
