"""Graphs of labelled images, made when they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Subset
from torch_geometric.data import Dataset as GraphDataset

from grapheme_pyg.datasets.indexing import Index, to_positions
from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.datasets.samplers import set_epoch
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
        >>> import torch
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
        set_epoch(self.images, epoch)

    def len(self) -> int:
        """Number of graphs of the whole set."""
        return len(self.images)

    def load(self, rows: list[int]) -> list[ImageGraph]:
        """Makes the graphs of some images at once, with their classes as ``y``."""
        images, labels = self.images[rows]
        if rows and len(labels) == 0:
            raise DatasetError(f"images: expected some of {len(rows)} to be readable, got none")
        return to_graphs(self.vision.batch(images, labels)) if len(labels) else []
