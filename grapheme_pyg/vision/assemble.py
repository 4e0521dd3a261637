"""Hierarchies of images → a batch of graphs. Knows no pixels."""

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.vision.hierarchy import Hierarchy
from grapheme_pyg.vision.image_graph import as_batch
from grapheme_pyg.vision.unroll import Vocabulary, unroll


def assemble(
    hierarchy: Hierarchy,
    features: Tensor,
    vocabulary: Vocabulary,
    *,
    edge_attr: bool,
    seg: bool,
    y: Tensor | None = None,
) -> Batch:
    """The graphs of images of one size.

    Args:
        hierarchy: Their entities.
        features: ``[num_entities, num_features]`` float32.
        vocabulary: Of the schema that the hierarchy keeps to.
        edge_attr: Whether to measure edges.
        seg: Whether to map pixels to nodes.
        y: ``[num_images]`` int64 classes.

    Returns:
        The batch that ``Batch.from_data_list`` would make of the single graphs, slices included.
    """
    dag = unroll(hierarchy, vocabulary)
    height, width = hierarchy.size
    num_graphs, centre = hierarchy.num_images, hierarchy.centre
    batch = hierarchy.image[dag.entity]
    num_nodes = torch.bincount(batch, minlength=num_graphs)
    fields: dict[str, Tensor] = {
        "x": features[dag.entity],
        "edge_index": torch.stack([dag.source, dag.target]),
        "edge_type": dag.edge_type,
    }
    if edge_attr:
        ends = centre[dag.entity[dag.source]], centre[dag.entity[dag.target]]
        fields["edge_attr"] = offsets(*ends, hierarchy.size)
    if y is not None:
        fields["y"] = y
    fields |= {
        "pos": (centre / torch.tensor([width, height])).float()[dag.entity],
        "node_type": dag.node_type,
        "level": dag.level,
        "image_size": torch.tensor([hierarchy.size]).expand(num_graphs, 2).contiguous(),
    }
    if seg:
        fields["seg"] = _nodes_of_pixels(hierarchy, dag.first_node, num_nodes)
    num_edges = torch.bincount(batch[dag.target], minlength=num_graphs)
    return as_batch(fields, batch, num_nodes, num_edges)


def offsets(source: Tensor, target: Tensor, size: tuple[int, int]) -> Tensor:
    """``edge_attr`` of edges between centres ``[num_edges, 2]`` in pixels, float32 ``[num_edges, 3]``."""
    offset = (source - target) / max(size)
    return torch.cat([offset, offset.square().sum(dim=1, keepdim=True).sqrt()], dim=1).float()


def _nodes_of_pixels(hierarchy: Hierarchy, first_node: Tensor, num_nodes: Tensor) -> Tensor:
    """The first node of the finest entity at each pixel, counted within its graph; −1 where none."""
    within = first_node - (num_nodes.cumsum(0) - num_nodes)[hierarchy.image]
    found = hierarchy.finest_of_pixel.flatten()
    return torch.cat([within, torch.tensor([-1])])[found]
