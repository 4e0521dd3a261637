"""Graphs of labelled images, made when they are asked for, and the order in which an epoch asks for them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import ConcatDataset, Sampler, Subset
from torch_geometric.data import Dataset as GraphDataset

from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset, stream_seed
from grapheme_pyg.datasets.positions import Index, to_positions
from grapheme_pyg.errors import DatasetError
from grapheme_pyg.vision import ImageGraph, VisionBrain
from grapheme_pyg.vision.image_graph import to_graphs


class GraphSlices(GraphDataset, ABC):
    """What both data sets of graphs have in common: slices with positions of their own, and a transform.

    A slice, such as ``dataset.shuffle()[:100]``, is a data set whose positions start at 0. What loads several graphs at
    once takes these positions, as ``dataset[i]`` does.
    """

    @abstractmethod
    def load(self, rows: list[int]) -> list[ImageGraph]:
        """The graphs of images by their numbers in the whole set, without the transform."""

    def get(self, idx: int) -> ImageGraph:
        """The graph of one image by its number in the whole set, without the transform: ``dataset[i]`` adds both."""
        return self.load([idx])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[ImageGraph]:
        """The graphs of a mini-batch, loaded at once: ``DataLoader`` asks for this by itself."""
        rows = self.indices()
        graphs = self.load([rows[i] for i in indices])
        return graphs if self.transform is None else [self.transform(graph) for graph in graphs]

    def index_select(self, idx: Index) -> GraphDataset:
        """Some of the graphs as another data set: a slice, integers or a mask, also as lists of Python's."""
        if isinstance(idx, Tensor | np.ndarray):
            idx = idx.reshape(-1)
        # Slices are left to PyG, which takes fractions such as ``dataset[:0.9]``.
        return super().index_select(idx if isinstance(idx, slice) else to_positions(idx, len(self)).view(-1).tolist())


class ImageGraphDataset(GraphSlices):
    """The graphs of labelled images, made when asked for: for PyG's ``DataLoader`` and plain training loops.

    Args:
        images: The images and labels, or a ``torch.utils.data.Subset`` of them.
        vision: Makes the graphs.
        transform: Applied to each graph when it is asked for.

    Example:
        >>> from torch_geometric.loader import DataLoader
        >>> images, labels = torch.zeros(4, 28, 28, dtype=torch.uint8), torch.arange(4)
        >>> dataset = ImageGraphDataset(ImageDataset(images, labels), VisionBrain())
        >>> next(iter(DataLoader(dataset, batch_size=4))).y
        tensor([0, 1, 2, 3])
    """

    def __init__(
        self,
        images: ImageDataset | ImageSequenceDataset | Subset[Any],
        vision: VisionBrain,
        transform: Callable[[ImageGraph], Any] | None = None,
    ) -> None:
        super().__init__(transform=transform)
        self.images, self.vision = images, vision

    def set_epoch(self, epoch: int) -> None:
        """Draws the augmentation of an epoch."""
        _set_epoch(self.images, epoch)

    def len(self) -> int:
        """Number of graphs of the whole set."""
        return len(self.images)

    def load(self, rows: list[int]) -> list[ImageGraph]:
        """Makes the graphs of some images at once, with their classes as ``y``."""
        images, labels = self.images[rows]
        if rows and len(labels) == 0:
            raise DatasetError(f"images: expected some of {len(rows)} to be readable, got none")
        return to_graphs(self.vision.batch(images, labels)) if len(labels) else []


class EpochSampler(Sampler[int]):
    """Every index once, in an order that depends on the seed and the epoch alone.

    Setting the epoch also sets the data set's, so that one call per epoch renews order and augmentation. Workers that
    live longer than an epoch (``persistent_workers=True``) keep the augmentation with which they started.

    Args:
        dataset: Whose indices to give: a data set, a slice or a ``Subset`` of one, or a ``ConcatDataset``.
        seed: Of the order.
        balance: ``[len(dataset)]`` int64, the class of each index: there are as many indices in an epoch, but the same
            number of each class, up to one; those of rare classes come several times. None for every index once.
    """

    def __init__(self, dataset: Sized, seed: int = 0, balance: Tensor | None = None) -> None:
        self.dataset, self.seed, self.epoch, self.balance = dataset, seed, 0, balance

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self.epoch = epoch
        _set_epoch(self.dataset, epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        generator = Generator().manual_seed(stream_seed(self.seed, self.epoch, stream=0))
        order = torch.randperm(len(self.dataset), generator=generator)
        if self.balance is not None:
            order = _balanced(order, self.balance, generator)
        yield from order.tolist()


def _balanced(order: Tensor, classes: Tensor, generator: Generator) -> Tensor:
    """As many indices, the same number of each class: each class repeats its own in the order that is given."""
    of_class = [order[classes[order] == number] for number in classes.unique().tolist()]
    counts = [len(order) // len(of_class) + (number < len(order) % len(of_class)) for number in range(len(of_class))]
    chosen = [own.repeat(-(-count // len(own)))[:count] for own, count in zip(of_class, counts, strict=True)]
    return torch.cat(chosen)[torch.randperm(len(order), generator=generator)]


def _set_epoch(dataset: object, epoch: int) -> None:
    """Draws the augmentation of an epoch, also in the data set of a ``Subset`` or those of a ``ConcatDataset``."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
    elif isinstance(dataset, Subset):
        _set_epoch(dataset.dataset, epoch)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            _set_epoch(part, epoch)
