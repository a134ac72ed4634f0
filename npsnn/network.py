"""Sequential: forward down the list of layers, backward up it (floor 3)."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from npsnn import _check, _free, _threads, backends, nonfinite, sizes, tiles
from npsnn._check import Array
from npsnn.generator import Generator
from npsnn.items import pair_up
from npsnn.layer import Layer, where
from npsnn.layers import Conv2d
from npsnn.neuron import Leaky, Remembers
from npsnn.parameters import FlatParams
from npsnn.state_dict import LoadResult, match
from npsnn.surrogate import Surrogate


class State(NamedTuple):
    """The membranes after a step, all that a network remembers: one (B, *N) array a neuron layer, None at rest."""

    batch_size: int
    U: tuple[Array | None, ...]


class Neurons(NamedTuple):
    """What a neuron layer did in a forward pass."""

    U: Array  # (T, B, *N)  membranes, before the next step's reset
    U_before: Array  # (B, *N)
    theta: Array
    sigma: Surrogate

    @property
    def S(self) -> Array:
        """(T, B, *N) whether it fired."""
        return self.U > self.theta


class Tape(NamedTuple):
    """What one forward pass keeps for its backward: nothing in it changes, whatever becomes of the network."""

    layers: tuple[Layer, ...]  # of the network that made it
    params: FlatParams  # as they were
    run: tiles.Run
    chunks: tuple[tiles.Chunk, ...]
    num_steps: int
    static: bool  # x had no time axis, and was shown num_steps times
    out_shape: tuple[int, ...]  # of spk_rec
    state: State  # after the last step
    x: Array | None = None  # (T or 1, B, *features), with check_finite: backward looks at every layer

    @property
    def before(self) -> tuple[Array | None, ...]:
        """(B, *N) the membranes that it started from, one a neuron layer; None at rest."""
        chunks = zip(*(chunk.blocks[0].before for chunk in self.chunks), strict=True)
        return tuple(None if parts[0] is None else np.concatenate([np.asarray(U) for U in parts]) for parts in chunks)

    def neurons(self) -> dict[int, Neurons]:
        """Index -> what every neuron layer did, over all samples; computed again where the tape does not keep it."""
        found: dict[int, Neurons] = {}
        chunks = [tiles.neuron_caches(self.run, chunk) for chunk in self.chunks]
        for i in chunks[0][0]:
            caches = [[blocks[i] for blocks in chunk] for chunk in chunks]
            first = caches[0][0]
            found[i] = Neurons(
                np.concatenate([np.concatenate([c.U for c in blocks]) for blocks in caches], axis=1),
                np.concatenate([blocks[0].U_before for blocks in caches]),
                first.theta,
                first.sigma,
            )
        return found


class Firing(NamedTuple):
    """How a neuron layer fired: spikes per neuron and step, and the share of its neurons that never fired."""

    rate: float
    silent: float


class Sequential:
    """A list of layers as one network, with explicit tape and state.

    `dtype` is float32 or float64; `backend` is "reference" (NumPy, the law), "cpu" (Numba), "cuda" (a GPU) or
    "auto" ("cpu" where Numba is installed); `seed` is an int or a `Generator`, from which the weights are drawn as
    PyTorch draws them (C10). `memory_budget`, in bytes, bounds what a tape takes: where everything that backward needs
    would take more, some of it is computed again; the bits are the same. `check_finite` is for finding out where a run
    goes wrong: every layer's output, every membrane and every layer's gradient is looked at, and the first that is NaN
    or inf (npsnn/nonfinite.py says which is first) is a ValueError that names layer, step and sample; the bits of a
    finite run are the same, and it takes several times as long. Attributes: `layers`, `params`, `dtype`, `backend`,
    `memory_budget`, `check_finite`.

    Example
    -------
    >>> import numpy as np
    >>> import npsnn
    >>> net = npsnn.Sequential(npsnn.Linear(2, 3), npsnn.Leaky(beta=0.5), seed=0)
    >>> x = np.ones((4, 2), np.float32)
    >>> spk_rec, mem_rec, tape = net.forward(x, num_steps=5)
    >>> spk_rec.shape, mem_rec.shape
    ((5, 4, 3), (5, 4, 3))
    >>> grads = net.backward(tape, dspk=np.ones_like(spk_rec))
    >>> sorted(grads)
    ['0.bias', '0.weight']
    """

    def __init__(
        self,
        *layers: Layer,
        dtype: Any = np.float32,
        backend: str = "auto",
        seed: int | Generator = 0,
        memory_budget: int | None = None,
        check_finite: bool = False,
    ) -> None:
        if not layers:
            raise ValueError("Sequential: needs at least one layer")
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"Sequential: layer {i} is no layer of npsnn: {layer!r}")
        self.layers = tuple(layers)
        self.dtype = _dtype(dtype)
        for i, layer in enumerate(layers):
            if isinstance(layer, Leaky):
                layer.check_dtype(self.dtype, self._where(i))
        self.backend = backends.resolve(backend)
        self._items = pair_up(self.layers, fuse=self.backend == "cpu")
        self.memory_budget = None if memory_budget is None else _check.whole(memory_budget, "memory_budget", 1)
        self.check_finite = _check.flag(check_finite, "check_finite", "Sequential")
        self._measured: tuple[Any, int, str] = (None, 0, "")
        generator = seed if isinstance(seed, Generator) else Generator(seed)
        n = sum(math.prod(shape) for layer in layers for shape in layer.param_shapes().values())
        _free.require(n * self.dtype.itemsize, f"Sequential: a network of {n:,} parameters", "take smaller layers")
        self._params = FlatParams.pack([layer.init_params(generator, self.dtype) for layer in layers], self.dtype)

    # --- what a network does ---------------------------------------------------------------------------------------

    def __call__(
        self, x: Array, num_steps: int | None = None, *, state: State | None = None
    ) -> tuple[Array, Array | None]:
        """(spk_rec, mem_rec), each (T, B, *out), keeping nothing: inference. Arguments as in `forward`."""
        x, T = self._door(x, num_steps)
        spk_rec, mem_rec, _, _, _ = self._forward(self._lent(), x, T, state, keep=False)
        return spk_rec, mem_rec

    def forward(
        self, x: Array, num_steps: int | None = None, *, state: State | None = None
    ) -> tuple[Array, Array | None, Tape]:
        """(spk_rec, mem_rec, tape) for x (B, *features) shown `num_steps` times, or x (T, B, *features) without it.

        mem_rec is the last layer's membrane before the reset; None where the last layer is no neuron, and spk_rec is
        then its output. `state` is where to start from (default: at rest). ValueError or TypeError names the layer
        and the argument, before any work is done.
        """
        x, T = self._door(x, num_steps)
        params, x = self._sent(), x.copy()
        spk_rec, mem_rec, after, run, chunks = self._forward(params, x, T, state, keep=True)
        state, kept = State(x.shape[1], after), x if self.check_finite else None
        shape = spk_rec.shape
        return spk_rec, mem_rec, Tape(self.layers, params, run, chunks, T, num_steps is not None, shape, state, kept)

    def backward(
        self,
        tape: Tape,
        dspk: Array | None = None,
        dmem: Array | None = None,
        input_grad: bool = False,
        *,
        dstate: Sequence[Array | None] | None = None,
        state_grad: bool = False,
    ) -> dict[str, Any]:
        """The gradients of L: a dict with the keys of `params`, from dspk = dL/dspk_rec and dmem = dL/dmem_rec.

        With `input_grad`, `"input"` is dL/dx, of x's shape. `dstate` adds dL/d(tape.state.U), one a neuron layer, so
        that a sequence run in pieces has the gradient of the whole; `state_grad` returns `"state"`, dL/d(state
        before). Neither the tape nor the network is changed, and nothing adds up over calls.
        """
        dy, dmem = self._upstream(tape, dspk, dmem, dstate)
        lowest = 0 if input_grad or state_grad else self._lowest_with_params()
        up = tiles.Upstream(dy, dmem, tuple(self._checked_dstate(tape, dstate)), lowest, input_grad)
        if tape.x is not None:
            wanted = 0 if input_grad or state_grad else self._layer_at(lowest)
            nonfinite.backward(tape.layers, tape.run, tape.x, tape.before, up, wanted)
        parts: list[tiles.Gradients] = [tiles.Gradients({}, None, ())] * len(tape.chunks)

        def work(begin: int, end: int) -> None:
            for which in range(begin, end):
                parts[which] = tiles.backward_chunk(tape.run, tape.chunks[which], which, up)

        _threads.share(len(parts), work)
        out = self._summed([part.params for part in parts])
        if input_grad:
            dx = np.concatenate([part.x for part in parts if part.x is not None], axis=1)
            out["input"] = dx[0] if tape.static else dx
            _check.finite(out["input"], "the gradient of the input", self._where(0))
        if state_grad:
            out["state"] = tuple(np.concatenate(d) for d in zip(*(part.before for part in parts), strict=True))
        return out

    def _summed(self, parts: Sequence[dict[str, Array]]) -> dict[str, Any]:
        """The chunks' gradients, added up in their order, by name in the order of `params`."""
        grads: dict[str, Any] = {}
        for slot in self._params.slots:
            name = f"{slot.layer}.{slot.name}"
            total = np.array(parts[0][name])
            for part in parts[1:]:
                total += part[name]
            _check.finite(total, f"the gradient of {slot.name}", self._where(slot.layer))
            grads[name] = total
        return grads

    def init_state(self, batch_size: int) -> State:
        """Every membrane at rest, for `step`."""
        neurons = sum(isinstance(layer, Leaky) for layer in self.layers)
        return State(_check.whole(batch_size, "batch_size"), (None,) * neurons)

    def step(self, x_t: Array, state: State) -> tuple[tuple[Array, Array | None], State]:
        """((spk, mem), state) for one time step of input x_t (B, *features); the state that came in is not changed.

        A loop over `step` gives bit for bit what one call over the sequence gives.
        """
        x, _ = self._door(x_t, 1, "x_t")
        spk_rec, mem_rec, U, _, _ = self._forward(self._lent(), x, 1, state, keep=False)
        return (spk_rec[0], None if mem_rec is None else mem_rec[0]), State(x.shape[1], U)

    def firing(self, tape: Tape) -> dict[str, Firing]:
        """`"2 Leaky"` -> (rate, silent) of every neuron layer in a tape, over all its samples."""
        result = {}
        for i, neurons in tape.neurons().items():
            S = neurons.S
            result[self._where(i)] = Firing(float(S.mean()), 1.0 - float(S.any(axis=(0, 1)).mean()))
        return result

    # --- what a network holds --------------------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, Array]:
        """Name -> array, live: `"0.weight"`, `"0.bias"`, `"2.beta"`. Assigning to a name copies into the network."""
        return self._params.named()

    @property
    def flat_params(self) -> Array:
        """All parameters as one live vector, in the order of `params`."""
        return self._params.flat

    def flatten(self, grads: Mapping[str, Any]) -> Array:
        """Gradients as one vector in the order of `flat_params`; every parameter's is required, `"input"` ignored."""
        return self._params.flatten(grads)

    def state_dict(self) -> dict[str, Array]:
        """A copy of every parameter, by name."""
        return {name: value.copy() for name, value in self.params.items()}

    def load_state_dict(self, mapping: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Copy parameters in, all or none: each is checked first, for its name, shape, dtype and finiteness.

        Takes the arrays or tensors of the same network's state dict in PyTorch or snnTorch; neuron buffers in it
        (`"2.beta"`, `"2.threshold"`, `"2.graded_spikes_factor"`, `"2.reset_mechanism_val"`) must say what this
        network's neurons are. `strict=False` leaves out what is missing or unknown, and returns both lists.
        """
        values, result = match(mapping, self.params, self.layers, self.dtype, strict)
        for name, value in values.items():
            self.params[name][...] = value
        return result

    def summary(self, input_shape: tuple[int, ...], num_steps: int) -> str:
        """A table for one sample of `input_shape`: layer, output shape, parameters, bytes that the tape keeps."""
        ops = backends.load(self.backend)
        return sizes.summary(self.layers, self._items, self._params, ops, input_shape, num_steps)

    def __repr__(self) -> str:
        body = "".join(f"  ({i}): {layer!r}\n" for i, layer in enumerate(self.layers))
        return f"Sequential(\n{body}) {self.flat_params.size:,} parameters, {self.dtype}, backend {self.backend}"

    # --- inside ----------------------------------------------------------------------------------------------------

    def _where(self, i: int) -> str:
        return where(self.layers, i)

    def _door(self, x: Any, num_steps: int | None, name: str = "x") -> tuple[Array, int]:
        """x as (T or 1, B, *features) in the network's dtype, and T."""
        x = _check.array(x, self.dtype, name)
        if num_steps is not None:
            x, T = x[None], _check.whole(num_steps, "num_steps")
        else:
            T = x.shape[0] if x.ndim else 0
        images = next((layer.image for layer in self.layers if not isinstance(layer, Leaky)), False)
        if x.ndim < 3 or (images and x.ndim != 5):
            channels = next((layer.in_channels for layer in self.layers if isinstance(layer, Conv2d)), None)
            timed = num_steps is None
            _check.axes(x.shape if timed else x.shape[1:], timed, images, channels, name)
        if 0 in x.shape:
            raise ValueError(f"{name} has shape {x.shape}: no step, no sample or no feature in it")
        return x, T

    def _forward(
        self, params: FlatParams, x: Array, T: int, state: State | None, keep: bool
    ) -> tuple[Array, Array | None, tuple[Array, ...], tiles.Run, tuple[tiles.Chunk, ...]]:
        """(spk_rec, mem_rec, membranes after the last step, the run, what its chunks keep), from x (T or 1, B, ...)."""
        before, shape = self._checked_state(x.shape, T, state)
        self._check_memory(x.shape, T, shape, keep)
        run = self._run(params, x.shape, T if before else len(x))
        steps = run.cuts.steps[-1][1]
        fires = isinstance(self.layers[-1], Leaky)
        spk_rec = np.empty((steps, *shape[1:]), self.dtype)
        mem_rec = np.empty_like(spk_rec) if fires else None
        after = tuple(np.empty(n, self.dtype) for n in tiles.membrane_shapes(run.items, x.shape))
        out = tiles.Outputs(spk_rec, mem_rec, after)
        kept = (True,) * len(run.cuts.steps) if keep else None
        if keep and self.memory_budget is not None:
            need = tiles.needs(run, x.shape, self.dtype)
            kept = tiles.kept_blocks(run, need, self.memory_budget, _threads.count())
        if self.check_finite:
            nonfinite.forward(self.layers, run, x, before)
        chunks: list[Any] = [None] * len(run.cuts.samples)

        def work(begin: int, end: int) -> None:
            for which in range(begin, end):
                chunks[which] = tiles.forward_chunk(run, x, before, which, out, kept)

        _threads.share(len(chunks), work)
        if steps != T:
            spk_rec = np.repeat(spk_rec, T, axis=0)
        return spk_rec, mem_rec, after, run, tuple(chunks)

    def _check_memory(self, shape: tuple[int, ...], T: int, out_shape: tuple[int, ...], keep: bool) -> None:
        """MemoryError where a call on x of `shape` (T or 1, B, *features) would take more than is free."""
        before, need, what = self._measured
        key = (shape, T, keep, self.memory_budget)
        if key != before:  # it is the same in every step of a training run
            tape = None
            if keep and self.backend != "cuda":  # whose tape stands elsewhere
                tape = sizes.tape(
                    self._items, backends.load(self.backend), self.dtype, shape, T, self.memory_budget
                )  # fmt: skip
            need, what = sizes.least(self.layers, self.dtype, shape, T, out_shape, tape)
            self._measured = (key, need, what)
        if need > _free.SMALL:
            budget = "set memory_budget=" if self.memory_budget is None else "set a smaller memory_budget="
            advice = f"{budget}, take a smaller batch or TBPTT" if keep else "take a smaller batch or fewer steps"
            _free.require(need, what, advice)

    def _lent(self) -> FlatParams:
        """The parameters, where the backend computes, for as long as nothing changes them."""
        return self._sent() if self.backend == "cuda" else self._params

    def _sent(self) -> FlatParams:
        """A copy of the parameters, where the backend computes."""
        if self.backend != "cuda":
            return self._params.copy()
        from npsnn._device import send_for

        return FlatParams(send_for(self._params, self._params.flat), self._params.slots)  # type: ignore[arg-type]

    def _run(self, params: FlatParams, shape: tuple[int, ...], T: int) -> tiles.Run:
        """How an input of `shape` (T or 1, B, *features) is run for T steps."""
        by_item = tuple(params.of_layer(i) for i, _ in self._items)
        sigmas = tuple(layer.spike_grad.for_run() if isinstance(layer, Remembers) else None for _, layer in self._items)
        step_bytes = sum(math.prod(n[1:]) for n in tiles.membrane_shapes(self._items, shape)) * self.dtype.itemsize
        cuts = tiles.cut(shape[1], T, step_bytes, params.flat.nbytes)
        whole = any(
            isinstance(layer, Remembers) and sigma is not layer.spike_grad
            for (_, layer), sigma in zip(self._items, sigmas, strict=True)
        )
        at_once = whole or (self.backend == "cuda" and self.memory_budget is None)  # one draw of noise is for all
        if at_once or self.backend != "cpu":  # NumPy is quicker in one piece, and a GPU needs many samples
            cuts = tiles.Cuts(((0, shape[1]),), ((0, T),) if at_once else cuts.steps)
        lead = tiles.lead_of(self._items, shape[0] != T or T == 1)
        return tiles.Run(self._items, by_item, sigmas, backends.load(self.backend), lead, cuts)

    def _checked_state(
        self, shape: tuple[int, ...], T: int, state: State | None
    ) -> tuple[tuple[Array | None, ...], tuple[int, ...]]:
        """The membranes to start from, and the output's shape; what does not fit is refused before any work."""
        state = self.init_state(shape[1]) if state is None else state
        if not isinstance(state, State):
            raise TypeError(f"state must be what init_state, step or a tape gave, got {type(state).__name__}")
        if state.batch_size != shape[1]:
            raise ValueError(f"state is for {state.batch_size} samples, x has {shape[1]}")
        rest = self.init_state(shape[1]).U
        if len(state.U) != len(rest):
            raise ValueError(f"state has {len(state.U)} neuron layers, the network has {len(rest)}")
        U_before: list[Array | None] = []
        for i, layer in enumerate(self.layers):
            if layer.image and len(shape) != 5:
                raise ValueError(f"{self._where(i)}: input has shape {shape}, expected (T, B, channels, height, width)")
            shape = layer.out_shape(shape, self._where(i))
            if isinstance(layer, Leaky):
                shape = (T, *shape[1:])
                U = state.U[len(U_before)]
                if U is not None:
                    U = _check.array(U, self.dtype, "state", self._where(i))
                    _check.shape(U, shape[1:], "state", self._where(i))
                U_before.append(U)
        return tuple(U_before), shape

    def _upstream(
        self, tape: Tape, dspk: Any, dmem: Any, dstate: Sequence[Array | None] | None
    ) -> tuple[Array | None, Array | None]:
        """dspk and dmem, checked; dspk summed over time where the output was repeated (C12)."""
        if dspk is None and dmem is None and dstate is None:
            raise ValueError("backward: give dspk, dmem or both")
        if not isinstance(tape, Tape):
            raise TypeError(f"backward: tape must be what forward gave, got {type(tape).__name__}")
        if tape.layers != self.layers:
            raise ValueError("backward: the tape is of another network")
        fires = isinstance(self.layers[-1], Leaky)
        if dmem is not None and not fires:
            raise ValueError(f"backward: dmem given, but the last layer, {self.layers[-1]!r}, has no membrane")
        arrays: list[Array | None] = []
        for d, name in ((dspk, "dspk"), (dmem, "dmem")):
            if d is not None:
                d = _check.array(d, self.dtype, name)
                _check.shape(d, tape.out_shape, name)
            arrays.append(d)
        dy, dmem = arrays
        if not fires:
            dy = np.zeros(tape.out_shape, self.dtype) if dy is None else dy
            if tape.static and not tape.state.U:
                dy = dy.sum(axis=0, keepdims=True)
        return dy, dmem

    def _checked_dstate(self, tape: Tape, dstate: Sequence[Array | None] | None) -> Sequence[Array | None]:
        if dstate is None:
            return (None,) * len(tape.state.U)
        if not isinstance(dstate, Sequence):
            raise TypeError(f"dstate must be a sequence of arrays, one a neuron layer, got {type(dstate).__name__}")
        if len(dstate) != len(tape.state.U):
            raise ValueError(f"dstate has {len(dstate)} entries, the network has {len(tape.state.U)} neuron layers")
        checked: list[Array | None] = []
        for d, U in zip(dstate, tape.state.U, strict=True):
            if d is not None:
                assert U is not None
                d = _check.array(d, self.dtype, "dstate")
                _check.shape(d, U.shape, "dstate")
            checked.append(d)
        return checked

    def _lowest_with_params(self) -> int:
        """The lowest item that has parameters: backward need not go below it."""
        return next((k for k, (_, layer) in enumerate(self._items) if layer.param_shapes()), len(self._items))

    def _layer_at(self, item: int) -> int:
        """The layer under whose index that item is; of no item, the number of layers."""
        return self._items[item][0] if item < len(self._items) else len(self.layers)


def _dtype(value: Any) -> np.dtype[Any]:
    """float32 or float64."""
    got = _check.said(value)
    if value is not None:
        with suppress(TypeError):  # of what is no dtype of NumPy
            dtype: np.dtype[Any] = np.dtype(value)
            got = str(dtype)
            if dtype in _check.FLOATS:
                return dtype
    raise TypeError(f"Sequential: dtype must be float32 or float64, got {got}")
