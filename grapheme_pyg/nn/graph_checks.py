"""What a typed graph must be before anything indexes with it."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from grapheme_pyg.dag import (
    LEVELS,
    check_ascending,
    check_edges,
    check_fields,
    check_integers,
    check_range,
    check_shapes,
)
from grapheme_pyg.errors import GraphError
from grapheme_pyg.native import available
from grapheme_pyg.nn import kernels


def check_graph(
    edge_index: Tensor,
    edge_type: Tensor,
    node_type: Tensor,
    level: Tensor,
    batch: Tensor | None,
    *,
    num_nodes: int,
    num_graphs: int,
    num_node_types: int,
    joined: Tensor,
) -> None:
    """Refuses a graph, or a batch of graphs, that models cannot compute.

    Args:
        edge_index: ``[2, num_edges]`` int64, in [0, num_nodes); both ends in one graph.
        edge_type: ``[num_edges]`` int64, in [0, num_edge_types).
        node_type: ``[num_nodes]`` int64, in [0, num_node_types).
        level: ``[num_nodes]`` int64, in [0, 2³¹), rising along every edge.
        batch: ``[num_nodes]`` int64, ascending, in [0, num_graphs); None if there is one graph.
        num_nodes: Number of nodes.
        num_graphs: Number of graphs.
        num_node_types: Number of node types.
        joined: ``[2, num_edge_types]`` int64, the node types at the source and at the target of each edge type.

    Raises:
        GraphError: Naming the field, the first offending edge or node, what was expected and what came;
            :class:`grapheme_pyg.dag.CycleError` names the nodes of a cycle.
    """
    nodes = {"node_type": node_type, "level": level} | ({} if batch is None else {"batch": batch})
    check_shapes(edge_index, edge_type, nodes, num_nodes)
    if batch is None and num_graphs != 1:
        raise GraphError(f"batch: expected the graph of each node, of {num_graphs} graphs, got None")
    if available() and edge_index.device.type == "cpu":
        graph = node_type[:0] if batch is None else batch
        sizes = num_node_types, LEVELS, num_graphs
        if kernels.check_graph((edge_index, edge_type, joined), (node_type, level, graph), sizes):
            return
    # What is wrong gets its name; and other devices are looked at here.
    fields = edge_index, edge_type, node_type, level
    check_fields(*fields, num_nodes=num_nodes, num_node_types=num_node_types, num_edge_types=joined.shape[1])
    check_edges(*fields, joined)
    if batch is not None:
        check_ascending("batch", batch, num_graphs)
        check_inside(edge_index, batch)


def check_inside(edge_index: Tensor, batch: Tensor) -> None:
    """Refuses edges between graphs; both arguments as they were found good.

    Raises:
        GraphError: Naming the first offending edge and the graphs at its ends.
    """
    source, target = batch.index_select(0, edge_index.flatten()).view(2, -1)
    if not torch.equal(source, target):
        edge = int((source != target).nonzero()[0])
        ends, graphs = edge_index[:, edge].tolist(), (int(source[edge]), int(target[edge]))
        raise GraphError(
            f"edge_index: expected both ends in one graph, got graphs {graphs[0]} and {graphs[1]} "
            f"at edge {edge} ({ends[0]} → {ends[1]})"
        )


def require_tensor(name: str, value: object, device: torch.device | None = None) -> Tensor:
    """Refuses what is no dense tensor, or lies on another device than the other fields."""
    if not isinstance(value, Tensor):
        raise GraphError(f"{name}: expected a tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        raise GraphError(f"{name}: expected a dense tensor, got one of layout {value.layout}")
    if device is not None and value.device != device:
        raise GraphError(f"{name}: expected device {device}, as of x, got {value.device}")
    return value


def check_device(name: str, values: Tensor, module: nn.Module) -> None:
    """Refuses to compute on another device than that of a module's weights.

    Args:
        name: Of the tensor.
        values: What the module is given.
        module: With all its parts, of which one may have been moved alone.

    Raises:
        GraphError: Naming both devices.
    """
    for weight in chain(module.parameters(), module.buffers()):
        if weight.device != values.device:
            raise GraphError(f"{name}: expected device {weight.device}, as of the weights, got {values.device}")


def with_precision(name: str, values: object, dtype: torch.dtype) -> Tensor:
    """Features of any floating-point precision in another one; others are refused."""
    values = require_tensor(name, values)
    if not values.is_floating_point():
        raise GraphError(f"{name}: expected a floating-point dtype, got {values.dtype}")
    return values.to(dtype)


def count_graphs(batch: object, shape: Sequence[int]) -> int:
    """The number of graphs in a batch that does not say it: that of the last node plus one.

    Args:
        batch: ``[num_nodes]`` int64, ascending; None if all nodes are of one graph.
        shape: Of the nodes' features.

    Raises:
        GraphError: The batch is not as above; or there would be more graphs than nodes, for whose results there may
            be no memory: a batch with as many empty graphs says how many there are.
    """
    if batch is None:
        return 1
    batch = require_tensor("batch", batch)
    num_nodes = shape[0] if len(shape) else 0
    check_integers("batch", batch, (num_nodes,))
    check_ascending("batch", batch, num_nodes)
    return int(batch[-1]) + 1 if num_nodes > 0 else 0


def check_finite(name: str, what: str, values: Tensor) -> None:
    """Refuses features with infinite values or none at all (NaN).

    Args:
        name: Of the field.
        what: Whose features they are: ``"node"`` or ``"edge"``.
        values: ``[N, channels]``, floating point.

    Raises:
        GraphError: Naming the first offending value and its place.
    """
    if values.numel() == 0:
        return
    if available() and values.device.type == "cpu" and values.dtype == torch.float32 and kernels.all_finite(values):
        return
    # The least and the largest value take one pass and no memory, and NaN is both.
    low, high = torch.aminmax(values.detach())
    if not bool((high - low).isfinite()):
        wrong = (~values.isfinite()).nonzero()
        if wrong.numel() > 0:
            row, column = wrong[0].tolist()
            came = f"{float(values[row, column])} at {what} {row}, column {column}"
            raise GraphError(f"{name}: expected finite values, got {came}")


def check_labels(y: object, num_graphs: int, num_classes: int) -> None:
    """Refuses classes that a batch cannot be trained with.

    Args:
        y: ``[num_graphs]`` int64, in [0, num_classes).
        num_graphs: Number of graphs.
        num_classes: Number of classes.

    Raises:
        GraphError: Naming the first offending graph, what was expected and what came.
    """
    labels = require_tensor("y", y)
    check_integers("y", labels, (num_graphs,))
    check_range("y", "graph", labels, num_classes)
