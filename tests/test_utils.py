"""data_subset and valid_split. tests/peers compares them with snnTorch."""

import numpy as np
import pytest

from npsnn.data import ImageDataset, mnist
from npsnn.utils import data_subset, valid_split


def numbered(n):
    return ImageDataset(np.arange(n, dtype=np.uint8).reshape(n, 1, 1), np.arange(n) % 10)


@pytest.mark.parametrize(("n", "subset", "idx", "rows"), [
    (7, 1, 0, range(7)), (7, 2, 0, range(3)), (7, 2, 1, range(3, 6)), (7, 7, 6, [6]), (7, 3, 2, [4, 5]),
])  # fmt: skip
def test_data_subset(n, subset, idx, rows):
    dataset = numbered(n)
    block = data_subset(dataset, subset, idx)
    assert block.data.ravel().tolist() == list(rows)
    assert block.targets.tolist() == list(rows)
    x, targets = data_subset((np.arange(n) / 2, np.arange(n)), subset, idx)
    assert (2 * x).tolist() == targets.tolist() == list(rows)


def test_data_subset_is_a_copy_and_leaves_the_whole_alone():
    dataset = numbered(7)
    block = data_subset(dataset, 1)
    block.data[:], block.targets[:] = 0, 0
    assert len(dataset) == 7
    assert dataset.data.ravel().tolist() == dataset.targets.tolist() == list(range(7))


def test_data_subset_of_mnist():
    train = mnist("train")
    tenth = data_subset(train, 10, 3)
    assert len(tenth) == 600
    assert np.array_equal(tenth.data, train.data[1800:2400])


@pytest.mark.parametrize(
    ("subset", "idx", "error", "message"),
    [
        (0, 0, ValueError, "subset must be at least 1, got 0"),
        (8, 0, ValueError, "subset must be at most 7, the number of samples, got 8"),
        (2, 2, ValueError, r"idx must be below subset \(2\), got 2"),
        (2, -1, ValueError, "idx must be at least 0, got -1"),
        (2.0, 0, TypeError, "subset must be an integer, got 2.0"),
    ],
)
def test_data_subset_refuses(subset, idx, error, message):
    with pytest.raises(error, match=message):
        data_subset(numbered(7), subset, idx)


def test_other_datasets_are_refused():
    with pytest.raises(TypeError, match=r"dataset must be an ImageDataset or a pair \(x, targets\), got ndarray"):
        data_subset(np.zeros(3), 2)


def test_valid_split():
    whole = numbered(11)
    train, val = valid_split(whole, whole, 0.3, seed=0)
    assert train.data.ravel().tolist() == [3, 9, 10, 5, 2, 1, 0, 4]
    assert val.data.ravel().tolist() == [6, 7, 8]
    assert val.targets.tolist() == [6, 7, 8]
    assert len(whole) == 11
    assert valid_split(whole, None, 0.3, seed=1)[1].data.ravel().tolist() != [6, 7, 8]


@pytest.mark.parametrize(
    ("split", "seed", "error", "message"),
    [
        (0, 0, ValueError, "split 0 of 11 samples gives 0 to validation, expected 1..10"),
        (0.05, 0, ValueError, "split 0.05 of 11 samples gives 0 to validation"),
        (1, 0, ValueError, "split 1 of 11 samples gives 11 to validation"),
        (-0.5, 0, ValueError, "gives -5 to validation"),
        ("a", 0, TypeError, "split must be a number, got 'a'"),
        (0.3, -1, ValueError, "seed must be at least 0, got -1"),
    ],
)
def test_valid_split_refuses(split, seed, error, message):
    with pytest.raises(error, match=message):
        valid_split(numbered(11), None, split, seed)
