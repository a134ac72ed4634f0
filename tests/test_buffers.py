"""Memory that was used before: who has it, and for how long."""

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from npsnn import _buffers

ROOT = Path(__file__).parents[1]
BIG = _buffers.SMALL // 8  # of float64


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    """Nothing is kept when a test begins."""
    monkeypatch.setattr(_buffers, "_idle", _buffers._Idle())
    return _buffers._idle


def address(x):
    return x.__array_interface__["data"][0]


def test_what_is_given():
    for shape, dtype in (
        ((BIG,), np.float64),
        ((3, BIG), np.float32),
        ((BIG, 8), bool),
        ((2, 3), np.float64),
        ((0, 5), int),
    ):
        x = _buffers.empty(shape, dtype)
        assert x.shape == shape and x.dtype == dtype and x.flags.c_contiguous and x.flags.writeable
        if x.nbytes >= _buffers.SMALL:
            assert address(x) % 64 == 0
        x[...] = 1
        assert (x == 1).all()


def test_memory_is_used_again_by_an_array_of_the_same_size_alone(idle):
    x = _buffers.empty((BIG,), np.float64)
    first = address(x)
    del x
    assert idle.bytes == 8 * BIG + _buffers.ALIGNMENT
    other = _buffers.empty((BIG + 8,), np.float64)
    assert address(other) != first
    assert address(_buffers.empty((2, BIG), np.float32)) == first


def test_no_array_over_it_may_be_left(idle):
    """A view of a view keeps it, whatever becomes of the first array."""
    x = _buffers.empty((4, BIG), np.float64)
    x[...] = 3
    views = [x.T[1:], x.reshape(2, -1).view(np.int64), memoryview(x)]
    del x
    while views:
        assert idle.bytes == 0
        views.pop()
    gc.collect()
    assert idle.bytes == 4 * 8 * BIG + _buffers.ALIGNMENT


def test_two_at_once_are_apart():
    arrays = [_buffers.empty((BIG,), np.float64) for _ in range(4)]
    for k, x in enumerate(arrays):
        x[:] = k
    assert [set(x.tolist()) for x in arrays] == [{k} for k in range(4)]


def test_the_oldest_goes_first_where_too_much_is_kept(idle, monkeypatch):
    size = 8 * BIG + _buffers.ALIGNMENT
    monkeypatch.setattr(_buffers, "KEPT", 2 * size)
    arrays = [_buffers.empty((BIG,), np.float64) for _ in range(3)]
    addresses = [address(x) for x in arrays]
    while arrays:
        del arrays[0]
    assert idle.bytes == 2 * size and len(idle.buffers) == 2
    again = [_buffers.empty((BIG,), np.float64) for _ in range(2)]
    assert [address(x) for x in again] == addresses[:0:-1]  # what was given back last is still near
    assert idle.bytes == 0


def test_what_is_kept_can_be_given_back(idle):
    x = _buffers.empty((BIG,), np.float64)
    del x
    assert idle.bytes > 0
    _buffers.release()
    assert idle.bytes == 0 and not idle.buffers


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_a_thread_of_its_parents(idle):
    held, done = threading.Event(), threading.Event()

    def hold():
        with idle.lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        _buffers.empty((BIG,), np.float64)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert status == 0


def test_a_collection_may_give_something_back_while_one_looks(idle):
    """What is looked through is a copy."""

    class Small(np.ndarray):
        @property
        def size(self):
            idle.buffers[len(idle.buffers) + 10**6] = np.empty(3, np.uint8)
            return 0

    for k in range(3):
        idle.buffers[k] = np.empty(3, np.uint8).view(Small)
    assert idle.take(8) is None
    assert idle.take(3).size == 3


def test_threads_do_not_get_the_same_memory():
    wrong = []

    def work(k):
        for _ in range(200):
            x = _buffers.empty((BIG,), np.float64)
            x[:] = k
            if not (x == k).all():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_arrays_that_live_until_python_ends_do_not_complain():
    """In a ring with what a script holds, they are given back when nothing can be imported any more."""
    program = """
import numpy as np
from npsnn import _buffers

class Holder:
    pass

def kept():
    return a

h = Holder()
h.itself, h.arrays = h, [_buffers.empty((1000, 1000), np.float32) for _ in range(3)]
a = _buffers.empty((1000, 1000), np.float32)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
