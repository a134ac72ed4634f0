"""What holds for every layer alone, and every surrogate."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import npsnn
from npsnn import Generator, surrogate
from tests.properties.drawing import (
    DRAWN,
    POWERS,
    SEEDS,
    arrays_in,
    from_seed,
    neuron,
    on_backends,
    pick,
    whole,
)
from tests.twins import same_bits, unchanged


@from_seed
def lone_layers(rng):
    """(layer, shape of x, seed): any layer with any geometry that fits."""
    kind, seed = pick(rng, "Linear", "Conv2d", "MaxPool2d", "AvgPool2d", "Leaky"), whole(rng, 0, 2**32 - 1)
    a, b, c, d = (whole(rng, 1, 3) for _ in range(4))
    lead, image, bias = (a, b), (c, whole(rng, 3, 6), whole(rng, 3, 6)), pick(rng, True, False)
    if kind == "Linear":
        return npsnn.Linear(c, d, bias), (*lead, c), seed
    if kind == "Leaky":
        return neuron(rng), (*lead, *image[:d]), seed
    kernel, stride = (whole(rng, 1, 3), whole(rng, 1, 3)), (whole(rng, 1, 3), whole(rng, 1, 3))
    padding = tuple(whole(rng, 0, k // 2) for k in kernel)
    if kind == "Conv2d":
        return npsnn.Conv2d(c, d, kernel, stride, padding, bias), (*lead, *image), seed
    return getattr(npsnn, kind)(kernel, stride, padding), (*lead, *image), seed


def run_alone(drawn, backend):
    """(layer, x, params, y, cache, dy) with random numbers."""
    layer, shape, seed = drawn
    rng, params = np.random.default_rng(seed), layer.init_params(Generator(seed))
    x = rng.standard_normal(shape).astype(np.float32)
    y, cache = layer.forward(x, params, backend=backend)
    return layer, x, params, y, cache, rng.standard_normal(y.shape).astype(np.float32)


@on_backends(lone_layers)
def test_a_layer_alone_keeps_its_inputs_and_its_documented_shapes(backend, drawn):
    layer, x, params, y, cache, dy = run_alone(drawn, backend)
    with unchanged(x, dy, *params.values(), *arrays_in(cache)):
        again, _ = layer.forward(x, params, backend=backend)
        dx, grads = layer.backward(dy, cache, params, backend=backend)
    same_bits(again, y)
    assert y.shape == layer.out_shape(x.shape) and dx.shape == x.shape
    assert list(grads) == list(params) and [d.shape for d in grads.values()] == [p.shape for p in params.values()]
    assert {a.dtype for a in (y, dx, *grads.values())} == {np.dtype(np.float32)}


@on_backends(st.tuples(lone_layers, POWERS))
def test_scales_go_through_a_layer_alone_to_the_bit(backend, drawn):
    """y of a x is a y: of the input, with the bias (or the threshold) scaled too; of the weights; and back, of dy."""
    case, factor = drawn
    layer, x, params, y, cache, dy = run_alone(case, backend)
    f = np.float32(factor)
    if isinstance(layer, npsnn.Leaky):
        louder = npsnn.Leaky(layer.beta, factor * layer.threshold, reset_mechanism=layer.reset_mechanism)
        S, scaled = louder.forward(f * x, {}, backend=backend)
        np.testing.assert_array_equal(S, y)
        np.testing.assert_array_equal(np.asarray(scaled.U), f * np.asarray(cache.U))
    else:
        bias = {"bias": f * params["bias"]} if "bias" in params else {}
        np.testing.assert_array_equal(layer.forward(f * x, {**params, **bias}, backend=backend)[0], f * y)
        larger = {name: f * p for name, p in params.items()}
        np.testing.assert_array_equal(layer.forward(x, larger, backend=backend)[0], f * y if params else y)
    dx, grads = layer.backward(dy, cache, params, backend=backend)
    dx_scaled, grads_scaled = layer.backward(f * dy, cache, params, backend=backend)
    np.testing.assert_array_equal(dx_scaled, f * dx)
    for name, d in grads.items():
        np.testing.assert_array_equal(grads_scaled[name], f * d)


SURROGATES = [
    surrogate.fast_sigmoid(), surrogate.atan(), surrogate.sigmoid(), surrogate.straight_through_estimator(),
    surrogate.triangular(), surrogate.heaviside(), surrogate.spike_rate_escape(), surrogate.LSO(),
    surrogate.SFS(B=0.1), surrogate.SSO(), surrogate.custom_surrogate(lambda x: (np.abs(x) < 0.5) * 1.0),
]  # fmt: skip


@DRAWN
@given(st.sampled_from(SURROGATES), SEEDS, st.sampled_from([np.float32, np.float64]))
def test_a_surrogate_keeps_shape_dtype_and_argument_and_is_finite(sigma, seed, dtype):
    x = np.random.default_rng(seed).normal(0, 100, (3, 0 if seed % 5 == 0 else 4)).astype(dtype)
    with unchanged(x):
        results = [sigma.derivative(x), sigma.primitive(x) if sigma.has_primitive else x]
    for y in results:
        assert y.shape == x.shape and y.dtype == dtype and np.isfinite(y).all()
