"""Planning validates the fields of a graph and makes a plan of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from grapheme_pyg.dag import check_ascending, check_edges, check_integers, require_tensor, topological_levels
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn.plan import Plan, Tables
from grapheme_pyg.nn.vocabulary import EdgeVocabulary
from grapheme_pyg.ops import plan_readout, plan_sweep
from grapheme_pyg.ops.plain_plan import LEVELS


def make_plan(
    vocabulary: EdgeVocabulary,
    edge_index: object,
    edge_type: object,
    node_type: object = None,
    level: object = None,
    batch: object = None,
    *,
    num_nodes: int | None = None,
    num_graphs: int | None = None,
    expected: Sequence[tuple[int, int]] = (),
    number_edges: bool = False,
    readout: tuple[Tensor, Tensor, int] | None = None,
) -> Plan:
    """Validates a graph or a batch of graphs and plans a sweep over it.

    Args:
        vocabulary: Node types and edge types.
        edge_index: ``[2, num_edges]`` int64, source → target; in [0, num_nodes).
        edge_type: ``[num_edges]`` int64, index into the edge types, each of which joins two node types.
        node_type: ``[num_nodes]`` int64, index into the node types; None is allowed if there is only one.
        level: ``[num_nodes]`` int64, in [0, 2³¹), increasing along every edge; computed if None.
        batch: ``[num_nodes]`` int64, ascending, the graph of each node; no edge joins two graphs. None for one graph.
        num_nodes: Number of nodes; taken from ``node_type``, ``level`` or ``batch`` if None.
        num_graphs: Number of graphs; taken from the last node if None.
        expected: Level and node type of generations that the plan has even if the graph has no such nodes.
        number_edges: Whether the plan numbers edges, for attributes or the masks of an explainer.
        readout: The kind of each node type, whether all nodes of each type are pooled, and the number of kinds. Sinks
            are always pooled.

    Raises:
        GraphError: A field is invalid; the message names the field, the first wrong edge or node, what was expected
            and what came. :class:`grapheme_pyg.dag.CycleError` names the nodes of a cycle.
    """
    edge_index, edge_type = require_tensor("edge_index", edge_index), require_tensor("edge_type", edge_type)
    device, num_node_types = edge_index.device, len(vocabulary.node_types)
    if edge_index.is_meta:
        raise GraphError("edge_index: expected a tensor with values, got one on the device meta")
    for known in (node_type, level, batch):
        if num_nodes is None and isinstance(known, Tensor):
            num_nodes = known.numel()
    if num_nodes is None:
        raise GraphError("num_nodes: expected the number of nodes, got None and no field that determines it")
    if node_type is None and num_node_types > 1:
        raise GraphError(f"node_type: expected one of {num_node_types} types for each node, got None")
    kinds = edge_index.new_zeros(num_nodes) if node_type is None else require_tensor("node_type", node_type)
    check_edges(edge_index, edge_type)
    check_integers("node_type", kinds, (num_nodes,), device)
    levels = topological_levels(edge_index, num_nodes) if level is None else require_tensor("level", level)
    check_integers("level", levels, (num_nodes,), device)
    graph = None if batch is None else require_tensor("batch", batch)
    if graph is not None:
        check_integers("batch", graph, (num_nodes,), device)
    if num_graphs is None:
        num_graphs = 1 if graph is None else _count_graphs(graph)
    if graph is None and num_graphs != 1:
        raise GraphError(f"batch: expected the graph of each node, of {num_graphs} graphs, got None")

    fields = edge_index, edge_type, kinds, levels, graph
    for name, field in zip(("edge_index", "edge_type", "node_type", "level", "batch"), fields, strict=True):
        if field is not None and field.numel() > 0 and field.untyped_storage().nbytes() == 0:
            raise GraphError(f"{name}: expected a tensor with values, got one without memory")
    keys = torch.tensor([at * num_node_types + kind for at, kind in expected], dtype=torch.int64, device=device)
    sizes = num_node_types, num_graphs
    sweep = plan_sweep(*fields, vocabulary.kinds.to(device), keys, sizes, edges=number_edges)
    wrong_node, wrong_edge = sweep.wrong.tolist()
    if wrong_node >= 0:
        raise _wrong_node(wrong_node, kinds, levels, graph, sizes)
    if wrong_edge >= 0:
        raise _wrong_edge(wrong_edge, edge_index, edge_type, kinds, levels, graph, vocabulary)
    chosen = None
    if readout is not None:
        kind, read, num_kinds = readout
        chosen = plan_readout(kinds, graph, sweep, kind.to(device), read.to(device), (num_kinds, num_graphs))
    pairs = [(pair, len(names)) for pair, names in vocabulary.relations.items()]
    described = sweep.generations.tolist(), sweep.blocks.tolist(), pairs
    return Plan.of(Tables(sweep, *described, chosen, edge_type.numel(), num_graphs))


def _count_graphs(graph: Tensor) -> int:
    """Returns the number of graphs in a batch that does not state it, at most the number of nodes.

    Without that limit, one wrong value could ask for more memory than there is.
    """
    check_ascending("batch", graph, graph.numel())
    return int(graph[-1]) + 1 if graph.numel() > 0 else 0


def _wrong_node(
    node: int, node_type: Tensor, level: Tensor, graph: Tensor | None, sizes: tuple[int, int]
) -> GraphError:
    """Describes what is wrong with a node that planning has refused."""
    fields = [("node_type", node_type, sizes[0]), ("level", level, LEVELS)]
    fields += [] if graph is None else [("batch", graph, sizes[1])]
    for name, values, size in fields:
        value = int(values[node])
        if not 0 <= value < size:
            return GraphError(f"{name}: expected values in [0, {size}), got {value} at node {node}")
    assert graph is not None, "expected a node whose graph is lower than the one before"
    before, came = graph[node - 1 : node + 1].tolist()
    return GraphError(f"batch: expected ascending values in [0, {sizes[1]}), got {came} at node {node}, after {before}")


def _wrong_edge(
    edge: int,
    edge_index: Tensor,
    edge_type: Tensor,
    node_type: Tensor,
    level: Tensor,
    graph: Tensor | None,
    vocabulary: EdgeVocabulary,
) -> GraphError:
    """Describes what is wrong with an edge that planning has refused."""
    ends, kind = edge_index[:, edge].tolist(), int(edge_type[edge])
    ranges = [("edge_index", end, node_type.numel()) for end in ends]
    for name, value, size in [*ranges, ("edge_type", kind, len(vocabulary.edge_types))]:
        if not 0 <= value < size:
            return GraphError(f"{name}: expected values in [0, {size}), got {value} at edge {edge}")
    where = f"at edge {edge} ({ends[0]} → {ends[1]})"
    expected, came = vocabulary.kinds[:2, kind].tolist(), node_type[ends].tolist()
    if expected != came:
        return GraphError(f"edge_type: expected edge {edge} of type {kind} to join node types {expected}, got {came}")
    levels = level[ends].tolist()
    if levels[0] >= levels[1]:
        topological_levels(edge_index, node_type.numel())  # raises if there is a cycle, which says more
        return GraphError(f"level: expected level[source] < level[target], got {levels[0]} and {levels[1]} {where}")
    assert graph is not None, "expected an edge between two graphs"
    graphs = graph[ends].tolist()
    return GraphError(f"edge_index: expected both ends in one graph, got graphs {graphs[0]} and {graphs[1]} {where}")
