"""MNIST and whatever comes in its format (Fashion-MNIST): images with a class number each."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from npsnn import _check
from npsnn._check import Array
from npsnn.data.idx import read_idx

EMBEDDED = Path(__file__).parent / "embedded"
CLASSES = 10
SIDE = 28
_PREFIXES = {"train": "train", "test": "t10k"}
_ENDINGS = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}


class ImageDataset:
    """Grey images and their class numbers.

    Parameters
    ----------
    data : (N, H, W) uint8
    targets : (N,) integers

    Attributes
    ----------
    data : (N, H, W) uint8        the images, 0 .. 255
    targets : (N,) int64          the class numbers

    Raises
    ------
    TypeError, ValueError
        An array has another dtype or shape, the numbers of images and targets differ, or there are none.

    Notes
    -----
    ``dataset[i]`` is ``(image, target)``: (1, H, W) float32 in [0, 1] and an int.

    Example
    -------
    >>> dataset = ImageDataset(np.full((3, 2, 2), 51, np.uint8), np.array([7, 0, 1]))
    >>> image, target = dataset[0]
    >>> image
    array([[[0.2, 0.2],
            [0.2, 0.2]]], dtype=float32)
    >>> target, len(dataset)
    (7, 3)
    """

    def __init__(self, data: Array, targets: Array) -> None:
        self.data = _uint8_images(data)
        self.targets = _class_numbers(targets, len(self.data))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Array, int]:
        return _scaled(self.data[index])[None], int(self.targets[index])

    def __repr__(self) -> str:
        return f"ImageDataset({len(self)} images of {self.data.shape[1]} x {self.data.shape[2]})"

    def images(self) -> Array:
        """Return all images as (N, 1, H, W) float32 in [0, 1]: uint8 / 255, divided in float32.

        Example
        -------
        >>> ImageDataset(np.array([[[0, 255]]], np.uint8), np.array([3])).images()
        array([[[[0., 1.]]]], dtype=float32)
        """
        return _scaled(self.data)[:, None]

    def batch(self, rows: Array) -> tuple[Array, Array]:
        """Return the samples numbered `rows`: (B, 1, H, W) float32 in [0, 1] and (B,) int64.

        Example
        -------
        >>> dataset = ImageDataset(np.array([[[0]], [[255]]], np.uint8), np.array([3, 4]))
        >>> dataset.batch(np.array([1]))
        (array([[[[1.]]]], dtype=float32), array([4]))
        """
        return _scaled(self.data[rows])[:, None], self.targets[rows]


def mnist(split: str, root: str | os.PathLike[str] | None = None) -> ImageDataset:
    """Load MNIST: the part that comes with npsnn, or four IDX files of your own.

    Parameters
    ----------
    split : "train" or "test"
        Which of the two sets.
    root : folder, optional
        None: the first 6,000 training images and the first 1,000 test images, which are installed with the package.
        A folder: the IDX files in it, gzipped or not, named as the source names them (``train-images-idx3-ubyte``) or
        with a dot (``train-images.idx3-ubyte``). `download_mnist` makes such a folder. Fashion-MNIST has the same
        names and format, and works.

    Returns
    -------
    dataset : ImageDataset
        ``.data`` (N, 28, 28) uint8, ``.targets`` (N,) int64 in 0 .. 9.

    Raises
    ------
    FileNotFoundError
        `root` or a file in it is missing; the message lists the names looked for.
    ValueError
        Another `split`; a file is damaged or is not what its name says (see `npsnn.data.idx.read_idx`); the numbers of
        images and labels differ; an image is not 28 x 28; a label is above 9.

    Source
    ------
    Y. LeCun, C. Cortes, C. J. C. Burges, http://yann.lecun.com/exdb/mnist/, CC BY-SA 3.0

    Example
    -------
    >>> from npsnn.data import mnist
    >>> train, test = mnist("train"), mnist("test")
    >>> train, test
    (ImageDataset(6000 images of 28 x 28), ImageDataset(1000 images of 28 x 28))
    >>> train.targets[:10]
    array([5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    """
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    folder = EMBEDDED if root is None else Path(root)
    images, labels = find(folder, split, "images"), find(folder, split, "labels")
    data, targets = read_idx(images, "images"), read_idx(labels, "labels")
    if data.shape[1:] != (SIDE, SIDE):
        raise ValueError(f"{images} holds images of {data.shape[1]} x {data.shape[2]}, expected {SIDE} x {SIDE}")
    if len(data) != len(targets):
        raise ValueError(f"{images} holds {len(data)} images, but {labels} holds {len(targets)} labels")
    if targets.max() >= CLASSES:
        raise ValueError(f"{labels} holds the label {targets.max()}, expected 0..{CLASSES - 1}")
    return ImageDataset(data, targets)


def names(split: str, kind: str) -> list[str]:
    """The file names under which a part of MNIST is looked for, in this order.

    Example
    -------
    >>> names("test", "labels")[:2]
    ['t10k-labels-idx1-ubyte', 't10k-labels-idx1-ubyte.gz']
    """
    stems = [f"{_PREFIXES[split]}-{kind}{mark}{_ENDINGS[kind]}" for mark in "-."]
    return [stem + ending for stem in stems for ending in ("", ".gz")]


def find(folder: Path, split: str, kind: str) -> Path:
    """The first file of `names` that `folder` has; FileNotFoundError with all names where it has none."""
    tried = names(split, kind)
    for name in tried:
        if (folder / name).exists():
            return folder / name
    if not folder.is_dir():
        raise FileNotFoundError(f"root: {folder} is not a folder; npsnn.data.download_mnist({str(folder)!r}) makes it")
    raise FileNotFoundError(
        f"root: {folder} has none of {', '.join(tried)}; npsnn.data.download_mnist({str(folder)!r}) fetches MNIST"
    )


def _scaled(data: Array) -> Array:
    scaled: Array = data.astype(np.float32) / np.float32(255)
    return scaled


def _uint8_images(grey: Any) -> Array:
    data = _check.plain(grey, "data")
    if data.dtype != np.uint8:
        raise TypeError(f"data must be uint8 (grey values 0..255), got {data.dtype}")
    if data.ndim != 3 or data.size == 0:
        raise ValueError(f"data has shape {_check.shape_text(data.shape)}, expected (N, H, W), none of them 0")
    return data


def _class_numbers(numbers: Any, count: int) -> Array:
    targets = _check.plain(numbers, "targets")
    if targets.dtype.kind not in "iu":
        raise TypeError(f"targets must be integers (class numbers), got {targets.dtype}")
    _check.shape(targets, (count,), "targets")
    return targets.astype(np.int64)
