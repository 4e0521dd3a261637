"""ImageGraph, a PyG ``Data`` that knows which fields belong to nodes and which to edges, and batches of them."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.data.storage import GlobalStorage
from torch_geometric.utils import scatter, select

from grapheme_pyg.dag import check_edges
from grapheme_pyg.errors import GraphError

NODE_FIELDS = frozenset({"x", "pos", "node_type", "level", "batch"})
EDGE_FIELDS = frozenset({"edge_index", "edge_type", "edge_attr"})
GRAPH_FIELDS = frozenset({"y", "image_size", "seg", "ptr"})


class _ImageGraphStorage(GlobalStorage):
    """Storage that knows which fields belong to nodes, edges and graphs, and notices inconsistent reordering.

    PyG guesses by length, and so takes ``y`` for a node field if a graph has one node. Some transforms sort
    ``edge_index`` without ``edge_type``, such as :class:`torch_geometric.transforms.RemoveDuplicatedEdges`.
    """

    # Edge fields that still have the order of an earlier edge_index, with the wrong edges that result. None if there
    # are none, because torch.compile takes an empty mapping for true.
    _left_behind: dict[str, list[Tensor]] | None = None
    # Edge fields before they were reordered; edge_index may be reordered next.
    _replaced: Mapping[str, Tensor] = MappingProxyType({})

    def __setitem__(self, key: str, value: Any) -> None:
        before = self.get(key)
        super().__setitem__(key, value)
        if key in EDGE_FIELDS and _has_changed(before, value):
            if key == "edge_index" and value.dim() == 2:
                self._compare_order(before, value)
            elif self._left_behind is not None and key in self._left_behind:
                if not _are_same(_sorted_edges(self.get("edge_index"), value), self._left_behind[key]):
                    self._left_behind = {n: rows for n, rows in self._left_behind.items() if n != key} or None
            else:
                self._replaced = {**self._replaced, key: before}

    def _compare_order(self, before: Tensor, now: Tensor) -> None:
        """Notes the fields that kept their order when the same edges were reordered."""
        replaced, self._replaced = self._replaced, {}
        if not _are_same(_sorted_edges(before), _sorted_edges(now)):
            return
        for key in ("edge_type", "edge_attr"):
            value = self.get(key)
            rows = _sorted_edges(now, value)
            if rows and not any(_are_same(rows, _sorted_edges(before, one)) for one in (value, replaced.get(key))):
                self._left_behind = {key: rows, **(self._left_behind or {})}

    def check_order(self) -> None:
        """Refuses edge fields that have the order of an earlier ``edge_index``."""
        if self._left_behind is not None:
            name = max(self._left_behind)
            raise GraphError(
                f"{name}: expected the order of edge_index, got that of an earlier edge_index, whose edges something "
                f"has put in another order without {name}; graph.coalesce() sorts both"
            )

    def coalesce(self, reduce: str = "mean") -> Self:
        """Sorts edges by source, target and type, and merges those that agree in all three."""
        if "edge_index" not in self or "edge_type" not in self:
            super().coalesce(reduce)
            return self
        self.check_order()
        check_edges(self.edge_index, self.edge_type)
        order, is_first = self._by_source_target_type()
        group, first = is_first.cumsum(0) - 1, order[is_first]
        merged = {}
        for key in self.edge_attrs():
            value, dim = self[key], self._parent().__cat_dim__(key, self[key], self)
            if isinstance(value, Tensor) and value.is_floating_point():
                merged[key] = scatter(select(value, order, dim), group, dim, first.numel(), reduce)
            else:
                merged[key] = select(value, first, dim)
        slices = self.__dict__.get("_slice_dict")
        if slices is not None:
            counts = slices["edge_index"].diff()
            graph = torch.arange(counts.numel()).repeat_interleave(counts)[first.cpu()]
            now = _pointers(torch.bincount(graph, minlength=counts.numel()))
            self._slice_dict = slices | {key: now for key in merged if key in slices}
        for key, value in merged.items():
            super().__setitem__(key, value)
        self._replaced = {}
        return self

    def is_coalesced(self) -> bool:
        """Returns whether :meth:`coalesce` would change nothing."""
        if "edge_index" not in self or "edge_type" not in self:
            return bool(super().is_coalesced())
        order, is_first = self._by_source_target_type()
        return bool(is_first.all()) and torch.equal(order, torch.arange(order.numel(), device=order.device))

    def _by_source_target_type(self) -> tuple[Tensor, Tensor]:
        """Returns the order of edges, and which are the first of their source, target and type."""
        rows = torch.cat([self.edge_index, self.edge_type[None]])
        order = _lexical_order([*rows])
        is_first = torch.ones_like(order, dtype=torch.bool)
        is_first[1:] = (rows[:, order[1:]] != rows[:, order[:-1]]).any(0)
        return order, is_first

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

    It is a :class:`torch_geometric.data.Data` with two differences. The fields below are assigned to nodes, edges and
    graphs by name and not by length, so that graphs of one node or one edge survive ``to_heterogeneous`` and
    transforms. And edges have types: ``coalesce`` sorts them by source, target and type, and merges those that agree in
    all three, averaging their attributes. If a transform reorders ``edge_index`` but not ``edge_type`` or
    ``edge_attr``, models and batches refuse the graph.

    Shapes:
        - **x**: ``[num_nodes, num_features]`` float32, features, zero-padded to one width
        - **pos**: ``[num_nodes, 2]`` float32, centre in the image, (x right, y down), each in [0, 1]
        - **node_type**: ``[num_nodes]`` int64, index into the brain's node types
        - **edge_index**: ``[2, num_edges]`` int64, source → target, ``level[source] < level[target]``
        - **edge_type**: ``[num_edges]`` int64, index into the brain's edge types
        - **edge_attr** (optional): ``[num_edges, 3]`` float32, (dx, dy, distance) from target to source, divided by
          the longer side of the image
        - **level**: ``[num_nodes]`` int64, the stage at which a node is computed
        - **y** (if known): ``[1]`` int64, class
        - **image_size**: ``[1, 2]`` int64, height and width in pixels
        - **seg** (optional): ``[H · W]`` int64, the first-round node of the finest level at each pixel, row by row, −1
          for none; not offset in a batch
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        guessing = self.__dict__["_store"]
        self.__dict__["_store"] = _ImageGraphStorage(guessing._mapping, _parent=self)

    def __inc__(self, key: str, value: Any, *args: Any, **kwargs: Any) -> Any:
        if key == "edge_index":
            self.check_order()
        return super().__inc__(key, value, *args, **kwargs)

    def stores_as(self, data: Data) -> Self:
        """Copies what another graph knows of its order; PyG calls this for batches and for their single graphs."""
        if (left_behind := getattr(data._store, "_left_behind", None)) is not None:
            self._store._left_behind = left_behind
        return self

    def check_order(self) -> None:
        """Refuses a graph if ``edge_index`` was reordered, but another field of edges was not.

        Raises:
            GraphError: Naming the field that kept its order.
        """
        self._store.check_order()


def _has_changed(before: object, now: object) -> bool:
    """Returns whether both are tensors of the same shape, device and layout with different values."""
    if before is now or not isinstance(before, Tensor) or not isinstance(now, Tensor):
        return False
    kinds = [(one.device, one.layout, one.shape) for one in (before, now)]
    if kinds[0] != kinds[1] or before.is_meta or before.layout != torch.strided:
        return False
    return not torch.equal(before, now)


def _sorted_edges(edge_index: Tensor, *values: Any) -> list[Tensor]:
    """Sorts sources, targets and columns of values lexically; returns no rows if values do not fit the edges."""
    rows = [*edge_index]
    for value in values:
        if not isinstance(value, Tensor) or value.device != edge_index.device or value.shape[:1] != rows[0].shape:
            return []
        rows.extend(value.reshape(value.shape[0], -1).t())
    order = _lexical_order(rows)
    return [row[order] for row in rows]


def _are_same(rows: list[Tensor], others: list[Tensor]) -> bool:
    return len(rows) == len(others) and all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(rows, others, strict=True))


def _lexical_order(rows: Sequence[Tensor]) -> Tensor:
    """Returns the order that sorts by the first row, then the second, and so on; equal columns keep their order."""
    order = torch.arange(rows[0].numel(), device=rows[0].device)
    for row in reversed(rows):
        order = order[row[order].argsort(stable=True)]
    return order


def as_batch(known: Mapping[str, Tensor | None], batch: Tensor, num_nodes: Tensor, num_edges: Tensor) -> Batch:
    """Makes a batch of concatenated fields, with the slices that ``Batch.to_data_list`` needs.

    Args:
        known: Concatenated fields of all graphs; ``edge_index`` has offsets. Fields that are None are left out.
        batch: ``[num_nodes]`` int64, the graph of each node, ascending.
        num_nodes: ``[num_graphs]`` int64.
        num_edges: ``[num_graphs]`` int64.
    """
    num_graphs = num_nodes.numel()
    fields = {key: value for key, value in known.items() if value is not None}
    ptr, edge_ptr = _pointers(num_nodes), _pointers(num_edges)
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


def _pointers(counts: Tensor) -> Tensor:
    """Returns where consecutive runs of these lengths start, and where the last one ends."""
    return F.pad(counts.cumsum(0), (1, 0))


def to_graphs(batch: Batch) -> list[ImageGraph]:
    """Returns ``batch.to_data_list()`` of a batch from :func:`as_batch`, in half of the time."""
    starts: list[int] = batch.ptr.tolist()
    parts: dict[str, list[Tensor]] = {}
    for key, slices in batch._slice_dict.items():
        dim = 1 if key == "edge_index" else 0
        parts[key] = list(batch[key].split(slices.diff().tolist(), dim))
    parts["edge_index"] = [part - start for part, start in zip(parts["edge_index"], starts, strict=False)]
    return [ImageGraph(**{key: values[i] for key, values in parts.items()}) for i in range(batch.num_graphs)]


def together(parts: Sequence[Batch], order: Tensor) -> Batch:
    """Joins the graphs of several batches from :func:`as_batch` in a given order.

    Args:
        parts: The batches, which have the same fields.
        order: ``[num_graphs]`` int64, for each place the number of the graph, counted over all batches.
    """
    fields: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for key in parts[0]._slice_dict:
        number = torch.cat([part._slice_dict[key].diff() for part in parts])
        values = torch.cat([part[key] for part in parts], dim=1 if key == "edge_index" else 0)
        counts[key] = number[order]
        fields[key] = values.index_select(values.dim() - 1 if key == "edge_index" else 0, _rows(number, order))
    num_nodes, num_edges = counts["x"], counts["edge_type"]
    before = torch.cat([part.ptr[:-1] for part in parts])[order]
    fields["edge_index"] += (num_nodes.cumsum(0) - num_nodes - before).repeat_interleave(num_edges)
    out = as_batch(fields, torch.arange(len(order)).repeat_interleave(num_nodes), num_nodes, num_edges)
    # Numbers of pixels can differ.
    out._slice_dict = {key: _pointers(number) for key, number in counts.items()}
    return out


def _rows(number: Tensor, order: Tensor) -> Tensor:
    """Returns the row for each place when segments of rows are reordered."""
    chosen = number[order]
    shift = (number.cumsum(0) - number)[order] - (chosen.cumsum(0) - chosen)
    return torch.arange(int(number.sum())) + shift.repeat_interleave(chosen)
