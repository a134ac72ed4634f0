"""What the tests of the twins share: how near is near, which bits, how many threads.

The law and its twin add the same terms in different orders. The order changes a sum of n terms by at most about n eps
of the terms' sizes; n is a few hundred here, so `TOLERANCE` is some hundred eps, relative to the largest entry: a small
entry may be the difference of large terms. On dyadic data every order gives the same bits.
"""

import inspect
from contextlib import contextmanager

import numpy as np
import pytest

from npsnn import _threads

TOLERANCE = {"float32": 2e-5, "float64": 1e-12}
DTYPES = list(TOLERANCE)


def few_ones(rng, shape, dtype):
    """Zeros and a fifth of ones: spikes."""
    return (rng.random(shape) < 0.2).astype(dtype)


def near(actual, expected):
    """Every array of `actual` within TOLERANCE of the largest entry of its counterpart; same shape and dtype."""
    for a, e in zip(_arrays(actual), _arrays(expected), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        if e.size:
            np.testing.assert_allclose(a, e, rtol=0, atol=TOLERANCE[str(e.dtype)] * np.abs(e).max())


def same_bits(actual, expected):
    """The same bytes, shapes and dtypes."""
    for a, e in zip(_arrays(actual), _arrays(expected), strict=True):
        assert (a.shape, a.dtype) == (e.shape, e.dtype)
        same = a.tobytes() == e.tobytes()  # not in the assertion, which would write out the bytes
        assert same, f"{np.count_nonzero(a != e)} of {a.size} entries differ"


def _arrays(result):
    if isinstance(result, tuple):
        return [a for part in result for a in _arrays(part)]
    return [np.array(np.nan) if result is None else np.asarray(result)]


@contextmanager
def unchanged(*arrays):
    """The block changes none of the arrays (None is allowed)."""
    arrays = [a for a in arrays if a is not None]
    before = [a.tobytes() for a in arrays]
    yield
    assert before == [a.tobytes() for a in arrays]


def same_for_any_number_of_threads(function):
    """`function()` has the same bits on 1, 2, 3 and 8 threads; every kernel in it has three chunks or more to share."""
    pytest.importorskip("numba")
    threads, results, share, shared = _threads.count(), [], _threads.share, []

    def noted(chunks, work):
        shared.append(chunks)
        share(chunks, work)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_threads, "share", noted)
        try:
            for n in (1, 2, 3, 8):
                _threads.set_count(n)
                results.append(function())
        finally:
            _threads.set_count(threads)
    assert shared and min(shared) >= 3, shared
    for result in results[1:]:
        same_bits(results[0], result)


def same_signatures(reference, twin, names):
    """The twin has these functions, with the law's signatures, and no other public one."""
    own = {n for n, f in inspect.getmembers(twin, inspect.isfunction) if f.__module__ == twin.__name__ and n[0] != "_"}
    assert own == set(names)
    for name in names:
        assert inspect.signature(getattr(twin, name)) == inspect.signature(getattr(reference, name)), name


def drawn(rng, shape, dtype, *, zeros=0.5, dyadic=False):
    """Random numbers, a share of them zero; dyadic ones are multiples of 1/8 up to 1, whose sums are exact."""
    x = rng.integers(-8, 9, shape) / 8 if dyadic else rng.normal(size=shape)
    return np.where(rng.random(shape) < zeros, 0, x).astype(dtype)
