"""The compiled kernels of the typed convolution, where they were compiled and the CPU has the instructions."""

import torch
from torch import Tensor

from grapheme_pyg.native import call, supported

SUPPORTED = supported()


def takes_rows(x: Tensor) -> bool:
    """Whether the kernels take rows of this device and dtype."""
    return x.device.type == "cpu" and x.dtype in SUPPORTED


def usable(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels take such rows, weights ``[num_relations, in_channels, out_channels]`` and results."""
    if not takes_rows(x) or weight.dtype != torch.float32:
        return False
    # Half precision is multiplied two by two.
    return x.dtype == torch.float32 or x.shape[1] % 2 == 0


def takes_norm(x: Tensor, *channels: Tensor) -> bool:
    """Whether the kernels take such rows with these weights or statistics, ``[channels]`` each."""
    return takes_rows(x) and all(one.dtype == torch.float32 and one.is_contiguous() for one in channels)


def gather_matmul(x: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    """``out[v] = Σ_r x[rows[v, r] − 1] W_r``, without what has 0 in ``rows``.

    Args:
        x: ``[num_rows, in_channels]``, :func:`usable`.
        rows: ``[num_readers, num_relations]`` int32, in [0, num_rows].
        weight: ``[num_relations, in_channels, out_channels]`` float32, of any strides.

    Returns:
        ``[num_readers, out_channels]`` in the dtype of ``x``.
    """
    _check_shapes(x, rows, weight)
    x, rows = _with_whole_rows(x), rows.contiguous()
    out = x.new_empty(rows.shape[0], weight.shape[2])
    sizes = (*rows.shape, x.shape[1], out.shape[1], x.stride(0))
    call("gather_matmul", (x, rows, weight, out), sizes, weight.stride(), x.dtype == torch.bfloat16)
    return out


def gather_outer(x: Tensor, rows: Tensor, grad_out: Tensor, out: Tensor) -> Tensor:
    """``out[r] += Σ_v x[rows[v, r] − 1]ᵀ grad_out[v]``, the gradient of those weights.

    Args:
        x: ``[num_rows, in_channels]``, :func:`usable`.
        rows: ``[num_readers, num_relations]`` int32, in [0, num_rows].
        grad_out: ``[num_readers, out_channels]`` in the dtype of ``x``.
        out: ``[num_relations, in_channels, out_channels]`` float32, contiguous.
    """
    _check_shapes(x, rows, out)
    if grad_out.shape != (rows.shape[0], out.shape[2]) or grad_out.dtype != x.dtype or not out.is_contiguous():
        raise ValueError(f"grad_out: expected {x.dtype} [{rows.shape[0]}, {out.shape[2]}], got {grad_out.shape}")
    x, rows, grad_out = _with_whole_rows(x), rows.contiguous(), grad_out.contiguous()
    sizes = (*rows.shape, x.shape[1], out.shape[2], x.stride(0))
    call("gather_outer", (x, rows, grad_out, out), sizes, x.dtype == torch.bfloat16)
    return out


def group_nodes(key: Tensor, num_keys: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Nodes of one key together; see :func:`grapheme_pyg.nn.sweep.plan_sweep`.

    Args:
        key: ``[num_nodes]`` int64, contiguous, in [0, num_keys).
        num_keys: Bound of the keys.

    Returns:
        How many nodes each key has, ``[num_keys]``; nodes by key; the number of each node's key among those that
        occur; its row among the nodes of its key.
    """
    counts = key.new_zeros(num_keys)
    order, group, row = torch.empty_like(key), torch.empty_like(key), torch.empty_like(key)
    call("group_nodes", (key, counts, order, group, row), (key.numel(), num_keys))
    return counts, order, group, row


def count_kinds(
    edge_index: Tensor, edge_type: Tensor, group_of: Tensor, sizes: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The kind of each edge, and the number of edges of each kind; see :func:`grapheme_pyg.nn.sweep.plan_sweep`."""
    groups, types = sizes
    edge_index, edge_type = edge_index.contiguous(), edge_type.contiguous()
    kind, counts = torch.empty_like(edge_type), edge_type.new_zeros(groups * groups * types)
    tensors = (edge_index, edge_type, group_of, kind, counts)
    call("count_kinds", tensors, (edge_type.numel(), groups, types))
    return kind, counts


def fill_tables(
    edge_index: Tensor, kind: Tensor, row_of: Tensor, lookup: Tensor, sizes: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """The tables of sources and readers; see :class:`grapheme_pyg.nn.slots.Slots`."""
    edge_index = edge_index.contiguous()
    sources, readers = (kind.new_zeros(size, dtype=torch.int32) for size in sizes)
    tensors = (edge_index, kind, row_of, lookup, sources, readers)
    call("fill_tables", tensors, (kind.numel(), lookup.shape[1]))
    return sources, readers


def norm_relu(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """``max(0, batch_norm(x))``, and the means and biased variances that it found.

    Args:
        x: ``[num_rows, channels]``, contiguous, :func:`takes_norm`, at least one row.
        weight: ``[channels]`` float32, contiguous.
        bias: ``[channels]`` float32, contiguous.
        eps: Added to variances.
    """
    out, mean, variance = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
    call("norm_relu", (x, weight, bias, out, mean, variance), tuple(x.shape), eps, x.dtype == torch.bfloat16)
    return out, mean, variance


def known_norm_relu(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    """The same with means and variances that are known, ``[channels]`` float32, contiguous."""
    out = torch.empty_like(x)
    call("known_norm_relu", (x, weight, bias, mean, variance, out), tuple(x.shape), eps, x.dtype == torch.bfloat16)
    return out


def norm_relu_backward(
    grad_out: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of :func:`norm_relu` with respect to its first three arguments."""
    grad_x, grad_weight, grad_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
    tensors = (grad_out.contiguous(), x, weight, bias, mean, variance, grad_x, grad_weight, grad_bias)
    call("norm_relu_backward", tensors, tuple(x.shape), eps, x.dtype == torch.bfloat16)
    return grad_x, grad_weight, grad_bias


def choose_nodes(source: Tensor, node_type: Tensor, kind: Tensor, read: Tensor, num_kinds: int) -> list[Tensor] | None:
    """Nodes to pool; see :class:`grapheme_pyg.nn.readout.Readout`.

    Args:
        source: ``[num_edges]`` int64, of edges.
        node_type: ``[num_nodes]`` int64.
        kind: ``[num_node_types]`` int64, in [0, num_kinds).
        read: ``[num_node_types]`` bool, whether all nodes of a type are chosen.
        num_kinds: Number of kinds.

    Returns:
        For each kind, ``[num_chosen]`` int64, ascending; None if a source or a node type is out of range.
    """
    order, counts = torch.empty_like(node_type), node_type.new_zeros(num_kinds)
    tensors = (source.contiguous(), node_type.contiguous(), kind, read, order, counts)
    if not call("choose_nodes", tensors, (source.numel(), node_type.numel(), kind.numel(), num_kinds)):
        return None
    return list(order[: int(counts.sum())].split(counts.tolist()))


def check_graph(
    edges: tuple[Tensor, Tensor, Tensor], nodes: tuple[Tensor, Tensor, Tensor], sizes: tuple[int, int, int]
) -> bool:
    """Whether a graph is what :func:`grapheme_pyg.nn.graph_checks.check_graph` lets pass.

    Args:
        edges: ``edge_index``, ``edge_type``, and the node types that each edge type joins, ``[2, num_edge_types]``.
        nodes: ``node_type``, ``level`` and the graph of each node; the last one may be empty if there is one graph.
        sizes: Number of node types, of levels and of graphs.

    Returns:
        False too if 32 bits do not hold a node type, a level and a graph together: this needs another look.
    """
    tensors = [tensor.contiguous() for tensor in (*edges, *nodes)]
    numbers = edges[1].numel(), edges[2].shape[1], nodes[0].numel()
    good: bool = call("check_graph", tensors, (*numbers, *sizes))
    return good


def all_finite(x: Tensor) -> bool:
    """Whether no value is infinite or not a number; float32, on the CPU."""
    x = x.detach().contiguous()
    finite: bool = call("all_finite", (x,), x.numel())
    return finite


def find_runs(graph: Tensor, num_graphs: int) -> Tensor | None:
    """Where the nodes of each graph start, and the number of nodes, ``[num_graphs + 1]`` int64.

    Args:
        graph: ``[num_nodes]`` int64, the graph of each node.
        num_graphs: Number of graphs.

    Returns:
        None if graphs do not ascend, or are not in [0, num_graphs).
    """
    graph, first = graph.contiguous(), graph.new_empty(num_graphs + 1)
    if not call("find_runs", (graph, first), (graph.numel(), num_graphs)):
        return None
    return first


def mean_and_max(x: Tensor, first: Tensor) -> Tensor:
    """Mean and maximum of runs of rows, side by side, ``[num_runs, 2 · channels]`` float32.

    Args:
        x: ``[num_rows, channels]``, contiguous, :func:`takes_rows`.
        first: ``[num_runs + 1]`` int64, the first row of each run, and the number of rows.
    """
    out = torch.empty(first.numel() - 1, 2 * x.shape[1], dtype=torch.float32)
    sizes = (out.shape[0], x.shape[1])
    call("mean_and_max", (x, first, out), sizes, x.dtype == torch.bfloat16)
    return out


def mean_and_max_backward(grad_out: Tensor, x: Tensor, out: Tensor, first: Tensor) -> Tensor:
    """The gradient of :func:`mean_and_max` with respect to its rows; those that hold a maximum share its gradient."""
    grad_x = torch.empty_like(x)
    sizes = (out.shape[0], x.shape[1])
    tensors = (grad_out.contiguous(), x, out, first, grad_x)
    call("mean_and_max_backward", tensors, sizes, x.dtype == torch.bfloat16)
    return grad_x


def _with_whole_rows(x: Tensor) -> Tensor:
    """Rows may lie apart, as in a matrix of more columns."""
    return x if x.stride(1) == 1 else x.contiguous()


def _check_shapes(x: Tensor, rows: Tensor, weight: Tensor) -> None:
    """The kernels see addresses alone."""
    if not usable(x, weight):
        raise ValueError(f"x: expected rows that the kernels take, got {x.dtype} {list(x.shape)} on {x.device}")
    if weight.dim() != 3 or rows.dim() != 2 or weight.shape[:2] != (rows.shape[1], x.shape[1]):
        expected = f"[{rows.shape[-1]}, {x.shape[1]}, out_channels]"
        raise ValueError(f"weight: expected shape {expected}, got {list(weight.shape)}")
    if rows.dtype != torch.int32 or rows.device != x.device or max(rows.shape[0], x.shape[0]) >= 2**31:
        raise ValueError(f"rows: expected torch.int32 on {x.device}, fewer than 2³¹, got {rows.dtype} on {rows.device}")
