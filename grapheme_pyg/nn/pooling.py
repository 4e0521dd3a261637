"""Pooling: what the nodes of each graph have in common."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from grapheme_pyg.dag import check_ascending, check_integers
from grapheme_pyg.nn import kernels


def mean_and_max(states: Tensor, graph: Tensor, num_graphs: int) -> Tensor:
    """Mean and maximum of the states of each graph, side by side; 0 where it has no nodes.

    Args:
        states: ``[num_nodes, channels]``.
        graph: ``[num_nodes]`` int64, ascending, the graph of each node.
        num_graphs: Number of graphs.

    Returns:
        ``[num_graphs, 2 · channels]``, in single precision at least: a mean of many is more than half precision holds.

    Raises:
        GraphError: There is not one graph for each node, or they do not ascend to the last one.
    """
    # Kernels would read past the end.
    check_integers("graph", graph, (states.shape[0],))
    return _mean_and_max(states, graph, num_graphs)


class _MeanAndMax(torch.autograd.Function):
    """Both at once, forward and backward in passes over whole rows.

    PyTorch's own reductions by segment are made for one column: they take eight times as long. Nodes that share a
    graph's maximum share its gradient.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, graph: Tensor, num_graphs: int) -> Tensor:
        if kernels.takes_rows(states):
            states = states.contiguous()
            first = kernels.find_runs(graph, num_graphs)
            if first is None:
                check_ascending("graph", graph, num_graphs)
            assert first is not None, "graph: expected what ascends"
            out = kernels.mean_and_max(states, first)
            ctx.save_for_backward(states, out, first)
            return out
        check_ascending("graph", graph, num_graphs)
        rows = states.to(torch.promote_types(states.dtype, torch.float32))
        count = torch.bincount(graph, minlength=num_graphs).clamp_(min=1)[:, None]
        mean = rows.new_zeros(num_graphs, rows.shape[1]).index_add_(0, graph, rows).div_(count)
        index = graph[:, None].expand_as(rows)
        maximum = torch.zeros_like(mean).scatter_reduce_(0, index, rows, "amax", include_self=False)
        ctx.save_for_backward(states, graph, count, maximum)
        return torch.cat([mean, maximum], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, None, None]:
        # Once only: gradient checkpointing computes them when they are asked for, and then lets go of them.
        saved = ctx.saved_tensors
        if len(saved) == 3:
            return kernels.mean_and_max_backward(grad_out, *saved), None, None
        states, graph, count, maximum = saved
        grad_mean, grad_max = grad_out.chunk(2, dim=1)
        is_max = (states == maximum.index_select(0, graph)).to(grad_out.dtype)
        holders = torch.zeros_like(maximum).index_add_(0, graph, is_max).clamp_(min=1)
        grad = (grad_max / holders).index_select(0, graph).mul_(is_max)
        grad += (grad_mean / count).index_select(0, graph)
        return grad.to(states.dtype), None, None


# PyTorch does not annotate `apply`.
_mean_and_max: Callable[[Tensor, Tensor, int], Tensor] = _MeanAndMax.apply
