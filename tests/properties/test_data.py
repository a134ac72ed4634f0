"""What holds for every loader, subset and generator."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from npsnn import Generator, data, utils
from tests.properties.drawing import DRAWN, DTYPES, SEEDS, from_seed, pick, whole
from tests.twins import same_bits, unchanged


@from_seed
def loaders(rng):
    """(arguments of a loader, x, targets): x says which sample a row is."""
    n = whole(rng, 1, 17)
    options = {"batch_size": whole(rng, 1, 20), "shuffle": pick(rng, True, False), "seed": whole(rng, 0, 2**32 - 1)}
    return options, np.stack([np.arange(n), -np.arange(n)], axis=1) / 2, np.arange(n)


@DRAWN
@given(loaders, st.booleans())
def test_an_epoch_has_every_sample_once_with_its_target(drawn, drop_last):
    """In order where it is not shuffled; of a last batch that is dropped, nothing but its samples is missing."""
    options, x, targets = drawn
    loader = data.DataLoader((x, targets), drop_last=drop_last, **options)
    for _ in range(2):
        with unchanged(x, targets):
            batches = list(loader)
        size = options["batch_size"]
        assert len(batches) == len(loader) == (len(x) // size if drop_last else -(-len(x) // size))
        assert all(len(t) == size for _, t in (batches if drop_last else batches[:-1]))
        for rows, t in batches:
            assert t.dtype == np.int64 and rows.dtype == x.dtype and len(rows) == len(t)
            np.testing.assert_array_equal(rows, x[t])
            assert not np.shares_memory(rows, x)
        seen = [int(i) for _, t in batches for i in t]
        if not options["shuffle"]:
            assert seen == list(range(len(seen)))
        assert len(set(seen)) == len(seen) == (len(x) // size * size if drop_last else len(x))


@DRAWN
@given(loaders, st.integers(0, 3))
def test_a_loader_goes_on_from_the_state_of_its_generator(drawn, epochs):
    options, x, targets = drawn
    loader, other = data.DataLoader((x, targets), **options), data.DataLoader((x, targets), **{**options, "seed": 1})
    for _ in range(epochs):
        list(loader)
    other.generator.set_state(loader.generator.get_state())
    for _ in range(2):
        assert [t.tolist() for _, t in other] == [t.tolist() for _, t in loader]


@DRAWN
@given(loaders, st.integers(0, 30))
def test_a_loader_goes_on_from_its_own_state_within_an_epoch(drawn, batches):
    options, x, targets = drawn
    loader, other = data.DataLoader((x, targets), **options), data.DataLoader((x, targets), **{**options, "seed": 1})
    epochs = itertools.chain.from_iterable(itertools.repeat(loader))
    for _ in range(batches):
        next(epochs)
    other.load_state_dict(loader.state_dict())
    expected = [next(epochs)[1].tolist() for _ in range(2 * len(loader))]
    again = itertools.chain.from_iterable(itertools.repeat(other))
    assert [next(again)[1].tolist() for _ in range(2 * len(loader))] == expected


@DRAWN
@given(loaders, SEEDS)
def test_subsets_and_splits_take_every_sample_once_and_leave_the_whole_alone(drawn, seed):
    _, x, targets = drawn
    n = len(x)
    parts = 1 + seed % n
    with unchanged(x, targets):
        blocks = [utils.data_subset((x, targets), parts, i) for i in range(parts)]
        pair = utils.valid_split((x, targets), None, 0.5, seed) if n > 1 else blocks
    taken = np.concatenate([t for _, t in blocks])
    np.testing.assert_array_equal(taken, np.arange(n // parts * parts))
    assert n == 1 or sorted(np.concatenate([t for _, t in pair])) == list(range(n))
    for rows, t in (*blocks, *pair):
        np.testing.assert_array_equal(rows, x[t])
        assert not np.shares_memory(rows, x)


DRAWS = {
    "uniform": lambda g: g.uniform(-1, 1, 3),
    "wide": lambda g: g.uniform(-1, 1, (2, 2), np.float64),
    "randperm": lambda g: g.randperm(5),
    "bernoulli": lambda g: g.bernoulli(np.full(3, 0.5)),
    "int64": lambda g: g.int64(),
}


@DRAWN
@given(SEEDS, st.lists(st.sampled_from(list(DRAWS)), max_size=5), st.integers(0, 700))
def test_a_generator_goes_on_from_its_state(seed, draws, skipped):
    """Wherever the stream stands, and whatever is drawn next; taking the state moves nothing."""
    generator, other = Generator(seed), Generator(0)
    generator.uniform(0, 1, skipped)
    state = generator.get_state()
    other.set_state(state)
    ahead = Generator(seed)
    ahead.uniform(0, 1, skipped)
    for name in draws:
        expected = DRAWS[name](ahead)
        np.testing.assert_array_equal(DRAWS[name](generator), expected)
        np.testing.assert_array_equal(DRAWS[name](other), expected)
    other.set_state(state)
    same_bits(other.get_state()["key"], state["key"])
    assert other.seed == seed


@DRAWN
@given(SEEDS, st.integers(0, 60), DTYPES)
def test_what_a_generator_draws_is_in_its_range(seed, n, dtype):
    generator = Generator(seed)
    assert sorted(generator.randperm(n)) == list(range(n))
    u = generator.uniform(-2, 3, (n, 2), dtype)
    assert u.shape == (n, 2) and u.dtype == dtype and ((-2 <= u) & (u <= 3)).all()
    p = np.linspace(0, 1, n, dtype=dtype)
    with unchanged(p):
        b = generator.bernoulli(p)
    assert b.shape == p.shape and b.dtype == dtype and set(np.unique(b)) <= {0, 1}
    assert not b[p == 0].any() and b[p == 1].all()
    assert 0 <= generator.int64() < 2**63
