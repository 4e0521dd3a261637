"""The graph of all cells of an image size, and the subgraphs that images induce in it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.vision.hierarchy import Hierarchy
from grapheme_pyg.vision.image_graph import ImageGraph
from grapheme_pyg.vision.unroll import Vocabulary, unroll


@dataclass(frozen=True)
class Lattice:
    """An unrolled hierarchy, and what its nodes and edges carry.

    Its last node stands for an image of which no entity is present.

    Shapes:
        - **entity**, **node_type**, **level**: ``[num_nodes]`` int64
        - **pos**: ``[num_nodes, 2]`` float32
        - **edge_index**: ``[2, num_edges]`` int64, edges by (target, type, source)
        - **edge_type**: ``[num_edges]`` int64
        - **edge_attr**: ``[num_edges, 3]`` float32, if configured
        - **cell_of_pixel**: ``[H · W]`` int64, the entity of the finest level at each pixel, if configured
    """

    size: tuple[int, int]
    entity: Tensor
    node_type: Tensor
    level: Tensor
    pos: Tensor
    edge_index: Tensor
    edge_type: Tensor
    edge_attr: Tensor | None
    cell_of_pixel: Tensor | None

    @property
    def num_edges(self) -> int:
        """Number of edges."""
        return self.edge_type.numel()


def make_lattice(hierarchy: Hierarchy, vocabulary: Vocabulary, *, edge_attr: bool, seg: bool) -> Lattice:
    """Unrolls a hierarchy and measures its edges.

    Args:
        hierarchy: All entities that an image of this size can have.
        vocabulary: Whose rounds and types to use.
        edge_attr: Whether to measure edges.
        seg: Whether to keep the map from pixels to entities.
    """
    dag = unroll(hierarchy, vocabulary)
    height, width = hierarchy.size
    centre = torch.cat([hierarchy.centre, torch.tensor([[width / 2, height / 2]], dtype=torch.float64)])
    whole = torch.tensor([hierarchy.level.numel()])
    top = len(dag.first_level) - 1
    top_type = torch.tensor([vocabulary.first_node_type[min(top, len(vocabulary.levels) - 1)]])
    top_level = torch.tensor([dag.first_level[top]])
    entity = torch.cat([dag.entity, whole])
    offsets = None
    if edge_attr:
        offset = (centre[dag.entity[dag.source]] - centre[dag.entity[dag.target]]) / max(height, width)
        offsets = torch.cat([offset, offset.square().sum(dim=1, keepdim=True).sqrt()], dim=1).float()
    return Lattice(
        size=hierarchy.size,
        entity=entity,
        node_type=torch.cat([dag.node_type, top_type]),
        level=torch.cat([dag.level, top_level]),
        pos=(centre / torch.tensor([width, height])).float()[entity],
        edge_index=torch.stack([dag.source, dag.target]),
        edge_type=dag.edge_type,
        edge_attr=offsets,
        cell_of_pixel=hierarchy.finest_of_pixel if seg else None,
    )


def restrict(lattice: Lattice, present: Tensor, features: Tensor, y: Tensor | None = None) -> Batch:
    """The subgraph of the lattice that each image's entities induce.

    Args:
        lattice: Of the images' size.
        present: ``[B, num_entities + 1]`` bool, the last column for an image of which no other is present.
        features: ``[B, num_entities + 1, num_features]`` float32.
        y: ``[B]`` int64 classes.

    Returns:
        The batch that ``Batch.from_data_list`` would make of the single graphs, slices included.
    """
    num_graphs = present.shape[0]
    source, target = lattice.edge_index
    nodes_kept = present.index_select(1, lattice.entity)
    # Rows of the transposed mask are contiguous, and so quick to pick.
    by_node = nodes_kept.t().contiguous()
    edges_kept = (by_node.index_select(0, source) & by_node.index_select(0, target)).t().contiguous()

    batch, node, num_nodes = _positions(nodes_kept)
    edge_graph, edge, num_edges = _positions(edges_kept)
    # Number of each kept node in the batch, by position in the mask.
    number = nodes_kept.view(-1).cumsum(0) - 1
    first = edge_graph * nodes_kept.shape[1]
    ends = [number.index_select(0, first + end.index_select(0, edge)) for end in (source, target)]
    entity = lattice.entity.index_select(0, node)
    x = features.flatten(0, 1).index_select(0, batch * present.shape[1] + entity)

    fields = {
        "x": x,
        "edge_index": torch.stack(ends),
        "edge_attr": None if lattice.edge_attr is None else lattice.edge_attr.index_select(0, edge),
        "y": y,
        "pos": lattice.pos.index_select(0, node),
        "node_type": lattice.node_type.index_select(0, node),
        "edge_type": lattice.edge_type.index_select(0, edge),
        "level": lattice.level.index_select(0, node),
        "image_size": torch.tensor([lattice.size]).expand(num_graphs, 2).contiguous(),
        "seg": None if lattice.cell_of_pixel is None else _segmentation(present, lattice.cell_of_pixel),
    }
    return _as_batch({key: value for key, value in fields.items() if value is not None}, batch, num_nodes, num_edges)


def _positions(kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row and column of each True in ``[B, n]``, row by row, and their number in each row."""
    counts = kept.sum(dim=1)
    row = torch.arange(kept.shape[0]).repeat_interleave(counts)
    column = kept.view(-1).nonzero().squeeze(1).sub_(row * kept.shape[1])
    return row, column, counts


def _segmentation(present: Tensor, cell_of_pixel: Tensor) -> Tensor:
    """The node of each pixel, −1 where none: nodes of the finest level come first in a graph, in order."""
    number = present.cumsum(dim=1) - 1
    return torch.where(present, number, -1).index_select(1, cell_of_pixel).flatten()


def _as_batch(fields: dict[str, Tensor], batch: Tensor, num_nodes: Tensor, num_edges: Tensor) -> Batch:
    """Puts fields together with the slices that ``Batch.to_data_list`` needs."""
    num_graphs = num_nodes.numel()
    ptr = torch.cat([num_nodes.new_zeros(1), num_nodes.cumsum(0)])
    edge_ptr = torch.cat([num_edges.new_zeros(1), num_edges.cumsum(0)])
    out = Batch(_base_cls=ImageGraph, **fields)
    out.batch, out.ptr = batch, ptr
    out._num_graphs = num_graphs
    out._slice_dict, out._inc_dict = {}, {}
    nothing = torch.zeros(num_graphs, dtype=torch.int64)
    for key, value in fields.items():
        if out.is_node_attr(key):
            slices = ptr
        elif out.is_edge_attr(key):
            slices = edge_ptr
        else:
            slices = torch.arange(num_graphs + 1) * (value.shape[0] // num_graphs)
        out._slice_dict[key] = slices
        out._inc_dict[key] = ptr[:-1] if key == "edge_index" else nothing
    return out
