"""Cells of pixels and coarser cells above them: the finder of ``mode="grid"``. Knows pixels and no PyG."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from grapheme_pyg.ops.grids import COARSE_FEATURES, cell_features, measure_cells
from grapheme_pyg.vision.cell_edges import unroll_cells
from grapheme_pyg.vision.cells import NAMES, PLACES, beside, by_level, centres_along, join, within
from grapheme_pyg.vision.checks import THRESHOLDS, check, check_rounds, is_int
from grapheme_pyg.vision.finder import Finder
from grapheme_pyg.vision.hierarchy import NO_RELATIONS, EntityType, Hierarchy, Relations, RelationType, Schema
from grapheme_pyg.vision.unroll import Dag, Vocabulary

# Images whose size is known have about so many finest cells in a row or column, as long as cells have at most so many
# pixels a side.
FINEST_CELLS, LARGEST_CELL = 24, 32
# Levels are added until the grid has at most this many cells in a row and in a column.
TOP_CELLS = 4
# By the number of channels; states of colour images are kept from round to round, so that more rounds can be trained.
ROUNDS = {1: (2, 3, 2), 3: (4, 4, 3)}
# A cell and its margin are at most so many times as wide as the cell: each pixel is in that many cells, squared.
WIDEST_WINDOW = 6
# Of a cell and its margin, in all channels: the features of every other node are as many, padded with zeros.
MOST_FEATURES = 2**12


@dataclass(frozen=True)
class GridFinder(Finder):
    """Finds the cells of an image where it has contrast.

    Args:
        in_channels: Of the image, 1 or 3.
        patch_size: Side of a finest cell in pixels. With its margin it has at most 4096 values in all channels. Where
            ``resize`` of :class:`grapheme_pyg.VisionBrain` gives the size of images, the default is a 24th of that,
            in 2…32.
        threshold: A finest cell is active if max − min over its pixels, in any channel, exceeds this. In levels of
            0…255, so that uint8, float and inverted images agree. If None, 32 for grey images and 8 for colour.
        margin: How many pixels around a finest cell count as its own, in that comparison and in its features; at most
            2.5 times ``patch_size``.
        rounds: For each configured level, fine to coarse, how many nodes each cell has; at least two levels. By
            default 2, 3 and 2 for grey images, and 4, 4 and 3 for colour.
            Levels are added until the grid is at most 4×4; those beyond share the last one's types.
        extend: Whether there are levels beyond the configured ones. Without them the top grid of a large image is
            larger than 4×4, and a model has no weights that small images would leave untrained.

    Raises:
        ValueError: An argument is out of its range.
    """

    # Each neighbour is in one place beside a cell.
    single_neighbours: ClassVar[bool] = True
    in_channels: int = 1
    patch_size: int = 2
    threshold: int | None = None
    margin: int = 1
    rounds: tuple[int, ...] = ()
    extend: bool = True

    def __post_init__(self) -> None:
        check("patch_size", self.patch_size, is_int(self.patch_size, 1), "a positive integer")
        if self.threshold is None:
            object.__setattr__(self, "threshold", THRESHOLDS[self.in_channels])
        valid = isinstance(self.threshold, int) and is_int(self.threshold, 0) and self.threshold < 255
        check("threshold", self.threshold, valid, "an integer in 0…254, or None")
        check("margin", self.margin, is_int(self.margin, 0), "a non-negative integer")
        several = "at least 1 for cells of one pixel, which has no contrast"
        check("margin", self.margin, self._window > 1, several)
        narrow = self._window <= WIDEST_WINDOW * self.patch_size
        check("margin", self.margin, narrow, f"at most {(WIDEST_WINDOW - 1) / 2} times patch_size, {self.patch_size}")
        few = self._num_features(0) <= MOST_FEATURES
        check("patch_size", self.patch_size, few, f"at most {MOST_FEATURES} values in a cell with its margin")
        if self.rounds == ():
            object.__setattr__(self, "rounds", ROUNDS[self.in_channels])
        check_rounds(self.rounds)
        object.__setattr__(self, "rounds", tuple(self.rounds))
        check("extend", self.extend, isinstance(self.extend, bool), "True or False")

    def schema(self) -> Schema:
        """Eight neighbours and ``self`` within each level; nine parts of each coarser cell."""
        last = len(self.rounds) - 1
        types = [EntityType(f"cell{i}", i, self._num_features(i), count, True) for i, count in enumerate(self.rounds)]
        names = ["self" if name == "centre" else f"{name}_of" for name in NAMES]
        lateral = [RelationType(i, name, i) for i in range(last + 1) for name in names]
        fine = range(last + 1 if self.extend else last)
        part_of = [RelationType(i, f"{name}_part_of", min(i + 1, last)) for i in fine for name in NAMES]
        return Schema(tuple(types), tuple(lateral), tuple(part_of))

    def _num_features(self, level: int) -> int:
        per_channel = self._window**2 if level == 0 else COARSE_FEATURES
        return per_channel * self.in_channels

    @classmethod
    def options_for(cls, size: int) -> dict[str, Any]:
        """Cells that grow with the image, as those of 2 pixels would make 12,544 of one of 224×224."""
        return {"patch_size": min(max(cls.patch_size, round(size / FINEST_CELLS)), LARGEST_CELL)}

    def count_levels(self, height: int, width: int) -> int:
        """Number of levels of an image of this size."""
        return len(self._grids(height, width))

    def lattice(self, height: int, width: int) -> Hierarchy:
        """All cells that an image of this size can have."""
        level, kind, centre, grids = self._cells(height, width)
        numbers = by_level(torch.arange(level.numel())[None], grids)
        lateral, part_of = self._relations(numbers)
        return Hierarchy(
            num_images=1,
            image=torch.zeros_like(level),
            level=level,
            type=kind,
            centre=centre,
            lateral=lateral,
            part_of=part_of,
            finest_of_pixel=self._of_pixels(numbers[0], height, width),
            size=(height, width),
        )

    def within_lattice(self, size: tuple[int, int], larger: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
        """The cells of an image in the upper left corner of a larger one."""
        _, _, centre, grids = self._cells(*size)
        wider = self._grids(*larger)
        numbers = by_level(torch.arange(sum(rows * columns for rows, columns in wider))[None], wider)
        own = [grid[0, :rows, :columns].flatten() for grid, (rows, columns) in zip(numbers, grids, strict=False)]
        return torch.cat(own), centre

    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """The cells that images have, and their features; for an image without any, one of the top level.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            The cells, and float32 ``[num_cells, num_features]``.
        """
        present, features = self.measure(pixels)
        hierarchy, grids = self._present(present, *pixels.shape[-2:])
        number = torch.where(present, present.flatten().cumsum(0).view_as(present) - 1, -1)
        lateral, part_of = self._relations(by_level(number[:, :-1], grids))
        return replace(hierarchy, lateral=lateral, part_of=part_of), features[present]

    def find_unrolled(self, pixels: Tensor, vocabulary: Vocabulary) -> tuple[Hierarchy, Tensor, Dag]:
        """The same, unrolled from the places of the cells."""
        present, features = self.measure(pixels)
        hierarchy, grids = self._present(present, *pixels.shape[-2:])
        dag = unroll_cells(by_level(present[:, :-1], grids), present[:, -1], vocabulary)
        return hierarchy, features[present], dag

    def _present(self, present: Tensor, height: int, width: int) -> tuple[Hierarchy, list[tuple[int, int]]]:
        """The cells that images have, without relations; rows and columns of the levels."""
        level, kind, centre, grids = self._cells(height, width)
        image, cell = present.nonzero(as_tuple=True)
        number = torch.where(present, present.flatten().cumsum(0).view_as(present) - 1, -1)
        numbers = by_level(number[:, :-1], grids)
        middle = torch.tensor([[width / 2, height / 2]], dtype=torch.float64)
        hierarchy = Hierarchy(
            num_images=len(present),
            image=image,
            level=torch.cat([level, level[-1:]])[cell],
            type=torch.cat([kind, kind[-1:]])[cell],
            centre=torch.cat([centre, middle])[cell],
            lateral=NO_RELATIONS,
            part_of=NO_RELATIONS,
            finest_of_pixel=self._of_pixels(numbers[0], height, width),
            size=(height, width),
            alone=cell == level.numel(),
        )
        return hierarchy, grids

    def _cells(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]:
        """Level, type and centre of each cell that an image of this size can have; rows and columns of the levels."""
        grids = self._grids(height, width)
        level = torch.arange(len(grids)).repeat_interleave(torch.tensor([rows * columns for rows, columns in grids]))
        centre = [
            torch.cartesian_prod(
                centres_along(rows, self.patch_size << i, height), centres_along(columns, self.patch_size << i, width)
            ).flip(1)
            for i, (rows, columns) in enumerate(grids)
        ]
        return level, level.clamp(max=len(self.rounds) - 1), torch.cat(centre), grids

    def _relations(self, numbers: list[Tensor]) -> tuple[Relations, Relations]:
        """Lateral and part-of relations of cells, by their numbers ``[B, rows, columns]``, −1 where there is none."""
        last = len(self.rounds) - 1
        lateral = [
            beside(grid, dy, dx, 9 * min(i, last) + kind)
            for i, grid in enumerate(numbers)
            for kind, (dy, dx) in enumerate(PLACES)
            if (dy, dx) != (0, 0)
        ]
        part_of = [
            within(fine, coarse, dy, dx, 9 * min(i, last) + kind)
            for i, (fine, coarse) in enumerate(pairwise(numbers))
            for kind, (dy, dx) in enumerate(PLACES)
        ]
        return join(lateral), join(part_of)

    def _of_pixels(self, finest: Tensor, height: int, width: int) -> Tensor:
        """The finest cell at each pixel, ``[B, H · W]``."""
        y, x = torch.arange(height) // self.patch_size, torch.arange(width) // self.patch_size
        return finest[:, y][:, :, x].flatten(1)

    def measure(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Which entities of the lattice an image has, and what their pixels say.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            As :func:`grapheme_pyg.ops.measure_cells`.
        """
        assert self.threshold is not None  # chosen when this was made
        grids = torch.tensor(self._grids(*pixels.shape[-2:]))
        return measure_cells(pixels, grids, self.patch_size, self.margin, self.threshold)

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        """Features of all cells that images have, with gradients."""
        present, _ = self.measure(pixels.detach().to(torch.uint8))
        return cell_features(pixels, self._grids(*pixels.shape[-2:]), self.patch_size, self.margin)[present]

    @property
    def _window(self) -> int:
        """Side of a fine cell with the pixels around it that count as its own."""
        return self.patch_size + 2 * self.margin

    def _grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of each level; at least one coarse level."""
        grids = [(-(-height // self.patch_size), -(-width // self.patch_size))]
        max_levels = None if self.extend else len(self.rounds)
        while len(grids) == 1 or (max(grids[-1]) > TOP_CELLS and len(grids) != max_levels):
            grids.append((-(-grids[-1][0] // 2), -(-grids[-1][1] // 2)))
        return grids
