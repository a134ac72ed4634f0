"""Data: MNIST, the reader of its file format, and a loader of batches."""

from typing import TYPE_CHECKING, Any

from npsnn.data.idx import read_idx
from npsnn.data.loader import DataLoader
from npsnn.data.mnist import ImageDataset, mnist

if TYPE_CHECKING:
    from npsnn.data.download import download_mnist

__all__ = ["DataLoader", "ImageDataset", "download_mnist", "mnist", "read_idx"]


def __getattr__(name: str) -> Any:
    """`download_mnist` on its first use: Python's HTTP client would be a third of the time to import npsnn."""
    if name == "download_mnist":
        from npsnn.data.download import download_mnist

        return download_mnist
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
