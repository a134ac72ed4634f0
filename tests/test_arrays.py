"""Every public door that takes an array: its layout in memory changes no bit, nothing comes out that shares memory with
what came in, and what is no such array is refused in one line.

A door is a function of one array that gives arrays, with an array that it takes.
"""

import math

import numpy as np
import pytest

import npsnn
from npsnn import data, optim, spikegen, surrogate, utils
from npsnn import functional as SF

F32 = np.float32
T, B = 5, 4


def numbers(*shape, low=-1.0, high=2.0, seed=0):
    """Of which no sum is exact, so that an order that changed would show."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(F32)


def network(backend):
    layers = (
        npsnn.Conv2d(2, 3, 3, padding=1),
        npsnn.MaxPool2d(2),
        npsnn.Leaky(0.5),
        npsnn.Flatten(),
        npsnn.Linear(12, 3),
    )
    return npsnn.Sequential(*layers, npsnn.Leaky(0.75, learn_beta=True), backend=backend, seed=1)


def gradients(backend, x=None, state=None, **upstream):
    """All that backward gives, for a network that fires."""
    net = network(backend)
    net.params["0.weight"] *= 4
    net.params["4.weight"] *= 8
    _, _, tape = net.forward(numbers(T, B, 2, 4, 4) if x is None else x, state=state)
    if not upstream:
        upstream = {"dspk": numbers(T, B, 3, seed=1)}
    grads = net.backward(tape, input_grad=True, state_grad=True, **upstream)
    return [d for g in grads.values() for d in (g if isinstance(g, tuple) else (g,))]


def alone(layer, shape, given, backend):
    """A layer by itself with one of its arrays given: y, dx, and the gradients of its parameters."""
    params = layer.init_params(npsnn.Generator(2))
    arrays = {"x": numbers(*shape), **params}
    arrays["dy"] = numbers(*layer.out_shape(shape), seed=3)
    arrays.update(given)
    params = {name: arrays[name] for name in params}
    y, cache = layer.forward(arrays["x"], params, backend=backend)
    dx, grads = layer.backward(arrays["dy"], cache, params, backend=backend)
    return [y, dx, *grads.values()]


LAYERS = {
    "Conv2d": (npsnn.Conv2d(2, 3, 3, padding=1), (T, B, 2, 4, 4)),
    "Linear": (npsnn.Linear(6, 3), (T, B, 6)),
    "MaxPool2d": (npsnn.MaxPool2d(2, padding=1), (T, B, 2, 4, 4)),
    "AvgPool2d": (npsnn.AvgPool2d(3, stride=1), (T, B, 2, 4, 4)),
    "Flatten": (npsnn.Flatten(), (T, B, 2, 4, 4)),
    "Leaky": (npsnn.Leaky(0.5, learn_beta=True, learn_threshold=True), (T, B, 6)),
}
ON_BACKENDS = {
    "x of a call": (lambda a, b: list(network(b)(a)), numbers(T, B, 2, 4, 4)),
    "static x of a call": (lambda a, b: list(network(b)(a, 3)), numbers(B, 2, 4, 4)),
    "x of forward": (lambda a, b: gradients(b, a), numbers(T, B, 2, 4, 4)),
    "x_t": (lambda a, b: list(network(b).step(a, network(b).init_state(B))[0]), numbers(B, 2, 4, 4)),
    "state": (lambda a, b: gradients(b, state=npsnn.State(B, (None, a))), numbers(B, 3)),
    "dspk": (lambda a, b: gradients(b, dspk=a), numbers(T, B, 3)),
    "dmem": (lambda a, b: gradients(b, dmem=a), numbers(T, B, 3)),
    "dstate": (lambda a, b: gradients(b, dstate=(None, a)), numbers(B, 3)),
    "a gradient for Adam": (lambda a, b: [adam(b, a).net.flat_params], numbers(3, 12)),
    **{
        f"x of {name}": (lambda a, b, layer=layer, shape=shape: alone(layer, shape, {"x": a}, b), numbers(*shape))
        for name, (layer, shape) in LAYERS.items()
    },
    **{
        f"dy of {name}": (
            lambda a, b, layer=layer, shape=shape: alone(layer, shape, {"dy": a}, b), numbers(*layer.out_shape(shape))
        )
        for name, (layer, shape) in LAYERS.items()
    },
    "weight of Conv2d": (lambda a, b: alone(*LAYERS["Conv2d"], {"weight": a}, b), numbers(3, 2, 3, 3)),
    "weight of Linear": (lambda a, b: alone(*LAYERS["Linear"], {"weight": a}, b), numbers(3, 6)),
    "bias of Linear": (lambda a, b: alone(*LAYERS["Linear"], {"bias": a}, b), numbers(3)),
    "U_before of Leaky": (lambda a, b: neurons(0.5, numbers(T, B, 6), b, U_before=a), numbers(B, 6)),
    "dmem of Leaky": (lambda a, b: neurons(0.5, numbers(T, B, 6), b, dmem=a), numbers(T, B, 6)),
    "beta of Leaky": (lambda a, b: neurons(a, numbers(T, B, 2, 3), b), numbers(2, 3, low=0, high=1)),
}  # fmt: skip


def adam(backend, weight):
    net = network(backend)
    optimizer = optim.Adam(net)
    optimizer.step({name: weight if name == "4.weight" else numbers(*p.shape) for name, p in net.params.items()})
    return optimizer


def neurons(beta, x, backend, U_before=None, dmem=None):
    layer = npsnn.Leaky(beta)
    S, cache = layer.forward(x, {}, U_before=U_before, backend=backend)
    return [S, cache.U, layer.backward(numbers(*x.shape, seed=3), cache, {}, dmem=dmem, backend=backend)[0]]


def assigned(weight):
    net = network("reference")
    net.params["4.weight"] = weight
    return [net.flat_params]


def loaded(weight):
    net = network("reference")
    net.load_state_dict({**net.state_dict(), "4.weight": weight})
    return [net.flat_params]


def moments(m):
    optimizer = optim.Adam(network("reference"))
    optimizer.load_state_dict({**optimizer.state_dict(), "m": m})
    return [optimizer.m]


def batches(x=None, targets=None):
    x = numbers(B, 3) if x is None else x
    targets = np.arange(B) if targets is None else targets
    given = [a for batch in data.DataLoader((x, targets), 3) for a in batch] + [*utils.data_subset((x, targets), 2, 1)]
    return [native(a) for a in given]


def native(a):
    """In the machine's byte order, where a door keeps the dtype that came."""
    return np.asarray(a, a.dtype.newbyteorder("="))


LOSSES = {
    "ce_rate": SF.ce_rate_loss(), "ce_count": SF.ce_count_loss(), "ce_max_membrane": SF.ce_max_membrane_loss(),
    "mse_count": SF.mse_count_loss(0.8, 0.2), "mse_membrane": SF.mse_membrane_loss(1, -1),
    "l1": SF.l1_rate_sparsity(0.3),
}  # fmt: skip
ACCURACIES = {"accuracy_rate": SF.accuracy_rate, "accuracy_temporal": SF.accuracy_temporal}
LABELS = np.random.default_rng(5).integers(0, 7, 9)
RECORDING = numbers(40, 9, 7)


def with_value(result):
    return [np.array(result[0]), result[1]]


def measured(loss):
    return lambda a: with_value(loss.value_and_grad(a, LABELS))


DOORS = {
    **{f"recording of {n}": (measured(loss), RECORDING) for n, loss in LOSSES.items()},
    **{f"recording of {n}": (lambda a, f=f: [np.array(f(a, LABELS))], RECORDING) for n, f in ACCURACIES.items()},
    "targets of a loss": (lambda a: with_value(SF.ce_rate_loss().value_and_grad(RECORDING, a)), LABELS),
    "targets of an accuracy": (lambda a: [np.array(SF.accuracy_rate(RECORDING, a))], LABELS),
    "an assigned parameter": (assigned, numbers(3, 12)),
    "a loaded parameter": (loaded, numbers(3, 12)),
    "Adam's moments": (moments, numbers(network("reference").flat_params.size)),
    "data of spikegen.rate": (lambda a: [spikegen.rate(a, 7)], numbers(3, 4)),
    "timed data of spikegen.rate": (lambda a: [spikegen.rate(a, time_var_input=True)], numbers(3, 4)),
    "data of spikegen.latency": (lambda a: [spikegen.latency(a, 7, normalize=True)], numbers(3, 4, low=0, high=1)),
    "data of spikegen.delta": (lambda a: [spikegen.delta(a, off_spike=True)], numbers(6, 4)),
    "x of a DataLoader": (lambda a: batches(x=a), numbers(B, 3)),
    "targets of a DataLoader": (lambda a: batches(targets=a), np.arange(B)),
    "images of a dataset": (
        lambda a: [data.ImageDataset(a, np.arange(3)).images()],
        np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8),
    ),
    "x of a surrogate": (lambda a: [native(surrogate.atan().derivative(a))], numbers(3, 4)),
}


class Sub(np.ndarray):
    """As np.memmap: an array of a class of its own."""


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    b = raw[1:].view(a.dtype).reshape(a.shape)
    b[...] = a
    return b


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def sliced(a):
    return np.repeat(np.repeat(a, 2, axis=0), 3, axis=-1)[::2, ..., ::3] if a.ndim > 1 else np.repeat(a, 2)[::2]


LAYOUTS = {
    "Fortran": np.asfortranarray,
    "sliced": sliced,
    "reversed": lambda a: np.flip(np.flip(a).copy()),
    "read-only": read_only,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "of a class of its own": lambda a: a.copy().view(Sub),
}


def hold(call, given, layout):
    """The bits of the contiguous array, nothing shared with what came, and that unchanged."""
    expected = call(given.copy())
    other = LAYOUTS[layout](given)
    assert np.array_equal(other, given)
    found = call(other)
    assert np.array_equal(other, given), "what came in was changed"
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()
        assert not np.may_share_memory(a, other), "what came out is what came in"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_layout_changes_no_bit_of_a_network_or_a_layer(backend, layout):
    if backend == "cpu":
        pytest.importorskip("numba", reason="the cpu backend needs Numba")
    for name, (call, given) in ON_BACKENDS.items():
        try:
            hold(lambda a, call=call: call(a, backend), given, layout)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_changes_no_bit_of_the_rest(layout):
    for name, (call, given) in DOORS.items():
        try:
            hold(call, given, layout)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def test_outputs_share_no_memory_with_contiguous_inputs():
    for name, (call, given) in {
        **DOORS,
        **{n: (lambda a, f=f: f(a, "reference"), a) for n, (f, a) in ON_BACKENDS.items()},
    }.items():
        a = given.copy()
        assert not any(np.may_share_memory(out, a) for out in call(a)), name  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_plots_draw_the_same_from_any_layout(layout):
    pytest.importorskip("matplotlib", reason='plots need Matplotlib: pip install "npsnn[plot]"')
    from matplotlib.figure import Figure

    from npsnn import spikeplot

    def axes():
        fig = Figure(figsize=(2, 2))
        return fig, fig.subplots()

    def film(a):
        fig, ax = axes()
        animation = spikeplot.animator(a, fig, ax)
        animation._func(1)
        animation._draw_was_started = True  # else it complains that nobody watched it
        return [np.asarray(ax.images[0].get_array())]

    def counts(a):
        fig, ax = axes()
        spikeplot.spike_count(a, fig, ax, list("abc"))
        return [np.array(ax.collections[0].get_segments())]

    spikes = np.random.default_rng(0).integers(0, 2, (4, 3))
    hold(lambda a: [np.asarray(spikeplot.raster(a, axes()[1]).get_offsets())], spikes, layout)
    hold(counts, spikes, layout)
    hold(lambda a: [ax.lines[0].get_ydata() for ax in spikeplot.traces(a, spikes).axes[:3]], numbers(4, 3), layout)
    hold(lambda a: [ax.lines[0].get_ydata() for ax in spikeplot.traces(numbers(4, 3), a).axes[:3]], spikes, layout)
    hold(film, numbers(4, 3, 3), layout)


# --- what is no such array -------------------------------------------------------------------------------------------


class Tensor:
    """As a tensor of PyTorch that requires grad."""

    requires_grad, shape, dtype = True, (3,), "float32"

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.\nUse tensor.detach().numpy() instead.")


class OnDevice:
    """As an array of CuPy."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.\nPlease use `.get()`.")


class Broken:
    """Whose conversion fails in a way of its own."""

    def __array__(self, dtype=None, copy=None):
        raise AttributeError("no\nsuch\nthing")


STRANGE = {
    "nothing": None,
    "a text": "text",
    "an object": object(),
    "a dict": {"a": 1},
    "a generator": (n for n in range(3)),
    "a set": {1, 2},
    "ragged lists": [[1.0], [1.0, 2.0]],
    "texts": np.array([["a", "b"], ["c", "d"]]),
    "objects": np.array([[None, "b"], [1, 2.0]], object),
    "dates": np.zeros((2, 2), "M8[s]"),
    "durations": np.zeros((2, 2), "m8[s]"),
    "records": np.zeros(2, [("a", F32), ("b", F32)]),
    "complex64": np.zeros((2, 2), np.complex64),
    "a masked array": np.ma.masked_array(np.zeros((2, 2), F32), mask=True),
    "a tensor that requires grad": Tensor(),
    "an array on a device": OnDevice(),
    "an array that breaks": Broken(),
}
# What other files let through or refuse in other words, which docs/faults.md names.
NOT_OURS = ("x of a DataLoader", "targets of a DataLoader", "images of a dataset", "x of a surrogate")
CHECKED = {
    **{name: call for name, (call, _) in DOORS.items() if name not in NOT_OURS},
    **{name: (lambda a, f=f: f(a, "reference")) for name, (f, _) in ON_BACKENDS.items()},
}


@pytest.mark.parametrize("strange", STRANGE)
def test_what_is_no_array_of_numbers_is_refused_in_a_line(strange):
    for name, call in CHECKED.items():
        with pytest.raises((ValueError, TypeError)) as caught:
            if STRANGE[strange] is None and name in MAY_BE_NONE:
                raise TypeError("it may be left out")
            call(STRANGE[strange])
        assert type(caught.value) in (ValueError, TypeError), name
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 300, name
        if strange == "a tensor that requires grad":
            assert ".detach()" in str(caught.value), name


MAY_BE_NONE = ("x of forward", "state", "dmem", "dspk", "dstate", "U_before of Leaky", "dmem of Leaky")


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (T, 0, 3), (0, B, 3), (T, B, 0)])
def test_without_an_axis_or_with_an_empty_one(shape):
    """ValueError at every door but those where nothing has a meaning: what they give is then empty, or one number."""
    fine = (
        "spikegen", "x of Flatten", "x of Linear", "x of Leaky", "dy of Flatten", "x of a surrogate", "beta of Leaky",
        "x of a DataLoader",
    )  # fmt: skip
    for name, call in CHECKED.items():
        a = np.zeros(shape, np.int64 if "targets" in name else F32)
        try:
            out = call(a)
        except (ValueError, TypeError) as error:
            assert type(error) is ValueError and "\n" not in str(error), name
        else:
            assert any(words in name for words in fine), f"{name} took {shape}"
            assert all(math.prod(o.shape) <= T * B * 6 for o in out)


# --- other libraries' arrays that are welcome, and arrays that are each other ----------------------------------------


class Foreign:
    """As a tensor, a Series or a data frame: something that becomes an array when it is asked."""

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a if dtype is None else self.a.astype(dtype)


def test_what_becomes_an_array_is_welcome_and_copied():
    for name, (call, given) in {
        **DOORS,
        **{n: (lambda a, f=f: f(a, "reference"), a) for n, (f, a) in ON_BACKENDS.items()},
    }.items():
        kept = given.copy()
        for a, b in zip(call(Foreign(kept)), call(given.copy()), strict=True):
            assert a.tobytes() == b.tobytes() and not np.may_share_memory(a, kept), name
        np.testing.assert_array_equal(kept, given)


def test_lists_of_labels_and_of_numbers_are_welcome():
    assert SF.ce_rate_loss()(RECORDING, LABELS.tolist()) == SF.ce_rate_loss()(RECORDING, LABELS)
    net, x = npsnn.Sequential(npsnn.Linear(3, 2), dtype=np.float64, backend="reference"), [[0.1, 0.2, 0.3]]
    np.testing.assert_array_equal(net(x, 2)[0], net(np.array(x), 2)[0])


def test_a_layer_alone_keeps_what_it_was_given_whatever_becomes_of_it():
    """What comes out may be written to, and what came in too: backward is that of the forward."""
    for layer, shape in LAYERS.values():
        x, params = numbers(*shape), layer.init_params(npsnn.Generator(2))
        dy = numbers(*layer.out_shape(shape), seed=3)
        y, cache = layer.forward(x, params)
        dx, grads = layer.backward(dy, cache, params)
        first = [a.copy() for a in (dx, *grads.values())]
        for a in (x, y, dx):
            a[...] = 7
        again, grads = layer.backward(dy, cache, params)
        for a, b in zip((again, *grads.values()), first, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_arrays_that_are_each_other(backend):
    """One array for both recordings' gradients, a recording as its own gradient, parameters as their own gradients."""
    if backend == "cpu":
        pytest.importorskip("numba", reason="the cpu backend needs Numba")
    net, x = network(backend), numbers(T, B, 2, 4, 4)
    net.params["4.weight"] *= 8
    spk_rec, mem_rec, tape = net.forward(x)
    d = mem_rec.copy()
    for a, b in zip(
        net.backward(tape, mem_rec, mem_rec).values(), net.backward(tape, d, d.copy()).values(), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    spk_rec[...], x[...] = 9, 9
    np.testing.assert_array_equal(
        net.backward(tape, d)["0.weight"], net.backward(net.forward(numbers(T, B, 2, 4, 4))[2], d)["0.weight"]
    )

    twin = network(backend)
    twin.load_state_dict(net.state_dict())
    optim.Adam(net).step(net.params)
    optim.Adam(twin).step(twin.state_dict())
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)

    net = npsnn.Sequential(npsnn.Linear(3, 3), backend=backend, seed=0)
    W = net.params["0.weight"].copy()
    net.params["0.weight"] = net.params["0.weight"].T
    np.testing.assert_array_equal(net.params["0.weight"], W.T)
    np.testing.assert_array_equal(net(net.params["0.weight"], 1)[0], net(W.T.copy(), 1)[0])


@pytest.mark.parametrize("classes", [1, 3])
def test_a_single_class_and_classes_without_a_sample_have_finite_numbers(classes):
    rec, y = numbers(T, B, classes), np.zeros(B, int)
    for loss in LOSSES.values():
        value, d = loss.value_and_grad(rec, y)
        assert np.isfinite(value) and np.isfinite(d).all()
    if classes == 1:
        assert SF.ce_rate_loss().value_and_grad(rec, y)[0] == 0 and SF.accuracy_rate(rec, y) == 1
    silent = np.zeros((T, B, classes), F32)
    assert SF.accuracy_rate(silent, y) == SF.accuracy_temporal(silent, y) == 1


def test_a_lack_of_memory_is_not_called_a_wrong_array():
    class Huge:
        def __array__(self, dtype=None, copy=None):
            raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        npsnn.Sequential(npsnn.Linear(3, 2), backend="reference")(Huge(), 2)
