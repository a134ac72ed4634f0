"""Rows in registers: the vector instructions have the bits of the plain loops."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn import _lanes
from npsnn._jit import jit

DTYPES = ["float32", "float64"]


@jit
def _add(size, table, base, offsets, values, first, last, out, at):
    _lanes.add_rows(size, table, base, offsets, values, first, last, out, at)


@jit
def _spread(size, row, at, offsets, values, first, last, table, base):
    _lanes.spread_row(size, row, at, offsets, values, first, last, table, base)


def drawing(size, dtype):
    """A table, a list of offsets into it with gaps and repeats, their numbers, and a row."""
    rng = np.random.default_rng(size)
    table = rng.standard_normal(400 + size).astype(dtype)
    offsets = rng.integers(0, 380, 40).astype(np.int32)
    return table, offsets, rng.standard_normal(40).astype(dtype), rng.standard_normal(100 + size).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", _lanes.SIZES)
@pytest.mark.parametrize("first, last", [(0, 40), (3, 17), (5, 6), (9, 9)])
def test_add_rows_has_the_bits_of_the_plain_loop(size, dtype, first, last):
    table, offsets, values, row = drawing(size, dtype)
    plain, compiled = row.copy(), row.copy()
    _lanes._plain_add_rows(size, table, 7, offsets, values, first, last, plain, 11)
    _add(size, table, 7, offsets, values, first, last, compiled, 11)
    assert compiled.tobytes() == plain.tobytes()
    assert (plain != row).sum() == (size if last > first else 0)
    expected = row.astype(float)
    for k in range(first, last):
        expected[11 : 11 + size] += values[k].astype(float) * table[7 + offsets[k] :][:size]
    np.testing.assert_allclose(compiled, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", _lanes.SIZES)
@pytest.mark.parametrize("first, last", [(0, 40), (3, 17), (5, 6), (9, 9)])
def test_spread_row_has_the_bits_of_the_plain_loop(size, dtype, first, last):
    table, offsets, values, row = drawing(size, dtype)
    plain, compiled = table.copy(), table.copy()
    _lanes._plain_spread_row(size, row, 11, offsets, values, first, last, plain, 7)
    _spread(size, row, 11, offsets, values, first, last, compiled, 7)
    assert compiled.tobytes() == plain.tobytes()
    expected = table.astype(float)
    for k in range(first, last):
        expected[7 + offsets[k] :][:size] += values[k].astype(float) * row[11 : 11 + size]
    np.testing.assert_allclose(compiled, expected, rtol=0, atol=1e-5 if dtype == "float32" else 1e-14)


def test_every_product_is_rounded_before_it_is_added():
    """1 + 2^-30 squared is 1 + 2^-29 when rounded to double, and a fused product would keep its 2^-60."""
    x = 1 + 2.0**-30
    table, out = np.full(16, x), np.full(16, -1 - 2.0**-29)
    _add(16, table, 0, np.zeros(1, np.int32), np.array([x]), 0, 1, out, 0)
    assert not out.any()


@pytest.mark.parametrize("n, lanes", [(1, 16), (16, 16), (17, 32), (48, 48), (60, 64), (64, 64), (65, 128), (129, 192)])
def test_padded_lanes(n, lanes):
    assert _lanes.padded_lanes(n) == lanes
    assert lanes in _lanes.SIZES or lanes % _lanes.LANES == 0


@jit
def _start(like, size, out):
    out[0] = _lanes.aligned(like, size).ctypes.data % _lanes.VECTOR_BYTES
    out[1] = len(_lanes.aligned(like, size))


@pytest.mark.parametrize("dtype", DTYPES)
def test_aligned_arrays_start_at_a_vector(dtype):
    like = np.zeros(1, dtype)
    for size in range(1, 40):
        out = np.zeros(2, np.int64)
        _start(like, size, out)
        assert out.tolist() == [0, size]
        plain = _lanes.aligned_zeros((size, 3), like)
        assert plain.ctypes.data % _lanes.VECTOR_BYTES == 0 and plain.shape == (size, 3)
        assert plain.dtype == dtype and plain.flags.c_contiguous and not plain.any()
