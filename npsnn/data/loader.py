"""Batches in order or shuffled, as a PyTorch program draws them from the same seed (conventions C10)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.data.mnist import ImageDataset
from npsnn.generator import Generator, as_generator


class DataLoader:
    """Cut a dataset into batches; iterate over it once for each epoch.

    Parameters
    ----------
    dataset : ImageDataset, or a pair ``(x, targets)`` of arrays with the same first length
        Images are converted to float32 in [0, 1], one batch at a time. The `x` of a pair is any float array and is
        yielded as it is, in its dtype; its `targets` are integers.
    batch_size : int, at least 1
    shuffle : bool
        Draw a new order for each epoch.
    drop_last : bool
        Leave out a last batch that is smaller than the others.
    seed : int or Generator
        Two epochs of one loader differ, two loaders with the same int do not. With a `Generator` that has drawn the
        weights of a network, the batches are those that a PyTorch program gets after ``torch.manual_seed``.

    Yields
    ------
    x : (batch, ...) float array, C-contiguous; (batch, 1, 28, 28) float32 for MNIST
    targets : (batch, ...) int64

    Raises
    ------
    TypeError, ValueError
        An argument of another type or size, an empty dataset, or arrays of different lengths.

    Notes
    -----
    Every ``iter`` draws one int64, which PyTorch keeps for its workers, and the first batch of a shuffled epoch one
    more, which seeds that epoch's `Generator.randperm`. Batches are copies. `state_dict` says where the loader stands,
    also within an epoch; of two iterations at once, it is the later one's place.

    Example
    -------
    >>> from npsnn.data import DataLoader
    >>> x, targets = np.arange(5.0).reshape(5, 1), np.array([0, 1, 2, 3, 4])
    >>> loader = DataLoader((x, targets), batch_size=2, shuffle=True, seed=0)
    >>> [t.tolist() for _, t in loader], [t.tolist() for _, t in loader]
    ([[1, 4], [2, 3], [0]], [[2, 3], [4, 0], [1]])
    """

    def __init__(
        self, dataset: Any, batch_size: int, shuffle: bool = False, drop_last: bool = False, seed: int | Generator = 0
    ) -> None:
        self.dataset = dataset
        self.batch_size = _check.whole(batch_size, "batch_size")
        self.shuffle = _check.flag(shuffle, "shuffle")
        self.drop_last = _check.flag(drop_last, "drop_last")
        self.generator = as_generator(seed)
        self._pair = None if isinstance(dataset, ImageDataset) else pair(dataset)
        self._length = len(dataset if self._pair is None else self._pair[0])
        self._begin_at = 0  # the batch with which the next epoch begins
        self._latest: _Place | None = None

    def __len__(self) -> int:
        """The number of batches of an epoch."""
        whole, rest = divmod(self._length, self.batch_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        place = self._latest = _Place(self.generator.get_state(), self._begin_at)
        self._begin_at = 0
        self.generator.int64()
        return self._batches(place)

    def state_dict(self) -> dict[str, Any]:
        """Where the loader stands: a loader of the same data that loads this gives the batches that are still to come.

        Within an epoch that is the rest of it; else the next epoch.

        Example
        -------
        >>> x, targets = np.arange(5.0).reshape(5, 1), np.array([0, 1, 2, 3, 4])
        >>> loader, other = (DataLoader((x, targets), batch_size=2, shuffle=True, seed=seed) for seed in (0, 1))
        >>> batches = iter(loader)
        >>> next(batches)[1].tolist()
        [1, 4]
        >>> other.load_state_dict(loader.state_dict())
        >>> [t.tolist() for _, t in batches], [t.tolist() for _, t in other]
        ([[2, 3], [0]], [[2, 3], [0]])
        """
        state, position = self.generator.get_state(), self._begin_at
        if self._latest is not None and self._latest.given < len(self):
            state, position = self._latest.before, self._latest.given
        return {"generator": state, "position": position, **self._settings()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take a `state_dict()` over, all or nothing; ValueError or TypeError where it is of other data or batches."""
        ours = self._settings()
        if not isinstance(state, Mapping) or set(state) != {"generator", "position", *ours}:
            raise ValueError(f"loader state: expected generator, position, {', '.join(ours)}")
        for name, value in ours.items():
            if type(state[name]) is not type(value) or state[name] != value:
                raise ValueError(f"loader state: {name} is {state[name]!r}, this loader's is {value!r}")
        position = _check.whole(state["position"], "position", 0, "loader state")
        if position >= max(len(self), 1):
            raise ValueError(f"loader state: position must be below {len(self)}, the number of batches, got {position}")
        self.generator.set_state(state["generator"])
        self._begin_at, self._latest = position, None

    def _settings(self) -> dict[str, Any]:
        return {
            "samples": self._length, "batch_size": self.batch_size, "shuffle": self.shuffle, "drop_last": self.drop_last
        }  # fmt: skip

    def _batches(self, place: "_Place") -> Iterator[tuple[Array, Array]]:
        order = Generator(self.generator.int64()).randperm(self._length) if self.shuffle else np.arange(self._length)
        for i in range(place.given, len(self)):
            batch = self._batch(order[i * self.batch_size : (i + 1) * self.batch_size])
            place.given = i + 1
            yield batch

    def _batch(self, rows: Array) -> tuple[Array, Array]:
        if self._pair is None:
            images: tuple[Array, Array] = self.dataset.batch(rows)
            return images
        x, targets = self._pair
        return np.ascontiguousarray(x[rows]), np.ascontiguousarray(targets[rows], dtype=np.int64)


@dataclass
class _Place:
    """How far one iteration is."""

    before: dict[str, Any]  # the generator's state before it
    given: int  # batches


def pair(dataset: Any) -> tuple[Array, Array]:
    """Return a dataset that is a pair as two arrays of the same length, floats and integers, and refuse all else.

    Example
    -------
    >>> pair(([0.5, 1.0], [3, 4]))
    (array([0.5, 1. ]), array([3, 4]))
    """
    if not isinstance(dataset, tuple | list) or len(dataset) != 2:
        raise TypeError(f"dataset must be an ImageDataset or a pair (x, targets), got {type(dataset).__name__}")
    x, targets = _check.plain(dataset[0], "x"), _check.plain(dataset[1], "targets")
    if x.dtype.kind != "f":
        raise TypeError(
            f"x is {x.dtype}, the loader yields float arrays; convert it: x.astype(np.float32), "
            "and for images of 0..255 divide by 255"
        )
    if targets.dtype.kind not in "iu":
        raise TypeError(f"targets must be integers (class numbers), got {targets.dtype}")
    if x.ndim == 0 or targets.ndim == 0 or len(x) != len(targets):
        raise ValueError(
            f"x has shape {_check.shape_text(x.shape)} and targets {_check.shape_text(targets.shape)}, "
            "expected the same first length"
        )
    if len(x) == 0:
        raise ValueError("dataset is empty")
    return x, targets
