"""Rows in registers: the vector instructions have the bits of the plain loops, which have the numbers expected."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
import numba

from npsnn import _lanes
from npsnn._jit import jit

DTYPES = ["float32", "float64"]
ROWS = [(0,) * n for n in (1, 2, 3, 4)]
RANGES = [(0, 40), (3, 17), (5, 6), (9, 9)]


@jit
def _sum_ones(*args):
    _lanes.sum_ones(*args)


@jit
def _add_rows(*args):
    _lanes.add_rows(*args)


@jit
def _add_stairs(*args):
    _lanes.add_stairs(*args)


@jit
def _spread_row(*args):
    _lanes.spread_row(*args)


@jit
def _add_columns(*args):
    _lanes.add_columns(*args)


@jit
def _add_tile(*args):
    _lanes.add_tile(*args)


@jit
def _largest(*args):
    _lanes.largest(*args)


@jit
def _list_nonzero(*args):
    return _lanes.list_nonzero(*args)


@jit
def _add_piece(*args):
    _lanes.add_piece(*args)


@jit
def _add_labelled(*args):
    _lanes.add_labelled(*args)


@jit
def _put_labelled(*args):
    _lanes.put_labelled(*args)


@jit
def _list_labelled(*args):
    return _lanes.list_labelled(*args)


@jit
def _fetch(*args):
    _lanes.fetch(*args)


@jit
def _copy(*args):
    _lanes.copy(*args)


@jit
def _charge(*args):
    _lanes.charge(*args)


@jit
def _credit(*args):
    _lanes.credit(*args)


class Drawing:
    """A table of 600 numbers, 40 offsets with gaps and repeats, 30 of 37 indices, 40 numbers, and an `out` of 400."""

    def __init__(self, dtype, seed=0):
        rng = np.random.default_rng(seed)
        self.table, self.numbers, self.out = (rng.standard_normal(n).astype(dtype) for n in (600, 40, 400))
        self.offsets = rng.integers(0, 380, 40).astype(np.int32)
        self.listed = np.sort(rng.permutation(37)[:30]).astype(np.int32)
        self.exact = {"rtol": 0, "atol": 2e-5 if dtype == "float32" else 1e-13}

    def rows(self, base, row, offsets):
        return self.table.astype(float)[base + np.asarray(offsets)[:, None] + np.arange(16 * len(row))]


def same(compiled, plain, expected, exact):
    assert compiled.tobytes() == plain.tobytes()
    np.testing.assert_allclose(compiled, expected, **exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=len)
@pytest.mark.parametrize("first, last", RANGES)
def test_sum_ones(row, dtype, first, last):
    d = Drawing(dtype)
    plain, compiled, expected = d.out.copy(), d.out.copy(), d.out.astype(float)
    _lanes._sum_ones(row, d.table, 7, d.offsets, first, last, d.table, 5, plain, 11)
    _sum_ones(row, d.table, 7, d.offsets, first, last, d.table, 5, compiled, 11)
    size = 16 * len(row)
    expected[11 : 11 + size] = d.rows(7, row, d.offsets[first:last]).sum(axis=0) + d.table[5 : 5 + size]
    same(compiled, plain, expected, d.exact)


def test_sum_ones_adds_the_row_last():
    """In float32 1e8 + (1 - 1e8) is 0 or 8, and (1e8 + 1) - 1e8 is 0: what is listed is summed up first."""
    table, start = np.repeat(np.float32([1, 1, 1e8]), 16), np.full(16, -1e8, np.float32)
    for sum_ones in (_lanes._sum_ones, _sum_ones):
        out = np.empty(16, np.float32)
        sum_ones((0,), table, 0, np.int32([32, 0, 16]), 0, 3, start, 0, out, 0)
        assert (out == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=len)
@pytest.mark.parametrize("first, last", [(0, 30), (3, 17), (5, 6), (9, 9)])
@pytest.mark.parametrize("spikes", [False, True])
def test_add_rows(row, dtype, first, last, spikes):
    d = Drawing(dtype)
    numbers = d.numbers > 0 if spikes else d.numbers
    plain, compiled, expected = d.out.copy(), d.out.copy(), d.out.astype(float)
    _lanes._add_rows(row, d.table, 7, 5, numbers, 3, d.listed, first, last, plain, 11)
    _add_rows(row, d.table, 7, 5, numbers, 3, d.listed, first, last, compiled, 11)
    k = d.listed[first:last]
    expected[11 : 11 + 16 * len(row)] += numbers.astype(float)[3 + k] @ d.rows(7, row, 5 * k)
    same(compiled, plain, expected, d.exact)


def test_add_rows_sums_from_zero():
    """In float32 (1 + 1e8) - 1e8 is 0, and 1 + (1e8 - 1e8) is 1: the listed rows are summed up first."""
    table = np.repeat(np.float32([1, -1]), 16)
    for add in (_lanes._add_rows, _add_rows):
        out = np.full(16, 1e8, np.float32)
        add((0,), table, 0, 16, np.float32([3, 3]), 0, np.int32([0, 1]), 0, 2, out, 0)
        assert (out == 1e8).all()
        out = np.full(16, 1.0, np.float32)
        add((0,), table, 0, 16, np.float32([1e8, 1e8]), 0, np.int32([0, 1]), 0, 2, out, 0)
        assert (out == 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS[:2], ids=len)
@pytest.mark.parametrize("rows, fall", [(1, 1), (1, 3), (2, 1), (2, 2), (3, 1), (3, 2), (3, 5)])
@pytest.mark.parametrize("start, count", [(0, 4), (1, 3), (2, 1), (0, 0)])
def test_add_stairs(row, dtype, rows, fall, start, count):
    """Lists of 3, 0, 6 and 1 rows, whose sums overlap where the fall is less than the rows, and leave gaps above."""
    d, starts, size = Drawing(dtype), np.array([2, 5, 5, 11, 12]), 16 * len(row)
    before = np.tile(d.out, 2)
    plain, compiled, expected = before.copy(), before.copy(), before.astype(float)
    shift = (0,) * min(rows, fall)
    for out, add in ((plain, _lanes._add_stairs), (compiled, _add_stairs)):
        add(
            (0,) * rows, shift, row, d.table, 7, 21, d.numbers, d.offsets, starts, start, count, out, 11, fall, size
        )  # fmt: skip
    for y in range(count):
        k = slice(*starts[start + y : start + y + 2])
        for r in range(rows):
            at = 11 + (y * fall + r) * size
            expected[at : at + size] += d.numbers[k].astype(float) @ d.rows(7 + 21 * r, row, d.offsets[k])
    same(compiled, plain, expected, d.exact)


def test_add_stairs_sums_from_zero_and_goes_on():
    """In float32 1 + (1e8 - 1e8) is 1: what two lists give to the same out is summed up before it is added."""
    table = np.ones(32, np.float32)
    for add in (_lanes._add_stairs, _add_stairs):
        out = np.ones(48, np.float32)
        numbers, starts = np.float32([1e8, -1e8]), np.array([0, 1, 2])
        add((0, 0), (0,), (0,), table, 0, 16, numbers, np.int32([0, 0]), starts, 0, 2, out, 0, 1, 16)
        np.testing.assert_array_equal(out.reshape(3, 16), np.float32([[1e8] * 16, [1] * 16, [-1e8] * 16]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=len)
@pytest.mark.parametrize("first, last", [(0, 30), (3, 17), (5, 6), (9, 9)])
def test_spread_row(row, dtype, first, last):
    d = Drawing(dtype)
    plain, compiled, expected = d.table.copy(), d.table.copy(), d.table.astype(float)
    _lanes._spread_row(row, d.out, 11, d.numbers, 3, d.listed, first, last, plain, 7, 5)
    _spread_row(row, d.out, 11, d.numbers, 3, d.listed, first, last, compiled, 7, 5)
    for k in d.listed[first:last]:
        expected[7 + 5 * k :][: 16 * len(row)] += d.numbers[3 + k].astype(float) * d.out[11 : 11 + 16 * len(row)]
    same(compiled, plain, expected, d.exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=len)
@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("first, last", RANGES)
def test_add_columns(row, columns, dtype, first, last):
    d = Drawing(dtype)
    size, step, out_step = 16 * len(row), -9, 16 * len(row) + 1
    plain, compiled, expected = d.out.copy(), d.out.copy(), d.out.astype(float)
    args = (d.offsets, first, last)
    _lanes._add_columns((0,) * columns, row, d.table, 47, step, *args, plain, 11, out_step)
    _add_columns((0,) * columns, row, d.table, 47, step, *args, compiled, 11, out_step)
    for j in range(columns):
        at = 11 + j * out_step
        expected[at : at + size] += d.rows(47 + j * step, row, d.offsets[first:last]).sum(axis=0)
    same(compiled, plain, expected, d.exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=len)
@pytest.mark.parametrize("tile", [1, 2, 4])
@pytest.mark.parametrize("terms", [0, 1, 7])
def test_add_tile(row, tile, dtype, terms):
    d = Drawing(dtype)
    size = 16 * len(row)
    plain, compiled, expected = d.out.copy(), d.out.copy(), d.out.astype(float)
    args = (d.numbers, 2, 5, 3, d.table, 13, 70, terms)
    _lanes._add_tile((0,) * tile, row, *args, plain, 11, size)
    _add_tile((0,) * tile, row, *args, compiled, 11, size)
    rows = d.rows(13, row, 70 * np.arange(terms, dtype=int))
    for p in range(tile):
        expected[11 + p * size :][:size] += d.numbers.astype(float)[2 + 5 * p + 3 * np.arange(terms)] @ rows
    same(compiled, plain, expected, d.exact)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=len)
@pytest.mark.parametrize("terms", [1, 2, 9])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 70])
@pytest.mark.parametrize("labels", [np.uint8, np.uint16])
def test_largest(row, dtype, terms, count, labels):
    """Of ties the first; NaN is the largest, and of NaNs the first. What lies beyond `count` is left alone."""
    d = Drawing(dtype)
    d.table[:] = np.round(d.table * 2)
    d.table[::37] = np.nan
    d.table[::41] = np.inf
    d.table[5::7] = -0.0
    size, label = min(count, 16 * len(row)), np.arange(200, 211, dtype=labels)
    got = []
    for largest in (_lanes._largest, _largest):
        best, which = np.full(90, 7, dtype), np.full(90, 99, labels)
        largest(row, d.table, 3, d.offsets, label, 2, 2 + terms, best, which, 6, count)
        got.append((best.tobytes(), which.tobytes()))
    assert got[0] == got[1]
    rows = d.rows(3, row, d.offsets[2 : 2 + terms])[:, :size]
    expected = np.argmax(rows, axis=0)
    np.testing.assert_array_equal(which[6 : 6 + size], label[2 + expected])
    np.testing.assert_array_equal(best[6 : 6 + size], rows[expected, np.arange(size)])
    assert (which[:6] == 99).all() and (which[6 + size :] == 99).all()
    assert (best[:6] == 7).all() and (best[6 + size :] == 7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("row", ROWS, ids=len)
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 63, 70])
def test_add_piece_and_what_is_labelled(row, dtype, count):
    d = Drawing(dtype)
    size = min(count, 16 * len(row))
    for labels in (np.uint8, np.uint16, np.uint32):
        label = (np.arange(600) % 3 + 254).astype(labels)
        for theirs in (1, 255):
            plain, compiled, expected = d.out.copy(), d.out.copy(), d.out.astype(float)
            _lanes._add_labelled(row, d.table, label, 8, theirs, count, plain, 11)
            _add_labelled(row, d.table, label, 8, theirs, count, compiled, 11)
            expected[11 : 11 + size] += (d.table * (label == theirs))[8 : 8 + size]
            same(compiled, plain, expected, d.exact)
            plain, compiled, expected = d.out.copy(), d.out.copy(), d.out.astype(float)
            _lanes._put_labelled(row, d.table, label, 8, theirs, count, plain, 11)
            _put_labelled(row, d.table, label, 8, theirs, count, compiled, 11)
            expected[11 : 11 + size] = (d.table * (label == theirs))[8 : 8 + size]
            same(compiled, plain, expected, d.exact)
    plain, compiled, expected = d.out.copy(), d.out.copy(), d.out.astype(float)
    _lanes._add_piece(row, d.table, 7, count, plain, 11)
    _add_piece(row, d.table, 7, count, compiled, 11)
    expected[11 : 11 + size] += d.table[7 : 7 + size]
    same(compiled, plain, expected, d.exact)


@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
def test_copy(dtype):
    source = (Drawing("float64").table * 3).astype(dtype)
    for count in (0, 1, 37):
        for copy in (_lanes._copy, _copy):
            out = np.zeros(50, dtype)
            copy(source, 5, count, out, 9)
            expected = np.zeros(50, dtype)
            expected[9 : 9 + count] = source[5 : 5 + count]
            np.testing.assert_array_equal(out, expected)


def test_a_loop_over_a_list_is_written_once():
    """LLVM would write it four times, and what is left over in a loop before it, "prol", or after it, "epil"."""

    def program(row, table, offsets, out):
        _lanes.sum_ones(row, table, 0, offsets, 0, len(offsets), table, 0, out, 0)

    compiled = numba.njit(program)
    compiled((0,), np.ones(64, np.float32), np.zeros(3, np.int32), np.zeros(16, np.float32))
    (text,) = compiled.inspect_llvm().values()
    assert "rows.body" in text and ".prol" not in text and ".epil" not in text


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset", _lanes.RESETS)
@pytest.mark.parametrize("count", [1, 16, 39])
def test_charge(reset, dtype, count):
    d, mode = Drawing(dtype), _lanes.RESETS[reset]
    beta, theta = np.abs(d.table) / 2, np.abs(d.table[::-1]).copy()
    theta[5 : 5 + count : 3] = d.table[2 : 2 + count : 3]  # U at theta: no spike, no reset
    got = []
    for charge in (_lanes._charge, _charge):
        U, S = d.out.copy(), np.ones(400, bool)
        charge(mode, d.table, 2, d.table, 99, beta, theta, 5, U, 11, S, 13, count)
        got.append((U.tobytes(), S.tobytes()))
    assert got[0] == got[1]
    here = slice(5, 5 + count)
    last, now = d.table[2 : 2 + count].astype(float), d.table[99 : 99 + count].astype(float)
    R = last > theta[here]
    kept = last * ~R if reset == "zero" else last
    expected = beta[here] * kept + now - (R * theta[here] if reset == "subtract" else 0)
    np.testing.assert_allclose(U[11 : 11 + count], expected, **d.exact)
    np.testing.assert_array_equal(S[13 : 13 + count], U[11 : 11 + count] > theta[here])
    np.testing.assert_array_equal(np.delete(U, slice(11, 11 + count)), np.delete(d.out, slice(11, 11 + count)))
    assert np.delete(S, slice(13, 13 + count)).all()


def test_a_membrane_at_threshold_does_not_fire():
    for charge in (_lanes._charge, _charge):
        U, S, nothing = np.empty(3, np.float32), np.ones(3, bool), np.zeros(3, np.float32)
        charge(0, nothing, 0, np.float32([0.75, 1, 1.25]), 0, nothing, np.ones(3, np.float32), 0, U, 0, S, 0, 3)
        assert S.tolist() == [False, False, True]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset", _lanes.RESETS)
@pytest.mark.parametrize("static", [False, True], ids=["varying", "static"])
@pytest.mark.parametrize("count", [1, 16, 39])
def test_credit(reset, static, dtype, count):
    d, mode = Drawing(dtype), _lanes.RESETS[reset]
    beta, theta, slope = np.abs(d.table) / 2, np.abs(d.table[::-1]).copy(), d.table[300:].copy()
    theta[5 : 5 + count : 3] = d.table[2 : 2 + count : 3]
    got = []
    for credit in (_lanes._credit, _credit):
        dU, dI = d.out.copy(), d.out[::-1].copy()
        credit(mode, static, d.table, 50, slope, d.table, 70, d.table, 2, beta, theta, dU, 5, dI, 9, count)
        got.append((dU.tobytes(), dI.tobytes()))
    assert got[0] == got[1]
    kept = beta[5 : 5 + count].astype(float)
    if reset == "zero":
        kept = kept * (d.table[2 : 2 + count] <= theta[5 : 5 + count])
    d64 = d.table.astype(float)
    expected = d64[50 : 50 + count] * slope[:count] + d64[70 : 70 + count] + d.out[5 : 5 + count] * kept
    np.testing.assert_allclose(dU[5 : 5 + count], expected, **d.exact)
    before = d.out[::-1][9 : 9 + count] if static else 0
    np.testing.assert_allclose(dI[9 : 9 + count], expected + before, **d.exact)
    np.testing.assert_array_equal(np.delete(dU, slice(5, 5 + count)), np.delete(d.out, slice(5, 5 + count)))
    np.testing.assert_array_equal(np.delete(dI, slice(9, 9 + count)), np.delete(d.out[::-1], slice(9, 9 + count)))


@pytest.mark.parametrize("dtype", [*DTYPES, "bool"])
def test_list_nonzero(dtype):
    rng = np.random.default_rng(0)
    for terms in range(66):
        numbers = (rng.standard_normal(5 + terms) * (rng.random(5 + terms) < 0.4)).astype(dtype)
        if dtype != "bool":
            numbers[4::9], numbers[8::11] = np.nan, -0.0
        expected = [7 + 3 * q for q in range(terms) if numbers[5 + q] != 0]
        for list_nonzero in (_lanes._list_nonzero, _list_nonzero):
            listed = np.full(2 + len(expected) + _lanes.SLACK, -1, np.int32)
            k = list_nonzero(numbers, 5, terms, 7, 3, listed, 2)
            assert listed[:k].tolist() == [-1, -1, *expected]
    assert _list_nonzero(numbers, 5, -3, 0, 1, listed, 2) == _lanes._list_nonzero(numbers, 5, -3, 0, 1, listed, 2) == 2


def test_fetch_changes_nothing_and_may_ask_for_what_is_not_there():
    numbers = Drawing("float32").table
    before = numbers.copy()
    for fetch in (_lanes._fetch, _fetch):
        for at, count in ((0, len(numbers)), (5, 0), (len(numbers), 10**6)):
            fetch(numbers, at, count)
    np.testing.assert_array_equal(numbers, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [np.uint8, np.int32])
def test_list_labelled(dtype, labels):
    rng = np.random.default_rng(0)
    for terms in range(66):
        numbers = (rng.standard_normal(5 + terms) * (rng.random(5 + terms) < 0.7)).astype(dtype)
        numbers[4::9], numbers[8::11] = np.nan, -0.0
        label = (np.arange(5 + terms) % 2 + 254).astype(labels)
        expected = [q for q in range(terms) if numbers[5 + q] != 0 and label[5 + q] == 255]
        for list_labelled in (_lanes._list_labelled, _list_labelled):
            listed = np.full(2 + len(expected) + _lanes.SLACK, -1, np.int32)
            found = np.full(len(listed), -1, dtype)
            k = list_labelled(numbers, label, 5, 255, terms, 3, listed, found, 2)
            assert listed[:k].tolist() == [-1, -1, *(3 * q for q in expected)]
            np.testing.assert_array_equal(found[:k], [-1, -1, *(numbers[5 + q] for q in expected)])


GUARDED = """
import ctypes, mmap, sys
import numpy as np
from npsnn import _lanes
from npsnn._jit import jit

@jit
def kernel(numbers, at, listed):
    return _lanes.list_nonzero(numbers, at, 3, 0, 1, listed, 0)

memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
page = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + mmap.PAGESIZE
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, 0) == 0
numbers = np.frombuffer(memory, np.float32)
inside, listed = mmap.PAGESIZE // 4, np.empty(32, np.int32)
numbers[:inside] = 1
print(kernel(numbers, inside - 3, listed), flush=True)
kernel(numbers, inside - 2, listed)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="guards a page of memory in Linux's way")
def test_list_nonzero_reads_nothing_beyond_its_numbers():
    """They end where the memory does: three are listed; a kernel that is asked for a fourth ends the process."""
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "3\n", done.stderr
    assert done.returncode < 0, "the guard did not guard"


def test_a_product_and_its_sum_are_rounded_once_where_the_processor_can():
    """1 + 2^-30 squared is 1 + 2^-29 + 2^-60: rounded before it is added, it loses its last part."""
    x, left = 1 + 2.0**-30, 2.0**-60 if _lanes.FUSED else 0
    table, numbers, listed = np.full(16, x), np.array([x]), np.zeros(1, np.int32)
    start = np.full(16, -1 - 2.0**-29)
    out = start.copy()
    _spread_row((0,), table, 0, numbers, 0, listed, 0, 1, out, 0, 0)
    assert (out == left).all()
    out = start.copy()
    _add_tile((0,), (0,), numbers, 0, 0, 0, table, 0, 0, 1, out, 0, 0)
    assert (out == left).all()
    both = np.concatenate([start, table])  # add_rows sums from zero: 1 * start, then x * x
    out = np.zeros(16)
    _add_rows((0,), both, 0, 16, np.array([1, x]), 0, np.array([0, 1], np.int32), 0, 2, out, 0)
    assert (out == left).all()


@pytest.mark.parametrize(
    "n, lanes, piece", [(1, 16, 16), (16, 16, 16), (17, 32, 32), (48, 48, 48), (60, 64, 64), (64, 64, 64)]
    + [(65, 96, 48), (96, 96, 48), (97, 128, 64), (129, 144, 48), (1000, 1024, 64)],
)  # fmt: skip
def test_rows_are_cut_into_equal_pieces(n, lanes, piece):
    assert _lanes.padded_lanes(n) == lanes
    assert _lanes.row_of(lanes) == (0,) * (piece // 16)


@pytest.mark.parametrize(
    "lanes, itemsize, vectors, most, count",
    [(64, 4, 16, 4, 4), (64, 4, 16, 9, 4), (64, 4, 28, 9, 7), (64, 8, 28, 5, 3), (16, 4, 16, 4, 4), (48, 4, 16, 9, 5)]
    + [(64, 8, 7, 5, 1)],
)
def test_as_many_as_fit(lanes, itemsize, vectors, most, count):
    assert len(_lanes.as_many_as_fit(_lanes.row_of(lanes), itemsize, vectors, most)) == count


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
