"""A grid and blobs of the same image, joined: the finder of ``mode="hybrid"``. Knows no PyG."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.vision.blob import BlobFinder
from grapheme_pyg.vision.finder import Finder
from grapheme_pyg.vision.grid import ROUNDS, GridFinder
from grapheme_pyg.vision.hierarchy import (
    Hierarchy,
    Relations,
    RelationType,
    Schema,
    image_order,
    renumber,
)


@dataclass(frozen=True)
class HybridFinder(Finder):
    """Finds cells and blobs; each finest cell is part of the smallest blob that contains its centre.

    Blobs stand one level above the finest cells. Otherwise the two hierarchies meet at the readout.

    Args:
        in_channels: Of the image, 1 or 3.
        patch_size, threshold, margin, rounds, extend: See :class:`grapheme_pyg.vision.grid.GridFinder`.
        thresholds, min_area, max_blobs, blob_rounds, raster: See :class:`grapheme_pyg.vision.blob.BlobFinder`.

    Raises:
        ValueError: An argument is out of its range.
    """

    in_channels: int = 1
    patch_size: int = GridFinder.patch_size
    threshold: int | None = GridFinder.threshold
    margin: int = GridFinder.margin
    rounds: tuple[int, ...] = ROUNDS[1]
    extend: bool = GridFinder.extend
    thresholds: tuple[int, ...] = BlobFinder.thresholds
    min_area: int = BlobFinder.min_area
    max_blobs: int = BlobFinder.max_blobs
    blob_rounds: int = BlobFinder.blob_rounds
    raster: int = BlobFinder.raster

    def __post_init__(self) -> None:
        for part in (self._grid, self._blob):
            for field in fields(part):
                object.__setattr__(self, field.name, getattr(part, field.name))

    @property
    def _grid(self) -> GridFinder:
        return GridFinder(**{field.name: getattr(self, field.name) for field in fields(GridFinder)})

    @property
    def _blob(self) -> BlobFinder:
        return BlobFinder(**{field.name: getattr(self, field.name) for field in fields(BlobFinder)})

    def schema(self) -> Schema:
        """The words of both, and that cells are part of blobs."""
        grid, blob = self._grid.schema(), self._blob.schema()
        first = len(grid.entity_types)
        blobs = tuple(replace(kind, level=kind.level + 1) for kind in blob.entity_types)
        lateral, part_of = (
            tuple(RelationType(kind.source + first, kind.name, kind.target + first) for kind in relations)
            for relations in (blob.lateral, blob.part_of)
        )
        into = tuple(RelationType(0, "part_of", first + i) for i in range(len(blobs)))
        return Schema(grid.entity_types + blobs, grid.lateral + lateral, grid.part_of + part_of + into)

    @classmethod
    def options_for(cls, size: int) -> dict[str, Any]:
        """Those of the grid."""
        return GridFinder.options_for(size)

    def count_levels(self, height: int, width: int) -> int:
        """Number of levels of the cells of an image of this size."""
        return self._grid.count_levels(height, width)

    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """Cells and blobs of images, and their features.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            Both, and float32 ``[num_entities, num_features]``.
        """
        # In this order, as what finding blobs takes for a while then has room for the cells, which are more.
        blob, blobs = self._blob.find(pixels)
        grid, cells = self._grid.find(pixels)
        words, of_grid = self.schema(), self._grid.schema()
        num_cells, first = grid.level.numel(), len(of_grid.entity_types)
        image = torch.cat([grid.image, blob.image])
        level = torch.cat([grid.level, blob.level + 1])
        order, number = image_order(image, level)

        height, width = grid.size
        finest = (grid.level == 0).nonzero().squeeze(1)
        x, y = grid.centre[finest].long().t()
        pixel = y.clamp(max=height - 1) * width + x.clamp(max=width - 1)
        around = blob.finest_of_pixel[grid.image[finest], pixel]
        # All the blobs there may be too small to be kept.
        finest, around = finest[around >= 0], around[around >= 0]
        into = len(words.part_of) - (len(words.entity_types) - first) + blob.type[around]
        lateral = [
            (grid.lateral, 0, 0),
            (blob.lateral, num_cells, len(of_grid.lateral)),
        ]
        part_of = [
            (grid.part_of, 0, 0),
            (blob.part_of, num_cells, len(of_grid.part_of)),
            (Relations(finest, around + num_cells, into), 0, 0),
        ]
        joined = Hierarchy(
            num_images=grid.num_images,
            image=image[order],
            level=level[order],
            type=torch.cat([grid.type, blob.type + first])[order],
            centre=torch.cat([grid.centre, blob.centre])[order],
            lateral=_join(lateral, number),
            part_of=_join(part_of, number),
            finest_of_pixel=renumber(grid.finest_of_pixel, number),
            size=grid.size,
            alone=None if grid.alone is None else F.pad(grid.alone, (0, len(blobs)))[order],
        )
        features = cells.new_zeros(len(order), max(cells.shape[1], blobs.shape[1]))
        features[number[:num_cells], : cells.shape[1]] = cells
        features[number[num_cells:], : blobs.shape[1]] = blobs
        return joined, features

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        """Features of all cells that images have, with gradients."""
        return self._grid.differentiable_features(pixels)


def _join(parts: list[tuple[Relations, int, int]], number: Tensor) -> Relations:
    """Relations with their entities and types counted on from other numbers."""
    source = torch.cat([relations.source + entities for relations, entities, _ in parts])
    target = torch.cat([relations.target + entities for relations, entities, _ in parts])
    kind = torch.cat([relations.type + types for relations, _, types in parts])
    return Relations(number[source], number[target], kind)
