"""One step of the sweep: what a group of nodes receives from the nodes of one type."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch_geometric.index import index2ptr
from torch_geometric.utils import segment

from grapheme_pyg.nn.sweep import EdgeBlock

# Bytes that are gathered at once on a CPU: about a second-level cache, where they stay until they are multiplied.
PIECE = 1_000_000


def typed_conv(x: Tensor, weight: Tensor, block: EdgeBlock) -> Tensor:
    r"""Receives along typed edges: average within each relation, then multiply.

    .. math:: out_v = \sum_r \operatorname{mean}_{(u \to v) \text{ of type } r} W_r^\top x_u

    On a lattice, where a node has at most one edge of each relation, this is a convolution whose kernel
    positions are the relations.

    Args:
        x: ``[num_sources, in_channels]``, states of the sources.
        weight: ``[num_relations, in_channels, out_channels]``.
        block: The edges.

    Returns:
        ``[num_targets, out_channels]``.
    """
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = x.to(dtype), weight.to(dtype)
    if block.sources_of_slots is None:
        received = slot_mean(x[block.source], block)
        return received.view(block.num_targets, -1) @ weight.flatten(0, 1)
    return _table_conv(x, weight, block)


def slot_mean(messages: Tensor, block: EdgeBlock) -> Tensor:
    """Averages the messages of each slot, 0 where there is none.

    Args:
        messages: ``[num_edges, channels]``, in the order of the block's edges.
        block: The edges.

    Returns:
        ``[num_targets · num_relations, channels]``.
    """
    out: Tensor = segment(messages, index2ptr(block.slot, block.num_slots), reduce="mean")
    return out


class _GatherMatmul(torch.autograd.Function):
    """``out[v] = Σ_r x[s(v, r)] W_r`` where ``s(v, r)`` is the one source of relation r into v, if any.

    Forward: the sources of all slots side by side, ``[num_targets, num_relations · in]``, times the stacked
    weights. Backward towards x it is the same along reversed edges,

        grad_x[u] = Σ_r grad_out[t(u, r)] W_rᵀ,

    with ``t(u, r)`` the one target of relation r out of u: gathers and matrix products in both directions. If
    some source has two such targets, products come first and are then added up for each source. What is gathered
    is nine times the states on a lattice: it is made piece by piece, never whole, and anew for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, block: EdgeBlock) -> Tensor:
        assert block.sources_of_slots is not None
        ctx.save_for_backward(x, weight)
        ctx.block = block
        return _gather_matmul(x, block.sources_of_slots, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        block: EdgeBlock = ctx.block
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            assert block.sources_of_slots is not None
            # Pieces are added up in single precision at least.
            dtype = torch.promote_types(weight.dtype, torch.float32)
            total = weight.new_zeros(weight.shape[0] * weight.shape[1], weight.shape[2], dtype=dtype)
            for piece, received in _gather_pieces(x, block.sources_of_slots, weight.shape[0]):
                total += received.t() @ grad_out[piece]
            grad_weight = total.view_as(weight).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            if block.targets_of_slots is not None:
                grad_x = _gather_matmul(grad_out, block.targets_of_slots, weight.transpose(1, 2))
            else:
                grad_slots = (grad_out @ weight.flatten(0, 1).t()).view(block.num_slots, -1)
                grad_x = grad_slots.new_zeros(block.num_sources, grad_slots.shape[1])
                grad_x.index_add_(0, block.source, grad_slots[block.slot])
        return grad_x, grad_weight, None


# PyTorch does not annotate `apply`.
_table_conv: Callable[[Tensor, Tensor, EdgeBlock], Tensor] = _GatherMatmul.apply


def _gather_matmul(rows: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """Rows by table, multiplied by the weights of their slots and added up, ``[table rows, out_channels]``."""
    num_slots, _, width = weight.shape
    out = rows.new_empty(table.numel() // num_slots, width)
    kernel = weight.flatten(0, 1)
    for piece, gathered in _gather_pieces(rows, table, num_slots):
        torch.mm(gathered, kernel, out=out[piece])
    return out


def _gather_pieces(rows: Tensor, table: Tensor, num_slots: int) -> Iterator[tuple[slice, Tensor]]:
    """Rows by table, zeros where it points past the end, ``[piece, num_slots · channels]``; all in one buffer."""
    padded = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
    num_out, width = table.numel() // num_slots, num_slots * rows.shape[1]
    num_pieces = 1
    if rows.device.type == "cpu":
        num_pieces = max(1, round(num_out * width * rows.element_size() / PIECE))
    # Of equal size: a short last one would cost as much as a long one.
    size = -(-num_out // num_pieces)
    buffer = rows.new_empty(size * num_slots, rows.shape[1])
    for start in range(0, num_out, max(1, size)):
        slots = table[start * num_slots : (start + size) * num_slots]
        gathered = torch.index_select(padded, 0, slots, out=buffer[: slots.numel()])
        yield slice(start, start + size), gathered.view(-1, width)
