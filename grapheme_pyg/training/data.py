"""The data of a training: loaders of mini-batches, how large these may be, and what tells one data set from another."""

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader as GraphDataLoader

from grapheme_pyg.datasets.image_files import ImageFiles
from grapheme_pyg.datasets.image_graphs import ImageGraphDataset
from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset, LabelledImages
from grapheme_pyg.datasets.samplers import EpochBatches
from grapheme_pyg.errors import GraphemeError, ImageError, TrainingError
from grapheme_pyg.home import Home, measure
from grapheme_pyg.image_pooling import NODES_AT_ONCE
from grapheme_pyg.training.interrupts import ignore_in_worker
from grapheme_pyg.training.settings import TrainingSettings
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_batches import PIXELS_AT_ONCE, in_batches, warn_if_blank
from grapheme_pyg.vision.image_graph import ImageGraph

# Images whose graphs are made before training, to see what they are like; and so many together.
LOOKED_AT = 128
AT_A_TIME = 32


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


@contextmanager
def loading(loader: DataLoader[Any]) -> Iterator[Iterator[Any]]:
    """Gives what a loader loads, and ends its processes, which ignore the signals by which Python would end them.

    What goes wrong in one of them, which PyTorch tells with tracebacks, is one line.

    Raises:
        TrainingError: One has ended, as when somebody or a lack of memory kills it.
        GraphemeError: One has met an image that is not as it must be.
    """
    loaded: Any = None
    try:
        loaded = iter(loader)
        yield loaded
    except RuntimeError as error:  # raised wherever the signal comes that the process has ended
        if not str(error).startswith("DataLoader worker"):
            raise
        what = str(error).partition(". ")[0].partition("\n")[0].rstrip(".")
        raise TrainingError(f"num_workers: expected processes that load until training ends, but {what}") from None
    except GraphemeError as error:
        text = str(error.args[0])  # with line breaks, which the error escapes
        if "\nOriginal Traceback" not in text:
            raise
        raise type(error)(text.rpartition(f".{type(error).__name__}: ")[2].strip()) from None
    finally:
        # An error keeps it, and with it its processes, until Python waits for them in vain.
        if isinstance(loaded, _MultiProcessingDataLoaderIter):
            loaded._shutdown_workers()


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


def look_at(dataset: LabelledImages, vision: VisionBrain) -> tuple[int, Home]:
    """Returns how many images of a set may be computed with at a time, and what they are like, judged by some of them.

    Warns if nearly all of these are blank.
    """
    some = torch.linspace(0, len(dataset) - 1, min(len(dataset), LOOKED_AT)).long().unique().tolist()
    skip = getattr(dataset.images, "on_error", "raise") == "skip"
    pixels, nodes, measured = 1, 1, []
    for _, images in in_batches(
        dataset.images,
        vision.in_channels,
        AT_A_TIME,
        count=len(dataset),
        size=vision.longer_side,
        white=vision.white,
        skip=skip,
        some=some,
    ):
        graphs = vision.batch(list(images))
        pixels = max(pixels, *(image[0].numel() for image in images))
        nodes = max(nodes, int(graphs.ptr.diff().max()))
        measured.append(measure(images, graphs, vision))
    if not measured:
        raise ImageError(f"images: expected some of {len(some)} to be readable, got none")
    all_measured = torch.cat(measured)
    warn_if_blank(all_measured[:, -1], stacklevel=3)
    return max(1, min(PIXELS_AT_ONCE // pixels, NODES_AT_ONCE // nodes)), Home.of(all_measured)


def in_parts(settings: TrainingSettings, at_once: int, *, verbose: bool) -> TrainingSettings:
    """Returns settings whose mini-batches come in parts of at most ``at_once`` images, whose gradients are added up."""
    assert settings.batch_size is not None, "for_images: expected to have set it"
    parts = ceil(settings.batch_size / at_once)
    if parts == 1:
        return settings
    size = ceil(settings.batch_size / parts)
    if verbose:
        print(f"images are large: {size} are trained on at a time, and each step adds up {parts} times as many")
    return replace(settings, batch_size=size, accumulate=settings.accumulate * parts)


def describe_data(training: LabelledImages) -> dict[str, Any]:
    """Returns what tells the images of one training from those of another, in plain values."""
    described = {"images": len(training), "labels_crc32": zlib.crc32(training.labels.numpy().data)}
    if isinstance(training.images, Tensor):  # others may be files, and would all have to be read
        described["pixels_crc32"] = zlib.crc32(training.images.contiguous().numpy().data)
    if isinstance(training.images, ImageFiles):
        names = "\n".join(f"{path.parent.name}/{path.name}" for path in training.images.paths)
        described["names_crc32"] = zlib.crc32(os.fsencode(names))
    return described
