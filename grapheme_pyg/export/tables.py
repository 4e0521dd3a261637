"""Graphs → the tables that an exported model reads, in plain NumPy."""

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch_geometric.data import Batch, Data

from grapheme_pyg.export.input_format import InputFormat

Array = npt.NDArray[Any]


def graph_inputs(input_format: InputFormat, graph: Data | Batch) -> dict[str, Array]:
    """The tensors that an exported model reads, of a graph or a batch of graphs.

    Args:
        input_format: What the model reads: what :func:`grapheme_pyg.export.export_onnx` returned, or
            :func:`grapheme_pyg.export.read_format` found in a file.
        graph: As the :class:`grapheme_pyg.VisionBrain` makes it that the model was trained with.

    Returns:
        For each name of ``input_format.inputs`` an array of that shape, float32 or int64.

    Raises:
        ValueError: The graph has a node or an edge that the format has not, such as those of larger images; or lacks
            a field.
    """
    fields = _fields(input_format, graph)
    x, (sources, targets), edge_type = fields["x"], fields["edge_index"], fields["edge_type"]
    generation, row = _generations(input_format, fields)
    sizes = np.bincount(generation, minlength=len(input_format.generations))
    generation_of_source, generation_of_target = generation[sources], generation[targets]
    arrays: dict[str, Array] = {}
    edges_left = len(edge_type)
    for number, one in enumerate(input_format.generations):
        if one.num_features:
            arrays[f"x_{number}"] = np.ascontiguousarray(x[generation == number, : one.num_features])
        into = np.flatnonzero(generation_of_target == number)
        for source in one.sources:
            relation = np.full(1 + max([*source.edge_types, edge_type.max(initial=0)]), -1)
            relation[source.edge_types] = np.arange(len(source.edge_types))
            first = _first_rows(sizes, source.generations)
            known = (relation[edge_type[into]] >= 0) & (first[generation_of_source[into]] >= 0)
            edges = into[known]
            slot = row[targets[edges]] * len(source.relations) + relation[edge_type[edges]]
            order, place, most = _places(slot)
            if input_format.single and most > 1:
                raise ValueError(f"edge_index: expected one neighbour of each relation at most, got {most}")
            edges, slot = edges[order], slot[order]
            rows = 1 + first[generation_of_source[edges]] + row[sources[edges]]
            shape, name = (sizes[number], len(source.relations), most), f"{number}_{source.node_type}"
            arrays[f"neighbours_{name}"] = _table(slot, place, rows, shape)
            if input_format.edge_dim:
                arrays[f"edge_attr_{name}"] = _table(slot, place, fields["edge_attr"][edges], shape)
            edges_left -= len(edges)
    if edges_left:
        raise ValueError(f"edge_type: expected edges that the format has, got {edges_left} others")

    is_sink = np.ones(len(x), dtype=bool)
    is_sink[sources] = False
    for number, readout in enumerate(input_format.readouts):
        first = _first_rows(sizes, readout.generations)[generation]
        nodes = np.flatnonzero((first >= 0) & (is_sink | np.isin(fields["node_type"], readout.node_types)))
        order, place, most = _places(fields["batch"][nodes])
        nodes = nodes[order]
        num_graphs = getattr(graph, "num_graphs", 1)
        rows = 1 + first[nodes] + row[nodes]
        arrays[f"readout_{number}"] = _table(fields["batch"][nodes], place, rows, (num_graphs, most))
    return arrays


def _fields(input_format: InputFormat, graph: Data | Batch) -> dict[str, Array]:
    wanted = ["x", "edge_index", "edge_type", "node_type", "level"] + ["edge_attr"] * bool(input_format.edge_dim)
    if missing := [name for name in wanted if not isinstance(graph.get(name), Tensor)]:
        raise ValueError(f"graph: expected the fields {wanted}, got none named {missing[0]!r}")
    fields: dict[str, Array] = {name: graph[name].cpu().numpy() for name in wanted}
    for name in {"x", "edge_attr"} & fields.keys():
        fields[name] = fields[name].astype(np.float32)
    batch = graph.get("batch")
    fields["batch"] = np.zeros(len(fields["x"]), dtype=np.int64) if batch is None else batch.cpu().numpy()
    return fields


def _generations(input_format: InputFormat, fields: dict[str, Array]) -> tuple[Array, Array]:
    """The generation of each node, and its row therein."""
    level, node_type = fields["level"], fields["node_type"]
    generation, row = np.full(len(level), -1), np.empty(len(level), dtype=np.int64)
    for number, one in enumerate(input_format.generations):
        nodes = np.flatnonzero((level == one.level) & (node_type == one.node_type))
        generation[nodes], row[nodes] = number, np.arange(len(nodes))
    if (generation < 0).any():
        node = int(np.argmin(generation))
        came = f"level {level[node]} and node type {node_type[node]} at node {node}"
        expected = f"a graph of an image of at most {input_format.max_size} pixels a side"
        raise ValueError(f"graph: expected {expected}, got {came}")
    return generation, row


def _first_rows(sizes: Array, generations: list[int]) -> Array:
    """Where each generation starts if these are put one after the other, −1 for others."""
    first = np.full(len(sizes), -1)
    first[generations] = np.cumsum(sizes[generations]) - sizes[generations]
    return first


def _places(slot: Array) -> tuple[Array, Array, int]:
    """An order by slot, the place of each item in its slot, in that order, and the length of the longest slot."""
    order = np.argsort(slot, kind="stable")
    in_order, number = slot[order], np.arange(len(slot))
    is_first = np.ones(len(slot), dtype=bool)
    is_first[1:] = in_order[1:] != in_order[:-1]
    place = number - np.maximum.accumulate(np.where(is_first, number, 0))
    return order, place, int(place.max(initial=0)) + 1


def _table(slot: Array, place: Array, values: Array, shape: tuple[int, ...]) -> Array:
    """Values in their places in their slots, the last dimension of ``shape``; zeros where there are none."""
    table = np.zeros((int(np.prod(shape[:-1])), shape[-1], *values.shape[1:]), dtype=values.dtype)
    table[slot, place] = values
    return table.reshape(*shape, *values.shape[1:])
