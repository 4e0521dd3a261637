"""The graph of one image: a PyG ``Data`` that knows which fields belong to nodes and which to edges."""

from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.data.storage import GlobalStorage

NODE_FIELDS = frozenset({"x", "pos", "node_type", "level", "batch"})
EDGE_FIELDS = frozenset({"edge_index", "edge_type", "edge_attr"})
GRAPH_FIELDS = frozenset({"y", "image_size", "seg", "ptr"})


class _ImageGraphStorage(GlobalStorage):
    """PyG guesses by length, and so files ``y`` under the nodes of a graph that has one node."""

    def is_node_attr(self, key: str) -> bool:
        if key in EDGE_FIELDS or key in GRAPH_FIELDS:
            return False
        return key in NODE_FIELDS or bool(super().is_node_attr(key))

    def is_edge_attr(self, key: str) -> bool:
        if key in NODE_FIELDS or key in GRAPH_FIELDS:
            return False
        return key in EDGE_FIELDS or bool(super().is_edge_attr(key))


class ImageGraph(Data):
    """A directed acyclic graph made from one image.

    A :class:`torch_geometric.data.Data` in every respect, except that the fields below are filed by name
    and not by length, so that graphs of one node or one edge survive ``to_heterogeneous`` and transforms.

    Shapes:
        - **x**: ``[num_nodes, num_features]`` float32, signal features, zero-padded to one width
        - **pos**: ``[num_nodes, 2]`` float32, centre in the image, (x right, y down), each in [0, 1]
        - **node_type**: ``[num_nodes]`` int64, index into the brain's node types
        - **edge_index**: ``[2, num_edges]`` int64, source → target, ``level[source] < level[target]``
        - **edge_type**: ``[num_edges]`` int64, index into the brain's edge types
        - **edge_attr** (by configuration): ``[num_edges, 3]`` float32, (dx, dy, distance) from target to
          source, divided by the longer side of the image
        - **level**: ``[num_nodes]`` int64, the stage at which a node is computed
        - **y** (if known): ``[1]`` int64, class
        - **image_size**: ``[1, 2]`` int64, height and width in pixels
        - **seg** (by configuration): ``[H · W]`` int64, the first-round node of the finest level at each pixel, row
          by row, −1 where there is none; not offset in a batch
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        guessing = self.__dict__["_store"]
        self.__dict__["_store"] = _ImageGraphStorage(guessing._mapping, _parent=self)


def as_batch(fields: dict[str, Tensor], batch: Tensor, num_nodes: Tensor, num_edges: Tensor) -> Batch:
    """Puts the fields of many graphs together, with the slices that ``Batch.to_data_list`` needs.

    Args:
        fields: Of all graphs, concatenated; ``edge_index`` with offsets.
        batch: ``[num_nodes]`` int64, the graph of each node, ascending.
        num_nodes: ``[num_graphs]`` int64.
        num_edges: ``[num_graphs]`` int64.
    """
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


def to_graphs(batch: Batch) -> list[ImageGraph]:
    """What ``batch.to_data_list()`` gives, of a batch by :func:`as_batch`, in half of the time."""
    starts: list[int] = batch.ptr.tolist()
    parts: dict[str, list[Tensor]] = {}
    for key, slices in batch._slice_dict.items():
        dim = 1 if key == "edge_index" else 0
        parts[key] = list(batch[key].split(slices.diff().tolist(), dim))
    parts["edge_index"] = [part - start for part, start in zip(parts["edge_index"], starts, strict=False)]
    return [ImageGraph(**{key: values[i] for key, values in parts.items()}) for i in range(batch.num_graphs)]
