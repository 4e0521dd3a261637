"""The typed convolution: what a group of nodes receives along edges, each type with weights of its own."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from grapheme_pyg.nn import kernels
from grapheme_pyg.nn.neighbours import NeighbourLists, Neighbours, NeighbourTable

# Bytes that are gathered at once where there is no kernel: on a lattice, gathered rows are nine times the states.
PIECE = 2**26


def typed_conv(x: Tensor, weight: Tensor, neighbours: Neighbours) -> Tensor:
    r"""Receives along typed edges: mean within each relation, then multiply.

    .. math:: out_v = \sum_r \operatorname{mean}_{(u \to v) \text{ of type } r} W_r^\top x_u

    On a lattice, where a node has at most one edge of each relation, this is a convolution whose kernel
    positions are the relations.

    Args:
        x: ``[num_sources, in_channels]``, states of the sources.
        weight: ``[num_relations, in_channels, out_channels]``.
        neighbours: Who reads whom.

    Returns:
        ``[num_readers, out_channels]``.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    if isinstance(neighbours, NeighbourLists):
        # Reduce, then multiply: each slot is read as if its mean were its one neighbour.
        x, neighbours = slot_means(x, neighbours), neighbours.table
    return _gather_matmul(x, weight, neighbours)


class _GatherMatmul(torch.autograd.Function):
    r"""Rows gathered through a table, times weights: :math:`out_v = \sum_r x_{s(v, r)} W_r`.

    :math:`s(v, r)` is the one neighbour of relation r that v reads, if any. Backward,

    .. math:: \partial W_r = \sum_v x_{s(v, r)}^\top \, \partial out_v, \qquad
              \partial x_u = \sum_r \partial out_{t(u, r)} W_r^\top,

    where :math:`t(u, r)` is the one node that reads u along r: the same operation through the reversed table. If some u
    has several readers along r, products come first and are then added up for each u.

    The products are in the precision of x, added up in single precision at least; weights are of theirs.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, table: NeighbourTable) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.table = table
        return _multiply(x, weight, table)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        table: NeighbourTable = ctx.table
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(x, grad_out, table).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            if table.reversed is not None:
                grad_x = _multiply(grad_out, weight.transpose(1, 2), table.reversed)
            else:
                products = grad_out @ weight.to(x.dtype).flatten(0, 1).t()
                grad_x = _add_up(products.view(-1, x.shape[1]), table.rows.view(-1), table.num_sources + 1)[1:]
        return grad_x, grad_weight, None


class _SlotMeans(torch.autograd.Function):
    """The mean of the neighbours in each slot that has any, ``[num_filled, channels]``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, neighbours: NeighbourLists) -> Tensor:
        ctx.neighbours = neighbours
        pointer = F.pad(neighbours.filled[2].cumsum(0), (1, 0))
        return F.embedding_bag(neighbours.sources, x, pointer, mode="mean", include_last_offset=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_means: Tensor) -> tuple[Tensor, None]:
        neighbours: NeighbourLists = ctx.neighbours
        _, position, counts = neighbours.filled
        # Edges by source: then each source's sum is a bag of its own.
        order = neighbours.sources.argsort(stable=True)
        pointer = F.pad(torch.bincount(neighbours.sources, minlength=neighbours.num_sources).cumsum(0), (1, 0))
        shares = grad_means / counts[:, None]
        return F.embedding_bag(position[order], shares, pointer, mode="sum", include_last_offset=True), None


# PyTorch does not annotate `apply`.
_gather_matmul: Callable[[Tensor, Tensor, NeighbourTable], Tensor] = _GatherMatmul.apply
slot_means: Callable[[Tensor, NeighbourLists], Tensor] = _SlotMeans.apply


def _multiply(x: Tensor, weight: Tensor, table: NeighbourTable) -> Tensor:
    """``[num_readers, out_channels]``."""
    if kernels.usable(x, weight):
        return kernels.gather_matmul(x, table.rows, weight)
    kernel = weight.to(x.dtype).flatten(0, 1)
    return torch.cat([gathered @ kernel for _, gathered in _gather(x, table)])


def _weight_gradient(x: Tensor, grad_out: Tensor, table: NeighbourTable) -> Tensor:
    """``[num_relations, in_channels, out_channels]``, in single precision at least."""
    num_relations = table.rows.shape[1]
    total = x.new_zeros(
        num_relations * x.shape[1], grad_out.shape[1], dtype=torch.promote_types(x.dtype, torch.float32)
    )
    total = total.view(num_relations, x.shape[1], -1)
    if kernels.usable(x, total):
        return kernels.gather_outer(x, table.rows, grad_out, total)
    for readers, gathered in _gather(x, table):
        total += (gathered.t() @ grad_out[readers]).view_as(total)
    return total


def _gather(x: Tensor, table: NeighbourTable) -> Iterator[tuple[slice, Tensor]]:
    """Rows by table, zeros where there is none, ``[piece, num_relations · channels]``, for some readers at a time."""
    num_readers, num_relations = table.rows.shape
    padded = F.pad(x, (0, 0, 1, 0))
    length = max(1, PIECE // (num_relations * x.shape[1] * x.element_size()))
    for start in range(0, num_readers, length):
        rows = table.rows[start : start + length]
        yield slice(start, start + length), padded.index_select(0, rows.reshape(-1)).view(rows.shape[0], -1)


def _add_up(rows: Tensor, index: Tensor, size: int) -> Tensor:
    """Sums of rows by index, in single precision at least."""
    dtype = torch.promote_types(rows.dtype, torch.float32)
    return rows.new_zeros(size, rows.shape[1], dtype=dtype).index_add_(0, index, rows.to(dtype)).to(rows.dtype)
