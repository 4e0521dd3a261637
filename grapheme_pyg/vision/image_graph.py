"""The graph of one image: a PyG ``Data`` that knows which fields belong to nodes and which to edges."""

from typing import Any

from torch_geometric.data import Data
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
