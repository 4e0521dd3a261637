"""Means of segments of gathered rows, for several edges of one type into one node."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.ops.definition import define


def segment_mean(x: Tensor, rows: Tensor, first: Tensor, segment: Tensor) -> Tensor:
    """Averages segments of gathered rows.

    Args:
        x: ``[num_rows, channels]``, floating point.
        rows: ``[num_edges]`` int32, in [0, num_rows).
        first: ``[num_segments]`` int32, where each segment starts in ``rows``; none is empty.
        segment: ``[num_edges]`` int64, the segment of each edge, consistent with ``first``.

    Returns:
        ``[num_segments, channels]`` in the dtype of ``x``.
    """
    # Exported programs run where this operator does not exist.
    operator = decomposed if torch.compiler.is_exporting() else _segment_mean
    means: Tensor = operator(x, rows, first, segment)
    return means


def decomposed(x: Tensor, rows: Tensor, first: Tensor, segment: Tensor) -> Tensor:
    """Implements the mean by operators that exported programs can contain."""
    sums = x.new_zeros(first.shape[0], x.shape[1]).index_add(0, segment, x.index_select(0, rows))
    return sums / _counts(x, first, segment)


def _counts(x: Tensor, first: Tensor, segment: Tensor) -> Tensor:
    """Returns the number of edges of each segment, ``[num_segments, 1]``."""
    return x.new_zeros(first.shape[0], 1).index_add(0, segment, x.new_ones(segment.shape[0], 1))


def _plain(x: Tensor, rows: Tensor, first: Tensor, segment: Tensor) -> Tensor:
    if x.dtype == torch.float16 and x.device.type == "cpu":
        return _plain(x.float(), rows, first, segment).half()
    return F.embedding_bag(rows, x, first, mode="mean")


def _fake(x: Tensor, rows: Tensor, first: Tensor, segment: Tensor) -> Tensor:  # noqa: ARG001
    return x.new_empty(first.shape[0], x.shape[1])


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, rows, first, segment = inputs
    ctx.save_for_backward(rows, first, segment)
    ctx.num_rows = x.shape[0]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    rows, first, segment = ctx.saved_tensors
    shares = grad / _counts(grad, first, segment)
    if torch.is_grad_enabled():
        gradient = shares.new_zeros(ctx.num_rows, grad.shape[1]).index_add(0, rows, shares.index_select(0, segment))
        return gradient, None, None, None
    # Sorted by row, the gradient of each row is the sum of a contiguous run, which is faster.
    by_row, order = rows.sort(stable=True)
    numbers = torch.arange(ctx.num_rows, dtype=rows.dtype, device=rows.device)
    runs = torch.searchsorted(by_row, numbers, out_int32=True)
    return F.embedding_bag(segment[order].int(), shares, runs, mode="sum"), None, None, None


_segment_mean = define(
    "segment_mean(Tensor x, Tensor rows, Tensor first, Tensor segment) -> Tensor",
    _plain,
    _fake,
    backward=_backward,
    save=_save,
)
