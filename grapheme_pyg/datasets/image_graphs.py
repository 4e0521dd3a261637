"""ImageGraphDataset: graphs of labelled images, made when they are indexed."""

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
    """The base of data sets of graphs, with slices and a transform.

    A slice, such as ``dataset.shuffle()[:100]``, is a data set whose positions start at 0; methods that load several
    graphs take these positions, as ``dataset[i]`` does.
    """

    @abstractmethod
    def load(self, rows: list[int]) -> list[ImageGraph]:
        """Returns graphs by their numbers in the whole data set, without the transform."""

    def get(self, idx: int) -> ImageGraph:
        """Returns a graph by its number in the whole data set, without the transform."""
        return self.load([idx])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[ImageGraph]:
        """Returns the graphs of a mini-batch, loaded at once; ``DataLoader`` calls this."""
        rows = self.indices()
        graphs = self.load([rows[i] for i in indices])
        return graphs if self.transform is None else [self.transform(graph) for graph in graphs]

    def index_select(self, idx: Index) -> GraphDataset:
        """Returns some of the graphs as another data set.

        Args:
            idx: A slice, integers or a mask, as a list, an array or a tensor.
        """
        if isinstance(idx, Tensor | np.ndarray):
            idx = idx.reshape(-1)
        # PyG's slices may have fractions, such as ``dataset[:0.9]``.
        return super().index_select(idx if isinstance(idx, slice) else to_positions(idx, len(self)).view(-1).tolist())


class ImageGraphDataset(GraphSlices):
    """Makes the graphs of labelled images when they are indexed, for PyG's ``DataLoader`` and plain training loops.

    Args:
        images: The images and labels, or a ``torch.utils.data.Subset`` of them.
        vision: Makes the graphs.
        transform: A function that is applied to each graph.

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
        """Returns the number of graphs in the whole data set."""
        return len(self.images)

    def load(self, rows: list[int]) -> list[ImageGraph]:
        """Makes the graphs of several images at once, with their classes as ``y``."""
        images, labels = self.images[rows]
        if rows and len(labels) == 0:
            raise DatasetError(f"images: expected at least one of {len(rows)} to be readable, got none")
        return to_graphs(self.vision.batch(images, labels)) if len(labels) else []
