"""Data sets of images: their loaders, reading of picture files, and graphs in mini-batches or on disk."""

from grapheme_pyg.datasets.catalog import ImageData, Split, dataset_names, load_dataset, register_dataset
from grapheme_pyg.datasets.cifar10 import load_cifar10
from grapheme_pyg.datasets.download import DownloadError
from grapheme_pyg.datasets.graph_cache import GraphCache
from grapheme_pyg.datasets.idx import load_idx_folder, read_idx
from grapheme_pyg.datasets.image_files import ImageFiles
from grapheme_pyg.datasets.image_folder import ImageFolder, load_image_folder
from grapheme_pyg.datasets.image_graphs import ImageGraphDataset
from grapheme_pyg.datasets.image_reading import read_image
from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.datasets.mnist import load_idx_data, load_mnist
from grapheme_pyg.datasets.mnist5k import load_mnist5k
from grapheme_pyg.datasets.mnist_style import mnist_style
from grapheme_pyg.datasets.omniglot import Omniglot, load_omniglot, read_omniglot
from grapheme_pyg.datasets.samplers import BudgetBatchSampler, EpochSampler

__all__ = [
    "BudgetBatchSampler",
    "DownloadError",
    "EpochSampler",
    "GraphCache",
    "ImageData",
    "ImageDataset",
    "ImageFiles",
    "ImageFolder",
    "ImageGraphDataset",
    "ImageSequenceDataset",
    "Omniglot",
    "Split",
    "dataset_names",
    "load_cifar10",
    "load_dataset",
    "load_idx_data",
    "load_idx_folder",
    "load_image_folder",
    "load_mnist",
    "load_mnist5k",
    "load_omniglot",
    "mnist_style",
    "read_idx",
    "read_image",
    "read_omniglot",
    "register_dataset",
]
