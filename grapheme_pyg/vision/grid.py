"""Cells of pixels and coarser cells above them: the finder of ``mode="grid"``. Knows pixels and no PyG."""

from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.native import available, call
from grapheme_pyg.vision.cells import NAMES, PLACES, beside, by_level, centres_along, extents_along, join, within
from grapheme_pyg.vision.checks import THRESHOLDS, check, check_rounds, is_int
from grapheme_pyg.vision.hierarchy import EntityType, Hierarchy, Relations, RelationType, Schema

# Levels are added until the grid has at most this many cells in a row and in a column.
TOP_CELLS = 4


@dataclass(frozen=True)
class GridFinder:
    """Finds the cells of an image where it has contrast.

    Args:
        in_channels: Of the image, 1 or 3.
        patch_size: Side of a finest cell in pixels.
        threshold: A finest cell is active if max − min over its pixels, in any channel, exceeds this. In levels of
            0…255, so that uint8, float and inverted images agree. If None, 32 for grey images and 8 for colour.
        margin: How many pixels around a finest cell count as its own, in that comparison and in its features.
        rounds: For each configured level, fine to coarse, how many nodes each cell has; at least two levels.
            Levels are added until the grid is at most 4×4; those beyond share the last one's types.
        extend: Whether there are levels beyond the configured ones. Without them the top grid of a large image is
            larger than 4×4, and a model has no weights that small images would leave untrained.

    Raises:
        ValueError: An argument is out of its range.
    """

    in_channels: int = 1
    patch_size: int = 2
    threshold: int | None = None
    margin: int = 1
    rounds: tuple[int, ...] = (2, 3, 2)
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
        check_rounds(self.rounds)
        object.__setattr__(self, "rounds", tuple(self.rounds))
        check("extend", self.extend, isinstance(self.extend, bool), "True or False")

    @property
    def _window(self) -> int:
        """Side of a fine cell with the pixels around it that count as its own."""
        return self.patch_size + 2 * self.margin

    def schema(self) -> Schema:
        """Eight neighbours and ``self`` within each level; nine parts of each coarser cell."""
        last = len(self.rounds) - 1
        types = [EntityType(f"cell{i}", i, self._num_features(i), count) for i, count in enumerate(self.rounds)]
        names = ["self" if name == "centre" else f"{name}_of" for name in NAMES]
        lateral = [RelationType(i, name, i) for i in range(last + 1) for name in names]
        fine = range(last + 1 if self.extend else last)
        part_of = [RelationType(i, f"{name}_part_of", min(i + 1, last)) for i in fine for name in NAMES]
        return Schema(tuple(types), tuple(lateral), tuple(part_of))

    def _num_features(self, level: int) -> int:
        per_channel = self._window**2 if level == 0 else 2
        return per_channel * self.in_channels

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

    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """The cells that images have, and their features; for an image without any, one of the top level.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            The cells, and float32 ``[num_cells, num_features]``.
        """
        height, width = pixels.shape[-2:]
        level, kind, centre, grids = self._cells(height, width)
        present, features = self.measure(pixels)
        image, cell = present.nonzero(as_tuple=True)
        number = torch.where(present, present.flatten().cumsum(0).view_as(present) - 1, -1)
        numbers = by_level(number[:, :-1], grids)
        lateral, part_of = self._relations(numbers)
        middle = torch.tensor([[width / 2, height / 2]], dtype=torch.float64)
        hierarchy = Hierarchy(
            num_images=len(present),
            image=image,
            level=torch.cat([level, level[-1:]])[cell],
            type=torch.cat([kind, kind[-1:]])[cell],
            centre=torch.cat([centre, middle])[cell],
            lateral=lateral,
            part_of=part_of,
            finest_of_pixel=self._of_pixels(numbers[0], height, width),
            size=(height, width),
            alone=cell == level.numel(),
        )
        return hierarchy, features[present]

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
            ``present`` bool ``[B, num_entities + 1]``, the last column for images without any active cell, and
            ``features`` float32 ``[B, num_entities + 1, num_features]`` in [0, 1], the last row for the image as a
            whole. Fine cells have their pixels and those of the margin, channel by channel and row by row, the border
            repeated; coarse cells and the whole have means, then standard deviations of the channels. All come from
            integers and correctly rounded operations, and so do not depend on the batch.
        """
        grids = self._grids(*pixels.shape[-2:])
        if available():
            return self._measure_natively(pixels, grids)
        extended = self._extend(pixels, *grids[0])
        return self._present(extended, grids), self._features(pixels, extended, grids)

    def _measure_natively(self, pixels: Tensor, grids: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        num_entities = 1 + sum(rows * columns for rows, columns in grids)
        num_features = self._num_features(0)
        present = torch.empty(pixels.shape[0], num_entities, dtype=torch.bool)
        features = torch.zeros(pixels.shape[0], num_entities, num_features)
        rows, columns = torch.tensor(grids).t().contiguous()
        assert self.threshold is not None  # chosen when this was made
        sizes = (*pixels.shape, self.patch_size, self.margin, self.threshold, len(grids), num_features)
        call("measure_cells", (pixels.contiguous(), rows, columns, present, features), sizes)
        return present, features

    def _extend(self, pixels: Tensor, rows: int, columns: int) -> Tensor:
        """Whole cells with a margin: the border is repeated, which adds no contrast."""
        height, width = pixels.shape[-2:]
        y = torch.arange(-self.margin, rows * self.patch_size + self.margin).clamp(0, height - 1)
        x = torch.arange(-self.margin, columns * self.patch_size + self.margin).clamp(0, width - 1)
        return pixels if (y.numel(), x.numel()) == (height, width) else pixels[:, :, y][:, :, :, x]

    def _present(self, extended: Tensor, grids: list[tuple[int, int]]) -> Tensor:
        active = self._active(extended, *grids[0])
        present = [active.flatten(1)]
        for _ in grids[1:]:
            # A coarse cell exists if one of the 3×3 cells that are part of it does.
            active = F.max_pool2d(active.float(), kernel_size=3, stride=2, padding=1).bool()
            present.append(active.flatten(1))
        present.append(~present[0].any(dim=1, keepdim=True))
        return torch.cat(present, dim=1)

    def _features(self, pixels: Tensor, extended: Tensor, grids: list[tuple[int, int]]) -> Tensor:
        num_images, _, height, width = pixels.shape
        (rows, columns), patch = grids[0], self.patch_size
        windows = extended.unfold(2, self._window, patch).unfold(3, self._window, patch).permute(0, 2, 3, 1, 4, 5)
        features = [windows.reshape(num_images, rows * columns, -1).float().div_(255)]

        padding = (0, columns * patch - width, 0, rows * patch - height)
        padded = F.pad(pixels, padding) if any(padding) else pixels
        # Sums of squares over one cell fit into int32 up to a side of 181, those over coarse cells may not.
        values = padded.to(torch.int32 if patch <= 181 else torch.int64)
        total = _block_sum(values, patch).long(), _block_sum(values.square(), patch).long()
        for i, (rows, columns) in enumerate(grids[1:], start=1):
            total = _block_sum(total[0], 2), _block_sum(total[1], 2)
            area = extents_along(rows, patch << i, height)[:, None] * extents_along(columns, patch << i, width)
            features.append(_mean_and_spread(*total, area))
        whole = total[0].sum((2, 3), keepdim=True), total[1].sum((2, 3), keepdim=True)
        features.append(_mean_and_spread(*whole, torch.tensor([[height * width]])))
        num_features = max(part.shape[-1] for part in features)
        return torch.cat([F.pad(part, (0, num_features - part.shape[-1])) for part in features], dim=1)

    def _grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of each level; at least one coarse level."""
        grids = [(-(-height // self.patch_size), -(-width // self.patch_size))]
        max_levels = None if self.extend else len(self.rounds)
        while len(grids) == 1 or (max(grids[-1]) > TOP_CELLS and len(grids) != max_levels):
            grids.append((-(-grids[-1][0] // 2), -(-grids[-1][1] // 2)))
        return grids

    def _active(self, extended: Tensor, rows: int, columns: int) -> Tensor:
        """Fine cells with contrast in any channel, bool ``[B, rows, columns]``."""
        patch = self.patch_size
        high = low = extended
        for dim, count in ((2, rows), (3, columns)):
            # The k-th pixel of every window along this axis.
            strided = [
                (slice(None),) * dim + (slice(k, k + (count - 1) * patch + 1, patch),) for k in range(self._window)
            ]
            high = reduce(torch.maximum, [high[at] for at in strided])
            low = reduce(torch.minimum, [low[at] for at in strided])
        assert self.threshold is not None  # chosen when this was made
        return (high - low > self.threshold).any(dim=1)


def _block_sum(values: Tensor, side: int) -> Tensor:
    """Sums over blocks of ``side × side``, the last ones cut by the border, ``[B, C, rows, columns]``."""
    values = F.pad(values, (0, -values.shape[3] % side, 0, -values.shape[2] % side))
    values = reduce(torch.add, [values[:, :, k::side] for k in range(side)])
    return reduce(torch.add, [values[..., k::side] for k in range(side)])


def _mean_and_spread(total: Tensor, squares: Tensor, area: Tensor) -> Tensor:
    """Mean and standard deviation of each channel, ``[B, rows · columns, 2 C]``, in [0, 1]."""
    mean = total.double() / area
    variance = squares.double() / area - mean * mean
    spread = variance.clamp_(min=0).sqrt_()
    return torch.cat([mean, spread], dim=1).div_(255).float().flatten(2).transpose(1, 2)
