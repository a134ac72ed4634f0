"""The convolutions of spikes, and the input gradients of routed deltas, against the law: what numbers do not reach.

Rooms are made small where they are to overflow: the simulator's images are tiny.
"""

import numpy as np
import pytest

from npsnn import _cuda
from npsnn.conv2d import cuda as conv2d
from npsnn.conv2d import reference as conv2d_law
from npsnn.conv2d import routed, spikes
from npsnn.conv2d.geometry import NO_POOL, Geometry, sizes
from npsnn.convpool2d import cuda as convpool2d
from npsnn.convpool2d import reference as convpool2d_law
from tests.conv2d import test_twins as conv2d_twins
from tests.convpool2d import test_twins as convpool2d_twins
from tests.twins import near, same_bits

MP2 = ((2, 2), (2, 2), (0, 0))
# N, C, H_in, W_in, O, kernel, stride, padding, pool; None: a convolution alone. In the simulator a tile has 3 or 6 of O
CASES = [
    (4, 2, 7, 6, 4, (3, 2), (1, 1), (0, 0), MP2),  # more images than shares; a part of a tile
    (2, 2, 4, 5, 7, (2, 3), (2, 2), (1, 2), ((3, 2), (1, 1), (1, 1))),  # a tile and a part; windows that hang over
    (1, 5, 5, 5, 2, (2, 2), (1, 1), (0, 0), ((1, 2), (1, 3), (0, 0))),  # fewer images than shares; gaps
    (2, 1, 4, 21, 2, (2, 17), (1, 1), (1, 2), MP2),  # a row a word
    (2, 1, 2, 36, 2, (1, 33), (1, 1), (0, 0), None),  # rows that are longer than a word
    (1, 1, 9, 6, 1, (9, 5), (1, 1), (0, 0), None),  # three words
    (5, 2, 4, 6, 3, (2, 3), (2, 3), (1, 2), None),
    (2, 1, 2, 1, 2, (1, 1), (7, 7), (3, 3), None),  # windows that see nothing
    (1, 1, 6, 6, 1, (1, 1), (1, 1), (0, 0), ((5, 4), (1, 1), (0, 0))),  # more places than are sorted
    (0, 1, 3, 3, 1, (2, 2), (1, 1), (0, 0), None),
]
if not _cuda.SIMULATED:
    CASES += [
        (7, 12, 12, 12, 64, (5, 5), (1, 1), (0, 0), MP2),
        (300, 3, 9, 40, 70, (3, 3), (1, 1), (1, 1), MP2),
        (3, 40, 8, 8, 33, (3, 3), (1, 1), (1, 1), None),
    ]


def drawing(case, dtype, dyadic, density=0.3):
    """(the op on the device, the law, the twins' `both`, spikes, the other arguments)."""
    *shape, pool = case
    modules = (conv2d, conv2d_law, conv2d_twins) if pool is None else (convpool2d, convpool2d_law, convpool2d_twins)
    X, *others = modules[2].draw(tuple(shape) if pool is None else case, dtype, dyadic, zeros=0)
    return *modules[:2], modules[2].both, np.random.default_rng(5).random(X.shape) < density, others


def agree(case, dtype, dyadic, **options):
    op, law, both, X, others = drawing(case, dtype, dyadic, **options)
    compare(both(op, X, *others), both(law, X.astype(dtype), *others), dyadic)


def compare(got, expected, dyadic):
    """Numbers, near or the same; and where they are the same, places."""
    kept = [k for k, a in enumerate(expected) if dyadic or a.dtype.kind == "f"]
    (same_bits if dyadic else near)(tuple(np.asarray(got[k]) for k in kept), tuple(expected[k] for k in kept))


@pytest.mark.parametrize("dtype, dyadic", [("float64", False), ("float32", True)], ids=["any", "dyadic"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_spikes_are_the_laws(case, dtype, dyadic):
    agree(case, dtype, dyadic)


@pytest.mark.parametrize("density", [0, 1])
@pytest.mark.parametrize("case", [CASES[1], CASES[6]], ids=str)
def test_silence_and_its_opposite(case, density):
    agree(case, "float32", True, density=density)


@pytest.fixture
def small_rooms(monkeypatch):
    """Two words of a window at a time, slices of two channels and of one, of two channels of deltas."""

    def clear():
        for factory in (spikes.forward, routed.input_gradient):
            factory.cache_clear()

    clear()
    monkeypatch.setattr(spikes, "WORDS", 2)
    monkeypatch.setattr(spikes, "ROOM", 1700)
    monkeypatch.setattr(spikes, "PARTS", 1)
    monkeypatch.setattr(routed, "OUTPUTS", 2)
    monkeypatch.setattr(routed, "EACH", 4)
    yield
    clear()


@pytest.mark.skipif(not _cuda.SIMULATED, reason="the rooms are small for the simulator's lanes")
@pytest.mark.usefixtures("small_rooms")
@pytest.mark.parametrize("pool", [MP2, None], ids=["pooled", "alone"])
def test_slices(pool):
    case = (2, 5, 4, 3, 7, (2, 3), (1, 1), (0, 1), pool)
    g, kind = Geometry(*case[5:8], pool or NO_POOL), np.dtype("float64")
    s = sizes((2, 5, 4, 3), 7, g)
    tile, part = spikes.tile_of(g, kind, s), routed.slice_of(g, kind, s)
    assert (tile.channels, tile.outputs, part.channels, part.even) == (5, 2, 2, False)
    agree(case, "float64", True)


@pytest.mark.skipif(not _cuda.SIMULATED, reason="the room is small for the simulator's lanes")
@pytest.mark.parametrize("room, channels, outputs", [(740, 2, 2), (450, 1, 2), (230, 1, 1), (150, None, None)])
def test_slices_of_weights(monkeypatch, room, channels, outputs):
    """Three of two channels and one, five of one, five with half the outputs, and none: the kernel for numbers."""
    monkeypatch.setattr(spikes, "ROOM", room)
    case = (4, 5, 3, 4, 7, (2, 3), (1, 1), (0, 1), MP2)
    g = Geometry(*case[5:])
    tile = spikes.tile_of(g, np.dtype("float64"), sizes((4, 5, 3, 4), 7, g))
    assert (tile.channels, tile.outputs) == (channels, outputs) if channels else tile is None
    agree(case, "float64", False)


@pytest.mark.parametrize("room", [0, 1])
def test_deltas_without_a_room(monkeypatch, room):
    """The kernel that needs none; and arranged weights for an image of numbers."""
    monkeypatch.setattr(routed, "ROOM", routed.ROOM * room)
    op, law, both, X, others = drawing(CASES[1], "float64", False)
    g = Geometry(*CASES[1][5:])
    assert bool(routed.slice_of(g, np.dtype("float64"), sizes(X.shape, 7, g))) == room
    x = X * 1.5 if room else X
    compare(both(op, x, *others), both(law, x * 1.0, *others), False)


@pytest.mark.parametrize("case", [CASES[0], CASES[6]], ids=str)
def test_bits_do_not_depend_on_blocks(monkeypatch, case):
    op, _, both, X, others = drawing(case, "float32", False)
    results = []
    for blocks in (1, 3):
        monkeypatch.setattr(_cuda, "BLOCKS", blocks)
        results.append(tuple(np.asarray(a) for x in (X, X.astype("float32") * 1.5) for a in both(op, x, *others)))
    same_bits(results[1], results[0])


def test_spikes_have_the_bits_of_numbers_forward(case=CASES[1]):
    op, _, _, X, (W, b, _, settings) = drawing(case, "float32", False)
    results = [op.convpool2d_forward(x, W, b, **settings) for x in (X, X.astype("float32"))]
    same_bits(*(tuple(map(np.asarray, (Y, cache.pool.place))) for Y, cache in results))


def test_a_nan_among_the_weights_is_met_where_a_spike_is():
    W, X = np.ones((1, 1, 1, 1)), np.zeros((1, 1, 2, 2), bool)
    W[:] = np.nan
    X[0, 0, 0, 1] = True
    Y, cache = convpool2d.convpool2d_forward(X, W, None, stride=(1, 1), padding=(0, 0), pool=MP2)
    assert np.isnan(np.asarray(Y)).all() and np.asarray(cache.pool.place).item() == 1


def test_launches():
    """Forward: the weights in tiles, and the product. Backward: shares, their sum, and the input gradient."""
    op, _, both, X, others = drawing(CASES[2], "float32", False)
    before = _cuda.launches
    both(op, X, *others)
    assert _cuda.launches - before == 5
    before = _cuda.launches
    both(op, X.astype("float32"), *others)
    assert _cuda.launches - before == 4  # without tiles, and in one
