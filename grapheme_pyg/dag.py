"""Topological levels, sinks and validation of directed acyclic graphs that are given as ``edge_index``."""

import torch
from torch import Tensor

from grapheme_pyg.errors import GraphError

# Largest number of nodes of a cycle that a message names.
NAMED = 20


class CycleError(GraphError):
    """A graph that must be acyclic has a cycle."""


def topological_levels(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Returns the length of the longest path that ends in each node.

    It removes one generation after the other (A. B. Kahn, "Topological sorting of large networks", 1962), all nodes of
    a generation at once.

    Args:
        edge_index: ``[2, num_edges]`` int64, source → target.
        num_nodes: Number of nodes.

    Returns:
        ``[num_nodes]`` int64, 0 for nodes without incoming edges; ``level[source] < level[target]``.

    Raises:
        CycleError: The graph has a cycle; the message names its nodes.
        GraphError: An edge points outside the graph, or the edges are of another dtype or shape.
    """
    _check_edge_index(edge_index, num_nodes)
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
        # The outgoing edges of all ready nodes: concatenated ranges of `outgoing`.
        count = pointer[ready + 1] - pointer[ready]
        shift = pointer[ready] - (count.cumsum(0) - count)
        edges = outgoing[torch.arange(int(count.sum()), device=source.device) + shift.repeat_interleave(count)]
        reached, times = target[edges].unique(return_counts=True)
        missing[reached] -= times
        ready = reached[missing[reached] == 0]
    if visited < num_nodes:
        cycle = _find_cycle(edge_index, missing > 0)
        edge = int(((source == cycle[0]) & (target == cycle[1])).nonzero()[0])
        named = [str(node) for node in cycle]
        if len(named) > NAMED:
            named[NAMED - 1 : -1] = ["…"]
        path = " → ".join(named)
        raise CycleError(f"edge_index: expected a directed acyclic graph, got the cycle {path} at edge {edge}")
    return level


def _find_cycle(edge_index: Tensor, waiting: Tensor) -> list[int]:
    """Returns the nodes of a cycle among those that Kahn's algorithm never reached, with the first one repeated."""
    source, target = edge_index
    inside = waiting[source] & waiting[target]
    # Each waiting node waits for another one, so a walk against the edges must return to a node.
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
    """Returns the nodes without outgoing edges, ascending, ``[num_sinks]`` int64.

    Raises:
        GraphError: An edge points outside the graph, or the edges are of another dtype or shape.
    """
    _check_edge_index(edge_index, num_nodes)
    is_sink = torch.ones(num_nodes, dtype=torch.bool, device=edge_index.device)
    is_sink.index_fill_(0, edge_index[0], False)
    return is_sink.nonzero().squeeze(1)


def _check_edge_index(edge_index: Tensor, num_nodes: int) -> None:
    check_integers("edge_index", edge_index, (2, edge_index.shape[-1] if edge_index.dim() == 2 else 0))
    check_range("edge_index", "edge", edge_index, num_nodes)


def check_edges(edge_index: Tensor, edge_type: Tensor) -> None:
    """Checks that edges are int64, on one device, and of the shapes ``[2, num_edges]`` and ``[num_edges]``.

    Raises:
        GraphError: Naming the field, what was expected and what came.
    """
    has_two_rows = edge_index.dim() == 2 and edge_index.shape[0] == 2
    num_edges = edge_index.shape[1] if has_two_rows else edge_type.numel()
    check_integers("edge_index", edge_index, (2, num_edges))
    check_integers("edge_type", edge_type, (num_edges,), edge_index.device)


def require_tensor(name: str, value: object) -> Tensor:
    """Returns a dense tensor, and refuses anything else."""
    if not isinstance(value, Tensor):
        raise GraphError(f"{name}: expected a tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise GraphError(f"{name}: expected a dense tensor, got one of layout {value.layout}")
    return value


def check_integers(name: str, values: Tensor, shape: tuple[int, ...], device: torch.device | None = None) -> None:
    """Refuses tensors that are not int64, of another shape, or on another device than the edges."""
    if device is not None and values.device != device:
        raise GraphError(f"{name}: expected device {device}, like edge_index, got {values.device}")
    if values.dtype != torch.int64:
        raise GraphError(f"{name}: expected dtype torch.int64, got {values.dtype}")
    if tuple(values.shape) != shape:
        raise GraphError(f"{name}: expected shape {list(shape)}, got {list(values.shape)}")


def check_range(name: str, what: str, values: Tensor, size: int, error: type[ValueError] = GraphError) -> None:
    """Refuses values outside [0, size); the message names the first one and its edge, node or position."""
    if values.numel() == 0:
        return
    low, high = torch.aminmax(values)
    if int(low) < 0 or int(high) >= size:
        wrong = (values < 0) | (values >= size)
        # The first column: edges have their ends in two rows.
        place = int(wrong.view(-1, values.shape[-1]).any(dim=0).nonzero()[0])
        column = values[..., place].flatten()
        value = int(column[(column < 0) | (column >= size)][0])
        raise error(f"{name}: expected values in [0, {size}), got {value} at {what} {place}")


def check_ascending(name: str, values: Tensor, size: int) -> None:
    """Refuses values outside [0, size), and values that do not ascend; the message names the first such node."""
    check_range(name, "node", values, size)
    falls = values[1:] < values[:-1]
    if bool(falls.any()):
        node = int(falls.nonzero()[0]) + 1
        before, came = values[node - 1 : node + 1].tolist()
        raise GraphError(f"{name}: expected ascending values in [0, {size}), got {came} at node {node}, after {before}")
