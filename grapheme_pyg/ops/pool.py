"""Pooling of the rows of each graph by mean and maximum."""

from typing import Any

import torch
from torch import Tensor

from grapheme_pyg.ops.definition import define, single_at_least


def mean_max_pool(x: Tensor, rows: Tensor | None, first: Tensor) -> Tensor:
    """Computes the mean and the maximum of the rows of each graph; 0 if it has none.

    Args:
        x: ``[num_rows, channels]``, floating point.
        rows: ``[num_chosen]`` int64, distinct rows, graph by graph; None for all rows in order.
        first: ``[num_graphs + 1]`` int64, where each graph starts in ``rows``, and ``num_chosen``.

    Returns:
        ``[num_graphs, 2 · channels]``, at least in single precision, because half precision is too coarse for a mean of
        many rows. Rows that share a maximum share its gradient.
    """
    operator = decomposed if torch.compiler.is_exporting() else _mean_max_pool
    pooled: Tensor = operator(x, rows, first)
    return pooled


def decomposed(x: Tensor, rows: Tensor | None, first: Tensor) -> Tensor:
    """Implements pooling by PyTorch's own operators."""
    chosen = (x if rows is None else x.index_select(0, rows)).to(single_at_least(x.dtype))
    graph = _graphs(first, chosen.shape[0])
    shape = first.shape[0] - 1, x.shape[1]
    count = (first[1:] - first[:-1])[:, None]
    mean = chosen.new_zeros(shape).index_add(0, graph, chosen) / count.clamp(min=1)
    lowest = chosen.new_full(shape, -torch.inf)
    maximum = lowest.scatter_reduce(0, graph[:, None].expand_as(chosen), chosen, "amax")
    return torch.cat([mean, torch.where(count > 0, maximum, 0.0)], dim=1)


def _graphs(first: Tensor, length: int) -> Tensor:
    """Returns the graph of each chosen row; any graph can have none."""
    starts = first[:-1]
    marks = starts.new_zeros(length + 1, 1).index_add(0, starts, starts.new_ones(starts.shape[0], 1))
    return marks.cumsum(0)[:length, 0] - 1


def _fake(x: Tensor, rows: Tensor | None, first: Tensor) -> Tensor:  # noqa: ARG001
    return x.new_empty(first.shape[0] - 1, 2 * x.shape[1], dtype=single_at_least(x.dtype))


def _plain_backward(grad: Tensor, x: Tensor, out: Tensor, rows: Tensor | None, first: Tensor) -> Tensor:
    chosen = x if rows is None else x.index_select(0, rows)
    graph = _graphs(first, chosen.shape[0])
    (grad_mean, grad_max), maximum = grad.chunk(2, dim=1), out.chunk(2, dim=1)[1]
    is_max = (chosen == maximum.index_select(0, graph)).to(grad.dtype)
    holders = torch.zeros_like(maximum).index_add(0, graph, is_max).clamp(min=1)
    gradient = (grad_max / holders).index_select(0, graph) * is_max
    gradient = gradient + (grad_mean / first.diff().clamp(min=1)[:, None]).index_select(0, graph)
    if rows is not None:
        gradient = gradient.new_zeros(x.shape).index_copy(0, rows, gradient)
    return gradient.to(x.dtype)


def _fake_backward(grad: Tensor, x: Tensor, *_: Any) -> Tensor:  # noqa: ARG001
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, rows, first = inputs
    ctx.save_for_backward(x, output, rows, first)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    x, out, rows, first = ctx.saved_tensors
    # The operator has no gradient itself.
    function = _plain_backward if torch.is_grad_enabled() else _mean_max_pool_backward
    return function(grad, x, out, rows, first), None, None


_mean_max_pool = define(
    "mean_max_pool(Tensor x, Tensor? rows, Tensor first) -> Tensor",
    decomposed,
    _fake,
    backward=_backward,
    save=_save,
)
_mean_max_pool_backward = define(
    "mean_max_pool_backward(Tensor grad, Tensor x, Tensor out, Tensor? rows, Tensor first) -> Tensor",
    _plain_backward,
    _fake_backward,
)
