"""convpool2d: the Numba twin against the law, and what its bits may not depend on (C11)."""

import numpy as np
import pytest

from npsnn.convpool2d import reference
from tests.twins import (
    DTYPES,
    drawn,
    few_ones,
    near,
    same_bits,
    same_for_any_number_of_threads,
    same_signatures,
    unchanged,
)

pytest.importorskip("numba", reason="needs Numba: pip install npsnn[fast]")
from npsnn.convpool2d import cpu

CHUNK = 5  # images: few, so that three chunks are quick
MP2 = ((2, 2), (2, 2), (0, 0))
# N, C, H_in, W_in, O, kernel, stride, padding, pool (kernel, stride, padding)
CASES = [
    (3, 2, 7, 6, 4, (3, 2), (1, 1), (0, 0), MP2),
    (2, 3, 9, 8, 2, (2, 3), (2, 3), (1, 2), ((3, 2), (1, 1), (1, 1))),  # windows that overlap and hang over
    (2, 2, 6, 9, 17, (3, 5), (1, 1), (2, 1), ((2, 3), (1, 2), (1, 1))),
    (1, 1, 5, 6, 70, (2, 2), (1, 2), (0, 0), ((1, 1), (1, 1), (0, 0))),  # more channels than a row has lanes
    (2 * CHUNK + 3, 1, 4, 5, 3, (2, 3), (1, 1), (1, 1), MP2),  # three chunks
    (1, 20, 5, 5, 3, (2, 4), (1, 1), (0, 0), ((17, 16), (1, 1), (8, 8))),  # kernel rows of 80; places of two bytes
    (1, 12, 11, 4, 2, (10, 3), (1, 1), (0, 0), MP2),  # more kernel rows than registers hold
    (2, 2, 4, 7, 3, (1, 2), (1, 1), (0, 0), MP2),  # a single kernel row
    (2, 1, 7, 7, 2, (2, 2), (1, 1), (0, 0), ((3, 2), (1, 2), (1, 0))),  # windows that overlap in y alone
    (2, 1, 7, 7, 2, (2, 2), (1, 1), (0, 0), ((2, 3), (2, 1), (0, 1))),  # in x alone
    (2, 2, 9, 6, 3, (5, 2), (2, 1), (0, 0), ((1, 2), (1, 2), (0, 0))),  # two of five kernel rows are done at each y
]
CHUNKS = CASES[4]

# float64 runs through the same loops with half as many numbers in a register: every fourth shape is enough.
SHAPES = [(case, "float32") for case in CASES] + [(case, "float64") for case in CASES[::4]]


@pytest.fixture(autouse=True)
def few_images_are_a_chunk(monkeypatch):
    monkeypatch.setattr(cpu, "CHUNK", CHUNK)


def draw(case, dtype, dyadic=False, seed=0, zeros=None, spikes=False):
    """X, W, b, dY and the settings; X of numbers, or of zeros and few ones."""
    N, C, H_in, W_in, O, kernel, stride, padding, pool = case
    rng = np.random.default_rng(seed)
    X = drawn(rng, (N, C, H_in, W_in), dtype, zeros=0.5 if zeros is None else zeros, dyadic=dyadic)
    X = few_ones(rng, X.shape, dtype) if spikes else X
    W, b = (drawn(rng, shape, dtype, zeros=0, dyadic=dyadic) for shape in ((O, C, *kernel), (O,)))
    settings = {"stride": stride, "padding": padding, "pool": pool}
    Y, _ = reference.convpool2d_forward(X, W, b, **settings)
    return X, W, b, drawn(rng, Y.shape, dtype, zeros=0.2 if zeros is None else zeros, dyadic=dyadic), settings


def both(op, X, W, b, dY, settings):
    """(Y, place, dX, dW, db)."""
    Y, cache = op.convpool2d_forward(X, W, b, **settings)
    return (Y, cache.pool.place, *op.convpool2d_backward(dY, cache, W, bias=b is not None))


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, ["convpool2d_forward", "convpool2d_backward"])
    assert cpu.ConvPool2dCache is reference.ConvPool2dCache


@pytest.mark.parametrize("spikes", [False, True], ids=["numbers", "spikes"])
@pytest.mark.parametrize("case, dtype", SHAPES, ids=str)
def test_it_is_near_the_law(case, dtype, spikes):
    X, W, b, dY, settings = draw(case, dtype, spikes=spikes)
    for bias in (b, None):
        ours, law = both(cpu, X, W, bias, dY, settings), both(reference, X, W, bias, dY, settings)
        np.testing.assert_array_equal(ours[1], law[1])
        near((ours[0], *ours[2:]), (law[0], *law[2:]))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_cache_is_the_laws(case):
    X, W, b, _, settings = draw(case, "float64")
    ours, law = (op.convpool2d_forward(X, W, b, **settings)[1] for op in (cpu, reference))
    assert ours.conv[1:] == law.conv[1:] and ours.pool[1:] == law.pool[1:]


@pytest.mark.parametrize("channels", [(5, 1), (1, 9)], ids=str)
def test_scratch_holds_an_image_and_deltas_without_a_zero(channels):
    """Where the image is the larger of the two lists, and where the deltas are: a pool of one pixel keeps them all."""
    C, O = channels
    case = (2, C, 4, 5, O, (2, 2), (1, 1), (0, 0), ((1, 1), (1, 1), (0, 0)))
    X, W, b, dY, settings = draw(case, "float64", zeros=0)
    assert X.all() and dY.all()
    ours, law = both(cpu, X, W, b, dY, settings), both(reference, X, W, b, dY, settings)
    near((ours[0], *ours[2:]), (law[0], *law[2:]))


@pytest.mark.parametrize("spikes", [False, True], ids=["numbers", "spikes"])
@pytest.mark.parametrize("case, dtype", SHAPES, ids=str)
def test_dyadic_bits_are_the_laws(case, dtype, spikes):
    drawing = draw(case, dtype, dyadic=True, spikes=spikes)
    same_bits(both(cpu, *drawing), both(reference, *drawing))


@pytest.mark.parametrize("case, dtype", [(case, "float32") for case in CASES[::2]] + [(CASES[1], "float64")], ids=str)
def test_a_byte_a_spike_has_the_bits_of_numbers(case, dtype):
    for density in (0.2, 0.6):
        X, W, b, dY, settings = draw(case, dtype)
        X = np.random.default_rng(4).random(X.shape) < density
        same_bits(both(cpu, X, W, b, dY, settings), both(cpu, X.astype(dtype), W, b, dY, settings))


def test_a_tie_that_the_bias_makes_goes_to_the_first(dtype="float32"):
    """2^-30 and 0 differ, 1 + 2^-30 and 1 + 0 do not in float32: the bias is added before the maximum is taken."""
    X = np.array([[[[0.0, 2.0**-30], [0.0, 0.0]]]], dtype)
    one = np.ones((1, 1, 1, 1), dtype)
    settings = {"stride": (1, 1), "padding": (0, 0), "pool": MP2}
    for op in (reference, cpu):
        for b, place in ((np.ones(1, dtype), 0), (np.zeros(1, dtype), 1)):
            assert op.convpool2d_forward(X, one, b, **settings)[1].pool.place.item() == place


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan_are_the_laws(dtype):
    X, W, b, _, settings = draw(CASES[1], dtype)
    b[:] = 0
    W[:, 1:], W[:, :, 1:], W[:, :, :, 1:] = 0, 0, 0
    X = np.where(np.random.default_rng(1).random(X.shape) < 0.3, np.inf, X).astype(dtype)
    X[0, 0, ::3] = np.nan
    with np.errstate(invalid="ignore"):
        X = X[:, :1]
        ours, law = (op.convpool2d_forward(X, W[:, :1, :1, :1], b, **settings) for op in (cpu, reference))
    np.testing.assert_array_equal(ours[0], law[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(dtype):
    drawing = draw(CHUNKS, dtype)
    same_for_any_number_of_threads(lambda: both(cpu, *drawing))


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_image_does_not_depend_on_its_neighbours(dtype):
    X, W, b, dY, settings = draw(CHUNKS, dtype)
    Y, _, dX, _, _ = both(cpu, X, W, b, dY, settings)
    for n in (0, 1, len(X) - 1):
        Y_n, _, dX_n, _, _ = both(cpu, X[n : n + 1], W, b, dY[n : n + 1], settings)
        same_bits((Y_n, dX_n), (Y[n : n + 1], dX[n : n + 1]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_given_is_changed_and_backward_repeats(dtype):
    X, W, b, dY, settings = draw(CASES[0], dtype)
    with unchanged(X, W, b, dY):
        _, cache = cpu.convpool2d_forward(X, W, b, **settings)
        first = cpu.convpool2d_backward(dY, cache, W)
        same_bits(cpu.convpool2d_backward(dY, cache, W), first)
    dX, dW, db = cpu.convpool2d_backward(dY, cache, W, bias=False, input_grad=False)
    assert dX is None and db is None
    same_bits(dW, first[1])
