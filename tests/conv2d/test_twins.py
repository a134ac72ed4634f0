"""conv2d: the Numba twin against the law, and what its bits may not depend on (C11)."""

import numpy as np
import pytest

from npsnn.conv2d import reference
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
from npsnn._jit import borrows, jit
from npsnn._memory import flat
from npsnn.conv2d import cpu, image

CHUNK = 5  # images: few, so that three chunks are quick
# N, C, H_in, W_in, O, kernel, stride, padding
CASES = [
    (3, 2, 7, 6, 4, (3, 2), (1, 1), (0, 0)),
    (5, 3, 9, 8, 2, (2, 3), (2, 3), (1, 2)),
    (2, 4, 5, 11, 33, (5, 1), (3, 1), (2, 0)),
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0)),
    (2, 2, 4, 5, 3, (2, 3), (1, 1), (1, 2)),
    (4, 1, 3, 4, 6, (1, 2), (2, 2), (3, 1)),  # outputs that see nothing but padding
    (2, 2, 4, 3, 3, (2, 2), (1, 1), (2, 3)),  # on all four sides
    (2, 3, 8, 7, 5, (2, 2), (3, 4), (0, 0)),  # pixels that no output sees
    (2, 1, 2, 1, 2, (1, 1), (7, 7), (3, 3)),  # an image that no output sees
    (1, 13, 3, 4, 65, (2, 5), (1, 1), (0, 2)),  # rows in two pieces, over o and over (j, c)
    (1, 5, 5, 9, 64, (3, 6), (2, 1), (0, 0)),  # more columns than the registers hold
    (1, 8, 3, 17, 3, (2, 4), (1, 1), (0, 1)),  # output pixels far enough apart to go together, and some left over
    (1, 1, 1, 52, 2, (1, 3), (1, 1), (0, 0)),  # the same with one channel
    (1, 6, 7, 3, 2, (6, 1), (1, 1), (0, 0)),  # a window higher than it is wide
    (2, 3, 8, 7, 5, (2, 2), (3, 4), (1, 1)),  # padding on the left, and pixels that no output sees on the right
    (2 * CHUNK + 3, 2, 4, 5, 3, (2, 3), (1, 1), (1, 0)),  # three chunks
]
CHUNKS = CASES[-1]

# float64 runs through the same loops with half as many numbers in a register: every fourth shape is enough.
SHAPES = [(case, "float32") for case in CASES] + [(case, "float64") for case in CASES[::4]]


@pytest.fixture(autouse=True)
def few_images_are_a_chunk(monkeypatch):
    monkeypatch.setattr(cpu, "CHUNK", CHUNK)


def draw(case, dtype, dyadic=False, seed=0, zeros=None, spikes=False):
    """X, W, b, dY and the settings; X of numbers, or of zeros and few ones."""
    N, C, H_in, W_in, O, kernel, stride, padding = case
    rng = np.random.default_rng(seed)
    H_out, W_out = ((n + 2 * p - k) // s + 1 for n, k, s, p in zip((H_in, W_in), kernel, stride, padding, strict=True))
    X = drawn(rng, (N, C, H_in, W_in), dtype, zeros=0.5 if zeros is None else zeros, dyadic=dyadic)
    X = few_ones(rng, X.shape, dtype) if spikes else X
    W, b = (drawn(rng, shape, dtype, zeros=0, dyadic=dyadic) for shape in ((O, C, *kernel), (O,)))
    dY = drawn(rng, (N, O, H_out, W_out), dtype, zeros=0.75 if zeros is None else zeros, dyadic=dyadic)
    return X, W, b, dY, {"stride": stride, "padding": padding}


def both(op, X, W, b, dY, settings):
    """(Y, dX, dW, db)."""
    Y, cache = op.conv2d_forward(X, W, b, **settings)
    return (Y, *op.conv2d_backward(dY, cache, W, bias=b is not None))


def test_signatures_are_the_laws():
    same_signatures(reference, cpu, ["conv2d_forward", "conv2d_backward"])
    assert cpu.Conv2dCache is reference.Conv2dCache


@pytest.mark.parametrize("spikes", [False, True], ids=["numbers", "spikes"])
@pytest.mark.parametrize("case, dtype", SHAPES, ids=str)
def test_it_is_near_the_law(case, dtype, spikes):
    X, W, b, dY, settings = draw(case, dtype, spikes=spikes)
    near(both(cpu, X, W, b, dY, settings), both(reference, X, W, b, dY, settings))
    near(both(cpu, X, W, None, dY, settings), both(reference, X, W, None, dY, settings))


@pytest.mark.parametrize("spikes", [False, True], ids=["numbers", "spikes"])
@pytest.mark.parametrize("case, dtype", SHAPES, ids=str)
def test_dyadic_bits_are_the_laws(case, dtype, spikes):
    drawing = draw(case, dtype, dyadic=True, spikes=spikes)
    same_bits(both(cpu, *drawing), both(reference, *drawing))


@pytest.mark.parametrize("channels", [(5, 1), (1, 9)], ids=str)
def test_scratch_holds_an_image_and_deltas_without_a_zero(channels):
    """Where the image is the larger of the two lists, and where the deltas are."""
    C, O = channels
    X, W, b, dY, settings = draw((2, C, 4, 5, O, (2, 2), (1, 1), (0, 0)), "float64", zeros=0)
    assert X.all() and dY.all()
    near(both(cpu, X, W, b, dY, settings), both(reference, X, W, b, dY, settings))


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads(dtype):
    drawing = draw(CHUNKS, dtype)
    same_for_any_number_of_threads(lambda: both(cpu, *drawing))


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_image_does_not_depend_on_its_neighbours(dtype):
    X, W, b, dY, settings = draw(CHUNKS, dtype)
    Y, dX, _, _ = both(cpu, X, W, b, dY, settings)
    for n in (0, 1, len(X) - 1):
        Y_n, dX_n, _, _ = both(cpu, X[n : n + 1], W, b, dY[n : n + 1], settings)
        same_bits((Y_n, dX_n), (Y[n : n + 1], dX[n : n + 1]))
    same_bits(both(cpu, X[::-1].copy(), W, b, dY[::-1].copy(), settings)[:2], (Y[::-1], dX[::-1]))


@jit
def _scratch(X, Wt, s, rows):
    return image.scratch(X, Wt, s, rows)


@borrows  # as `surround` does, which gives back what it was given
def _by_both(X, Wt, b, s, rooms, dWt):
    """acc of one image in rooms[0] and rooms[1], then dWt[0] and dWt[1] from rooms[2]: by spikes, and by numbers."""
    padded, numbers = image.surround(X, s, rooms[0].image), rooms[0].numbers
    image._put(padded, numbers)
    image._convolve_spikes(padded, Wt, b, s, rooms[0])
    image._convolve_numbers(numbers, Wt, s, rooms[1].rows)
    image._list_channels(padded, s, rooms[2])
    image._weight_gradient_of_spikes(s, rooms[2], dWt[0])
    image._weight_gradient_of_numbers(numbers, rooms[2].rows, s, dWt[1])


@jit
def _both_ways(X, Wt, b, s, rooms, dWt):
    _by_both(X, Wt, b, s, rooms, dWt)


# Each shape is compiled anew: every second in float32, and others in float64, whose registers hold half as many.
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
@pytest.mark.parametrize(
    "case, dtype", [(c, "float32") for c in CASES[::2]] + [(c, "float64") for c in CASES[1::4]], ids=str
)
def test_spikes_have_the_bits_of_numbers(case, dtype, density):
    shape = (1, *case[1:4])
    _, W, b, dY, settings = draw(case, dtype, zeros=0)
    rng = np.random.default_rng(3)
    X = (rng.random(shape) < density).astype(dtype)
    s = image.sizes(X.shape[1:], W, **settings)
    (H_out, W_out), (_, kw), O = s.shape, s.kernel, s.channels[1]
    Wt, bias = image.rows_of_outputs(W, s.L), image.padded_bias(b, W, s.L)
    rooms = [_scratch(X, Wt, s, n) for n in (H_out * W_out, H_out * W_out, H_out * s.seen[1] + kw - 1)]
    for o, y, x in np.ndindex(O, H_out, W_out):
        rooms[2].rows[(y * s.seen[1] + x * s.stride[1] + kw - 1) * s.L + o] = dY[0, o, y, x]
    dWt = rng.standard_normal((1, W[0].size * s.L)).astype(dtype).repeat(2, axis=0)
    before = dWt[0].copy()
    _both_ways(flat(X)[0], Wt, bias, s, tuple(rooms), dWt)
    rooms[1].rows[:] += np.tile(bias, H_out * W_out)
    same_bits((rooms[0].rows, dWt[0]), (rooms[1].rows, dWt[1]))
    fires = reference.conv2d_forward(X.astype(dtype), np.ones_like(W), None, **settings)[0].any()
    assert (rooms[0].rows != np.tile(bias, H_out * W_out)).any() == fires
    assert (dWt[0] != before).any() == fires


@pytest.mark.parametrize("case, dtype", [(case, "float32") for case in CASES[::2]] + [(CASES[1], "float64")], ids=str)
def test_a_byte_a_spike_has_the_bits_of_numbers(case, dtype):
    for density in (0.2, 0.6):
        X, W, b, dY, settings = draw(case, dtype)
        X = np.random.default_rng(4).random(X.shape) < density
        same_bits(both(cpu, X, W, b, dY, settings), both(cpu, X.astype(dtype), W, b, dY, settings))


@jit
def _fires_seldom(X):
    return image.fires_seldom(X)


def test_fires_seldom():
    X = np.zeros(20, np.float32)
    assert _fires_seldom(X)
    X[3:8] = 1
    assert _fires_seldom(X)  # 5 of 20
    X[8] = 1
    assert not _fires_seldom(X)  # 6 of 20 are three tenths
    for other in (2, -1, 0.5, np.nan, np.inf):
        X[:] = 0
        X[19] = other
        assert not _fires_seldom(X)


@pytest.mark.parametrize(
    "C, width, O, kernel, lists",
    [(1, 2**13, 64, 1, True), (1, 2**13 - 1, 65, 1, False)] + [(2**11, 127, 64, 127, True), (2**13, 64, 64, 64, False)],
)
def test_where_32_bits_do_not_suffice_nothing_is_listed(C, width, O, kernel, lists):
    """2^31 is 2^13 rows of 2^12 columns of 64; 64 rows of 64 columns of 2^13 channels, each times 64."""
    height = 2**12 - 1 if C == 1 else kernel
    X, W = (np.broadcast_to(np.float32(0), n) for n in ((1, C, height, width), (O, C, kernel, kernel)))
    assert image.sizes(X.shape[1:], W, (1, 1), (0, 0)).lists == lists


def test_weight_gradient_is_the_sum_of_the_chunks():
    X, W, b, dY, settings = draw(CHUNKS, "float32")
    chunks = [slice(i, i + CHUNK) for i in range(0, len(X), CHUNK)]
    parts = [both(cpu, X[chunk], W, b, dY[chunk], settings)[2:] for chunk in chunks]
    dW, db = parts[0][0].copy(), parts[0][1].copy()
    for part in parts[1:]:
        dW += part[0]
        db += part[1]
    same_bits(both(cpu, X, W, b, dY, settings)[2:], (dW, db))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_given_is_changed_and_backward_repeats(dtype):
    X, W, b, dY, settings = draw(CASES[1], dtype)
    with unchanged(X, W, b, dY):
        Y, cache = cpu.conv2d_forward(X, W, b, **settings)
        assert cache.X is X
        first = cpu.conv2d_backward(dY, cache, W)
        same_bits(cpu.conv2d_backward(dY, cache, W), first)
        same_bits(cpu.conv2d_forward(X, W, b, **settings)[0], Y)


def test_what_is_not_asked_for_is_none():
    X, W, b, dY, settings = draw(CASES[0], "float64")
    _, cache = cpu.conv2d_forward(X, W, b, **settings)
    dX, dW, db = cpu.conv2d_backward(dY, cache, W)
    none, dW_alone, also_none = cpu.conv2d_backward(dY, cache, W, bias=False, input_grad=False)
    assert none is None
    assert also_none is None
    same_bits(dW_alone, dW)
    assert dX is not None
    assert db is not None


def test_memory_order_does_not_matter():
    X, W, b, dY, settings = draw(CASES[1], "float64")
    scattered = [np.asfortranarray(X), np.asfortranarray(W), b, np.asfortranarray(dY)]
    same_bits(both(cpu, *scattered, settings), both(cpu, X, W, b, dY, settings))


def test_no_images():
    X, W, b, dY, settings = draw((0, *CASES[0][1:]), "float64")
    same_bits(both(cpu, X, W, b, dY, settings), both(reference, X, W, b, dY, settings))
