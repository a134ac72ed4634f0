"""The ops on the device against the law, on tiny odd shapes: the simulator is slow.

Cases and drawings are those of the Numba twins. The order of sums is another, so float32 is near; dyadic numbers have
the law's bits.
"""

import importlib
import inspect
import itertools

import numpy as np
import pytest

from npsnn import _cuda, backends, surrogate
from tests.conv2d import test_twins as conv2d_twins
from tests.convpool2d import test_twins as convpool2d_twins
from tests.functional.test_losses import LOSSES
from tests.linear import test_twins as linear_twins
from tests.twins import DTYPES, drawn, near, same_bits, unchanged

POOL = ((2, 2), (2, 2), (0, 0))
# N, C, H_in, W_in, O, kernel, stride, padding
CONVOLUTIONS = [
    (3, 2, 5, 4, 3, (3, 2), (1, 1), (0, 0)),
    (5, 1, 4, 6, 2, (2, 3), (2, 3), (1, 2)),  # more images than a block has groups
    (1, 5, 3, 3, 7, (2, 2), (1, 1), (0, 1)),  # a tile of channels and a part of one
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0)),
    (2, 1, 2, 1, 2, (1, 1), (7, 7), (3, 3)),  # windows that see nothing
]
# the same, and the pool's kernel, stride, padding
POOLED = [
    (3, 2, 7, 6, 3, (3, 2), (1, 1), (0, 0), POOL),
    (2, 3, 6, 8, 2, (2, 3), (2, 2), (1, 2), ((3, 2), (1, 1), (1, 1))),  # windows that overlap and hang over
    (2, 5, 5, 5, 2, (2, 2), (1, 1), (0, 0), ((1, 2), (1, 3), (0, 0))),  # and leave gaps
]
# N, K, M
DENSE = [(3, 5, 2), (1, 1, 1), (131, 2, 3), (2, 7, 11)]  # 131: more rows than a part of a sum has
# N, C, H_in, W_in, kernel, stride, padding
POOLS = [
    (2, 2, 5, 4, (2, 2), (2, 2), (0, 0)),
    (1, 3, 6, 5, (3, 2), (1, 2), (1, 1)),
    (1, 2, 7, 8, (2, 3), (3, 4), (1, 0)),
    (1, 1, 18, 17, (17, 16), (1, 1), (0, 0)),  # 272 places: int32
]
if not _cuda.SIMULATED:  # a GPU takes those of the Numba twins too
    CONVOLUTIONS += conv2d_twins.CASES
    POOLED += convpool2d_twins.CASES
    DENSE += linear_twins.CASES


def twins(op):
    """(the twin's tests, the law, the op on the device)."""
    modules = (f"tests.{op}.test_twins", f"npsnn.{op}.reference", f"npsnn.{op}.cuda")
    return tuple(importlib.import_module(name) for name in modules)


def agree(op, *drawing, dyadic, **options):
    tests, law, cuda = twins(op)
    with unchanged(*(a for a in drawing if isinstance(a, np.ndarray))):
        got = tests.both(cuda, *drawing, **options)
    got = tuple(None if a is None else np.asarray(a) for a in got)
    expected = tests.both(law, *drawing, **options)
    numbers = [k for k, a in enumerate(expected) if a is None or a.dtype.kind == "f"]
    (same_bits if dyadic else near)(tuple(got[k] for k in numbers), tuple(expected[k] for k in numbers))
    if not dyadic:
        return
    places = [k for k in range(len(expected)) if k not in numbers]
    same_bits(tuple(got[k] for k in places), tuple(expected[k] for k in places))


@pytest.mark.parametrize("dyadic", [False, True], ids=["any", "dyadic"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_conv2d(case, dtype, dyadic):
    agree("conv2d", *twins("conv2d")[0].draw(case, dtype, dyadic), dyadic=dyadic)


@pytest.mark.parametrize("dyadic", [False, True], ids=["any", "dyadic"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", POOLED, ids=str)
def test_convpool2d(case, dtype, dyadic):
    agree("convpool2d", *twins("convpool2d")[0].draw(case, dtype, dyadic), dyadic=dyadic)


@pytest.mark.parametrize("dyadic", [False, True], ids=["any", "dyadic"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", DENSE, ids=str)
def test_linear(case, dtype, dyadic):
    agree("linear", *twins("linear")[0].draw(case, dtype, dyadic=dyadic), dyadic=dyadic)


def test_rows_of_which_a_thread_has_several_parts():
    from npsnn.linear.cuda import GROUPS, ROWS

    case = (GROUPS * ROWS + 3, 1, 1)
    agree("linear", *twins("linear")[0].draw(case, "float32", dyadic=True, zeros=0), dyadic=True)


@pytest.mark.parametrize("op", ["maxpool2d", "avgpool2d"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", POOLS, ids=str)
def test_pool2d(case, dtype, op):
    tests, law, cuda = twins("pool2d")
    drawing = tests.draw(case, dtype)
    near(tuple(map(np.asarray, tests.both(cuda, op, *drawing))), tests.both(law, op, *drawing))


@pytest.mark.parametrize("op, case", [("conv2d", CONVOLUTIONS[1]), ("convpool2d", POOLED[1]), ("linear", DENSE[2])])
def test_a_byte_a_spike_has_the_bits_of_numbers(op, case):
    tests, _, cuda = twins(op)
    X, *others = tests.draw(case, "float32")
    X = np.random.default_rng(4).random(X.shape) < 0.4
    as_bytes, as_numbers = (tests.both(cuda, x, *others) for x in (X, X.astype("float32")))
    as_bytes, as_numbers = tuple(map(np.asarray, as_bytes)), tuple(map(np.asarray, as_numbers))
    if op == "linear":
        same_bits(as_bytes, as_numbers)
    else:  # dW and db have an order of their own
        same_bits(as_bytes[:-2], as_numbers[:-2])
        near(as_bytes[-2:], as_numbers[-2:])


@pytest.mark.parametrize("op, case", [("conv2d", CONVOLUTIONS[0]), ("convpool2d", POOLED[0]), ("linear", DENSE[0])])
def test_without_bias_or_input_gradient(op, case):
    tests, law, cuda = twins(op)
    X, W, _, dY, *settings = tests.draw(case, "float64")
    results = []
    for module in (law, cuda):
        forward, backward = (getattr(module, f"{op}_{way}") for way in ("forward", "backward"))
        Y, cache = forward(X, W, None, **(settings[0] if settings else {}))
        dX, dW, db = backward(dY, cache, W, bias=False, input_grad=False)
        assert dX is None and db is None
        results.append((np.asarray(Y), np.asarray(dW)))
    near(results[1], results[0])


def test_a_tie_goes_to_the_first_place_and_nan_wins():
    _, law, cuda = twins("convpool2d")
    X = np.ones((1, 1, 4, 4))
    X[0, 0, 1, 3] = np.nan
    settings = {"stride": (1, 1), "padding": (0, 0), "pool": POOL}
    results = [op.convpool2d_forward(X, np.ones((1, 1, 1, 1)), None, **settings) for op in (law, cuda)]
    for Y, cache in results:
        assert np.asarray(cache.pool.place).ravel().tolist() == [0, 3, 0, 0]
        assert np.isnan(np.asarray(Y)).ravel().tolist() == [False, True, False, False]


# --- neurons -------------------------------------------------------------------------------------------------------

T, B, N = 4, 2, (3, 1, 2)


def neurons(dtype, static, seed=6):
    """I, beta, theta, U_before, dS, dmem: a decay a neuron, some clipped, and a threshold a channel."""
    rng = np.random.default_rng(seed)
    I = drawn(rng, (1 if static else T, B, *N), dtype, zeros=0.2) + np.dtype(dtype).type(0.5)
    beta = rng.uniform(-0.2, 1.2, N).astype(dtype)
    beta.flat[:2] = 0, 1
    theta = rng.uniform(0.5, 1.5, (N[0], 1, 1)).astype(dtype)
    return I, beta, theta, *(drawn(rng, shape, dtype) for shape in ((B, *N), (T, B, *N), (T, B, *N)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("static", [False, True], ids=["varying", "static"])
def test_leaky(static, reset, detach, dtype):
    tests, law, cuda = twins("leaky")
    *before, dS, dmem = neurons(dtype, static)
    for sigma in (*tests.ARITHMETIC.values(), *tests.EXPONENTIAL.values(), *tests.RECORDED.values()):
        settings = {"num_steps": T, "sigma": sigma, "reset_mechanism": reset, "detach_reset": detach}
        results = []
        for op in (law, cuda):
            S, cache = op.leaky_forward(*before, **settings)
            results.append(tuple(np.asarray(a) for a in (cache.U, *op.leaky_backward(dS, dmem, cache))))
            assert np.array_equal(np.asarray(S) != 0, results[0][0] > before[2])
        same_bits(results[1][0], results[0][0])  # the simulator rounds as NumPy does; a GPU may contract
        near(results[1], results[0])


@pytest.mark.parametrize("given", ["dS", "dmem"])
def test_leaky_with_one_upstream_gradient(given):
    _, law, cuda = twins("leaky")
    *before, dS, dmem = neurons("float64", False)
    results = []
    for op in (law, cuda):
        _, cache = op.leaky_forward(*before, num_steps=T, sigma=surrogate.atan())
        back = op.leaky_backward(dS if given == "dS" else None, dmem if given == "dmem" else None, cache)
        results.append(tuple(map(np.asarray, back)))
        dI, dbeta, dtheta, _ = op.leaky_backward(dS, dmem, cache, constants=False)
        assert dbeta is None and dtheta is None
        results[-1] += (np.asarray(dI),)
    near(results[1], results[0])


def test_the_smooth_mode_is_the_references():
    smooth = surrogate.Surrogate("s", surrogate.fast_sigmoid().formula, 25.0, smooth=True)
    with pytest.raises(ValueError, match="the smooth mode is for the reference backend"):
        twins("leaky")[2].leaky_forward(np.ones((1, 1, 1)), np.array(0.5), np.array(1.0), num_steps=1, sigma=smooth)


# --- losses and Adam -----------------------------------------------------------------------------------------------

ON_DEVICE = [loss for name, loss in LOSSES.items() if name != "l1"]  # that one is a sum, and made on the host


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ON_DEVICE, ids=lambda loss: loss.name)
def test_losses(loss, dtype):
    from npsnn._device import empty, send
    from npsnn.functional import cuda

    rng = np.random.default_rng(3)
    for classes, spikes in itertools.product((1, 3), (True, False)):
        rec = drawn(rng, (5, 4, classes), dtype, zeros=0.3)
        rec = rec > 0 if spikes else rec
        y, values = rng.integers(0, classes, 4), empty((4,), dtype)
        drec = cuda.value_and_grad(loss.name, loss.numbers, send(rec), y, np.dtype(dtype), values)
        value, expected = loss.value_and_grad(rec.astype(dtype), y)
        near((np.asarray(drec), np.asarray(values).sum()), (expected, np.dtype(dtype).type(value)))


def test_a_tie_goes_to_the_first_step_and_nan_wins_in_a_loss():
    """A membrane that is NaN must not be lost in a maximum: the loss has to say so."""
    from npsnn._device import empty, send
    from npsnn.functional import cuda, reference

    numbers, y = [[1.0, 2.0, 0.0], [1.0, 2.0, 0.5], [0.5, 1.0, 0.5]], np.array([1])
    for at in (None, (0, 0, 2), (1, 0, 2), (2, 0, 2)):
        rec = np.array(numbers).reshape(3, 1, 3)
        if at is not None:
            rec[at] = np.nan
        values = empty((1,), "float64")
        drec = cuda.value_and_grad("ce_max_membrane_loss", (), send(rec), y, np.dtype("float64"), values)
        with np.errstate(invalid="ignore"):
            value, expected = reference.ce_max_membrane(rec, y)
        assert np.isnan(np.asarray(values).sum()) == np.isnan(value) == (at is not None)
        assert (np.asarray(drec) != 0).tolist() == (expected != 0).tolist()


def test_every_loss_is_there():
    from npsnn.functional import cuda

    assert set(cuda.LOSSES) == {loss.name for loss in ON_DEVICE}


@pytest.mark.parametrize("dtype", DTYPES)
def test_adam(dtype):
    _, law, cuda = twins("adam")
    rng = np.random.default_rng(4)
    p = drawn(rng, 7, dtype, zeros=0.1)
    states = [[p.copy(), np.zeros_like(p), np.zeros_like(p)] for _ in range(2)]
    for t in range(1, 4):
        g = drawn(rng, 7, dtype)
        for op, (x, m, v) in zip((law, cuda), states, strict=True):
            op.adam_step(x, g, m, v, t, lr=1e-2, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.01)
    near(tuple(states[1]), tuple(states[0]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_adam_says_what_is_not_finite(value):
    from npsnn._device import send
    from npsnn.adam.cuda import rates, update

    for g, expected in ((np.array([0.0, value, 1.0]), 1), (np.zeros(3), 0)):
        bad = send(np.zeros(1, np.int32))
        p, m, v = (send(np.zeros(3)) for _ in range(3))
        update(p, send(g), m, v, bad, send(rates(1, 1.0, (0.9, 0.9), 1.0, 0.0, np.float64)))
        assert np.asarray(bad).item() == expected


@pytest.mark.parametrize("op", [op for op in backends.OPS if op not in backends.FUSING])
def test_arguments_are_the_laws(op):
    _, law, cuda = twins(op)
    ways = ("_forward", "_backward", "_step")
    names = [n for n, f in vars(law).items() if n.endswith(ways) and f.__module__ == law.__name__]
    assert names
    for name in names:
        ours, theirs = (
            [(a.name, a.kind, a.default) for a in inspect.signature(getattr(module, name)).parameters.values()]
            for module in (cuda, law)
        )
        assert ours == theirs, name
