"""Numba's simulator as npsnn uses it: a block's threads share one array, whenever they ask."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from npsnn import _simulator


def test_threads_that_ask_at_the_same_time_share_an_array():
    block, found, together = SimpleNamespace(_allocations={}), [], threading.Barrier(8)

    def thread():
        together.wait()
        first = _simulator._shared_array(block, (50, 50), np.float64)
        second = _simulator._shared_array(block, 3, np.int32)
        found.append((id(first), id(second), first.shape, second.dtype))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            block._allocations.clear()
            found.clear()
            threads = [threading.Thread(target=thread) for _ in range(8)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            assert len(set(found)) == 1 and found[0][0] != found[0][1]
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("error", [None, ValueError("in a kernel")])
def test_the_interval_is_that_of_before(error):
    before, seen = sys.getswitchinterval(), []

    def kernel(x):
        seen.append((x, sys.getswitchinterval()))
        if error:
            raise error

    if error:
        with pytest.raises(ValueError, match="in a kernel"):
            _simulator.run(kernel, (7,))
    else:
        _simulator.run(kernel, (7,))
    assert seen == [(7, pytest.approx(1e-5))]
    assert sys.getswitchinterval() == before
