"""GridFinder, the finder of ``mode="grid"``, finds cells with contrast and coarser cells above them. Knows no PyG."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from grapheme_pyg.ops.grids import COARSE_FEATURES, cell_features, measure_cells
from grapheme_pyg.vision.cell_edges import unroll_cells
from grapheme_pyg.vision.cells import NAMES, PLACES, beside, by_level, centres_along, number_present, within
from grapheme_pyg.vision.checks import THRESHOLDS, check, set_int, set_rounds
from grapheme_pyg.vision.finder import Finder
from grapheme_pyg.vision.hierarchy import (
    NO_RELATIONS,
    EntityType,
    Hierarchy,
    Relations,
    RelationType,
    Schema,
    join,
    with_image_centre,
)
from grapheme_pyg.vision.unroll import Dag, Vocabulary

# Images of known size have about the first number of finest cells in a row, unless cells exceed the second number of
# pixels a side.
FINEST_CELLS, LARGEST_CELL = 24, 32
# Levels are added until the grid has at most so many cells in a row and in a column.
TOP_CELLS = 4
# Defaults by the number of channels; models of colour images are residual, so that more rounds can be trained.
ROUNDS = {1: (2, 3, 2), 3: (4, 4, 3)}
# Largest width of a cell with its margin, in cells; each pixel is in at most the square of this number of windows.
WIDEST_WINDOW = 6
# Largest number of features of a fine cell; those of all nodes are padded to this width.
MOST_FEATURES = 2**12


@dataclass(frozen=True)
class GridFinder(Finder):
    """Finds the cells of an image where it has contrast.

    Args:
        in_channels: Channels of the image, 1 or 3.
        patch_size: Side of a finest cell in pixels. With its margin it has at most 4096 values in all channels. If
            ``resize`` of :class:`grapheme_pyg.VisionBrain` sets the size of images, the default is a 24th of it, in
            2…32.
        threshold: A finest cell is active if max − min over its pixels exceeds this in any channel. In levels of 0…255,
            so that uint8, float and inverted images agree. If None, 32 for grey images and 8 for colour.
        margin: Pixels around a finest cell that count as its own, for activity and features; at most 2.5 times
            ``patch_size``.
        rounds: Number of nodes of each cell for each configured level, fine to coarse; at least two levels. The default
            is 2, 3 and 2 for grey images, and 4, 4 and 3 for colour.
        extend: Whether levels with the types of the last configured one are added until the grid is at most 4×4.
            Without them, a model has no weights that small images leave untrained.

    Raises:
        ValueError: An argument is out of its range.
    """

    # There is one place for each neighbour of a cell.
    single_neighbours: ClassVar[bool] = True
    in_channels: int = 1
    patch_size: int = 2
    threshold: int | None = None
    margin: int = 1
    rounds: tuple[int, ...] = ()
    extend: bool = True

    def __post_init__(self) -> None:
        set_int(self, "patch_size", 1)
        set_int(self, "threshold", 0, 254, default=THRESHOLDS[self.in_channels])
        set_int(self, "margin", 0)
        several = "at least 1 for cells of one pixel, which has no contrast"
        check("margin", self.margin, self._window > 1, several)
        narrow = self._window <= WIDEST_WINDOW * self.patch_size
        check("margin", self.margin, narrow, f"at most {(WIDEST_WINDOW - 1) / 2} times patch_size, {self.patch_size}")
        few = self._num_features(0) <= MOST_FEATURES
        check("patch_size", self.patch_size, few, f"at most {MOST_FEATURES} values in a cell with its margin")
        if self.rounds == ():
            object.__setattr__(self, "rounds", ROUNDS[self.in_channels])
        set_rounds(self)
        check("extend", self.extend, isinstance(self.extend, bool), "True or False")

    def schema(self) -> Schema:
        """Returns ``self`` and eight neighbours within each level, and nine parts of each coarser cell."""
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
        """Returns a ``patch_size`` that grows with the image; 224×224 pixels would have 12,544 cells of 2×2 pixels."""
        return {"patch_size": min(max(cls.patch_size, round(size / FINEST_CELLS)), LARGEST_CELL)}

    def count_levels(self, height: int, width: int) -> int:
        """Returns the number of levels of an image of this size."""
        return len(self._grids(height, width))

    def lattice(self, height: int, width: int) -> Hierarchy:
        """Returns all cells that an image of this size can have."""
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

    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """Finds the active cells of images; an image without any gets one entity of the top level.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            The cells, and their features, float32 ``[num_cells, num_features]``.
        """
        present, features = self.measure(pixels)
        hierarchy, grids = self._present(present, *pixels.shape[-2:])
        lateral, part_of = self._relations(by_level(number_present(present)[:, :-1], grids))
        return replace(hierarchy, lateral=lateral, part_of=part_of), features[present]

    def find_unrolled(self, pixels: Tensor, vocabulary: Vocabulary) -> tuple[Hierarchy, Tensor, Dag]:
        """Does the same and unrolls the cells by their places."""
        present, features = self.measure(pixels)
        hierarchy, grids = self._present(present, *pixels.shape[-2:])
        dag = unroll_cells(by_level(present[:, :-1], grids), present[:, -1], vocabulary)
        return hierarchy, features[present], dag

    def _present(self, present: Tensor, height: int, width: int) -> tuple[Hierarchy, list[tuple[int, int]]]:
        """Returns the present cells of images without relations; and rows and columns of the levels."""
        level, kind, centre, grids = self._cells(height, width)
        image, cell = present.nonzero(as_tuple=True)
        hierarchy = Hierarchy(
            num_images=len(present),
            image=image,
            level=torch.cat([level, level[-1:]])[cell],
            type=torch.cat([kind, kind[-1:]])[cell],
            centre=with_image_centre(centre, (height, width))[cell],
            lateral=NO_RELATIONS,
            part_of=NO_RELATIONS,
            finest_of_pixel=self._of_pixels(by_level(number_present(present)[:, :-1], grids)[0], height, width),
            size=(height, width),
            alone=cell == level.numel(),
        )
        return hierarchy, grids

    def _cells(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, list[tuple[int, int]]]:
        """Returns level, type and centre of all cells of an image of this size; and rows and columns of the levels."""
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
        """Finds the relations of cells from their numbers ``[B, rows, columns]``, −1 for none."""
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
        """Returns the finest cell at each pixel, ``[B, H · W]``."""
        y, x = torch.arange(height) // self.patch_size, torch.arange(width) // self.patch_size
        return finest[:, y][:, :, x].flatten(1)

    def measure(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Finds and measures the cells of images ``[B, C, H, W]``; see :func:`grapheme_pyg.ops.measure_cells`."""
        grids = self._grids(*pixels.shape[-2:])
        own = torch.tensor([[*pixels.shape[-2:], len(grids)]]).expand(len(pixels), 3)
        return self._measure(pixels, own, grids)

    def measure_within(self, pixels: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Does the same for images of several sizes, and finds the centres of cells and the numbers of levels."""
        grids = self._grids(*pixels.shape[-2:])
        centre = []
        for i, grid in enumerate(grids):
            y, x = (
                centres_along(count, self.patch_size << i, size[:, None])
                for count, size in zip(grid, sizes.t(), strict=True)
            )
            centre.append(torch.stack([x[:, None].expand(-1, *grid), y[:, :, None].expand(-1, *grid)], dim=3))
        centre = [*(cells.flatten(1, 2) for cells in centre), sizes.flip(1)[:, None] / 2]
        # An image has another level for each of its coarse levels but the last that is too wide.
        cells = torch.tensor([self.patch_size << i for i in range(1, len(grids) - 1)], dtype=torch.int64)
        num_levels = 2 + (sizes.amax(1, keepdim=True) > TOP_CELLS * cells).sum(1)
        own = torch.cat([sizes, num_levels[:, None]], dim=1)
        return *self._measure(pixels, own, grids), torch.cat(centre, dim=1), num_levels

    def _measure(self, pixels: Tensor, sizes: Tensor, grids: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        assert self.threshold is not None  # chosen when this was made
        return measure_cells(pixels, sizes, torch.tensor(grids), self.patch_size, self.margin, self.threshold)

    def differentiable_features(self, pixels: Tensor) -> Tensor:
        """Computes the features of the cells of images, with gradients."""
        present, _ = self.measure(pixels.detach().to(torch.uint8))
        return cell_features(pixels, self._grids(*pixels.shape[-2:]), self.patch_size, self.margin)[present]

    @property
    def _window(self) -> int:
        """Side of a fine cell with its margin."""
        return self.patch_size + 2 * self.margin

    def _grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Returns rows and columns of each level; there is at least one coarse level."""
        grids = [(-(-height // self.patch_size), -(-width // self.patch_size))]
        max_levels = None if self.extend else len(self.rounds)
        while len(grids) == 1 or (max(grids[-1]) > TOP_CELLS and len(grids) != max_levels):
            grids.append((-(-grids[-1][0] // 2), -(-grids[-1][1] // 2)))
        return grids
