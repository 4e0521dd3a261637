"""Directed acyclic graphs as ``edge_index``: topological levels, sinks, validation. Knows no pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor


class CycleError(ValueError):
    """A graph that must be acyclic has a cycle."""


def topological_levels(edge_index: Tensor, num_nodes: int) -> Tensor:
    """The length of the longest path that ends in each node.

    Peels the graph generation by generation (A. B. Kahn, "Topological sorting of large networks", 1962),
    all nodes of a generation at once.

    Args:
        edge_index: ``[2, num_edges]`` int64, source → target.
        num_nodes: Number of nodes.

    Returns:
        ``[num_nodes]`` int64, 0 for nodes without incoming edges; ``level[source] < level[target]``.

    Raises:
        CycleError: The graph has a cycle; the message names its nodes.
        ValueError: An edge points outside the graph.
    """
    check_range("edge_index", "edge", edge_index, num_nodes)
    source, target = edge_index
    level: Tensor = source.new_zeros(num_nodes)
    missing = torch.bincount(target, minlength=num_nodes)
    outgoing = source.argsort(stable=True)
    pointer = torch.zeros(num_nodes + 1, dtype=torch.int64, device=source.device)
    torch.cumsum(torch.bincount(source, minlength=num_nodes), dim=0, out=pointer[1:])
    ready = (missing == 0).nonzero().squeeze(1)
    generation = visited = 0
    while ready.numel() > 0:
        level[ready] = generation
        visited += ready.numel()
        generation += 1
        # The outgoing edges of all ready nodes: ranges of `outgoing`, laid end to end.
        count = pointer[ready + 1] - pointer[ready]
        shift = pointer[ready] - (count.cumsum(0) - count)
        edges = outgoing[torch.arange(int(count.sum()), device=source.device) + shift.repeat_interleave(count)]
        reached, times = target[edges].unique(return_counts=True)
        missing[reached] -= times
        ready = reached[missing[reached] == 0]
    if visited < num_nodes:
        cycle = " → ".join(str(node) for node in _find_cycle(edge_index, missing > 0))
        raise CycleError(f"edge_index: expected a directed acyclic graph, got the cycle {cycle}")
    return level


def _find_cycle(edge_index: Tensor, waiting: Tensor) -> list[int]:
    """Nodes of one cycle among those that Kahn's algorithm never reached, the first one repeated."""
    source, target = edge_index
    inside = waiting[source] & waiting[target]
    # Each waiting node waits for at least one other: walking against the edges must come round.
    comes_from = dict(zip(target[inside].tolist(), source[inside].tolist(), strict=True))
    node = next(iter(comes_from))
    position: dict[int, int] = {}
    path: list[int] = []
    while node not in position:
        position[node] = len(path)
        path.append(node)
        node = comes_from[node]
    return [node, *reversed(path[position[node] :])]


def sinks(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Nodes without outgoing edges, ascending, ``[num_sinks]`` int64.

    Raises:
        ValueError: An edge points outside the graph.
    """
    check_range("edge_index", "edge", edge_index, num_nodes)
    is_sink = torch.ones(num_nodes, dtype=torch.bool, device=edge_index.device)
    is_sink.index_fill_(0, edge_index[0], False)
    return is_sink.nonzero().squeeze(1)


def check_fields(
    edge_index: Tensor,
    edge_type: Tensor,
    node_type: Tensor,
    level: Tensor | None,
    *,
    num_nodes: int,
    num_node_types: int,
    num_edge_types: int,
) -> None:
    """Refuses fields of a typed graph of another dtype, shape or range, before anything indexes with them.

    Args:
        edge_index: ``[2, num_edges]`` int64, in [0, num_nodes).
        edge_type: ``[num_edges]`` int64, in [0, num_edge_types).
        node_type: ``[num_nodes]`` int64, in [0, num_node_types).
        level: ``[num_nodes]`` int64, not negative; None if not known.
        num_nodes: Number of nodes.
        num_node_types: Number of node types.
        num_edge_types: Number of edge types.

    Raises:
        ValueError: Naming the argument, the first offending edge or node, what was expected and what came.
    """
    num_edges = edge_type.shape[0] if edge_type.dim() else 0
    shapes = {
        "edge_index": (edge_index, (2, num_edges)),
        "edge_type": (edge_type, (num_edges,)),
        "node_type": (node_type, (num_nodes,)),
    }
    if level is not None:
        shapes["level"] = (level, (num_nodes,))
    for name, (tensor, shape) in shapes.items():
        check_integers(name, tensor, shape)
    check_range("edge_index", "edge", edge_index, num_nodes)
    check_range("edge_type", "edge", edge_type, num_edge_types)
    check_range("node_type", "node", node_type, num_node_types)
    if level is not None and num_nodes > 0 and int(level.min()) < 0:
        node = int((level < 0).nonzero()[0])
        raise ValueError(f"level: expected non-negative values, got {int(level[node])} at node {node}")


def check_edges(
    edge_index: Tensor, edge_type: Tensor, node_type: Tensor, level: Tensor, endpoints: Sequence[Sequence[int]]
) -> None:
    """Refuses edges that join other node types than their type does, or that do not rise.

    Args:
        edge_index: As :func:`check_fields` has found it good.
        edge_type: The same.
        node_type: The same.
        level: The same.
        endpoints: Two rows: for each edge type, the node types at its source and at its target.

    Raises:
        ValueError: Naming the first offending edge, what was expected and what came.
    """
    expected = torch.tensor(endpoints, device=edge_type.device).view(2, -1)[:, edge_type]
    wrong = (node_type[edge_index] != expected).any(dim=0)
    if bool(wrong.any()):
        edge = int(wrong.nonzero()[0])
        kind, joined = int(edge_type[edge]), expected[:, edge].tolist()
        came = node_type[edge_index[:, edge]].tolist()
        raise ValueError(f"edge_type: edge {edge} of type {kind} joins node types {joined}, got {came}")
    ends = level[edge_index]
    wrong = ends[0] >= ends[1]
    if bool(wrong.any()):
        edge = int(wrong.nonzero()[0])
        source, target = edge_index[:, edge].tolist()
        before, after = ends[:, edge].tolist()
        topological_levels(edge_index, node_type.numel())  # a cycle is the more useful thing to name
        raise ValueError(
            f"level: expected level[source] < level[target], "
            f"got {before} and {after} at edge {edge} ({source} → {target})"
        )


def check_integers(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Refuses what is not int64 or of another shape."""
    if values.dtype != torch.int64:
        raise ValueError(f"{name}: expected dtype torch.int64, got {values.dtype}")
    if tuple(values.shape) != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(values.shape)}")


def check_range(name: str, what: str, values: Tensor, size: int) -> None:
    """Refuses values outside [0, size), naming the first and the edge, node or position that has it."""
    if values.numel() == 0:
        return
    low, high = torch.aminmax(values)
    if int(low) < 0 or int(high) >= size:
        wrong = ((values < 0) | (values >= size)).nonzero()[0]
        value = int(values[tuple(wrong)])
        raise ValueError(f"{name}: expected values in [0, {size}), got {value} at {what} {int(wrong[-1])}")
