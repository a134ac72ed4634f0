"""Rows that stay in registers: the inner loops of convolution and linear layers (floor 0).

A row is a piece of a flat array, at most LANES numbers. Its length is given as a tuple of as many sixteenths,
`row_of(64) == (0, 0, 0, 0)`, because a tuple's length is part of its type: a kernel is compiled for the lengths that
its network has and for no other. `rows`, `tile` and `columns` count rows in the same way.

    sum_ones      out = the sum of the listed rows of a table, and then a row; for spikes: a list says what fires
    add_rows      out += the sum of the listed rows of a table, each times its number
    add_stairs    for every list in turn, several outs += the sums of the listed rows of as many tables, each times its
                  number; the outs of the next list lie some rows lower, and where they are the same the sums go on
    spread_row    the listed rows += one row, each times its number
    add_columns   several outs += the listed rows of as many tables, which start a step apart
    add_tile      several outs += every row of a table, each times a number of its own; nothing is listed
    largest       the largest of the listed rows, number by number, and the label of the row that it came from
    add_piece     out += some numbers
    add_labelled  out += those of some numbers that have a certain label
    put_labelled  out = them, and 0 where they have another
    list_nonzero  what is not zero, as a list
    list_labelled what is not zero and has a certain label, and the numbers themselves
    copy          some numbers, elsewhere
    fetch         nothing; some numbers, which will be read soon, are asked for from memory

    charge        one step of leaky neurons, forward
    credit        one step of leaky neurons, backward

What is zero, and so not in a list, costs nothing. Numba keeps no array in registers, and a row that goes to memory for
every term costs three times the arithmetic. So all are written twice: as plain loops, which say what is computed and
run where nothing is compiled (NUMBA_DISABLE_JIT=1), and as vector instructions (_vectors.py) with the same sums in the
same order: the same bits, by a test. A product and the sum that it enters are rounded once, together, where the
processor can do that (C11): it is exacter, and half the arithmetic.
"""

import math
from typing import Any

import numba
import numpy as np

from npsnn import _fused, _vectors
from npsnn._jit import register_jitable
from npsnn._vectors import FUSED, HAS_COMPRESS, VECTOR_BYTES
from npsnn._vectors import ROUND as ROUND
from npsnn._vectors import SUBTRACT as SUBTRACT
from npsnn._vectors import ZERO as ZERO

Array = np.ndarray[Any, Any]

LANES = 64
RESETS = {"none": 0, "subtract": SUBTRACT, "zero": ZERO}  # of leaky neurons
SLACK = ROUND  # numbers that list_nonzero may write beyond the last of a list


def padded_lanes(n: int) -> int:
    """The lanes of a row of n numbers: it is cut into the fewest pieces of equal length, a multiple of 16 up to 64.

    >>> padded_lanes(10), padded_lanes(64), padded_lanes(65), padded_lanes(100)
    (16, 64, 96, 128)
    """
    pieces = -(-n // LANES)
    return pieces * ROUND * -(-n // (pieces * ROUND))


def row_of(lanes: int) -> tuple[int, ...]:
    """The length of those pieces, of a row of `lanes` numbers.

    >>> row_of(48), row_of(96), row_of(128)
    ((0, 0, 0), (0, 0, 0), (0, 0, 0, 0))
    """
    return (0,) * (lanes // -(-lanes // LANES) // ROUND)


def multiply_add(a: Any, b: Any, c: Any) -> Any:
    """a * b + c as the vector instructions of this processor round it; for the plain loops."""
    return _fused.multiply_add(a, b, c) if FUSED else c + a * b


def as_many_as_fit(row: tuple[int, ...], itemsize: int, vectors: int, most: int) -> tuple[int, ...]:
    """A tile or columns of that row: as many, up to `most`, as so many of the processor's vectors can hold.

    >>> as_many_as_fit(row_of(64), 4, 16, 8), as_many_as_fit(row_of(64), 8, 16, 8)
    ((0, 0, 0, 0), (0, 0))
    """
    return (0,) * max(1, min(most, vectors * VECTOR_BYTES // (len(row) * ROUND * itemsize)))


@register_jitable
def aligned(like, size):  # type: ignore[no-untyped-def]
    """A flat array of `size` numbers of like's dtype that starts at a whole vector, where loads are quickest."""
    raw = np.empty(size + VECTOR_BYTES // like.itemsize, like.dtype)
    start = (VECTOR_BYTES - raw.ctypes.data % VECTOR_BYTES) % VECTOR_BYTES // like.itemsize
    return raw[start : start + size]


def aligned_zeros(shape: tuple[int, ...], like: Array) -> Array:
    """The same of any shape, filled with zeros."""
    zeros: Array = aligned(like, math.prod(shape)).reshape(shape)
    zeros[...] = 0
    return zeros


def _sum_ones(row, table, base, offsets, first, last, start, begin, out, at):  # type: ignore[no-untyped-def]
    here, total = _piece(row), np.zeros(ROUND * len(row), out.dtype)
    for k in range(first, last):
        total += table[here + (base + offsets[k])]
    out[here + at] = total + start[here + begin]


def _add_rows(row, table, base, step, numbers, number, listed, first, last, out, at):  # type: ignore[no-untyped-def]
    here, total = _piece(row), np.zeros(ROUND * len(row), out.dtype)
    for k in range(first, last):
        total = multiply_add(numbers[number + listed[k]], table[here + (base + step * listed[k])], total)
    out[here + at] += total


def _add_stairs(  # type: ignore[no-untyped-def]
    rows, shift, row, table, base, row_step, numbers, listed, starts, start, count, out, at, fall, out_step
):
    starts, totals = starts.reshape(-1), dict[int, Array]()
    for y in range(count):
        for r in range(len(rows)):
            here, line = _piece(row) + (base + r * row_step), y * fall + r
            total = totals.setdefault(line, np.zeros(ROUND * len(row), out.dtype))
            for k in range(starts[start + y], starts[start + y + 1]):
                total[:] = multiply_add(numbers[k], table[here + listed[k]], total)
    for line, total in totals.items():
        out[_piece(row) + (at + line * out_step)] += total


def _spread_row(  # type: ignore[no-untyped-def]
    row, source, at, numbers, number, listed, first, last, table, base, step
):
    for k in range(first, last):
        here = _piece(row) + (base + step * listed[k])
        table[here] = multiply_add(numbers[number + listed[k]], source[_piece(row) + at], table[here])


def _add_columns(columns, row, table, base, step, offsets, first, last, out, at, out_step):  # type: ignore[no-untyped-def]
    for j in range(len(columns)):
        for k in range(first, last):
            out[_piece(row) + (at + j * out_step)] += table[_piece(row) + (base + j * step + offsets[k])]


def _add_tile(  # type: ignore[no-untyped-def]
    tile, row, numbers, number, tile_step, term_step, table, base, table_step, terms, out, at, out_step
):
    for p in range(len(tile)):
        here = _piece(row) + (at + p * out_step)
        for k in range(terms):
            factor = numbers[number + p * tile_step + k * term_step]
            out[here] = multiply_add(factor, table[_piece(row) + (base + k * table_step)], out[here])


def _largest(  # type: ignore[no-untyped-def]
    row, table, base, offsets, labels, first, last, best, which, at, count
):
    for q in range(min(count, ROUND * len(row))):
        best[at + q], which[at + q] = table[base + offsets[first] + q], labels[first]
        for k in range(first + 1, last):
            value = table[base + offsets[k] + q]
            if value > best[at + q] or (value != value and best[at + q] == best[at + q]):
                best[at + q], which[at + q] = value, labels[k]


def _add_piece(row, numbers, first, count, out, at):  # type: ignore[no-untyped-def]
    for q in range(min(count, ROUND * len(row))):
        out[at + q] += numbers[first + q]


def _add_labelled(row, numbers, labels, first, label, count, out, at):  # type: ignore[no-untyped-def]
    for q in range(min(count, ROUND * len(row))):
        if labels[first + q] == label:
            out[at + q] += numbers[first + q]


def _put_labelled(row, numbers, labels, first, label, count, out, at):  # type: ignore[no-untyped-def]
    for q in range(min(count, ROUND * len(row))):
        out[at + q] = numbers[first + q] if labels[first + q] == label else 0


def _copy(source, first, count, out, at):  # type: ignore[no-untyped-def]
    out[at : at + count] = source[first : first + count]


def _fetch(numbers, at, count):  # type: ignore[no-untyped-def]
    """Only compiled code can ask."""


def _list_nonzero(numbers, at, terms, first, step, listed, k):  # type: ignore[no-untyped-def]
    for q in range(terms):
        if numbers[at + q] != 0:
            listed[k] = first + q * step
            k += 1
    return k


def _list_labelled(numbers, labels, at, label, terms, step, listed, found, k):  # type: ignore[no-untyped-def]
    for q in range(terms):
        if numbers[at + q] != 0 and labels[at + q] == label:
            listed[k], found[k] = q * step, numbers[at + q]
            k += 1
    return k


def _charge(reset, U_last, last, I, now, beta, theta, m, U, u, S, s, count):  # type: ignore[no-untyped-def]
    U_last, theta = U_last[last : last + count], theta[m : m + count]
    R = U_last > theta
    if reset == ZERO:
        U_last = (1 - R.astype(U.dtype)) * U_last
    here = beta[m : m + count] * U_last + I[now : now + count]
    if reset == SUBTRACT:
        here -= R * theta
    U[u : u + count] = here
    S[s : s + count] = here > theta


def _credit(reset, static, dS, s, slope, dmem, r, U, u, beta, theta, dU, m, dI, i, count):  # type: ignore[no-untyped-def]
    kept = beta[m : m + count]
    if reset == ZERO:
        kept = kept * (U[u : u + count] <= theta[m : m + count])
    here = dS[s : s + count] * slope[:count] + dmem[r : r + count] + dU[m : m + count] * kept
    dU[m : m + count] = here
    dI[i : i + count] = dI[i : i + count] + here if static else here


def _piece(row: tuple[int, ...]) -> Array:
    """The places of a row's numbers, from its first."""
    return np.arange(ROUND * len(row))


_compiled = not numba.config.DISABLE_JIT
sum_ones = _vectors.sum_ones if _compiled else _sum_ones
add_rows = _vectors.add_rows if _compiled else _add_rows
add_stairs = _vectors.add_stairs if _compiled else _add_stairs
spread_row = _vectors.spread_row if _compiled else _spread_row
add_columns = _vectors.add_columns if _compiled else _add_columns
add_tile = _vectors.add_tile if _compiled else _add_tile
largest = _vectors.largest if _compiled else _largest
add_piece = _vectors.add_piece if _compiled else _add_piece
add_labelled = _vectors.add_labelled if _compiled else _add_labelled
put_labelled = _vectors.put_labelled if _compiled else _put_labelled
copy = _vectors.copy if _compiled else _copy
fetch = _vectors.fetch if _compiled else _fetch
charge = _vectors.charge if _compiled else _charge
credit = _vectors.credit if _compiled else _credit
_packing = HAS_COMPRESS and _compiled
list_nonzero = _vectors.list_nonzero if _packing else register_jitable(_list_nonzero)
list_labelled = _vectors.list_labelled if _packing else register_jitable(_list_labelled)
