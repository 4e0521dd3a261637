"""Real image-classification data."""

from grapheme_pyg.datasets.download import DownloadError
from grapheme_pyg.datasets.idx import read_idx
from grapheme_pyg.datasets.image_data import ImageData, Split
from grapheme_pyg.datasets.image_graphs import EpochSampler, ImageDataset, ImageGraphDataset
from grapheme_pyg.datasets.mnist import load_idx_data, load_mnist
from grapheme_pyg.datasets.mnist5k import load_mnist5k

__all__ = [
    "DownloadError",
    "EpochSampler",
    "ImageData",
    "ImageDataset",
    "ImageGraphDataset",
    "Split",
    "load_idx_data",
    "load_mnist",
    "load_mnist5k",
    "read_idx",
]
