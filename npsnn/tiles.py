"""How a batch moves through a network: a chunk of samples at a time, a block of steps at a time (floor 2).

A tile is a chunk's block: it goes through every layer before the next begins, so that little of what one layer hands to
the next is held at a time. Chunks are worked by several threads, a thread taking a chunk through all of time. Where the
tiles are cut depends on the network, the batch and T, never on the number of threads or on a memory budget; and the
gradients are summed block by block, the last first, then chunk by chunk. So neither changes a bit (C11).

What stands before the first neuron is run once for a chunk, not once a block, where the input is static (C12).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from npsnn._check import Array
from npsnn.backends import Backend
from npsnn.layer import Layer, Params, Shape
from npsnn.neuron import Leaky, Remembers

STEPS = 64  # of a block, at most
# Of the membranes of one tile, about: so large that Python's work between kernels is little beside it.
TILE_BYTES = 2**24
CHUNKS = 2  # at least so many, where there are as many samples; threads that are left over share the work of a kernel

Items = tuple[tuple[int, Layer], ...]  # (index, layer) of what is run
Caches = tuple[Any, ...]  # one an item
Membranes = tuple[Array | None, ...]  # one a neuron layer; None: at rest


class Cuts(NamedTuple):
    """Where the tiles are cut."""

    samples: tuple[tuple[int, int], ...]
    steps: tuple[tuple[int, int], ...]


class Block(NamedTuple):
    """What a chunk keeps of one block of steps."""

    before: Membranes
    caches: Caches | None  # of the items after the prefix; None: to be computed again


class Chunk(NamedTuple):
    """What one chunk of samples keeps."""

    prefix: Caches
    x: Array  # what the items after the prefix were given: (1, n, *features) where it is static, else (T, n, *features)
    blocks: tuple[Block, ...]


class Run(NamedTuple):
    """What the functions here share: the network's items with the parameters of each, and where its tiles are cut."""

    items: Items
    params: tuple[Params, ...]  # one an item
    sigmas: tuple[Any, ...]  # one an item: the surrogate of this run, None for other layers
    ops: Backend
    lead: int  # so many items are the prefix
    cuts: Cuts


class Outputs(NamedTuple):
    """Where forward writes what it is asked for."""

    spk: Array  # (T, B, *out)
    mem: Array | None
    after: tuple[Array, ...]  # the membranes after the last step


class Upstream(NamedTuple):
    """What backward starts from, and whether it goes on to the input."""

    dspk: Array | None
    dmem: Array | None
    dafter: Membranes  # dL/d(membranes after the last step)
    lowest: int  # items below need no gradient
    input_grad: bool


class Gradients(NamedTuple):
    """Of one chunk."""

    params: dict[str, Array]
    x: Array | None  # dL/dx, of the chunk's input
    before: Membranes


def lead_of(items: Items, static: bool) -> int:
    """How many items are run once for all steps: those before the first neuron, where the input is static."""
    neurons = [k for k, (_, layer) in enumerate(items) if isinstance(layer, Remembers)]
    return 0 if not static else neurons[0] if neurons else len(items)


def cut(B: int, T: int, step_bytes: int, param_bytes: int) -> Cuts:
    """The tiles for B samples and T steps whose membranes take so many bytes a sample and step.

    A chunk of few samples makes the sum over chunks long: its tile is at least twice as large as the parameters. The
    chunks are a power of two, so that as many threads have as many each.

    >>> cut(128, 50, 11_000, 120_000).samples[:2], cut(3, 100, 8, 8).steps
    (((0, 32), (32, 64)), ((0, 50), (50, 100)))
    """
    blocks = math.ceil(T / STEPS)
    longest = math.ceil(T / blocks)
    tile = max(TILE_BYTES, 2 * param_bytes)
    wished = max(B * longest * step_bytes / tile, CHUNKS)
    chunks = min(B, 2 ** round(math.log2(wished)))
    return Cuts(_ranges(B, math.ceil(B / chunks)), _ranges(T, longest))


def _ranges(total: int, size: int) -> tuple[tuple[int, int], ...]:
    return tuple((first, min(first + size, total)) for first in range(0, total, size))


# --- forward -------------------------------------------------------------------------------------------------------


def forward_chunk(
    run: Run, x: Array, before: Membranes, which: int, out: Outputs, kept: Sequence[bool] | None
) -> Chunk:
    """Chunk `which` of x (T or 1, B, *features), into `out`; kept[b]: whether block b keeps its caches (None: none)."""
    first, last = run.cuts.samples[which]
    mine = slice(first, last)
    y, prefix = forward_items(run, range(run.lead), x[:, mine], kept is not None)
    before = tuple(None if U is None else U[mine] for U in before)
    blocks, source = [], y
    for b, (begin, end) in enumerate(run.cuts.steps):
        y, mem, block, before = forward_block(run, source, before, begin, end, kept is not None and kept[b])
        blocks.append(block)
        out.spk[begin:end, mine] = y
        if out.mem is not None:
            out.mem[begin:end, mine] = mem
    for U, after in zip(before, out.after, strict=True):
        after[mine] = U
    return Chunk(prefix, source, tuple(blocks))


def forward_block(
    run: Run, source: Array, before: Membranes, begin: int, end: int, keep: bool
) -> tuple[Array, Array | None, Block, Membranes]:
    """(y, the last layer's membranes, what is kept, the membranes after it) of one block of a chunk."""
    y = source if len(source) == 1 else source[begin:end]
    caches: list[Any] = []
    after: list[Array] = []
    mem = None
    for k in range(run.lead, len(run.items)):
        layer = run.items[k][1]
        if isinstance(layer, Remembers):
            y, cache = layer.fire(y, run.params[k], run.ops, end - begin, before[len(after)], run.sigmas[k])
            after.append(layer.after(cache))
            mem = getattr(cache, "U", None)
            if k + 1 < len(run.items) and not run.items[k + 1][1].takes_spikes:
                y = y.astype(after[-1].dtype, copy=False)
        else:
            y, cache = layer.run(y, run.params[k], run.ops)
            mem = None
        caches.append(cache if keep else None)
    return y, mem, Block(before, tuple(caches) if keep else None), tuple(after)


def forward_items(run: Run, items: range, x: Array, keep: bool) -> tuple[Array, Caches]:
    """(y, caches) of items without a memory."""
    caches = []
    for k in items:
        x, cache = run.items[k][1].run(x, run.params[k], run.ops)
        caches.append(cache if keep else None)
    return x, tuple(caches)


# --- backward ------------------------------------------------------------------------------------------------------


def backward_chunk(run: Run, chunk: Chunk, which: int, up: Upstream) -> Gradients:
    """The gradients of chunk `which`, by its blocks, the last first."""
    first, last = run.cuts.samples[which]
    mine = slice(first, last)
    grads: dict[str, Array] = {}
    dU: Membranes = tuple(None if d is None else d[mine] for d in up.dafter)
    dx = None
    for b in reversed(range(len(run.cuts.steps))):
        begin, end = run.cuts.steps[b]
        dy, dmem = (None if d is None else d[begin:end, mine] for d in (up.dspk, up.dmem))
        dy, dU = _backward_block(run, _computed(run, chunk, b), dy, dmem, dU, up, grads)
        if up.input_grad or up.lowest < run.lead:
            dx = _placed(run, chunk, begin, end, dx, dy)
    for k in reversed(range(up.lowest, run.lead)):
        assert dx is not None
        dx = _through(run, k, dx, chunk.prefix[k], up.input_grad or k > up.lowest, grads)
    return Gradients(grads, dx if up.input_grad else None, dU)


def _computed(run: Run, chunk: Chunk, b: int) -> Caches:
    """Block b's caches, computed again where they were not kept."""
    caches = chunk.blocks[b].caches
    if caches is None:
        begin, end = run.cuts.steps[b]
        caches = forward_block(run, chunk.x, chunk.blocks[b].before, begin, end, True)[2].caches
    assert caches is not None
    return caches


def _backward_block(
    run: Run,
    caches: Caches,
    dy: Array | None,
    dmem: Array | None,
    dU_after: Membranes,
    up: Upstream,
    grads: dict[str, Array],
) -> tuple[Array | None, Membranes]:
    """(the gradient of what the block was given, that of the membranes before it)."""
    neuron, dU_before = len(dU_after), []
    for k in reversed(range(max(run.lead, up.lowest), len(run.items))):
        layer, cache = run.items[k][1], caches[k - run.lead]
        if isinstance(layer, Remembers):
            neuron -= 1
            dy, layer_grads, dU = layer.back_through(dy, dmem, dU_after[neuron], cache, run.params[k], run.ops)
            dU_before.append(dU)
            _add(grads, run.items[k][0], layer_grads)
            dmem = None
        else:
            assert dy is not None
            dy = _through(run, k, dy, cache, up.input_grad or k > up.lowest, grads)
    return dy, (*(None,) * neuron, *reversed(dU_before))


def _through(run: Run, k: int, dy: Array, cache: Any, input_grad: bool, grads: dict[str, Array]) -> Array | None:
    i, layer = run.items[k]
    dx, layer_grads = layer.run_back(dy, cache, run.params[k], run.ops, input_grad)
    _add(grads, i, layer_grads)
    return dx


def _placed(run: Run, chunk: Chunk, begin: int, end: int, dx: Array | None, dy: Array | None) -> Array | None:
    """dx with a block's part: added where one x served every step, else put at its steps."""
    if dy is None:
        return None
    if len(run.cuts.steps) == 1:
        return dy
    if len(chunk.x) == 1:
        return dy if dx is None else dx + dy
    if dx is None:
        dx = np.empty_like(chunk.x)
    dx[begin:end] = dy
    return dx


def _add(total: dict[str, Array], i: int, grads: dict[str, Array]) -> None:
    for name, d in grads.items():
        name = f"{i}.{name}"
        total[name] = total[name] + d if name in total else d


# --- what a tape holds ---------------------------------------------------------------------------------------------


def neuron_caches(run: Run, chunk: Chunk) -> list[dict[int, Any]]:
    """For every block of a chunk, index -> cache of the neuron layers."""
    found = []
    for b in range(len(run.cuts.steps)):
        items = zip(run.items[run.lead :], _computed(run, chunk, b), strict=True)
        neurons = ((i, layer, cache) for (i, layer), cache in items if isinstance(layer, Remembers))
        found.append({layer.neurons_at(i): layer.neurons(cache, run.ops) for i, layer, cache in neurons})
    return found


def membrane_shapes(items: Items, shape: Shape) -> list[Shape]:
    """(B, *N) of every neuron layer, for an input of `shape` (T, B, *features)."""
    shapes = []
    for _, layer in items:
        if isinstance(layer, Remembers):
            shapes.append(layer.membranes(shape))
        shape = layer.out_shape(shape)
    return shapes


class Needs(NamedTuple):
    """Bytes that a tape takes for a whole batch."""

    once: int  # whatever T is: x, where it is static, and what its prefix keeps
    step: int  # for every step: x, where it varies, and the caches
    state: int  # between two blocks: the membranes


def needs(run: Run, shape: Shape, dtype: np.dtype[Any]) -> Needs:
    """What a run on an input of `shape` (T or 1, B, *features) needs, if it keeps everything."""
    state = sum(math.prod(n) for n in membrane_shapes(run.items, shape)) * dtype.itemsize
    shape, kind, before = (1, *shape[1:]), dtype, math.prod(shape[1:]) * dtype.itemsize
    once, step = (before, 0) if run.lead else (0, before)
    for k, (_, layer) in enumerate(run.items):
        remembers = isinstance(layer, Remembers)
        kept = layer.cache_bytes(shape, 1, dtype if remembers else kind)
        shown = kept if k < run.lead else layer.cache_bytes(shape, 0, dtype) if remembers and k == run.lead > 0 else 0
        once, step = once + shown, step + kept - shown
        kind = spikes_dtype(run.ops, dtype) if isinstance(layer, Leaky) else dtype
        shape = layer.out_shape(shape)
    return Needs(once, step, state)


def spikes_dtype(ops: Backend, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """In which a neuron's spikes come: a byte each from the compiled one."""
    return dtype if ops.name == "reference" else np.dtype(bool)


def kept_blocks(run: Run, need: Needs, budget: int, threads: int) -> tuple[bool, ...]:
    """Of every block whether its caches are kept; the others are computed again in backward, from their membranes.

    As many are kept as a budget in bytes allows, the last ones, which backward needs first. ValueError where not even
    the membranes between the blocks fit, and one block of as many chunks as there are threads.
    """
    steps = [end - begin for begin, end in run.cuts.steps]
    everything = need.once + need.step * sum(steps)
    if everything <= budget:
        return (True,) * len(steps)
    samples = [end - begin for begin, end in run.cuts.samples]
    again = need.step * max(steps) * max(samples) * min(threads, len(samples)) // sum(samples)
    room = budget - need.once - need.state * len(steps) - again
    if room < 0:
        raise ValueError(
            f"memory_budget is {budget:,} bytes; a tape of {len(steps)} blocks of steps needs {budget - room:,} at "
            f"least, and {everything:,} to compute nothing twice"
        )
    kept = [False] * len(steps)
    for b in reversed(range(len(steps))):
        room -= need.step * steps[b]
        kept[b] = room >= 0
    return tuple(kept)
