"""The data of a training: its loaders, the size of its mini-batches, and a description that identifies it."""

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
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
from grapheme_pyg.training.settings import SuitedSettings
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.image_batches import PIXELS_AT_ONCE, in_batches, warn_if_blank
from grapheme_pyg.vision.image_graph import ImageGraph

# Number of images that are examined before training, and how many of them at a time.
LOOKED_AT, AT_A_TIME = 128, 32


def make_loader(
    images: ImageDataset | ImageSequenceDataset, batches: EpochBatches, vision: VisionBrain, settings: SuitedSettings
) -> DataLoader[Any]:
    """Makes the loader of mini-batches that the settings name.

    Args:
        images: The images and labels.
        batches: The positions of the images of each mini-batch, or of this process's share of it.
        vision: Makes the graphs.
        settings: How to load.
    """
    workers: dict[str, Any] = {"num_workers": settings.num_workers, "worker_init_fn": ignore_in_worker}
    if settings.loader == "pyg":
        loader: DataLoader[Any] = GraphDataLoader(ImageGraphDataset(images, vision), batch_sampler=batches, **workers)
        loader.collate_fn = partial(_collate_share, loader.collate_fn, vision)
        return loader
    # The data set is indexed with whole batches, so that each is augmented and made into graphs at once.
    return DataLoader(images, batch_size=None, sampler=batches, **workers)


@contextmanager
def loading(loader: DataLoader[Any]) -> Iterator[Iterator[Any]]:
    """Iterates over a loader, and ends its processes, which ignore the signals by which Python would end them.

    Errors from these processes, which PyTorch reports with tracebacks, become one line.

    Raises:
        TrainingError: A process has ended, for example because it was killed for lack of memory.
        GraphemeError: A process has met an invalid image.
    """
    loaded: Any = None
    try:
        loaded = iter(loader)
        yield loaded
    except RuntimeError as error:  # raised by PyTorch's signal handler, wherever the main process is
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
        # The traceback of an error would keep the iterator, and Python would wait for its processes in vain.
        if isinstance(loaded, _MultiProcessingDataLoaderIter):
            loaded._shutdown_workers()


def graphs_of_share(vision: VisionBrain, images: Any, labels: torch.Tensor) -> Batch:
    """Makes the graphs of a share of a mini-batch, which is empty if there are more processes than images."""
    return vision.batch(images, labels) if labels.numel() > 0 else no_graphs(vision)


def no_graphs(vision: VisionBrain) -> Batch:
    """Makes a batch of no graphs, with all fields."""
    one = vision.batch(torch.zeros(1, 8, 8, dtype=torch.uint8), [0])
    fields = {key: one[key][:, :0] if key == "edge_index" else one[key][:0] for key in one._slice_dict}
    none = Batch(_base_cls=ImageGraph, **fields)
    none.batch, none.ptr = one.batch[:0], one.ptr[:1]
    none._num_graphs = 0
    return none


def _collate_share(
    collate: Callable[[list[ImageGraph]], Batch], vision: VisionBrain, graphs: list[ImageGraph]
) -> Batch:
    """Collates graphs as PyG does, which cannot collate none."""
    return collate(graphs) if graphs else no_graphs(vision)


def some_graphs(dataset: LabelledImages, vision: VisionBrain) -> Iterator[tuple[Tensor | list[Tensor], Batch]]:
    """Iterates over some images of a data set and their graphs, a few at a time.

    Raises:
        ImageError: None of them can be read.
    """
    some = torch.linspace(0, len(dataset) - 1, min(len(dataset), LOOKED_AT)).long().unique().tolist()
    skip = getattr(dataset.images, "on_error", "raise") == "skip"
    found = False
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
        found = True
        yield images, vision.batch(list(images))
    if not found:
        raise ImageError(f"images: expected at least one of {len(some)} to be readable, got none")


def look_at(dataset: LabelledImages, vision: VisionBrain) -> tuple[int, Home]:
    """Examines some images of a data set; returns how many may be computed at a time, and their properties.

    Warns if nearly all of them are blank.

    Raises:
        ImageError: None of them can be read.
    """
    pixels, nodes, measured = 1, 1, []
    for images, graphs in some_graphs(dataset, vision):
        pixels = max(pixels, *(image[0].numel() for image in images))
        nodes = max(nodes, int(graphs.ptr.diff().max()))
        measured.append(measure(images, graphs, vision))
    all_measured = torch.cat(measured)
    warn_if_blank(all_measured[:, -1], stacklevel=3)
    return max(1, min(PIXELS_AT_ONCE // pixels, NODES_AT_ONCE // nodes)), Home.of(all_measured)


def in_parts(settings: SuitedSettings, at_once: int, *, verbose: bool) -> SuitedSettings:
    """Returns settings that split each mini-batch into parts of at most ``at_once`` images and add up the gradients."""
    parts = ceil(settings.batch_size / at_once)
    if parts == 1:
        return settings
    size = ceil(settings.batch_size / parts)
    if verbose:
        print(f"images are large: each step adds up the gradients of {parts} parts of {size} images")
    return replace(settings, batch_size=size, accumulate=settings.accumulate * parts)


def describe_data(training: LabelledImages) -> dict[str, Any]:
    """Returns plain values that distinguish these training images from others."""
    described = {"images": len(training), "labels_crc32": zlib.crc32(training.labels.numpy().data)}
    if isinstance(training.images, Tensor):  # files would all have to be read
        described["pixels_crc32"] = zlib.crc32(training.images.contiguous().numpy().data)
    if isinstance(training.images, ImageFiles):
        names = "\n".join(f"{path.parent.name}/{path.name}" for path in training.images.paths)
        described["names_crc32"] = zlib.crc32(os.fsencode(names))
    return described
