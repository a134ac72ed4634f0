"""Arrays on the device: what of NumPy's they do, and that memory is used again."""

import numpy as np
import pytest

from npsnn._device import _idle, constant, copy_into, empty, release, send
from tests.twins import same_bits

X = np.arange(24.0).reshape(2, 3, 4)


def test_there_and_back():
    for x in (X, X[:, ::2], X.astype(np.float32), X > 3, np.float64(3), np.zeros((0, 3)), X.astype(">f8")):
        there = send(x)
        assert (there.shape, there.ndim, there.size) == (np.shape(x), np.ndim(x), np.size(x))
        same_bits(np.asarray(there), np.asarray(x, np.asarray(x).dtype.newbyteorder("=")))
    assert send(there) is there
    assert there.nbytes == X.nbytes and there.strides == X.strides and there.real is there
    assert len(send(X)) == 2
    assert repr(send(X)) == "DeviceArray(shape=(2, 3, 4), dtype=float64)"
    assert np.asarray(send(X), np.float32).dtype == np.float32


def test_shapes():
    there = send(X)
    for shape in ((24,), (6, -1), (-1, 4), (2, 12), (1, 24, 1)):
        same_bits(np.asarray(there.reshape(shape)), X.reshape(shape))
        same_bits(np.asarray(there.reshape(*shape)), X.reshape(shape))
    assert send(np.ones(1)).reshape(()).shape == ()
    with pytest.raises(ValueError, match=r"cannot reshape \(2, 3, 4\) into \(5, 5\)"):
        there.reshape(5, 5)
    assert there.transpose((0, 1, 2)) is there
    with pytest.raises(NotImplementedError, match="is not transposed"):
        there.transpose((0, 2, 1))


def test_slices_are_views():
    there, here = send(X), X.copy()
    for which in (0, 1, -1, slice(1, 2), slice(0, 0), slice(None), (slice(0, 1), slice(0, 3))):
        same_bits(np.asarray(there[which]), X[which])
    with pytest.raises(NotImplementedError, match="along its first axis only"):
        there[:, 1:]
    there[1] = np.full((3, 4), 7.0)
    here[1] = 7
    there[0:1] = send(here[1:])
    here[0] = here[1]
    same_bits(np.asarray(there), here)
    there[1] += np.ones((3, 4))
    here[1] += 1
    same_bits(np.asarray(there), here)


def test_arithmetic_makes_arrays_of_its_own():
    there = send(X)
    total, copied, cast = there + X, there.copy(), there.astype(np.float32)
    same_bits(np.asarray(total), X + X)
    same_bits(np.asarray(cast), X.astype(np.float32))
    copy_into(there, np.zeros_like(X))
    same_bits(np.asarray(copied), X)
    assert there.astype(np.float64, copy=False) is there
    again = there.astype(np.float64)
    assert again is not there and again._owner is not there._owner


def test_a_constant_crosses_once():
    assert constant(X)._owner is constant(X.copy())._owner
    assert constant(X) is not constant(X + 1)
    assert constant(X.astype(np.float32)).dtype == np.float32
    there = send(X)
    assert constant(there) is there


def test_memory_is_used_again_once_nobody_has_it():
    release()
    key = (np.dtype(np.float32), 1001)
    first = empty((7, 143), np.float32)
    memory, view = first.flat, first[1:2]
    del first
    assert not _idle[key]  # the view has it
    other = empty((1001,), np.float32)
    assert other.flat is not memory
    del view
    assert _idle[key] == [memory]
    assert empty((1001,), np.float64).flat is not memory
    assert empty((11, 91), np.float32).flat is memory
    release()
    assert not _idle[key]
