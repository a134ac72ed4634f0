"""Fixtures that every test may ask for."""

import zlib

import numpy as np
import pytest

from tests.helpers import skip_without_a_device


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
        skip_without_a_device()
    return request.param
