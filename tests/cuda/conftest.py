"""These tests run on a GPU, or in Numba's simulator: NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/cuda -k cuda"""

import pytest

from npsnn import _cuda


@pytest.fixture(autouse=True)
def a_device():
    works, why = _cuda.available()
    if not works:
        pytest.skip(f"the cuda backend cannot run here: {why}; NUMBA_ENABLE_CUDASIM=1 simulates it")
