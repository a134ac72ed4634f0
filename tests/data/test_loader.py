"""Batches: order, shapes, copies, what is refused. tests/peers compares the order with PyTorch's."""

import numpy as np
import pytest

from npsnn.data import DataLoader, ImageDataset, mnist
from npsnn.generator import Generator


def pairs(n):
    return np.arange(n, dtype=np.float64)[:, None] / 2, np.arange(n, dtype=np.int32)


def order(loader):
    return [targets.tolist() for _, targets in loader]


@pytest.mark.parametrize(("n", "batch_size", "drop_last", "sizes"), [
    (7, 3, False, [3, 3, 1]), (7, 3, True, [3, 3]), (6, 3, False, [3, 3]), (6, 3, True, [3, 3]),
    (1, 1, False, [1]), (2, 5, False, [2]), (2, 5, True, []),
])  # fmt: skip
@pytest.mark.parametrize("shuffle", [False, True])
def test_sizes(n, batch_size, drop_last, sizes, shuffle):
    loader = DataLoader(pairs(n), batch_size, shuffle, drop_last)
    batches = list(loader)
    assert len(loader) == len(batches)
    assert [len(x) for x, _ in batches] == [len(t) for _, t in batches] == sizes


def test_without_shuffle_the_order_is_the_datasets():
    loader = DataLoader(pairs(7), 3)
    assert order(loader) == order(loader) == [[0, 1, 2], [3, 4, 5], [6]]


def test_two_epochs_differ_and_two_runs_do_not():
    loader, again = (DataLoader(pairs(23), 5, shuffle=True, seed=3) for _ in range(2))
    first, second = order(loader), order(loader)
    assert first != second
    for epoch in (first, second):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(23))
    assert [order(again), order(again)] == [first, second]
    assert order(DataLoader(pairs(23), 5, shuffle=True, seed=4)) != first


def test_x_and_targets_stay_together():
    for x, targets in DataLoader(pairs(23), 5, shuffle=True):
        assert np.array_equal(x, targets[:, None] / 2)


def test_what_an_epoch_draws():
    generator, other = Generator(8), Generator(8)
    order(DataLoader(pairs(5), 2, seed=generator))
    other.int64()
    assert np.array_equal(order(DataLoader(pairs(5), 5, shuffle=True, seed=generator))[0], shuffled(other, 5))
    assert generator.int64() == other.int64()


def shuffled(generator, n):
    generator.int64()
    return Generator(generator.int64()).randperm(n)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("given", range(7))
def test_going_on_from_a_state(given, shuffle):
    """Within an epoch of five batches, at its ends and after it: what is still to come."""
    loader = DataLoader(pairs(23), 5, shuffle, seed=3)
    epochs = (batch for _ in range(3) for batch in loader)
    for _ in range(given):
        next(epochs)
    state = loader.state_dict()
    rest = [targets.tolist() for _, targets in epochs]
    later = DataLoader(pairs(23), 5, shuffle, seed=9)
    later.load_state_dict(state)
    np.testing.assert_equal(later.state_dict(), state)
    assert (order(later) + order(later) + order(later))[: len(rest)] == rest
    assert [len(batch) for batch in rest] == ([5, 5, 5, 5, 3] * 3)[given:]


def test_a_state_between_iter_and_the_first_batch_is_of_the_whole_epoch():
    loader = DataLoader(pairs(23), 5, shuffle=True, seed=3)
    batches = iter(loader)
    later = DataLoader(pairs(23), 5, shuffle=True)
    later.load_state_dict(loader.state_dict())
    assert order(later) == [targets.tolist() for _, targets in batches]


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"samples": 22}, ValueError, "samples is 22, this loader's is 23"),
    ({"batch_size": 4}, ValueError, "batch_size is 4, this loader's is 5"),
    ({"shuffle": False}, ValueError, "shuffle is False, this loader's is True"),
    ({"drop_last": 0}, ValueError, "drop_last is 0, this loader's is False"),
    ({"position": 5}, ValueError, "position must be below 5, the number of batches, got 5"),
    ({"position": -1}, ValueError, "position must be at least 0, got -1"),
    ({"position": 1.0}, TypeError, "position must be an integer, got 1.0"),
    ({"generator": {}}, ValueError, "state has no 'seed'"),
    ({"more": 1}, ValueError, "expected generator, position, samples, batch_size, shuffle, drop_last"),
])  # fmt: skip
def test_a_state_that_is_of_another_loader_changes_nothing(change, error, message):
    loader, other = (DataLoader(pairs(23), 5, shuffle=True, seed=3) for _ in range(2))
    next(iter(loader))
    with pytest.raises(error, match=message):
        other.load_state_dict({**loader.state_dict(), **change})
    assert order(other) == order(DataLoader(pairs(23), 5, shuffle=True, seed=3))


def test_two_iterations_at_once_do_not_disturb_each_other():
    loader = DataLoader(pairs(4), 2, shuffle=True, seed=0)
    a, b = iter(loader), iter(loader)
    both = [next(a), next(b), next(a), next(b)]
    assert sorted(np.concatenate([t for _, t in both[::2]]).tolist()) == [0, 1, 2, 3]
    assert sorted(np.concatenate([t for _, t in both[1::2]]).tolist()) == [0, 1, 2, 3]


def test_batches_of_mnist():
    test = mnist("test")
    loader = DataLoader(test, 128, shuffle=True)
    assert loader.dataset is test
    assert len(loader) == 8
    x, targets = next(iter(loader))
    assert (x.shape, x.dtype, x.flags.c_contiguous) == ((128, 1, 28, 28), np.float32, True)
    assert (targets.shape, targets.dtype) == ((128,), np.int64)
    rows = shuffled(Generator(0), 1000)[:128]
    assert np.array_equal(x, test.images()[rows])
    assert np.array_equal(targets, test.targets[rows])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_own_arrays_keep_their_dtype_and_shape(dtype):
    data = np.asfortranarray(np.arange(5 * 3 * 2).reshape(5, 3, 2).astype(dtype))
    labels = np.arange(10, dtype=np.uint8).reshape(5, 2)
    for x, targets in DataLoader([data, labels], 5):
        assert (x.dtype, x.flags.c_contiguous, targets.dtype) == (dtype, True, np.int64)
        assert np.array_equal(x, data)
        assert np.array_equal(targets, labels)


def test_batches_are_copies():
    x, targets = pairs(4)
    dataset = ImageDataset(np.ones((4, 2, 2), np.uint8), np.arange(4))
    for source in ((x, targets), dataset):
        for a, b in DataLoader(source, 4):
            a[:], b[:] = 77, 77
    assert x.max() == 1.5
    assert targets.tolist() == dataset.targets.tolist() == [0, 1, 2, 3]
    assert dataset.data.max() == 1


X, T = pairs(4)
REFUSED = [
    ((X, 2), TypeError, r"dataset must be an ImageDataset or a pair \(x, targets\), got ndarray"),
    (((X, T, T), 2), TypeError, r"dataset must be an ImageDataset or a pair \(x, targets\), got tuple"),
    (((X, T[:3]), 2), ValueError, r"x has shape \(4, 1\) and targets \(3,\), expected the same first length"),
    (((X[:0], T[:0]), 2), ValueError, "dataset is empty"),
    (((T, T), 2), TypeError, r"x is int32, the loader yields float arrays; convert it: x.astype\(np.float32\)"),
    (((X, X), 2), TypeError, r"targets must be integers \(class numbers\), got float64"),
    (((np.float64(1), T), 2), ValueError, r"x has shape \(\) and targets \(4,\)"),
    (((X, T), 0), ValueError, "batch_size must be at least 1, got 0"),
    (((X, T), 2.0), TypeError, "batch_size must be an integer, got 2.0"),
    (((X, T), 2, 1), TypeError, "shuffle must be True or False, got 1"),
    (((X, T), 2, True, None), TypeError, "drop_last must be True or False, got None"),
    (((X, T), 2, True, False, -1), ValueError, "seed must be at least 0, got -1"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_what_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DataLoader(*arguments)
