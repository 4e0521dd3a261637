"""The graph of all entities that an image of some size can have, and the subgraphs that images induce in it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch

from grapheme_pyg.ops.grids import Induced, induce
from grapheme_pyg.vision.assemble import offsets
from grapheme_pyg.vision.hierarchy import Hierarchy, to_positions, with_image_centre
from grapheme_pyg.vision.image_graph import as_batch
from grapheme_pyg.vision.unroll import Vocabulary, unroll


@dataclass(frozen=True)
class Lattice:
    """An unrolled hierarchy with the fields of its nodes and edges.

    The last node stands for an image without any entity.

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
        vocabulary: Rounds and types of the schema.
        edge_attr: Whether to measure edges.
        seg: Whether to keep the map from pixels to entities.
    """
    dag = unroll(hierarchy, vocabulary)
    num_levels = int(hierarchy.level[-1]) + 1
    centre = with_image_centre(hierarchy.centre, hierarchy.size)
    entity = torch.cat([dag.entity, torch.tensor([hierarchy.level.numel()])])
    return Lattice(
        size=hierarchy.size,
        entity=entity,
        node_type=torch.cat([dag.node_type, torch.tensor([vocabulary.first_node_type[int(hierarchy.type[-1])]])]),
        level=torch.cat([dag.level, torch.tensor([vocabulary.first_stages(num_levels)[-1]])]),
        pos=to_positions(centre, hierarchy.size)[entity],
        edge_index=dag.edge_index,
        edge_type=dag.edge_type,
        edge_attr=offsets(centre[dag.entity], dag.edge_index, hierarchy.size) if edge_attr else None,
        cell_of_pixel=hierarchy.finest_of_pixel[0] if seg else None,
    )


def restrict(lattice: Lattice, present: Tensor, features: Tensor, y: Tensor | None = None) -> Batch:
    """Makes the subgraphs that the entities of images induce in the lattice.

    Args:
        lattice: The lattice of the images' size.
        present: ``[B, num_entities + 1]`` bool, the last column for an image without any entity.
        features: ``[B, num_entities + 1, num_features]`` float32.
        y: ``[B]`` int64 classes.

    Returns:
        The batch that ``Batch.from_data_list`` would make of the single graphs, including slices.
    """
    induced = induce(lattice.entity, lattice.edge_index, present)
    pos = lattice.pos.index_select(0, induced.node)
    image_size = torch.tensor([lattice.size]).expand(len(present), 2).contiguous()
    seg = None if lattice.cell_of_pixel is None else _segmentation(present, lattice.cell_of_pixel)
    return _subgraphs(lattice, induced, induced.node, features, pos, image_size, y, seg)


def restrict_sizes(
    lattice: Lattice,
    present: Tensor,
    features: Tensor,
    pos: Tensor,
    alone: Tensor,
    image_size: Tensor,
    y: Tensor | None,
) -> Batch:
    """Makes the subgraphs that images of several sizes induce in the lattice of larger ones; see :func:`restrict`.

    Args:
        lattice: The lattice, without ``edge_attr`` and ``cell_of_pixel``, which depend on the size.
        present: ``[B, num_entities + 1]`` bool.
        features: ``[B, num_entities + 1, num_features]`` float32.
        pos: ``[B, num_entities + 1, 2]`` float32, positions of the entities in each image.
        alone: ``[B]`` int64, a node of the lattice with the type and level of an image without any entity.
        image_size: ``[B, 2]`` int64, heights and widths.
        y: ``[B]`` int64 classes.
    """
    induced = induce(lattice.entity, lattice.edge_index, present)
    is_alone = induced.node == lattice.entity.numel() - 1
    node = torch.where(is_alone, alone[induced.graph], induced.node)
    return _subgraphs(lattice, induced, node, features, pos.flatten(0, 1).index_select(0, induced.row), image_size, y)


def _subgraphs(
    lattice: Lattice,
    induced: Induced,
    node: Tensor,
    features: Tensor,
    pos: Tensor,
    image_size: Tensor,
    y: Tensor | None,
    seg: Tensor | None = None,
) -> Batch:
    fields = {
        "x": features.flatten(0, 1).index_select(0, induced.row),
        "edge_index": induced.edge_index,
        "edge_type": lattice.edge_type.index_select(0, induced.edge),
        "edge_attr": None if lattice.edge_attr is None else lattice.edge_attr.index_select(0, induced.edge),
        "y": y,
        "pos": pos,
        "node_type": lattice.node_type.index_select(0, node),
        "level": lattice.level.index_select(0, node),
        "image_size": image_size,
        "seg": seg,
    }
    return as_batch(fields, induced.graph, induced.num_nodes, induced.num_edges)


def _segmentation(present: Tensor, cell_of_pixel: Tensor) -> Tensor:
    """Returns the node of each pixel, −1 for none; nodes of the finest level come first in a graph, in order."""
    number = present.cumsum(dim=1) - 1
    return torch.where(present, number, -1).index_select(1, cell_of_pixel).flatten()
