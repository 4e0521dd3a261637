"""Attributions of features, put back on the pixels that the features were measured on."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg.ops.grids import extents
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.grid import GridFinder
from grapheme_pyg.vision.hybrid import HybridFinder
from grapheme_pyg.vision.pixels import resized


def on_pixels(features: Tensor, graph: Data, pixels: Tensor, vision: VisionBrain) -> Tensor:
    r"""Puts attributions of features on pixels; the sum stays the same.

    The features of cells, pixels and their means and standard deviations, are homogeneous of degree one, so
    :math:`\sum_p p \, \partial f / \partial p = f` for each: a pixel gets the share
    :math:`(p / f) \, \partial f / \partial p` of what the feature got. By the chain rule that is what x · gradient and
    integrated gradients from 0 give to pixels, of a graph that stays the same. Other entities share what they got
    evenly among their pixels; those that have none, such as corners, leave it at their centre.

    Args:
        features: ``[num_nodes, num_features]``.
        graph: Of the image; with ``seg``, if there are entities other than cells.
        pixels: uint8 ``[C, H, W]``, the image.
        vision: What made the graph.

    Returns:
        ``[H, W]`` float64. Of images that are resized first, the sum is the same but for rounding at the borders of
        pixels.
    """
    features, (height, width) = features.double(), pixels.shape[1:]
    names = vision.metadata[0]
    cell = torch.tensor([name.startswith("cell") for name in names])[graph.node_type]
    out = torch.zeros(height, width, dtype=torch.float64)
    if bool(cell.any()):
        small = pixels if vision.resize is None else resized(pixels[None], vision.resize)[0]
        values = small.double().div_(255).requires_grad_()
        measured = measure(values, graph, cell, vision)
        # What is 0 got nothing by any method that multiplies by it.
        rate = torch.where(measured != 0, features[cell, : measured.shape[1]] / measured.detach(), 0.0)
        (slope,) = torch.autograd.grad((rate * measured).sum(), values)
        shares = (slope * values).detach().sum(dim=0)
        if shares.shape != out.shape:
            shares = F.interpolate(shares[None, None], (height, width), mode="area")[0, 0]
            shares = shares * (values[0].numel() / out.numel())
        out += shares
    if not bool(cell.all()):
        amount = features.sum(dim=1).masked_fill(cell, 0.0)
        out += spread(amount, graph, vision).view(height, width)
    return out


def measure(values: Tensor, graph: Data, cell: Tensor, vision: VisionBrain) -> Tensor:
    """Features of cells, as :func:`grapheme_pyg.ops.measure_cells` has them, with gradients.

    Args:
        values: ``[C, H, W]`` float64 in [0, 1].
        graph: Of that image.
        cell: ``[num_nodes]`` bool, the nodes to measure.
        vision: What made the graph.

    Returns:
        ``[num_cells, num_features]`` float64; 0 for nodes after an entity's first, whose features are not used.
    """
    assert isinstance(vision.finder, GridFinder | HybridFinder)
    patch, margin = vision.finder.patch_size, vision.finder.margin
    (height, width), level = values.shape[1:], graph.level[cell]
    first = torch.tensor(vision.node_rounds)[graph.node_type[cell]] == 0
    finest = first & (torch.tensor(vision.node_kinds)[graph.node_type[cell]] == 0)
    place = graph.pos[cell].double() * torch.tensor([width, height])
    out = values.new_zeros(int(cell.sum()), vision.num_features)
    if not bool(finest.any()):
        # One node stands for an image without contrast.
        out[:, : 2 * len(values)] = _mean_and_spread(values, max(height, width))[0, 0]
        return out
    for i, stage in enumerate(level[first].unique().tolist()):
        rows = (first & (level == stage)).nonzero().squeeze(1)
        column, row = (place[rows] / (patch << i)).long().t()
        if i == 0:
            step = torch.arange(-margin, patch + margin)
            y = (row[:, None] * patch + step).clamp(0, height - 1)
            x = (column[:, None] * patch + step).clamp(0, width - 1)
            found = values[:, y[:, :, None], x[:, None, :]].transpose(0, 1).flatten(1)
        else:
            found = _mean_and_spread(values, patch << i)[row, column]
        out[rows, : found.shape[1]] = found
    return out


def _mean_and_spread(values: Tensor, side: int) -> Tensor:
    """Means, then standard deviations of the channels over squares, ``[rows, columns, 2 C]``."""
    height, width = values.shape[1:]
    padded = F.pad(values, (0, -width % side, 0, -height % side))
    rows, columns = padded.shape[1] // side, padded.shape[2] // side
    area = extents(rows, side, height)[:, None] * extents(columns, side, width)
    mean, square = (F.avg_pool2d(power, side, divisor_override=1) / area for power in (padded, padded.square()))
    variance = square - mean.square()
    # The root has no slope at 0, where it is 0 in all directions that matter. Rounding leaves about 1e-17.
    flat = variance < 1e-12
    spread = variance.masked_fill(flat, 1.0).sqrt().masked_fill(flat, 0.0)
    return torch.cat([mean, spread]).permute(1, 2, 0)


def spread(amount: Tensor, graph: Data, vision: VisionBrain) -> Tensor:
    """Shares amounts of nodes evenly among the pixels of their entities and of what is part of them.

    Args:
        amount: ``[num_nodes]`` float64.
        graph: With ``seg``.
        vision: What made the graph.

    Returns:
        ``[H · W]`` float64, of the same sum.
    """
    # From parts to wholes, and from each round of an entity to the next; parts come first in `level`.
    names = [name for _, name, _ in vision.metadata[1]]
    upward = torch.tensor([name == "self" or name.endswith("part_of") for name in names])
    edge = upward[graph.edge_type].nonzero().squeeze(1)
    source, target = graph.edge_index[:, edge]
    seg, stages = graph.seg, graph.level.unique().tolist()
    inside = seg >= 0
    count = torch.zeros_like(amount).index_add_(0, seg[inside], torch.ones(int(inside.sum()), dtype=amount.dtype))
    for stage in stages:
        here = graph.level[target] == stage
        count.index_add_(0, target[here], count[source[here]])
    density = torch.where(count > 0, amount / count.clamp(min=1), 0.0)
    for stage in reversed(stages):
        here = graph.level[source] == stage
        density.index_add_(0, source[here], density[target[here]])
    out = torch.where(inside, density[seg.clamp(min=0)], 0.0)
    height, width = graph.image_size[0].tolist()
    lost = (count == 0).nonzero().squeeze(1)
    x, y = (graph.pos[lost] * torch.tensor([width, height])).long().t()
    centre = y.clamp(max=height - 1) * width + x.clamp(max=width - 1)
    return out.index_add_(0, centre, amount[lost])
