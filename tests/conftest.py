"""Fixtures that every test may ask for."""

import zlib

import numpy as np
import pytest

from npsnn import _cuda


@pytest.fixture
def rng(request):
    """Random numbers of the test's own: they do not change when another test is added or left out."""
    return np.random.default_rng(zlib.crc32(request.node.name.encode()))


@pytest.fixture(params=["reference", "cpu", "cuda"])
def backend(request):
    """The name of each backend in turn."""
    if request.param == "cpu":
        pytest.importorskip("numba", reason='the cpu backend needs Numba: pip install "npsnn[fast]"')
    if request.param == "cuda":
        works, why = _cuda.available()
        if not works:
            pytest.skip(f"the cuda backend cannot run here: {why}; NUMBA_ENABLE_CUDASIM=1 simulates it")
    return request.param
