"""Cells on a lattice: their centres, neighbours and parts. Knows no pixels."""

import torch
from torch import Tensor

from grapheme_pyg.vision.hierarchy import Relations

# The nine places of a 3×3 window, row by row as in a convolution kernel: kind = 3 (dy + 1) + (dx + 1).
PLACES = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
NAMES = ("north_west", "north", "north_east", "west", "centre", "east", "south_west", "south", "south_east")


def centres_along(count: int, side: int, size: int | Tensor) -> Tensor:
    """Returns the centres of ``count`` cells along an axis of ``size`` pixels, in pixels."""
    start = torch.arange(count, dtype=torch.float64) * side
    return (start + (start + side).clamp(max=size)) / 2


def by_level(values: Tensor, grids: list[tuple[int, int]]) -> list[Tensor]:
    """Splits values of all cells ``[B, num_cells]`` into levels ``[B, rows, columns]``."""
    parts = values.split([rows * columns for rows, columns in grids], dim=1)
    return [part.reshape(-1, *grid) for part, grid in zip(parts, grids, strict=True)]


def number_present(present: Tensor) -> Tensor:
    """Numbers present cells, which a bool tensor marks, in their order; −1 for absent cells."""
    return torch.where(present, present.flatten().cumsum(0).view_as(present) - 1, -1)


def beside(grid: Tensor, dy: int, dx: int, kind: int) -> Relations:
    """Returns the relations from the neighbour of each cell at (dy, dx) to the cell."""
    rows, columns = grid.shape[1:]
    target = grid[:, max(0, -dy) : rows - max(0, dy), max(0, -dx) : columns - max(0, dx)]
    source = grid[:, max(0, dy) : rows - max(0, -dy), max(0, dx) : columns - max(0, -dx)]
    return _between(source, target, kind)


def within(fine: Tensor, coarse: Tensor, dy: int, dx: int, kind: int) -> Relations:
    """Returns the relations from fine cell (2I + dy, 2J + dx) to coarse cell (I, J), as in a 3×3 window at stride 2."""
    y = 2 * torch.arange(coarse.shape[1]) + dy
    x = 2 * torch.arange(coarse.shape[2]) + dx
    in_y, in_x = (y >= 0) & (y < fine.shape[1]), (x >= 0) & (x < fine.shape[2])
    return _between(fine[:, y[in_y]][:, :, x[in_x]], coarse[:, in_y][:, :, in_x], kind)


def _between(source: Tensor, target: Tensor, kind: int) -> Relations:
    """Returns relations of one type between present cells, which have numbers of at least 0."""
    both = (source >= 0) & (target >= 0)
    source, target = source[both], target[both]
    return Relations(source, target, torch.full_like(source, kind))
