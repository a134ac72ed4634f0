"""Each layer alone, on both backends: shapes, leading axes, parameters, gradients, refusals."""

import math

import numpy as np
import pytest

import npsnn
from npsnn import Generator, surrogate
from tests.helpers import close, complex_step, distinct

# layer, the shape of one sample's input, the shape of its output
SHAPES = [
    (npsnn.Conv2d(3, 5, (3, 2)), (3, 7, 4), (5, 5, 3)),
    (npsnn.Conv2d(1, 2, 5, stride=(2, 3), padding=(2, 1), bias=False), (1, 6, 9), (2, 3, 3)),
    (npsnn.MaxPool2d(2), (3, 7, 5), (3, 3, 2)),
    (npsnn.MaxPool2d((3, 2), stride=(1, 2), padding=1), (2, 4, 5), (2, 4, 3)),
    (npsnn.AvgPool2d((1, 3)), (2, 3, 7), (2, 3, 2)),
    (npsnn.AvgPool2d(3, stride=1, padding=(1, 0)), (1, 5, 4), (1, 5, 2)),
    (npsnn.Linear(7, 3), (7,), (3,)),
    (npsnn.Linear(4, 1, bias=False), (2, 4), (2, 1)),
    (npsnn.Flatten(), (3, 5, 2), (30,)),
    (npsnn.Flatten(), (1,), (1,)),
    (npsnn.Leaky(0.5), (3, 1, 2), (3, 1, 2)),
    (npsnn.Leaky(np.full((3, 1), 0.5), threshold=[1.0, 2.0], learn_beta=True, learn_threshold=True), (3, 2), (3, 2)),
]  # fmt: skip
LEAD = (4, 2)


def parameters(layer, dtype=np.float64):
    return layer.init_params(Generator(3), dtype)


@pytest.mark.parametrize("layer, inside, outside", SHAPES, ids=lambda v: str(v))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_forward_and_backward_keep_what_out_shape_says(backend, rng, layer, inside, outside, dtype):
    x, params = rng.standard_normal((*LEAD, *inside)).astype(dtype), parameters(layer, dtype)
    y, cache = layer.forward(x, params, backend=backend)
    assert y.shape == layer.out_shape(x.shape) == (*LEAD, *outside)
    dy = rng.standard_normal(y.shape).astype(dtype)
    kept = [a.copy() for a in (x, dy, *params.values())]
    dx, grads = layer.backward(dy, cache, params, backend=backend)
    assert dx.shape == x.shape
    assert list(grads) == list(params)
    assert all(grads[name].shape == p.shape for name, p in params.items())
    assert {a.dtype for a in (y, dx, *grads.values())} == {np.dtype(dtype)}
    again = layer.backward(dy, cache, params, backend=backend)
    np.testing.assert_array_equal(again[0], dx)
    for name, d in grads.items():
        np.testing.assert_array_equal(again[1][name], d)
    for a, b in zip((x, dy, *params.values()), kept, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("layer, inside, _", SHAPES, ids=lambda v: str(v))
def test_backward_is_the_complex_step_derivative(rng, layer, inside, _):
    x, params = distinct(rng, (*LEAD, *inside)), parameters(layer)
    y, cache = layer.forward(x, params)
    dy = rng.standard_normal(y.shape)

    def loss(x, *values):
        return (layer.forward(x, dict(zip(params, values, strict=True)))[0] * dy).sum()

    dx, grads = layer.backward(dy, cache, params)
    by_step = complex_step(loss, x, *params.values())
    for d, expected in zip((dx, *grads.values()), by_step, strict=True):
        close(d, expected)


@pytest.mark.parametrize("layer", [npsnn.Conv2d(2, 3, 2), npsnn.MaxPool2d(2), npsnn.AvgPool2d(2)], ids=str)
@pytest.mark.parametrize("lead", [(), (3,), (2, 3), (2, 1, 3)], ids=str)
def test_any_axes_may_lead_an_image(backend, rng, layer, lead):
    x, params = rng.standard_normal((*lead, 2, 5, 4)), parameters(layer)
    y, cache = layer.forward(x, params, backend=backend)
    each = [layer.forward(x[at], params, backend=backend)[0] for at in np.ndindex(lead)]
    np.testing.assert_array_equal(y.reshape(-1, *y.shape[-3:]), np.stack(each))
    assert layer.backward(y, cache, params, backend=backend)[0].shape == x.shape


def test_flatten_keeps_time_and_batch_and_row_major_order():
    x = np.arange(24.0).reshape(1, 2, 3, 2, 2)
    y, cache = npsnn.Flatten().forward(x, {})
    assert y.tolist() == [[list(range(12)), list(range(12, 24))]]
    np.testing.assert_array_equal(npsnn.Flatten().backward(y, cache, {})[0], x)


# --- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer, fan_in, shapes",
    [
        (npsnn.Conv2d(3, 5, (3, 2)), 18, {"weight": (5, 3, 3, 2), "bias": (5,)}),
        (npsnn.Conv2d(3, 5, 2, bias=False), 12, {"weight": (5, 3, 2, 2)}),
        (npsnn.Linear(50, 31), 50, {"weight": (31, 50), "bias": (31,)}),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fresh_parameters_lie_within_one_over_the_root_of_fan_in(layer, fan_in, shapes, dtype):
    params = layer.init_params(Generator(0), dtype)
    assert {name: p.shape for name, p in params.items()} == shapes
    bound = 1 / math.sqrt(fan_in)
    for p in params.values():
        assert p.dtype == dtype
        assert np.abs(p).max() <= bound * (1 + 1e-7)  # the bound is rounded to float32
    # Of at least 60 even draws none lies beyond 0.8 of the bound with probability 2e-6; seed 0 is not that case.
    assert np.abs(params["weight"]).max() > 0.8 * bound
    assert len(np.unique(params["weight"])) == params["weight"].size


def test_the_weight_is_drawn_before_the_bias():
    generator = Generator(5)
    params = npsnn.Linear(3, 2).init_params(generator, np.float64)
    again = Generator(5)
    bound = math.sqrt(3) * (math.sqrt(2 / 6) / math.sqrt(3))
    np.testing.assert_array_equal(params["weight"], again.uniform(-bound, bound, (2, 3), np.float64))
    np.testing.assert_array_equal(params["bias"], again.uniform(-1 / math.sqrt(3), 1 / math.sqrt(3), 2, np.float64))
    assert generator.int64() == again.int64()


def test_a_neuron_draws_nothing_and_keeps_what_it_was_given():
    beta, generator = np.array([0.25, 0.75]), Generator(5)
    layer = npsnn.Leaky(beta, threshold=2, learn_beta=True, learn_threshold=True)
    beta[:] = 9
    params = layer.init_params(generator, np.float32)
    assert params["beta"].tolist() == [0.25, 0.75]
    assert params["threshold"].shape == ()
    assert params["threshold"] == 2
    assert generator.int64() == Generator(5).int64()
    params["beta"][:] = 9
    assert layer.init_params(generator)["beta"].tolist() == [0.25, 0.75]
    assert list(npsnn.Leaky(0.5, learn_threshold=True).init_params(generator)) == ["threshold"]
    assert npsnn.Leaky(0.5).init_params(generator) == {}


# --- the neuron alone -----------------------------------------------------------------------------------------------


def test_a_static_current_and_a_membrane_to_start_from(backend, rng):
    layer, x = npsnn.Leaky(0.5), rng.standard_normal((1, 3, 2)) + 1
    S, cache = layer.forward(x, {}, num_steps=4, backend=backend)
    S2, cache2 = layer.forward(np.repeat(x, 4, axis=0), {}, backend=backend)
    np.testing.assert_array_equal(S, S2)
    np.testing.assert_array_equal(cache.U, cache2.U)
    later, _ = layer.forward(x, {}, num_steps=2, U_before=cache.U[1].copy(), backend=backend)
    np.testing.assert_array_equal(later, S[2:])


def test_the_gradient_through_the_membrane_is_added(backend, rng):
    layer, x = npsnn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(slope=2)), rng.standard_normal((5, 3, 2)) + 1
    S, cache = layer.forward(x, {}, backend=backend)
    dy, dmem = rng.standard_normal(S.shape), rng.standard_normal(S.shape)
    both = layer.backward(dy, cache, {}, dmem=dmem, backend=backend)[0]
    parts = [layer.backward(dy, cache, {}, backend=backend)[0],
             layer.backward(np.zeros_like(dy), cache, {}, dmem=dmem, backend=backend)[0]]  # fmt: skip
    close(both, parts[0] + parts[1], 1e-14)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 1), (1, 2), (3, 2)], ids=str)
@pytest.mark.parametrize("which", ["beta", "threshold"])
def test_a_constant_is_broadcast_and_its_gradient_summed_back(backend, rng, shape, which):
    """Against the same constant written out for every neuron: the same spikes, and its gradient's sum."""
    value = rng.uniform(0.3, 0.9, shape)
    constants = {"beta": 0.5, "threshold": 1.0}
    options = {"spike_grad": surrogate.fast_sigmoid(slope=2), f"learn_{which}": True}
    layer = npsnn.Leaky(**{**constants, which: value}, **options)
    full = npsnn.Leaky(**{**constants, which: np.broadcast_to(value, (3, 2))}, **options)
    x = rng.standard_normal((5, 4, 3, 2)) + 0.7
    params, full_params = parameters(layer), parameters(full)
    name = next(iter(params))
    assert params[name].shape == shape
    S, cache = layer.forward(x, params, backend=backend)
    S_full, cache_full = full.forward(x, full_params, backend=backend)
    np.testing.assert_array_equal(S, S_full)
    np.testing.assert_array_equal(cache.U, cache_full.U)
    dy = rng.standard_normal(S.shape)
    d = layer.backward(dy, cache, params, backend=backend)[1][name]
    expected = full.backward(dy, cache_full, full_params, backend=backend)[1][name]
    axes = tuple(range(2 - len(shape)))
    expected = expected.sum(axis=axes)
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and expected.shape[i] != 1)
    close(d, expected.sum(axis=stretched, keepdims=True), 1e-14)


# --- what a person reads --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer, text",
    [
        (npsnn.Conv2d(1, 12, 5), "Conv2d(1, 12, kernel_size=(5, 5))"),
        (
            npsnn.Conv2d(2, 3, (1, 2), stride=(2, 1), padding=1, bias=False),
            "Conv2d(2, 3, kernel_size=(1, 2), stride=(2, 1), padding=(1, 1), bias=False)",
        ),
        (npsnn.MaxPool2d(2), "MaxPool2d(kernel_size=(2, 2))"),
        (npsnn.AvgPool2d(3, stride=1, padding=1), "AvgPool2d(kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))"),
        (npsnn.Linear(3, 2), "Linear(3, 2)"),
        (npsnn.Linear(3, 2, bias=False), "Linear(3, 2, bias=False)"),
        (npsnn.Flatten(), "Flatten()"),
        (npsnn.Leaky(0.5), "Leaky(beta=0.5, threshold=1, spike_grad=atan(alpha=2.0))"),
        (
            npsnn.Leaky(np.ones((3, 1)) / 2, learn_beta=True, reset_mechanism="zero", detach_reset=False),
            "Leaky(beta=array(3, 1), threshold=1, spike_grad=atan(alpha=2.0), learn_beta=True, reset_mechanism='zero', "
            "detach_reset=False)",
        ),
    ],
)
def test_repr_says_what_differs_from_the_defaults(layer, text):
    assert repr(layer) == text


# --- refusals -------------------------------------------------------------------------------------------------------

LINEAR = {"weight": np.ones((2, 3)), "bias": np.ones(2)}


@pytest.mark.parametrize(
    "call, kind, message",
    [
        (lambda: npsnn.Linear(3, 2).forward(np.ones((4, 5)), LINEAR), ValueError,
         r"Linear: input has 5 features \(shape \(4, 5\)\), weight expects 3"),
        (lambda: npsnn.Linear(3, 2).forward(np.ones((4, 3), int), LINEAR), TypeError, "Linear: x is int64"),
        (lambda: npsnn.Linear(3, 2).forward(np.full((4, 3), np.nan), LINEAR), ValueError, "Linear: x has 12 NaN"),
        (lambda: npsnn.Linear(3, 2).forward(np.ones(()), LINEAR), ValueError, "Linear: input has 0 features"),
        (lambda: npsnn.Conv2d(1, 1, 3).forward(np.ones((3, 3)), {}), ValueError, r"Conv2d: input has shape \(3, 3\)"),
        (lambda: npsnn.Conv2d(2, 1, 3).forward(np.ones((1, 3, 3)), {}), ValueError, "Conv2d: input has 1 channel "),
        (lambda: npsnn.MaxPool2d(4).forward(np.ones((1, 3, 9)), {}), ValueError,
         r"MaxPool2d: kernel \(4, 4\) does not fit input 3x9"),
        (lambda: npsnn.Flatten().forward(np.ones(3), {}), ValueError, r"Flatten: input has shape \(3,\)"),
        (lambda: npsnn.Leaky(0.5).forward(np.ones(3), {}), ValueError, r"Leaky: x has shape \(3,\)"),
        (lambda: npsnn.Leaky(0.5).forward(np.ones((2, 1, 3)), {}, num_steps=5), ValueError,
         r"Leaky: x has 2 steps \(shape \(2, 1, 3\)\), num_steps is 5"),
        (lambda: npsnn.Leaky(0.5).forward(np.ones((2, 1, 3)), {}, backend="gpu"), ValueError, "backend must be"),
    ],
)  # fmt: skip
def test_refusals_when_a_layer_is_called_alone(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def backward_of(layer, shape, dy, dmem=None):
    """layer.backward with a dy of that shape, after a forward of ones."""
    _, cache = layer.forward(np.ones(shape), parameters(layer))
    options = {} if dmem is None else {"dmem": np.ones(dmem)}
    return layer.backward(np.ones(dy), cache, parameters(layer), **options)


NARROW = {"weight": np.ones((2, 1)), "bias": np.ones(2)}
UNCHECKED = {
    "weight": lambda: npsnn.Linear(3, 2).forward(np.ones((4, 3)), NARROW),
    "bias": lambda: npsnn.Linear(3, 2).forward(np.ones((4, 3)), {"weight": np.ones((2, 3))}),
    "dtype": lambda: npsnn.Linear(3, 2).forward(np.ones((4, 3), np.float32), LINEAR),
    "linear dy": lambda: backward_of(npsnn.Linear(3, 2), (4, 3), dy=(5, 2)),
    "max dy": lambda: backward_of(npsnn.MaxPool2d(2), (1, 4, 4), dy=(1, 1, 2)),
    "average dy": lambda: backward_of(npsnn.AvgPool2d(2), (1, 4, 4), dy=(1, 1, 1)),
    "neuron dy": lambda: backward_of(npsnn.Leaky(0.5), (5, 4, 3), dy=(9, 4, 3)),
    "neuron dmem": lambda: backward_of(npsnn.Leaky(0.5), (5, 4, 3), dy=(5, 4, 3), dmem=(5, 1, 3)),
    "U_before": lambda: npsnn.Leaky(0.5).forward(np.ones((5, 4, 3)), {}, U_before=np.ones(3)),
}


@pytest.mark.parametrize("name", UNCHECKED)
def test_every_argument_of_a_layer_alone_is_checked(name):
    with pytest.raises((ValueError, TypeError), match=r"^(Linear|MaxPool2d|AvgPool2d|Leaky): "):
        UNCHECKED[name]()
