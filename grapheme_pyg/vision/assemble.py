"""Assembly of hierarchies into a batch of graphs. Knows no pixels."""

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.vision.hierarchy import Hierarchy, to_positions
from grapheme_pyg.vision.image_graph import as_batch
from grapheme_pyg.vision.unroll import Dag

# Number of edges that are measured at a time.
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
    """Makes the graphs of images of one size.

    Args:
        hierarchy: Their entities; relations are not used.
        features: ``[num_entities, num_features]`` float32.
        dag: The unrolled hierarchy.
        edge_attr: Whether to measure edges.
        seg: Whether to map pixels to nodes.
        y: ``[num_images]`` int64 classes.

    Returns:
        The batch that ``Batch.from_data_list`` would make of the single graphs, including slices.
    """
    num_graphs, centre = hierarchy.num_images, hierarchy.centre
    batch = hierarchy.image[dag.entity]
    num_nodes = torch.bincount(batch, minlength=num_graphs)
    fields = {
        "x": features[dag.entity],
        "edge_index": dag.edge_index,
        "edge_type": dag.edge_type,
        "edge_attr": offsets(centre[dag.entity], dag.edge_index, hierarchy.size) if edge_attr else None,
        "y": y,
        "pos": to_positions(centre, hierarchy.size)[dag.entity],
        "node_type": dag.node_type,
        "level": dag.level,
        "image_size": torch.tensor([hierarchy.size]).expand(num_graphs, 2).contiguous(),
        "seg": _nodes_of_pixels(hierarchy, dag.first_node, num_nodes) if seg else None,
    }
    # Edges are sorted by target, and so by graph.
    ends = torch.searchsorted(dag.edge_index[1], num_nodes.cumsum(0))
    num_edges = ends.diff(prepend=ends.new_zeros(1))
    return as_batch(fields, batch, num_nodes, num_edges)


def offsets(centre: Tensor, edge_index: Tensor, size: tuple[int, int]) -> Tensor:
    """Computes ``edge_attr``, float32 ``[num_edges, 3]``.

    Args:
        centre: ``[num_nodes, 2]`` float64, in pixels.
        edge_index: ``[2, num_edges]`` int64.
        size: Height and width of the image.
    """
    measured = torch.empty(edge_index.shape[1], 3, dtype=torch.float32)
    # In parts, because intermediate float64 tensors take several times the memory of the result.
    for (source, target), out in zip(edge_index.split(EDGES, dim=1), measured.split(EDGES), strict=True):
        offset = (centre[source] - centre[target]) / max(size)
        out[:, :2] = offset
        out[:, 2] = offset.square().sum(dim=1).sqrt()
    return measured


def _nodes_of_pixels(hierarchy: Hierarchy, first_node: Tensor, num_nodes: Tensor) -> Tensor:
    """Returns the first node, within its graph, of the finest entity at each pixel; −1 for none."""
    within = first_node - (num_nodes.cumsum(0) - num_nodes)[hierarchy.image]
    found = hierarchy.finest_of_pixel.flatten()
    return torch.cat([within, torch.tensor([-1])])[found]
