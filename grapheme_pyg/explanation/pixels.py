"""Attributions of pixels, from those of the features that were measured from the pixels."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from grapheme_pyg.vision import VisionBrain


def on_pixels(features: Tensor, graph: Data, pixels: Tensor, vision: VisionBrain) -> Tensor:
    r"""Distributes attributions of features to pixels; the sum stays the same.

    Features of ``differentiable`` types, such as pixels, means and standard deviations, are homogeneous of degree one,
    so that :math:`\sum_p p \, \partial f / \partial p = f` for each: a pixel gets the share
    :math:`(p / f) \, \partial f / \partial p` of the feature's attribution. By the chain rule, this is the attribution
    of pixels by x · gradient, and by integrated gradients from 0, if the graph stays the same; the pixels are those of
    :meth:`grapheme_pyg.VisionBrain.prepared`, with levels relative to the ground. Other entities distribute their
    attributions evenly to their pixels; those without pixels, such as corners, give them to the pixel at their centre.

    Args:
        features: Attributions of features, ``[num_nodes, num_features]``.
        graph: The graph of the image, with ``seg`` if not all types are ``differentiable``.
        pixels: The image, uint8 ``[C, H, W]``.
        vision: The brain that made the graph.

    Returns:
        ``[H, W]`` float64. For images that are resized first, the sum is the same up to rounding at the borders of
        pixels.
    """
    features, (height, width) = features.double(), pixels.shape[1:]
    measured_again = torch.tensor(differentiable_types(vision))[graph.node_type]
    out = torch.zeros(height, width, dtype=torch.float64)
    if bool(measured_again.any()):
        values = vision.prepared(pixels[None])[0].double().requires_grad_()
        measured = vision.finder.differentiable_features(values[None])
        # An entity's features are used by its first node. Features that are 0 have no attribution, as methods multiply.
        first = measured_again & (torch.tensor(vision.node_rounds)[graph.node_type] == 0)
        rate = torch.where(measured != 0, features[first, : measured.shape[1]] / measured.detach(), 0.0)
        (slope,) = torch.autograd.grad((rate * measured).sum(), values)
        shares = (slope * values).detach().sum(dim=0)
        if shares.shape != out.shape:
            shares = F.interpolate(shares[None, None], (height, width), mode="area")[0, 0]
            shares = shares * (values[0].numel() / out.numel())
        out += shares
    if not bool(measured_again.all()):
        amount = features.sum(dim=1).masked_fill(measured_again, 0.0)
        out += spread(amount, graph, vision).view(height, width)
    return out


def differentiable_types(vision: VisionBrain) -> list[bool]:
    """Tells for each node type whether the finder can measure its features with gradients; False for detections."""
    own = [kind.differentiable for kind in vision.finder.schema().entity_types]
    return [kind < len(own) and own[kind] for kind in vision.node_kinds]


def spread(amount: Tensor, graph: Data, vision: VisionBrain) -> Tensor:
    """Distributes amounts of nodes evenly to the pixels of their entities and of the entities' parts.

    Args:
        amount: ``[num_nodes]`` float64.
        graph: The graph of one image, with ``seg``.
        vision: The brain that made the graph.

    Returns:
        ``[H · W]`` float64, with the same sum.
    """
    # Edges from parts to wholes, and from each round of an entity to the next; parts have lower levels.
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
