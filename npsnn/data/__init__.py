"""Data: MNIST, the reader of its file format, and a loader of batches."""

from npsnn.data.download import download_mnist
from npsnn.data.idx import read_idx
from npsnn.data.loader import DataLoader
from npsnn.data.mnist import ImageDataset, mnist

__all__ = ["DataLoader", "ImageDataset", "download_mnist", "mnist", "read_idx"]
