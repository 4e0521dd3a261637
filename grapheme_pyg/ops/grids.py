"""Operators that build the graphs of grids: measuring cells, and inducing the subgraph of a lattice."""

from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.ops.canvas import inside, repeat_border
from grapheme_pyg.ops.definition import define

# Features of each channel of a coarse cell: mean and standard deviation.
COARSE_FEATURES = 2


class Induced(NamedTuple):
    """The nodes and edges of a lattice that the graphs of a batch have.

    Attributes:
        node: ``[num_nodes]`` int64, the lattice's number of each node.
        row: ``[num_nodes]`` int64, its row of the features.
        graph: ``[num_nodes]`` int64, its graph.
        edge: ``[num_edges]`` int64, the lattice's number of each edge.
        edge_index: ``[2, num_edges]`` int64, the edges between nodes of the batch.
        num_nodes: ``[num_graphs]`` int64.
        num_edges: ``[num_graphs]`` int64.
    """

    node: Tensor
    row: Tensor
    graph: Tensor
    edge: Tensor
    edge_index: Tensor
    num_nodes: Tensor
    num_edges: Tensor


def induce(entity: Tensor, edge_index: Tensor, present: Tensor) -> Induced:
    """Finds the subgraph of a lattice that the entities of each image induce.

    Args:
        entity: ``[num_lattice_nodes]`` int64, the entity of each node.
        edge_index: ``[2, num_lattice_edges]`` int64.
        present: ``[num_graphs, num_entities]`` bool, the entities of each image.
    """
    return Induced(*_induce(entity, edge_index, present))


def measure_cells(
    pixels: Tensor, sizes: Tensor, grids: Tensor, patch_size: int, margin: int, threshold: int
) -> tuple[Tensor, Tensor]:
    """Finds the active cells of images and measures all cells.

    Args:
        pixels: ``[B, C, H, W]`` uint8, images in the upper left corners.
        sizes: ``[B, 3]`` int64, height, width and number of levels of each image.
        grids: ``[num_levels, 2]`` int64, rows and columns of each level of images of ``H × W``, fine to coarse.
        patch_size: Side of a fine cell in pixels; it doubles from level to level.
        margin: Pixels around a fine cell that count as its own.
        threshold: A fine cell is active if the values of one channel differ by more than this.

    Returns:
        ``present`` bool ``[B, num_cells + 1]``, the last column for images without any active cell; and ``features``
        float32 ``[B, num_cells + 1, num_features]`` in [0, 1], the last row for the whole image. Cells are those of an
        image of ``H × W`` pixels; those that a smaller image lacks are not present, with features of 0. Features of
        fine cells are their pixels and those of the margin, channel by channel and row by row, with the border
        repeated; those of coarse cells and of the whole image are means, then standard deviations of the channels. They
        are computed from integers by correctly rounded operations, and so do not depend on the batch.
    """
    measured: tuple[Tensor, Tensor] = _measure_cells(pixels, sizes, grids, patch_size, margin, threshold)
    return measured


def cell_features(pixels: Tensor, grids: list[tuple[int, int]], patch_size: int, margin: int) -> Tensor:
    """Computes the features of :func:`measure_cells`, differentiably if pixels are floating point.

    Args:
        pixels: ``[B, C, H, W]``, whole numbers in 0…255.
        grids: Rows and columns of each level, fine to coarse.
        patch_size: Side of a fine cell in pixels.
        margin: Pixels around a fine cell that count as its own.

    Returns:
        ``[B, num_cells + 1, num_features]``, of the dtype of the pixels if that is floating-point, else float32.
    """
    sizes = torch.tensor([[*pixels.shape[-2:], len(grids)]], device=pixels.device).expand(len(pixels), 3)
    extended = _to_whole_cells(pixels, sizes, grids[0], patch_size, margin)
    return _features(pixels, extended, sizes, grids, patch_size, margin)


def count_features(channels: int, patch_size: int, margin: int) -> int:
    """Returns the number of features of cells."""
    return channels * max((patch_size + 2 * margin) ** 2, COARSE_FEATURES)


def _plain_induce(entity: Tensor, edge_index: Tensor, present: Tensor) -> tuple[Tensor, ...]:
    # Transposed, because contiguous rows are fast to select.
    by_node = present.t().contiguous().index_select(0, entity)
    graph, edge, num_edges = _positions(by_node.index_select(0, edge_index[0]) & by_node.index_select(0, edge_index[1]))
    # The number of each kept node in the batch, by position in the mask.
    number = by_node.t().reshape(-1).cumsum(0).sub_(1)
    ends = number[edge_index[:, edge] + graph * by_node.shape[0]].contiguous()
    graph, node, num_nodes = _positions(by_node)
    row = graph * present.shape[1] + entity.index_select(0, node)
    return node, row, graph, edge, ends, num_nodes, num_edges


def _positions(kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns column and row of each True in ``[n, B]``, column by column, and the number in each column."""
    graph, position = kept.t().nonzero(as_tuple=True)
    # Copies: both are columns of one tensor.
    return graph.clone(), position.clone(), kept.sum(dim=0)


def _fake_induce(entity: Tensor, edge_index: Tensor, present: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG001
    num_nodes, num_edges = (torch.library.get_ctx().new_dynamic_size() for _ in range(2))
    nodes = [entity.new_empty(num_nodes) for _ in range(3)]
    counts = [entity.new_empty(present.shape[0]) for _ in range(2)]
    return *nodes, entity.new_empty(num_edges), entity.new_empty(2, num_edges), *counts


def _plain_measure(
    pixels: Tensor, sizes: Tensor, grids: Tensor, patch_size: int, margin: int, threshold: int
) -> tuple[Tensor, Tensor]:
    shapes: list[tuple[int, int]] = [(rows, columns) for rows, columns in grids.tolist()]
    extended = _to_whole_cells(pixels, sizes, shapes[0], patch_size, margin)
    active = _active(extended, shapes[0], patch_size, margin, threshold)
    present = _present(active, _own_cells(sizes, shapes, patch_size))
    return present, _features(pixels, extended, sizes, shapes, patch_size, margin)


def _own_cells(sizes: Tensor, shapes: list[tuple[int, int]], patch: int) -> list[Tensor]:
    """Marks the cells that images have, ``[B, rows, columns]`` for each level."""
    own = []
    for level, shape in enumerate(shapes):
        grids = (sizes[:, :2] + (patch << level) - 1) // (patch << level)
        own.append(inside(torch.where(sizes[:, 2:] > level, grids, 0), *shape))
    return own


def _to_whole_cells(pixels: Tensor, sizes: Tensor, shape: tuple[int, int], patch: int, margin: int) -> Tensor:
    """Extends images to whole cells with a margin by repeating the border, which adds no contrast."""
    height, width = pixels.shape[-2:]
    return repeat_border(pixels, sizes[:, :2], margin, shape[0] * patch - height, shape[1] * patch - width)


def _active(extended: Tensor, size: tuple[int, int], patch: int, margin: int, threshold: int) -> Tensor:
    """Finds the fine cells with contrast in any channel, bool ``[B, rows, columns]``."""
    high = low = extended
    for dim, count in zip((2, 3), size, strict=True):
        # The k-th pixel of every window along this axis.
        strided = [
            (slice(None),) * dim + (slice(k, k + (count - 1) * patch + 1, patch),) for k in range(patch + 2 * margin)
        ]
        high = reduce(torch.maximum, [high[at] for at in strided])
        low = reduce(torch.minimum, [low[at] for at in strided])
    return (high - low > threshold).any(dim=1)


def _present(active: Tensor, own: list[Tensor]) -> Tensor:
    active = active & own[0]
    present = [active.flatten(1)]
    for cells in own[1:]:
        # A coarse cell is active if one of the 3×3 cells that are part of it is.
        active = F.max_pool2d(active.float(), kernel_size=3, stride=2, padding=1).bool() & cells
        present.append(active.flatten(1))
    present.append(~present[0].any(dim=1, keepdim=True))
    return torch.cat(present, dim=1)


def _features(
    pixels: Tensor, extended: Tensor, sizes: Tensor, shapes: list[tuple[int, int]], patch: int, margin: int
) -> Tensor:
    num_images, channels, height, width = pixels.shape
    # Integers are summed as integers. Sums of squares over one fine cell fit into int32 up to a side of 181.
    exact = not pixels.is_floating_point()
    small, large, out = (torch.int32, torch.int64, torch.float32) if exact else (pixels.dtype,) * 3
    (rows, columns), window = shapes[0], patch + 2 * margin
    windows = extended.unfold(2, window, patch).unfold(3, window, patch).permute(0, 2, 3, 1, 4, 5)
    features = [windows.reshape(num_images, rows * columns, -1).to(out) / 255]

    values = pixels.to(small if patch <= 181 else large) * inside(sizes[:, :2], height, width)[:, None]
    total = _block_sum(values, patch).to(large), _block_sum(values.square(), patch).to(large)
    for i, (rows, columns) in enumerate(shapes[1:], start=1):
        total = _block_sum(total[0], 2), _block_sum(total[1], 2)
        down, along = (extents(count, patch << i, sizes[:, axis]) for axis, count in enumerate((rows, columns)))
        features.append(_mean_and_spread(*total, down[:, None, :, None] * along[:, None, None]))
    whole = total[0].sum((2, 3), keepdim=True), total[1].sum((2, 3), keepdim=True)
    features.append(_mean_and_spread(*whole, sizes[:, :2].prod(1).view(-1, 1, 1, 1)))
    num_features = count_features(channels, patch, margin)
    padded = torch.cat([F.pad(part.to(out), (0, num_features - part.shape[-1])) for part in features], dim=1)
    own = [cells.flatten(1) for cells in _own_cells(sizes, shapes, patch)]
    return padded * torch.cat([*own, own[0][:, :1]], dim=1)[:, :, None]


def extents(count: int, side: int, size: Tensor) -> Tensor:
    """Returns the number of pixels that each of ``count`` cells covers along axes of ``size`` pixels."""
    start = torch.arange(count, device=size.device) * side
    return (size[:, None] - start).clamp(0, side)


def _block_sum(values: Tensor, side: int) -> Tensor:
    """Sums over blocks of ``side × side`` pixels, which the border may cut, ``[B, C, rows, columns]``."""
    values = F.pad(values, (0, -values.shape[3] % side, 0, -values.shape[2] % side))
    values = reduce(torch.add, [values[:, :, k::side] for k in range(side)])
    return reduce(torch.add, [values[..., k::side] for k in range(side)])


def _mean_and_spread(total: Tensor, squares: Tensor, area: Tensor) -> Tensor:
    """Computes mean and standard deviation of each channel, float64 ``[B, rows · columns, 2 C]``, in [0, 1]."""
    area = area.clamp(min=1)  # cells that an image lacks have none
    mean = total.double() / area
    variance = squares.double() / area - mean * mean
    # At 0 the gradient of the root is infinite; 0 is used instead.
    flat = variance <= 0
    spread = variance.masked_fill(flat, 1).sqrt().masked_fill(flat, 0)
    return (torch.cat([mean, spread], dim=1) / 255).flatten(2).transpose(1, 2)


def _fake_measure(
    pixels: Tensor,
    sizes: Tensor,  # noqa: ARG001
    grids: Tensor,  # noqa: ARG001
    patch_size: int,
    margin: int,
    threshold: int,  # noqa: ARG001
) -> tuple[Tensor, Tensor]:
    num_cells = torch.library.get_ctx().new_dynamic_size()
    num_features = count_features(pixels.shape[1], patch_size, margin)
    present = pixels.new_empty(pixels.shape[0], num_cells, dtype=torch.bool)
    return present, pixels.new_empty(pixels.shape[0], num_cells, num_features, dtype=torch.float32)


_induce = define(
    "induce(Tensor entity, Tensor edge_index, Tensor present)"
    " -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _plain_induce,
    _fake_induce,
)
_measure_cells = define(
    "measure_cells(Tensor pixels, Tensor sizes, Tensor grids, int patch_size, int margin, int threshold)"
    " -> (Tensor, Tensor)",
    _plain_measure,
    _fake_measure,
)
