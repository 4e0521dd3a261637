"""Hierarchies of images → a batch of graphs. Knows no pixels."""

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.vision.hierarchy import Hierarchy
from grapheme_pyg.vision.image_graph import as_batch
from grapheme_pyg.vision.unroll import Dag

# How many are measured at a time.
EDGES = 2**15


def assemble(
    hierarchy: Hierarchy,
    features: Tensor,
    dag: Dag,
    *,
    edge_attr: bool,
    seg: bool,
    y: Tensor | None = None,
) -> Batch:
    """The graphs of images of one size.

    Args:
        hierarchy: Their entities; relations are not looked at.
        features: ``[num_entities, num_features]`` float32.
        dag: The hierarchy, unrolled.
        edge_attr: Whether to measure edges.
        seg: Whether to map pixels to nodes.
        y: ``[num_images]`` int64 classes.

    Returns:
        The batch that ``Batch.from_data_list`` would make of the single graphs, slices included.
    """
    height, width = hierarchy.size
    num_graphs, centre = hierarchy.num_images, hierarchy.centre
    batch = hierarchy.image[dag.entity]
    num_nodes = torch.bincount(batch, minlength=num_graphs)
    fields: dict[str, Tensor] = {
        "edge_index": dag.edge_index,
        "edge_type": dag.edge_type,
    }
    if edge_attr:
        fields["edge_attr"] = offsets(centre[dag.entity], dag.edge_index, hierarchy.size)
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
    # Edges come by target, and so by graph.
    ends = torch.searchsorted(dag.edge_index[1], num_nodes.cumsum(0))
    num_edges = ends.diff(prepend=ends.new_zeros(1))
    return as_batch({"x": features[dag.entity]} | fields, batch, num_nodes, num_edges)


def offsets(centre: Tensor, edge_index: Tensor, size: tuple[int, int]) -> Tensor:
    """``edge_attr`` of edges between nodes.

    Args:
        centre: ``[num_nodes, 2]`` float64, in pixels.
        edge_index: ``[2, num_edges]`` int64.
        size: Of the image.

    Returns:
        float32 ``[num_edges, 3]``.
    """
    measured = torch.empty(edge_index.shape[1], 3, dtype=torch.float32)
    # Some at a time, as float64 on the way takes several times the memory of what is kept.
    for (source, target), out in zip(edge_index.split(EDGES, dim=1), measured.split(EDGES), strict=True):
        offset = (centre[source] - centre[target]) / max(size)
        out[:, :2] = offset
        out[:, 2] = offset.square().sum(dim=1).sqrt()
    return measured


def _nodes_of_pixels(hierarchy: Hierarchy, first_node: Tensor, num_nodes: Tensor) -> Tensor:
    """The first node of the finest entity at each pixel, counted within its graph; −1 where none."""
    within = first_node - (num_nodes.cumsum(0) - num_nodes)[hierarchy.image]
    found = hierarchy.finest_of_pixel.flatten()
    return torch.cat([within, torch.tensor([-1])])[found]
