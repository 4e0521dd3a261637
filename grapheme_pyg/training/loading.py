"""Loaders of mini-batches: of images, whose graphs are made later, or of graphs."""

from typing import Any

import torch
from torch.utils.data import DataLoader
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader as GraphDataLoader

from grapheme_pyg.datasets.image_graphs import ImageGraphDataset
from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.datasets.samplers import EpochBatches
from grapheme_pyg.training.interrupts import ignore_in_worker
from grapheme_pyg.training.settings import TrainingSettings
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_graph import ImageGraph


def make_loader(
    images: ImageDataset | ImageSequenceDataset, batches: EpochBatches, vision: VisionBrain, settings: TrainingSettings
) -> DataLoader[Any]:
    """Loads mini-batches, in the way that the settings name.

    Args:
        images: The images and labels.
        batches: Which of them make a mini-batch, or this process's share of one.
        vision: Makes the graphs.
        settings: How to load.
    """
    workers: dict[str, Any] = {"num_workers": settings.num_workers, "worker_init_fn": ignore_in_worker}
    if settings.loader == "pyg":
        loader: DataLoader[Any] = GraphDataLoader(ImageGraphDataset(images, vision), batch_sampler=batches, **workers)
        loader.collate_fn = _CollateShare(loader.collate_fn, vision)
        return loader
    # The data set indexes with whole batches: one indexing, one augmentation, one graph building for each.
    return DataLoader(images, batch_size=None, sampler=batches, **workers)


def graphs_of_share(vision: VisionBrain, images: Any, labels: torch.Tensor) -> Batch:
    """The graphs of a share of a mini-batch, which has no images if there are more processes than images."""
    return vision.batch(images, labels) if labels.numel() > 0 else no_graphs(vision)


def no_graphs(vision: VisionBrain) -> Batch:
    """A batch of no graphs, with the fields of one that has some."""
    one = vision.batch(torch.zeros(1, 8, 8, dtype=torch.uint8), [0])
    fields = {key: one[key][:, :0] if key == "edge_index" else one[key][:0] for key in one._slice_dict}
    none = Batch(_base_cls=ImageGraph, **fields)
    none.batch, none.ptr = one.batch[:0], one.ptr[:1]
    none._num_graphs = 0
    return none


class _CollateShare:
    """PyG's collation, which has no batch of nothing."""

    def __init__(self, collate: Any, vision: VisionBrain) -> None:
        self._collate, self._vision = collate, vision

    def __call__(self, graphs: list[ImageGraph]) -> Batch:
        return self._collate(graphs) if graphs else no_graphs(self._vision)
