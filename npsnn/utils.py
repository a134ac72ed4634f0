"""Smaller and split datasets, as ``snntorch.utils`` has them, but new: what comes in stays. And saved networks."""

from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.checkpoint import load as load
from npsnn.checkpoint import restore as restore
from npsnn.checkpoint import save as save
from npsnn.data.loader import pair
from npsnn.data.mnist import ImageDataset
from npsnn.safetensors_file import load_safetensors as load_safetensors
from npsnn.safetensors_file import save_safetensors as save_safetensors

Dataset = ImageDataset | tuple[Array, Array]


def data_subset(dataset: Any, subset: int, idx: int = 0) -> Dataset:
    """Return the `idx`-th contiguous block of ``N // subset`` samples as a new dataset.

    Parameters
    ----------
    dataset : ImageDataset, or a pair ``(x, targets)`` of arrays
        The whole, N samples.
    subset : int, 1 .. N
        Into how many blocks the data is cut. ``N % subset`` last samples belong to none.
    idx : int, 0 .. subset - 1
        Which block.

    Returns
    -------
    block : of the kind of `dataset`, a copy of rows ``[step * idx, step * (idx + 1))`` with ``step = N // subset``

    Raises
    ------
    TypeError, ValueError
        An argument of another type or out of range.

    Notes
    -----
    Deliberately other than snnTorch 1.0.0, which changes the dataset that is passed in and returns it: here a second
    call starts from the whole again. ``subset > N`` and ``idx == subset``, which give an empty set and the left-over
    samples there, are errors here.

    Example
    -------
    >>> from npsnn.utils import data_subset
    >>> x, targets = data_subset((np.arange(7.0), np.arange(7)), subset=3, idx=1)
    >>> x, targets
    (array([2., 3.]), array([2, 3]))
    """
    n = _length(dataset)
    subset, idx = _check.whole(subset, "subset"), _check.whole(idx, "idx", 0)
    if subset > n:
        raise ValueError(f"subset must be at most {n}, the number of samples, got {subset}")
    if idx >= subset:
        raise ValueError(f"idx must be below subset ({subset}), got {idx}")
    step = n // subset
    return _take(dataset, np.arange(step * idx, step * (idx + 1)))


def valid_split(ds_train: Any, ds_val: Any, split: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Split `ds_train` at random into a training and a validation set that share no sample.

    Parameters
    ----------
    ds_train : ImageDataset, or a pair ``(x, targets)`` of arrays
        The whole, N samples.
    ds_val : anything
        Not looked at: both results come from `ds_train`. snnTorch needs it as a vessel for the second result, and with
        it here a program written for snnTorch runs unchanged.
    split : float
        The part that becomes the validation set: ``int(N * split)`` samples.
    seed : int, at least 0
        Of the draw.

    Returns
    -------
    train, val : new datasets of the kind of `ds_train`
        The training samples in the order drawn, the validation samples in their old order: the rows that snnTorch
        1.0.0 picks for the same seed (``numpy.random.default_rng(seed).choice``).

    Raises
    ------
    TypeError, ValueError
        An argument of another type, or a `split` that leaves one of the two without a sample.

    Notes
    -----
    Deliberately other than snnTorch, which changes both datasets that are passed in.

    Example
    -------
    >>> from npsnn.utils import valid_split
    >>> train, val = valid_split((np.arange(5.0), np.arange(5)), None, split=0.4, seed=0)
    >>> train[1], val[1]
    (array([3, 4, 2]), array([0, 1]))
    """
    n = _length(ds_train)
    n_val = int(n * _check.real(split, "split"))
    if not 0 < n_val < n:
        raise ValueError(f"split {split} of {n} samples gives {n_val} to validation, expected 1..{n - 1}")
    rng = np.random.default_rng(_check.whole(seed, "seed", 0))
    train = rng.choice(n, size=n - n_val, replace=False)
    left = np.ones(n, dtype=bool)
    left[train] = False
    return _take(ds_train, train), _take(ds_train, np.flatnonzero(left))


def _length(dataset: Any) -> int:
    return len(dataset) if isinstance(dataset, ImageDataset) else len(pair(dataset)[0])


def _take(dataset: Any, rows: Array) -> Dataset:
    if isinstance(dataset, ImageDataset):
        return ImageDataset(dataset.data[rows], dataset.targets[rows])
    x, targets = pair(dataset)
    return x[rows], targets[rows]
