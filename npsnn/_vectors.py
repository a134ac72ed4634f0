"""The loops of _lanes.py as vector instructions (floor 0).

What each computes stands there, as a plain loop; here it is written in LLVM's terms, so that a row's sum is held in
registers. The vectors are 64 bytes; a processor with shorter ones splits them.
"""

import platform
from collections.abc import Iterator
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core.cgutils import get_or_insert_function, raw_memcpy
from numba.extending import intrinsic

ROUND = 16  # numbers: rows are made of so many
VECTOR_BYTES = 64
SUBTRACT, ZERO = 1, 2  # a leaky neuron's reset; any other number is none
INT32, INT64 = ir.IntType(32), ir.IntType(64)
N = types.intp
FUSED = bool(binding.get_host_cpu_features().get("fma", platform.machine() in ("aarch64", "arm64")))
HAS_COMPRESS = binding.llvm_version_info >= (20,)  # the instruction that packs the chosen lanes, or what stands for it


def _number(k: int) -> Any:
    return ir.Constant(INT64, k)


class _Lanes:
    """Rows of `size` numbers of a type, as vectors."""

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
        places = [b.add(at, _number(k * self.width)) for k in range(self.count)]
        return [b.bitcast(b.gep(array, [place]), self.type.as_pointer()) for place in places]

    def load(self, pointers: list[Any]) -> list[Any]:
        return [self.builder.load(p, align=self.alignment) for p in pointers]

    def store(self, vectors: list[Any], pointers: list[Any]) -> None:
        for v, p in zip(vectors, pointers, strict=True):
            self.builder.store(v, p, align=self.alignment)

    def number(self, array: Any, at: Any) -> Any:
        """One of an array's numbers; of bool, 0 or 1."""
        number = self.builder.load(self.builder.gep(array, [at]))
        return self.builder.uitofp(number, self.type.element) if isinstance(number.type, ir.IntType) else number

    def add(self, rows: list[Any], totals: list[Any]) -> list[Any]:
        return [self.builder.fadd(t, r) for t, r in zip(totals, rows, strict=True)]

    def multiply_add(self, number: Any, row: list[Any], total: list[Any]) -> list[Any]:
        """total + number * row, rounded once where FUSED."""
        b, everywhere = self.builder, _everywhere(self.builder, number, self.type)
        if not FUSED:
            return [b.fadd(t, b.fmul(everywhere, r)) for t, r in zip(total, row, strict=True)]
        name = f"llvm.fma.v{self.width}f{8 * self.alignment}"
        fma = get_or_insert_function(b.module, ir.FunctionType(self.type, [self.type] * 3), name)
        return [b.call(fma, [everywhere, r, t]) for t, r in zip(total, row, strict=True)]


def _everywhere(builder: Any, number: Any, kind: Any) -> Any:
    """A vector of one number."""
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, number, ir.Constant(INT32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count))


def _data(context: Any, builder: Any, signature: Any, args: Any, *which: int) -> list[Any]:
    """The first element's address of the arrays among the arguments."""
    return [context.make_array(signature.args[k])(context, builder, args[k]).data for k in which]


class _Loop:
    """for k in range(first, last, step), with values carried from one turn to the next."""

    def __init__(self, builder: Any, first: Any, last: Any, carried: list[Any], step: int = 1) -> None:
        self.builder, self.step, self.over_a_list = builder, step, False
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
        self.k.add_incoming(builder.add(self.k, _number(self.step)), builder.block)
        for phi, v in zip(self.carried, carried, strict=True):
            phi.add_incoming(v, builder.block)
        again = builder.branch(self.head)
        if self.over_a_list:
            again.set_metadata("llvm.loop", _not_unrolled(builder.module))
        builder.position_at_end(self.end)

    def listed(self, array: Any) -> Any:
        """The k-th entry of a list, as an offset."""
        self.over_a_list = True
        return self.builder.sext(self.builder.load(self.builder.gep(array, [self.k])), INT64)


def _not_unrolled(module: Any) -> Any:
    """What keeps LLVM from writing a loop's body four times: a short list would have two ends that none foresees."""
    # LLVM asks for a node that holds itself, one a loop; llvmlite makes equal ones once, so they begin unequal.
    loop = module.add_metadata([str(len(module.metadata))])
    loop.operands = (loop, module.add_metadata(["llvm.loop.unroll.disable"]))
    return loop


def _rows(builder: Any, lanes: _Lanes, array: Any, at: Any, step: Any, count: int) -> list[Any]:
    """Where `count` rows lie whose starts are a step apart, all their vectors in one list."""
    starts = [builder.add(at, builder.mul(step, _number(j))) for j in range(count)]
    return [pointer for start in starts for pointer in lanes.pointers(array, start)]


@intrinsic
def sum_ones(typingctx, row, table, base, offsets, first, last, start, begin, out, at):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, offsets, start, out = _data(context, builder, signature, args, 1, 3, 6, 8)
        lanes = _Lanes(builder, signature.args[1].dtype, ROUND * row.count)
        loop = _Loop(builder, args[4], args[5], lanes.zeros())
        source = lanes.pointers(table, builder.add(args[2], loop.listed(offsets)))
        loop.close(lanes.add(lanes.load(source), loop.carried))
        total = lanes.add(lanes.load(lanes.pointers(start, args[7])), loop.carried)
        lanes.store(total, lanes.pointers(out, args[9]))
        return context.get_dummy_value()

    return types.void(row, table, N, offsets, N, N, start, N, out, N), codegen


@intrinsic
def add_rows(  # type: ignore[no-untyped-def]
    typingctx, row, table, base, step, numbers, number, listed, first, last, out, at
):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, numbers, listed, out = _data(context, builder, signature, args, 1, 4, 6, 9)
        lanes = _Lanes(builder, signature.args[1].dtype, ROUND * row.count)
        loop = _Loop(builder, args[7], args[8], lanes.zeros())
        k = loop.listed(listed)
        source = lanes.load(lanes.pointers(table, builder.add(args[2], builder.mul(args[3], k))))
        number = lanes.number(numbers, builder.add(args[5], k))
        loop.close(lanes.multiply_add(number, source, loop.carried))
        places = lanes.pointers(out, args[10])
        lanes.store(lanes.add(loop.carried, lanes.load(places)), places)
        return context.get_dummy_value()

    return types.void(row, table, N, N, numbers, N, listed, N, N, out, N), codegen


@intrinsic
def add_stairs(  # type: ignore[no-untyped-def]
    typingctx, rows, shift, row, table, base, row_step, numbers, listed, starts, start, count, out, at, fall, out_step
):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        base, row_step, start, count, at, fall, out_step = (args[k] for k in (4, 5, 9, 10, 12, 13, 14))
        table, numbers, listed, starts, out = _data(context, b, signature, args, 3, 6, 7, 8, 11)
        lanes = _Lanes(b, signature.args[3].dtype, ROUND * row.count)

        def put(vectors: list[Any], first: Any) -> None:
            places = _rows(b, lanes, out, first, out_step, len(vectors) // lanes.count)
            lanes.store(lanes.add(vectors, lanes.load(places)), places)

        outer = _Loop(b, _number(0), count, lanes.zeros() * rows.count)
        place = b.add(start, outer.k)
        first, last = (b.load(b.gep(starts, [k])) for k in (place, b.add(place, _number(1))))
        loop = _Loop(b, first, last, outer.carried)
        source = _rows(b, lanes, table, b.add(base, loop.listed(listed)), row_step, rows.count)
        vectors = lanes.load(source)
        loop.close(lanes.multiply_add(lanes.number(numbers, loop.k), vectors, loop.carried))
        done = shift.count * lanes.count
        put(loop.carried[:done], b.add(at, b.mul(b.mul(outer.k, fall), out_step)))
        outer.close(loop.carried[done:] + lanes.zeros() * shift.count)
        if rows.count > shift.count:
            put(outer.carried[:-done], b.add(at, b.mul(b.mul(count, fall), out_step)))
        return context.get_dummy_value()

    return types.void(rows, shift, row, table, N, N, numbers, listed, starts, N, N, out, N, N, N), codegen


@intrinsic
def spread_row(typingctx, row, source, at, numbers, number, listed, first, last, table, base, step):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, numbers, listed, table = _data(context, builder, signature, args, 1, 3, 5, 8)
        lanes = _Lanes(builder, signature.args[1].dtype, ROUND * row.count)
        vectors = lanes.load(lanes.pointers(source, args[2]))
        loop = _Loop(builder, args[6], args[7], [])
        k = loop.listed(listed)
        places = lanes.pointers(table, builder.add(args[9], builder.mul(args[10], k)))
        number = lanes.number(numbers, builder.add(args[4], k))
        lanes.store(lanes.multiply_add(number, vectors, lanes.load(places)), places)
        loop.close([])
        return context.get_dummy_value()

    return types.void(row, source, N, numbers, N, listed, N, N, table, N, N), codegen


@intrinsic
def add_columns(typingctx, columns, row, table, base, step, offsets, first, last, out, at, out_step):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, offsets, out = _data(context, builder, signature, args, 2, 5, 8)
        lanes = _Lanes(builder, signature.args[2].dtype, ROUND * row.count)
        places = _rows(builder, lanes, out, args[9], args[10], columns.count)
        loop = _Loop(builder, args[6], args[7], lanes.load(places))
        start = builder.add(args[3], loop.listed(offsets))
        source = _rows(builder, lanes, table, start, args[4], columns.count)
        loop.close(lanes.add(lanes.load(source), loop.carried))
        lanes.store(loop.carried, places)
        return context.get_dummy_value()

    return types.void(columns, row, table, N, N, offsets, N, N, out, N, N), codegen


@intrinsic
def add_tile(  # type: ignore[no-untyped-def]
    typingctx, tile, row, numbers, number, tile_step, term_step, table, base, table_step, terms, out, at, out_step
):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers, table, out = _data(context, builder, signature, args, 2, 6, 10)
        lanes = _Lanes(builder, signature.args[6].dtype, ROUND * row.count)
        places = _rows(builder, lanes, out, args[11], args[12], tile.count)
        loop = _Loop(builder, _number(0), args[9], lanes.load(places))
        source = lanes.load(lanes.pointers(table, builder.add(args[7], builder.mul(loop.k, args[8]))))
        start = builder.add(args[3], builder.mul(loop.k, args[5]))
        totals = []
        for p in range(tile.count):
            number = lanes.number(numbers, builder.add(start, builder.mul(args[4], _number(p))))
            before = loop.carried[p * lanes.count : (p + 1) * lanes.count]
            totals += lanes.multiply_add(number, source, before)
        loop.close(totals)
        lanes.store(loop.carried, places)
        return context.get_dummy_value()

    return types.void(tile, row, numbers, N, N, N, table, N, N, N, out, N, N), codegen


@intrinsic
def largest(  # type: ignore[no-untyped-def]
    typingctx, row, table, base, offsets, labels, first, last, best, which, at, count
):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        table, offsets, labels, best, which = _data(context, b, signature, args, 1, 3, 4, 7, 8)
        lanes = _Lanes(b, signature.args[1].dtype, ROUND * row.count)
        kind = ir.VectorType(which.type.pointee, lanes.width)

        def read(offset: Any) -> list[Any]:
            return lanes.load(lanes.pointers(table, b.add(args[2], offset)))

        def label(k: Any) -> Any:
            return _everywhere(b, b.load(b.gep(labels, [k])), kind)

        top = read(b.sext(b.load(b.gep(offsets, [args[5]])), INT64))
        loop = _Loop(b, b.add(args[5], _number(1)), args[6], [*top, *[label(args[5])] * lanes.count])
        top, chosen = loop.carried[: lanes.count], loop.carried[lanes.count :]
        row_of_k, here = read(loop.listed(offsets)), label(loop.k)
        wins = [
            b.and_(b.fcmp_unordered(">", v, t), b.fcmp_ordered("ord", t, t)) for v, t in zip(row_of_k, top, strict=True)
        ]
        larger = [b.select(w, v, t) for w, v, t in zip(wins, row_of_k, top, strict=True)]
        loop.close(larger + [b.select(w, here, c) for w, c in zip(wins, chosen, strict=True)])
        for k, inside in enumerate(_insides(b, lanes, args[10])):
            place = b.add(args[9], _number(k * lanes.width))
            _masked_store(b, top[k], best, place, inside)
            _masked_store(b, chosen[k], which, place, inside)
        return context.get_dummy_value()

    return types.void(row, table, N, offsets, labels, N, N, best, which, N, N), codegen


@intrinsic
def add_piece(typingctx, row, numbers, first, count, out, at):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        numbers, out = _data(context, b, signature, args, 1, 4)
        lanes = _Lanes(b, signature.args[1].dtype, ROUND * row.count)
        for k, inside in enumerate(_insides(b, lanes, args[3])):
            shift = _number(k * lanes.width)
            some = _masked_load(b, lanes.type, numbers, b.add(args[2], shift), inside)
            place = b.add(args[5], shift)
            _masked_store(b, b.fadd(_masked_load(b, lanes.type, out, place, inside), some), out, place, inside)
        return context.get_dummy_value()

    return types.void(row, numbers, N, N, out, N), codegen


@intrinsic
def add_labelled(typingctx, row, numbers, labels, first, label, count, out, at):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for kind, place, _, mine, some, out in _labelled(context, builder, signature, args):
            total = builder.fadd(_masked_load(builder, kind, out, place, mine), some)
            _masked_store(builder, total, out, place, mine)
        return context.get_dummy_value()

    return types.void(row, numbers, labels, N, N, N, out, N), codegen


@intrinsic
def put_labelled(typingctx, row, numbers, labels, first, label, count, out, at):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        for _, place, inside, _, some, out in _labelled(context, builder, signature, args):
            _masked_store(builder, some, out, place, inside)
        return context.get_dummy_value()

    return types.void(row, numbers, labels, N, N, N, out, N), codegen


def _labelled(context: Any, builder: Any, signature: Any, args: Any) -> Iterator[tuple[Any, ...]]:
    """For each vector of a row: its type, where it goes, which numbers are inside, which have the label, they, out."""
    b = builder
    numbers, labels, out = _data(context, b, signature, args, 1, 2, 6)
    lanes = _Lanes(b, signature.args[1].dtype, ROUND * signature.args[0].count)
    for k, inside in enumerate(_insides(b, lanes, args[5])):
        shift = _number(k * lanes.width)
        source, place = b.add(args[3], shift), b.add(args[7], shift)
        mine = b.and_(inside, _has_label(b, labels, source, args[4], inside))
        yield lanes.type, place, inside, mine, _masked_load(b, lanes.type, numbers, source, mine), out


def _insides(builder: Any, lanes: _Lanes, count: Any) -> list[Any]:
    """For each vector of a row, which of its numbers are among the first `count`."""
    left = _everywhere(builder, builder.trunc(count, INT32), ir.VectorType(INT32, lanes.width))
    starts = range(0, lanes.count * lanes.width, lanes.width)
    return [builder.icmp_signed("<", ir.Constant(left.type, list(range(k, k + lanes.width))), left) for k in starts]


def _masked_load(builder: Any, kind: Any, array: Any, at: Any, mask: Any) -> Any:
    """A vector of an array's numbers, 0 where the mask says no; there nothing is read."""
    pointer = builder.bitcast(builder.gep(array, [at]), kind.as_pointer())
    function = ir.FunctionType(kind, [pointer.type, INT32, mask.type, kind])
    load = get_or_insert_function(builder.module, function, f"llvm.masked.load.{_name(kind)}.p0")
    return builder.call(load, [pointer, _alignment(kind), mask, ir.Constant(kind, [0] * kind.count)])


def _masked_store(builder: Any, value: Any, array: Any, at: Any, mask: Any) -> None:
    """A vector into an array, where the mask says yes."""
    pointer = builder.bitcast(builder.gep(array, [at]), value.type.as_pointer())
    function = ir.FunctionType(ir.VoidType(), [value.type, pointer.type, INT32, mask.type])
    store = get_or_insert_function(builder.module, function, f"llvm.masked.store.{_name(value.type)}.p0")
    builder.call(store, [value, pointer, _alignment(value.type), mask])


def _bits(kind: Any) -> int:
    element = kind.element
    return element.width if isinstance(element, ir.IntType) else 32 if isinstance(element, ir.FloatType) else 64


def _name(kind: Any) -> str:
    return f"v{kind.count}{'i' if isinstance(kind.element, ir.IntType) else 'f'}{_bits(kind)}"


def _alignment(kind: Any) -> Any:
    return ir.Constant(INT32, _bits(kind) // 8)


@intrinsic
def copy(typingctx, source, first, count, out, at):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        source, out = _data(context, b, signature, args, 0, 3)
        size = _bits(ir.VectorType(source.type.pointee, 1)) // 8
        raw_memcpy(b, b.gep(out, [args[4]]), b.gep(source, [args[1]]), args[2], size)
        return context.get_dummy_value()

    return types.void(source, N, N, out, N), codegen


@intrinsic
def fetch(typingctx, numbers, at, count):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        (numbers,) = _data(context, b, signature, args, 0)
        line = 8 * VECTOR_BYTES // _bits(ir.VectorType(numbers.type.pointee, 1))
        loop = _Loop(b, _number(0), args[2], [], line)
        pointer = b.bitcast(b.gep(numbers, [b.add(args[1], loop.k)]), ir.IntType(8).as_pointer())
        function = ir.FunctionType(ir.VoidType(), [pointer.type, INT32, INT32, INT32])
        prefetch = get_or_insert_function(b.module, function, "llvm.prefetch.p0")
        reading, soon, data = 0, 2, 1
        b.call(prefetch, [pointer, *(ir.Constant(INT32, k) for k in (reading, soon, data))])
        loop.close([])
        return context.get_dummy_value()

    return types.void(numbers, N, N), codegen


@intrinsic
def list_nonzero(typingctx, numbers, at, terms, first, step, listed, k):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers, listed = _data(context, builder, signature, args, 0, 5)
        return _list(builder, numbers, args[1:5], listed, args[6], None)

    return types.intp(numbers, N, N, N, N, listed, N), codegen


@intrinsic
def list_labelled(typingctx, numbers, labels, at, label, terms, step, listed, found, k):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers, labels, listed, found = _data(context, builder, signature, args, 0, 1, 6, 7)
        which = [args[2], args[4], _number(0), args[5]]
        return _list(builder, numbers, which, listed, args[8], (labels, args[3], found))

    return types.intp(numbers, labels, N, N, N, N, listed, found, N), codegen


def _list(builder: Any, numbers: Any, which: list[Any], listed: Any, k: Any, labelled: Any) -> Any:
    """The list of what is not zero; of that, what has a label, and the numbers too. How long the list is then."""
    b, (at, terms, first, step), element = builder, which, numbers.type.pointee
    width = ROUND // 2 if isinstance(element, ir.DoubleType) else ROUND
    kind, indices = ir.VectorType(element, width), ir.VectorType(INT32, width)
    lane, zeros = ir.Constant(indices, list(range(width))), ir.Constant(kind, [0] * width)
    steps = b.mul(lane, _everywhere(b, b.trunc(step, INT32), indices))
    loop = _Loop(b, _number(0), terms, [k], width)
    left = _everywhere(b, b.trunc(b.sub(terms, loop.k), INT32), indices)
    inside, place = b.icmp_signed("<", lane, left), b.add(at, loop.k)
    some = _masked_load(b, kind, numbers, place, inside)
    chosen = (b.icmp_unsigned if isinstance(element, ir.IntType) else b.fcmp_unordered)("!=", some, zeros)
    if labelled is not None:
        labels, label, found = labelled
        chosen = b.and_(chosen, _has_label(b, labels, place, label, inside))
        _compress(b, some, chosen, found, loop.carried[0])
    here = _everywhere(b, b.trunc(b.add(first, b.mul(loop.k, step)), INT32), indices)
    _compress(b, b.add(here, steps), chosen, listed, loop.carried[0])
    count = b.zext(b.ctpop(b.bitcast(chosen, ir.IntType(width))), INT64)
    loop.close([b.add(loop.carried[0], count)])
    return loop.carried[0]


def _has_label(builder: Any, labels: Any, at: Any, label: Any, inside: Any) -> Any:
    """For every number of a vector whether it has that label; for those that are not inside, anything."""
    kind = ir.VectorType(labels.type.pointee, inside.type.count)
    here = _everywhere(builder, builder.trunc(label, kind.element), kind)
    return builder.icmp_signed("==", _masked_load(builder, kind, labels, at, inside), here)


def _compress(builder: Any, vector: Any, chosen: Any, out: Any, at: Any) -> None:
    """The chosen of a vector's numbers side by side in an array; as many as it has are written."""
    kind = vector.type
    function = ir.FunctionType(kind, [kind, chosen.type, kind])
    compress = get_or_insert_function(builder.module, function, f"llvm.experimental.vector.compress.{_name(kind)}")
    packed = builder.call(compress, [vector, chosen, ir.Constant(kind, ir.Undefined)])
    place = builder.bitcast(builder.gep(out, [at]), kind.as_pointer())
    builder.store(packed, place, align=_bits(kind) // 8)


def _pieces(builder: Any, element: Any, count: Any) -> tuple[_Loop, list[Any], _Lanes]:
    """A loop over `count` numbers; at each turn [(how far it is, which of a vector's numbers are still inside)]."""
    lanes = _Lanes(builder, element, ROUND)
    loop = _Loop(builder, _number(0), count, [], ROUND)
    insides = _insides(builder, lanes, builder.sub(count, loop.k))
    return loop, [(builder.add(loop.k, _number(j * lanes.width)), inside) for j, inside in enumerate(insides)], lanes


@intrinsic
def charge(  # type: ignore[no-untyped-def]
    typingctx, reset, U_last, last, I, now, beta, theta, m, U, u, S, s, count
):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        U_last, I, beta, theta, U, S = _data(context, b, signature, args, 1, 3, 5, 6, 8, 10)
        loop, pieces, lanes = _pieces(b, signature.args[8].dtype, args[12])
        subtract, zero = _is(b, args[0], SUBTRACT, lanes), _is(b, args[0], ZERO, lanes)
        nothing, one = lanes.zeros()[0], ir.Constant(lanes.type, [1.0] * lanes.width)
        for k, inside in pieces:
            before, current, decay, threshold = (
                _masked_load(b, lanes.type, array, b.add(at, k), inside)
                for array, at in ((U_last, args[2]), (I, args[4]), (beta, args[7]), (theta, args[7]))
            )
            fired = b.fcmp_ordered(">", before, threshold)
            before = b.fmul(b.select(b.and_(fired, zero), nothing, one), before)
            here = b.fadd(b.fmul(decay, before), current)
            here = b.fsub(here, b.select(b.and_(fired, subtract), threshold, nothing))
            _masked_store(b, here, U, b.add(args[9], k), inside)
            spikes = b.zext(b.fcmp_ordered(">", here, threshold), ir.VectorType(ir.IntType(8), lanes.width))
            _masked_store(b, spikes, S, b.add(args[11], k), inside)
        loop.close([])
        return context.get_dummy_value()

    return types.void(N, U_last, N, I, N, beta, theta, N, U, N, S, N, N), codegen


@intrinsic
def credit(  # type: ignore[no-untyped-def]
    typingctx, reset, static, dS, s, slope, dmem, r, U, u, beta, theta, dU, m, dI, i, count
):
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        b = builder
        dS, slope, dmem, U, beta, theta, dU, dI = _data(context, b, signature, args, 2, 4, 5, 7, 9, 10, 11, 13)
        loop, pieces, lanes = _pieces(b, signature.args[11].dtype, args[15])
        zero, adds = _is(b, args[0], ZERO, lanes), _everywhere(b, args[1], ir.VectorType(ir.IntType(1), lanes.width))
        for k, inside in pieces:

            def load(array: Any, at: Any, k: Any = k, inside: Any = inside) -> Any:
                return _masked_load(b, lanes.type, array, b.add(at, k), inside)

            fired = b.fcmp_ordered(">", load(U, args[8]), load(theta, args[12]))
            kept = b.select(b.and_(fired, zero), lanes.zeros()[0], load(beta, args[12]))
            spike = b.fmul(load(dS, args[3]), load(slope, _number(0)))
            here = b.fadd(b.fadd(spike, load(dmem, args[6])), b.fmul(load(dU, args[12]), kept))
            _masked_store(b, here, dU, b.add(args[12], k), inside)
            total = b.fadd(load(dI, args[14], inside=b.and_(inside, adds)), here)
            _masked_store(b, b.select(adds, total, here), dI, b.add(args[14], k), inside)
        loop.close([])
        return context.get_dummy_value()

    return types.void(N, types.boolean, dS, N, slope, dmem, N, U, N, beta, theta, dU, N, dI, N, N), codegen


def _is(builder: Any, number: Any, what: int, lanes: _Lanes) -> Any:
    """For every number of a vector: whether a kernel's argument is `what`."""
    same = builder.icmp_signed("==", number, _number(what))
    return _everywhere(builder, same, ir.VectorType(ir.IntType(1), lanes.width))
