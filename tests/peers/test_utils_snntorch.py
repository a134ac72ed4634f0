"""data_subset and valid_split against snnTorch 1.0.0: the same rows."""

import types

import numpy as np
import pytest

from npsnn.data import ImageDataset
from npsnn.utils import data_subset, valid_split

pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def utils():
    return pytest.importorskip("snntorch.utils", reason="needs snnTorch")


def both(n):
    data, targets = np.arange(n, dtype=np.uint8).reshape(n, 1, 1), np.arange(n) % 10

    class Theirs(types.SimpleNamespace):
        def __len__(self):
            return len(self.data)

    return ImageDataset(data, targets), lambda: Theirs(data=data, targets=targets)


def same(ours, theirs):
    assert np.array_equal(ours.data, theirs.data)
    assert np.array_equal(ours.targets, theirs.targets)


@pytest.mark.parametrize(("n", "subset", "idx"), [(23, 1, 0), (23, 2, 1), (23, 5, 0), (23, 5, 4), (23, 23, 22)])
def test_data_subset(utils, n, subset, idx):
    ours, theirs = both(n)
    same(data_subset(ours, subset, idx), utils.data_subset(theirs(), subset, idx))


@pytest.mark.parametrize(
    ("n", "split", "seed"), [(23, 0.1, 0), (23, 0.1, 7), (101, 0.5, 0), (101, 0.29, 3), (2, 0.5, 0)]
)
def test_valid_split(utils, n, split, seed):
    ours, theirs = both(n)
    for a, b in zip(
        valid_split(ours, ours, split, seed), utils.valid_split(theirs(), theirs(), split, seed), strict=True
    ):
        same(a, b)
