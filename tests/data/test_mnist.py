"""The embedded subset byte by byte, folders of IDX files, and the dataset made of them."""

import gzip
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npsnn.data
from npsnn.data import ImageDataset, mnist

EMBEDDED = Path(npsnn.data.__file__).parent / "embedded"
README = (EMBEDDED / "README.md").read_text(encoding="utf-8")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_the_embedded_files_are_those_of_their_readme():
    rows = re.findall(r"^\| `(.*\.gz)` \| `(\w{64})` \| `(\w{64})` \|$", README, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(path.name for path in EMBEDDED.glob("*.gz"))
    assert len(rows) == 4
    for name, packed, unpacked in rows:
        content = (EMBEDDED / name).read_bytes()
        assert sha256(content) == packed, name
        assert sha256(gzip.decompress(content)) == unpacked, name


@pytest.mark.parametrize(("split", "n", "counts", "total"), [
    ("train", 6000, [592, 671, 581, 608, 623, 514, 608, 651, 551, 601], 157703741),
    ("test", 1000, [85, 126, 116, 107, 110, 87, 87, 99, 89, 94], 24443134),
])  # fmt: skip
def test_the_embedded_subset(split, n, counts, total):
    dataset = mnist(split)
    assert len(dataset) == n
    assert dataset.data.shape == (n, 28, 28)
    assert dataset.data.dtype == np.uint8
    assert dataset.targets.dtype == np.int64
    assert np.bincount(dataset.targets).tolist() == counts
    assert int(dataset.data.sum(dtype=np.int64)) == total
    images = dataset.images()
    assert images.shape == (n, 1, 28, 28)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert (images.min(), images.max()) == (0, 1)
    image, target = dataset[-1]
    assert np.array_equal(image, images[-1])
    assert type(target) is int
    assert target == dataset.targets[-1]


def test_grey_values_are_divided_in_float32():
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    images = ImageDataset(grey, np.array([3])).images()
    assert images.ravel().tolist() == [float(np.float32(v) / np.float32(255)) for v in range(256)]


def test_a_dataset_is_a_sequence():
    dataset = ImageDataset(np.zeros((3, 2, 5), np.uint8), np.array([1, 2, 3], np.uint8))
    assert [target for _, target in dataset] == [1, 2, 3]
    assert [image.shape for image, _ in dataset] == [(1, 2, 5)] * 3
    assert str(dataset) == "ImageDataset(3 images of 2 x 5)"
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize(
    ("data", "targets", "error", "message"),
    [
        (np.zeros((3, 2, 2)), [0, 1, 2], TypeError, r"data must be uint8 \(grey values 0..255\), got float64"),
        (np.zeros((3, 4), np.uint8), [0, 1, 2], ValueError, r"data has shape \(3, 4\), expected \(N, H, W\)"),
        (np.zeros((0, 2, 2), np.uint8), [], ValueError, r"data has shape \(0, 2, 2\), expected"),
        (np.zeros((3, 2, 2), np.uint8), [0, 1], ValueError, r"targets has shape \(2,\), expected \(3,\)"),
        (np.zeros((1, 2, 2), np.uint8), [0.0], TypeError, r"targets must be integers \(class numbers\), got float64"),
    ],
)
def test_a_dataset_checks_its_arrays(data, targets, error, message):
    with pytest.raises(error, match=message):
        ImageDataset(data, targets)


def idx(array):
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write(folder, images=None, labels=None, mark="-", pack=bytes, ending="", prefix="train"):
    images = np.arange(3 * 784).reshape(3, 28, 28) % 251 if images is None else images
    labels = np.array([9, 0, 4]) if labels is None else labels
    (folder / f"{prefix}-images{mark}idx3-ubyte{ending}").write_bytes(pack(idx(images)))
    (folder / f"{prefix}-labels{mark}idx1-ubyte{ending}").write_bytes(pack(idx(labels)))
    return images, labels


@pytest.mark.parametrize("mark", ["-", "."])
@pytest.mark.parametrize(("pack", "ending"), [(bytes, ""), (gzip.compress, ".gz"), (gzip.compress, ""), (bytes, ".gz")])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_a_folder_of_idx_files(tmp_path, mark, pack, ending, split, prefix):
    images, labels = write(tmp_path, mark=mark, pack=pack, ending=ending, prefix=prefix)
    for root in (tmp_path, str(tmp_path)):
        dataset = mnist(split, root)
        assert np.array_equal(dataset.data, images)
        assert np.array_equal(dataset.targets, labels)


def test_a_missing_file_names_all_that_were_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        mnist("test", tmp_path)
    message = str(caught.value)
    for name in ("t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte", "t10k-images-idx3-ubyte.gz", "download_mnist("):
        assert name in message
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; "):
        mnist("test", tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 28, 28)), np.zeros(2), "holds 3 images, but .*train-labels-idx1-ubyte holds 2 labels"),
        (np.zeros((3, 28, 28)), np.array([0, 10, 3]), "train-labels-idx1-ubyte holds the label 10, expected 0..9"),
        (np.zeros((3, 28, 27)), np.zeros(3), "images-idx3-ubyte holds images of 28 x 27, expected 28 x 28"),
        (np.zeros(3), np.zeros(3), r"train-images-idx3-ubyte holds labels \(magic 0x00000801\), expected images"),
    ],
)
def test_files_that_do_not_fit_together(tmp_path, images, labels, message):
    write(tmp_path, images, labels)
    with pytest.raises(ValueError, match=message):
        mnist("train", tmp_path)


def test_a_folder_in_the_place_of_a_file(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte").mkdir()
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte is a folder, expected an IDX file"):
        mnist("train", tmp_path)


@pytest.mark.parametrize("split", ["val", "Train", None, 0])
def test_the_split_is_checked(split):
    with pytest.raises(ValueError, match='split must be "train" or "test", got '):
        mnist(split)


def test_npsnn_data_imports_nothing_heavy():
    code = (
        "import sys, npsnn.data; "
        "print([m for m in ('torch', 'numba', 'scipy', 'matplotlib', 'snntorch') if m in sys.modules])"
    )
    root = str(Path(npsnn.data.__file__).parents[2])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.strip() == "[]"
