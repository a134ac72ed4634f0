"""Sums of rows that stay in registers: the inner loops of convolution and linear layers (floor 0).

A row is LANES numbers or a part of them. `add_rows` gathers: many rows of a table, each times a number, summed up and
added to one row. `spread_row` does the opposite: one row, times many numbers, added to many rows. Both run over a list,
so that what is zero, and so not in the list, costs nothing.

Numba keeps no array in registers, and a row that goes to memory for every term costs three times the arithmetic. So
both are written twice: as plain loops, which say what is computed and run where nothing is compiled
(NUMBA_DISABLE_JIT=1), and as vector instructions with the same sums in the same order: the same bits, by a test. Each
product is rounded before it is added (C11). The vectors are 64 bytes; a processor with shorter ones splits them.
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_jitable

Array = np.ndarray[Any, Any]

LANES = 64
SIZES = (16, 32, 48, 64)  # of a row: a multiple of the longest vector's lanes
VECTOR_BYTES = 64
INT32, INT64 = ir.IntType(32), ir.IntType(64)


def padded_lanes(n: int) -> int:
    """The lanes of a row of n numbers: up to 64 the next size, beyond a multiple of 64.

    >>> padded_lanes(10), padded_lanes(60), padded_lanes(100)
    (16, 64, 128)
    """
    return n + -n % 16 if n <= LANES else n + -n % LANES


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


def _plain_add_rows(size, table, base, offsets, values, first, last, out, at):  # type: ignore[no-untyped-def]
    total = [out.dtype.type(0)] * size
    for k in range(first, last):
        for q in range(size):
            total[q] += values[k] * table[base + offsets[k] + q]
    for q in range(size):
        out[at + q] += total[q]


def _plain_spread_row(size, row, at, offsets, values, first, last, table, base):  # type: ignore[no-untyped-def]
    for k in range(first, last):
        for q in range(size):
            table[base + offsets[k] + q] += values[k] * row[at + q]


# --- the same in vectors -------------------------------------------------------------------------------------------


class _Lanes:
    """One row of `size` numbers of a type, as vectors: what the two loops below share."""

    def __init__(self, builder: Any, element: Any, size: int) -> None:
        self.builder, self.size = builder, size
        single = element == types.float32
        self.alignment = 4 if single else 8  # of a number: a row need not start at a vector's boundary
        self.width = VECTOR_BYTES // self.alignment
        self.type = ir.VectorType(ir.FloatType() if single else ir.DoubleType(), self.width)
        self.count = size // self.width

    def zeros(self) -> list[Any]:
        return [ir.Constant(self.type, [0.0] * self.width)] * self.count

    def pointers(self, array: Any, at: Any) -> list[Any]:
        b = self.builder
        places = [b.add(at, ir.Constant(INT64, k * self.width)) for k in range(self.count)]
        return [b.bitcast(b.gep(array, [place]), self.type.as_pointer()) for place in places]

    def load(self, pointers: list[Any]) -> list[Any]:
        return [self.builder.load(p, align=self.alignment) for p in pointers]

    def store(self, vectors: list[Any], pointers: list[Any]) -> None:
        for v, p in zip(vectors, pointers, strict=True):
            self.builder.store(v, p, align=self.alignment)

    def multiply_add(self, number: Any, row: list[Any], total: list[Any]) -> list[Any]:
        """total + number * row, each product rounded."""
        b = self.builder
        nothing = ir.Constant(self.type, ir.Undefined)
        one = b.insert_element(nothing, number, ir.Constant(INT32, 0))
        all_lanes = ir.Constant(ir.VectorType(INT32, self.width), [0] * self.width)
        number_everywhere = b.shuffle_vector(one, nothing, all_lanes)
        return [b.fadd(t, b.fmul(number_everywhere, r)) for t, r in zip(total, row, strict=True)]


def _data(context: Any, builder: Any, signature: Any, args: Any, k: int) -> Any:
    return context.make_array(signature.args[k])(context, builder, args[k]).data


class _Loop:
    """for k in range(first, last), with vectors carried from one turn to the next."""

    def __init__(self, builder: Any, first: Any, last: Any, carried: list[Any]) -> None:
        self.builder = builder
        before, function = builder.block, builder.function
        self.head = function.append_basic_block("rows.head")
        self.body = function.append_basic_block("rows.body")
        self.end = function.append_basic_block("rows.end")
        builder.branch(self.head)
        builder.position_at_end(self.head)
        self.k = builder.phi(INT64)
        self.k.add_incoming(first, before)
        self.carried = [builder.phi(v.type) for v in carried]
        for phi, v in zip(self.carried, carried, strict=True):
            phi.add_incoming(v, before)
        builder.cbranch(builder.icmp_signed("<", self.k, last), self.body, self.end)
        builder.position_at_end(self.body)

    def close(self, carried: list[Any]) -> None:
        builder = self.builder
        self.k.add_incoming(builder.add(self.k, ir.Constant(INT64, 1)), builder.block)
        for phi, v in zip(self.carried, carried, strict=True):
            phi.add_incoming(v, builder.block)
        builder.branch(self.head)
        builder.position_at_end(self.end)


def _vector_add_rows(size: int) -> Any:
    @intrinsic
    def add_rows(typingctx, table, base, offsets, values, first, last, out, at):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            table, offsets, values, out = (_data(context, builder, signature, args, k) for k in (0, 2, 3, 6))
            lanes = _Lanes(builder, signature.args[0].dtype, size)
            loop = _Loop(builder, args[4], args[5], lanes.zeros())
            offset = builder.sext(builder.load(builder.gep(offsets, [loop.k])), INT64)
            row = lanes.load(lanes.pointers(table, builder.add(args[1], offset)))
            loop.close(lanes.multiply_add(builder.load(builder.gep(values, [loop.k])), row, loop.carried))
            places = lanes.pointers(out, args[7])
            lanes.store([builder.fadd(x, t) for x, t in zip(lanes.load(places), loop.carried, strict=True)], places)
            return context.get_dummy_value()

        n = types.intp
        return types.void(table, n, offsets, values, n, n, out, n), codegen

    return add_rows


def _vector_spread_row(size: int) -> Any:
    @intrinsic
    def spread_row(typingctx, row, at, offsets, values, first, last, table, base):  # type: ignore[no-untyped-def]
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            row, offsets, values, table = (_data(context, builder, signature, args, k) for k in (0, 2, 3, 6))
            lanes = _Lanes(builder, signature.args[0].dtype, size)
            source = lanes.load(lanes.pointers(row, args[1]))
            loop = _Loop(builder, args[4], args[5], [])
            offset = builder.sext(builder.load(builder.gep(offsets, [loop.k])), INT64)
            places = lanes.pointers(table, builder.add(args[7], offset))
            number = builder.load(builder.gep(values, [loop.k]))
            lanes.store(lanes.multiply_add(number, source, lanes.load(places)), places)
            loop.close([])
            return context.get_dummy_value()

        n = types.intp
        return types.void(row, n, offsets, values, n, n, table, n), codegen

    return spread_row


_add_16, _add_32, _add_48, _add_64 = (_vector_add_rows(size) for size in SIZES)
_spread_16, _spread_32, _spread_48, _spread_64 = (_vector_spread_row(size) for size in SIZES)


def _compiled_add_rows(size, table, base, offsets, values, first, last, out, at):  # type: ignore[no-untyped-def]
    if size == 64:
        _add_64(table, base, offsets, values, first, last, out, at)
    elif size == 48:
        _add_48(table, base, offsets, values, first, last, out, at)
    elif size == 32:
        _add_32(table, base, offsets, values, first, last, out, at)
    else:
        _add_16(table, base, offsets, values, first, last, out, at)


def _compiled_spread_row(size, row, at, offsets, values, first, last, table, base):  # type: ignore[no-untyped-def]
    if size == 64:
        _spread_64(row, at, offsets, values, first, last, table, base)
    elif size == 48:
        _spread_48(row, at, offsets, values, first, last, table, base)
    elif size == 32:
        _spread_32(row, at, offsets, values, first, last, table, base)
    else:
        _spread_16(row, at, offsets, values, first, last, table, base)


add_rows = _plain_add_rows if numba.config.DISABLE_JIT else register_jitable(_compiled_add_rows)
spread_row = _plain_spread_row if numba.config.DISABLE_JIT else register_jitable(_compiled_spread_row)
