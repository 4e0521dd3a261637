"""Pooling of the states of many images, a batch at a time."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.augmentation.warp import RandomWarp, View, views_of
from grapheme_pyg.checks import as_int
from grapheme_pyg.datasets.samplers import BudgetBatchSampler
from grapheme_pyg.home import measure
from grapheme_pyg.nn.evaluating import evaluating
from grapheme_pyg.progress_bar import progress_bar
from grapheme_pyg.vision.image_batches import PIXELS_AT_ONCE, SEVERAL, check_many, in_batches, warn_if_blank
from grapheme_pyg.vision.image_graph import to_graphs

if TYPE_CHECKING:
    from grapheme_pyg.model import ImageClassificationModel
    from grapheme_pyg.vision.pixels import Images

# Largest number of nodes that are computed together, unless a single graph has more.
NODES_AT_ONCE = 2**20
AS_IT_IS = views_of(mirrored=False)[0]
# How grey examples of a class are warped, and how often.
VARIED, COPIES = RandomWarp(degrees=20, scale=0.3, shear=20, bend=0.025), 12


class PooledImages(NamedTuple):
    """Pooled states and measurements of images.

    Attributes:
        views: Pooled states of each view, ``[N, channels]``.
        positions: Positions of the images that were read.
        measured: ``[N, 5]``, the result of :func:`grapheme_pyg.home.measure`.
    """

    views: list[Tensor]
    positions: list[int]
    measured: Tensor


def pool_images(
    model: "ImageClassificationModel",
    images: "Images",
    batch_size: int,
    views: Sequence[View] = (AS_IT_IS,),
    *,
    count: int | None = None,
    skip: bool = False,
    verbose: bool = False,
) -> PooledImages:
    """Pools the states of images.

    Args:
        model: The model.
        images: As in :meth:`grapheme_pyg.VisionBrain.batch`.
        batch_size: Number of images to compute at once; fewer if they have more than 2²⁰ pixels together.
        views: What makes the views of images; the first shows them as they are.
        count: Expected number of images, if known.
        skip: Whether to leave out images that cannot be read.
        verbose: Whether to show a progress bar in a terminal.

    Raises:
        ValueError: There are no images, or an image is invalid.
    """
    check_many(images, count=count)
    if len(images) == 0:
        raise ValueError("images: expected at least one image, got none")
    batch_size = as_int("batch_size", batch_size, 1)
    device = model.classifier.templates.device
    pooled: list[list[Tensor]] = [[] for _ in views]
    positions: list[int] = []
    measured: list[Tensor] = []
    with progress_bar(len(images), "images", verbose=verbose) as bar:
        for some, pixels in in_batches(
            images,
            model.vision.in_channels,
            batch_size,
            count=count,
            size=model.vision.longer_side,
            white=model.vision.white,
            skip=skip,
        ):
            positions += some
            # Of a few images, several views are computed at once.
            area = sum(image[0].numel() for image in pixels)
            number = max(1, min(batch_size // len(some), PIXELS_AT_ONCE // area))
            for first in range(0, len(views), number):
                chosen = views[first : first + number]
                shown = (
                    torch.cat([view(pixels) for view in chosen])
                    if isinstance(pixels, Tensor)
                    else [view(image[None])[0] for view in chosen for image in pixels]
                )
                graphs = model.vision.batch(shown)
                if first == 0:
                    measured.append(measure(shown, graphs, model.vision)[: len(some)])
                rows = torch.cat([model.pool(part.to(device)) for part in _parts(graphs)])
                for found, of_view in zip(pooled[first:], rows.split(len(some)), strict=False):
                    found.append(of_view)
            bar.update(len(some))
    all_measured = torch.cat(measured)
    if len(positions) >= SEVERAL:  # a few images may well be blank
        warn_if_blank(all_measured[:, -1], stacklevel=5)
    return PooledImages([torch.cat(found) for found in pooled], positions, all_measured)


@evaluating
def pool_examples(model: "ImageClassificationModel", images: "Images", batch_size: int) -> Tensor:
    """Pools the states of examples of a class and, if they are grey, of warped copies of each.

    Args:
        model: The model that computes the states.
        images: As in :meth:`grapheme_pyg.VisionBrain.batch`.
        batch_size: Number of images to compute at once.

    Returns:
        ``[N, 1 + num_copies, channels]``, the same for the same example whatever the others are.

    Raises:
        ValueError: There are no images, or one is invalid.
    """
    views = [AS_IT_IS]
    if model.vision.in_channels == 1:
        maps = VARIED.draw(COPIES, torch.Generator().manual_seed(0))
        views += [partial(_varied, of_copy) for of_copy in maps[:, None]]
    return torch.stack(pool_images(model, images, batch_size, views).views, dim=1)


def _varied(of_copy: Tensor, pixels: Tensor) -> Tensor:
    return VARIED(pixels, of_copy.expand(len(pixels), -1, -1))


def _parts(graphs: Batch) -> list[Batch]:
    """Splits a batch that has too many nodes."""
    if graphs.num_nodes <= NODES_AT_ONCE or graphs.num_graphs == 1:
        return [graphs]
    found = to_graphs(graphs)
    return [
        Batch.from_data_list([found[i] for i in some])
        for some in BudgetBatchSampler(graphs.ptr.diff(), max_nodes=NODES_AT_ONCE)
    ]
