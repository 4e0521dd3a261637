"""HybridFinder, the finder of ``mode="hybrid"``, joins the grid and the blobs of an image. Knows no PyG."""

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
    in_image_order,
    join,
    shifted,
)


@dataclass(frozen=True)
class HybridFinder(Finder):
    """Finds cells and blobs; each finest cell is part of the smallest blob that contains its centre.

    Blobs are one level above the finest cells. Apart from that, the two hierarchies meet only in the readout.

    Args:
        in_channels: Channels of the image, 1 or 3.
        patch_size, threshold, margin, rounds, extend: See :class:`grapheme_pyg.vision.grid.GridFinder`.
        thresholds, min_area, max_blobs, blob_rounds, raster: See :class:`grapheme_pyg.vision.blob.BlobFinder`; there
            are no strokes.

    Raises:
        ValueError: An argument is out of its range.
    """

    in_channels: int = 1
    patch_size: int = GridFinder.patch_size
    threshold: int | None = GridFinder.threshold
    margin: int = GridFinder.margin
    rounds: tuple[int, ...] = ROUNDS[1]
    extend: bool = GridFinder.extend
    thresholds: tuple[int, ...] | None = None
    min_area: int = BlobFinder.min_area
    max_blobs: int = BlobFinder.max_blobs
    blob_rounds: int = BlobFinder.blob_rounds
    raster: int | None = None

    def __post_init__(self) -> None:
        # The parts validate their options and choose defaults.
        chosen = vars(self._blob) | vars(self._grid)
        for field in fields(self):
            object.__setattr__(self, field.name, chosen[field.name])

    @property
    def _grid(self) -> GridFinder:
        return GridFinder(**{field.name: getattr(self, field.name) for field in fields(GridFinder)})

    @property
    def _blob(self) -> BlobFinder:
        names = (field.name for field in fields(BlobFinder) if field.name != "stroke_rounds")
        return BlobFinder(stroke_rounds=0, **{name: getattr(self, name) for name in names})

    def schema(self) -> Schema:
        """Returns the types of both finders, and the relation of cells to blobs."""
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
        """Returns the options of :class:`GridFinder`."""
        return GridFinder.options_for(size)

    def count_levels(self, height: int, width: int) -> int:
        """Returns the number of levels of cells of an image of this size."""
        return self._grid.count_levels(height, width)

    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """Finds the cells and blobs of images.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            Cells and blobs, and their features, float32 ``[num_entities, num_features]``.
        """
        # Blobs first, because the memory that finding them needs is then free for the more numerous cells.
        blob, blobs = self._blob.find(pixels)
        grid, cells = self._grid.find(pixels)
        words, of_grid = self.schema(), self._grid.schema()
        num_cells, first = grid.level.numel(), len(of_grid.entity_types)
        height, width = grid.size
        finest = (grid.level == 0).nonzero().squeeze(1)
        x, y = grid.centre[finest].long().t()
        pixel = y.clamp(max=height - 1) * width + x.clamp(max=width - 1)
        around = blob.finest_of_pixel[grid.image[finest], pixel]
        # A cell is in no blob if all blobs there are too small to be kept.
        finest, around = finest[around >= 0], around[around >= 0]
        into = len(words.part_of) - (len(words.entity_types) - first) + blob.type[around]
        joined = Hierarchy(
            num_images=grid.num_images,
            image=torch.cat([grid.image, blob.image]),
            level=torch.cat([grid.level, blob.level + 1]),
            type=torch.cat([grid.type, blob.type + first]),
            centre=torch.cat([grid.centre, blob.centre]),
            lateral=join([grid.lateral, shifted(blob.lateral, num_cells, len(of_grid.lateral))]),
            part_of=join(
                [
                    grid.part_of,
                    shifted(blob.part_of, num_cells, len(of_grid.part_of)),
                    Relations(finest, around + num_cells, into),
                ]
            ),
            finest_of_pixel=grid.finest_of_pixel,
            size=grid.size,
            alone=None if grid.alone is None else F.pad(grid.alone, (0, len(blobs))),
        )
        return in_image_order(joined, [cells, blobs])

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        """Computes the features of the cells of images, with gradients."""
        return self._grid.differentiable_features(pixels)
