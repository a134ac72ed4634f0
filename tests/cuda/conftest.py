"""These tests run on a GPU, or in Numba's simulator: NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/cuda -k cuda"""

import pytest

from tests.helpers import skip_without_a_device


@pytest.fixture(autouse=True)
def a_device():
    skip_without_a_device()
