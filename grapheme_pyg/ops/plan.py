"""Operators of planning: they sort nodes by generation, turn edges into tables of neighbours, and validate the graph.

Each edge is visited a fixed number of times. If the graph is invalid, they return only the first wrong node and edge.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from grapheme_pyg.ops.definition import define
from grapheme_pyg.ops.plain_plan import choose, plan


class Sweep(NamedTuple):
    """The result of :func:`plan_sweep`.

    A generation is all nodes of one type in one level. A block is what a generation reads from one node type; its
    sources are the concatenated rows of consecutive generations of that type. If a target has several edges of one type
    in a block, the block is listed: it reads means of segments of edges, and its table numbers segments.

    Attributes:
        wrong: ``[2]`` int64, the first wrong node and the first wrong edge, −1 if there is none; if there is one, all
            other tensors are empty.
        generations: ``[num_generations, 3]`` int64, ascending: level, node type, number of nodes.
        nodes: ``[num_nodes]`` int64, generation by generation, ascending in each.
        generation: ``[num_nodes]`` int64, the generation of each node.
        row: ``[num_nodes]`` int64, the row of each node in its generation.
        is_sink: ``[num_nodes]`` bool, whether a node has no outgoing edge.
        blocks: ``[num_blocks, 7]`` int64, by generation and pair: generation; pair of node types; first and last
            generation of the sources; number of edges; number of segments if it is listed, else −1; whether each row
            has at most one reader of each relation.
        rows: int32, for each block ``[num_targets, num_relations]``: 0 where nothing is read, else the number of the
            source or segment plus one.
        readers: int32, for each block whose rows have at most one reader of each relation, the reverse table
            ``[num_rows, num_relations]``.
        edges: int32, edge numbers: for each block that is not listed, plus one, in the shape of its rows; for each
            listed block, by segment. Empty if not requested.
        sources: int32, for each listed block, the source of each edge by segment.
        segment: int64, for each listed block, the segment of each edge by segment.
        first: int32, for each listed block, where each segment starts among its edges.
    """

    wrong: Tensor
    generations: Tensor
    nodes: Tensor
    generation: Tensor
    row: Tensor
    is_sink: Tensor
    blocks: Tensor
    rows: Tensor
    readers: Tensor
    edges: Tensor
    sources: Tensor
    segment: Tensor
    first: Tensor


def plan_sweep(
    edge_index: Tensor,
    edge_type: Tensor,
    node_type: Tensor,
    level: Tensor,
    graph: Tensor | None,
    kinds: Tensor,
    expected: Tensor,
    sizes: tuple[int, int],
    *,
    edges: bool,
) -> Sweep:
    """Plans a sweep over a graph or a batch of graphs.

    Args:
        edge_index: ``[2, num_edges]`` int64.
        edge_type: ``[num_edges]`` int64.
        node_type: ``[num_nodes]`` int64.
        level: ``[num_nodes]`` int64.
        graph: ``[num_nodes]`` int64, ascending, the graph of each node; None if there is only one.
        kinds: ``[4, num_edge_types]`` int64, for each edge type: the node types that it joins, its pair of node types,
            and its number among the relations of that pair.
        expected: ``[num_expected]`` int64, ascending, ``level · num_node_types + node_type`` of generations that the
            plan has with all their blocks even if the graph has no such nodes; empty if there are none.
        sizes: Numbers of node types and of graphs.
        edges: Whether to number edges.
    """
    return Sweep(*_plan(edge_index, edge_type, node_type, level, graph, kinds, expected, *sizes, edges))


def plan_readout(
    node_type: Tensor, graph: Tensor | None, sweep: Sweep, kind: Tensor, read: Tensor, sizes: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Chooses the nodes to pool, kind by kind: all nodes of some types, and all sinks.

    Args:
        node_type: ``[num_nodes]`` int64.
        graph: ``[num_nodes]`` int64, ascending, the graph of each node; None if there is only one.
        sweep: The sweep over this graph.
        kind: ``[num_node_types]`` int64, the kind of each type, in [0, num_kinds).
        read: ``[num_node_types]`` bool, whether all nodes of a type are pooled.
        sizes: Numbers of kinds and of graphs.

    Returns:
        ``used`` ``[num_kinds, num_generations]`` bool says in which generations the chosen nodes of each kind are.
        ``rows`` ``[num_chosen]`` int64 are their rows in the concatenation of these generations, kind by kind in the
        order of nodes. ``first`` ``[num_kinds, num_graphs + 1]`` int64 says where each graph starts among the rows of a
        kind. They are returned in the order ``rows``, ``first``, ``used``.
    """
    found: tuple[Tensor, Tensor, Tensor] = _readout(
        node_type, graph, sweep.generation, sweep.row, sweep.is_sink, sweep.generations, kind, read, *sizes
    )
    return found


def _fake(edge_index: Tensor, edge_type: Tensor, node_type: Tensor, *others: object) -> tuple[Tensor, ...]:  # noqa: ARG001
    context = torch.library.get_ctx()
    wide = [context.new_dynamic_size() for _ in range(2)]
    narrow = [context.new_dynamic_size() for _ in range(4)]
    num_listed = context.new_dynamic_size()
    nodes = [torch.empty_like(node_type) for _ in range(3)]
    return (
        node_type.new_empty(2),
        node_type.new_empty(wide[0], 3),
        *nodes,
        torch.empty_like(node_type, dtype=torch.bool),
        node_type.new_empty(wide[1], 7),
        *(node_type.new_empty(size, dtype=torch.int32) for size in (*narrow[:3], num_listed)),
        node_type.new_empty(num_listed),
        node_type.new_empty(narrow[3], dtype=torch.int32),
    )


def _fake_readout(
    node_type: Tensor,
    graph: Tensor | None,  # noqa: ARG001
    generation: Tensor,  # noqa: ARG001
    row: Tensor,
    is_sink: Tensor,
    generations: Tensor,
    kind: Tensor,  # noqa: ARG001
    read: Tensor,  # noqa: ARG001
    num_kinds: int,
    num_graphs: int,
) -> tuple[Tensor, Tensor, Tensor]:
    num_chosen = torch.library.get_ctx().new_dynamic_size()
    used = is_sink.new_empty(num_kinds, generations.shape[0])
    return row.new_empty(num_chosen), node_type.new_empty(num_kinds, num_graphs + 1), used


_plan = define(
    "plan_sweep(Tensor edge_index, Tensor edge_type, Tensor node_type, Tensor level, Tensor? graph, Tensor kinds,"
    " Tensor expected, int num_node_types, int num_graphs, bool edges)"
    f" -> ({', '.join(['Tensor'] * len(Sweep._fields))})",
    plan,
    _fake,
)
_readout = define(
    "plan_readout(Tensor node_type, Tensor? graph, Tensor generation, Tensor row, Tensor is_sink, Tensor generations,"
    " Tensor kind, Tensor read, int num_kinds, int num_graphs) -> (Tensor, Tensor, Tensor)",
    choose,
    _fake_readout,
)
