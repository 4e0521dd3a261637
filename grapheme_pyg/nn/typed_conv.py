"""One step of the sweep: what a group of nodes receives from the nodes of one type."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch_geometric.utils import segment

from grapheme_pyg.nn.sweep import EdgeBlock


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
    # PyTorch does not annotate `apply`.
    out: Tensor = _GatherMatmul.apply(x, weight, block)  # type: ignore[no-untyped-call]
    return out


def slot_mean(messages: Tensor, block: EdgeBlock) -> Tensor:
    """Averages the messages of each slot, 0 where there is none.

    Args:
        messages: ``[num_edges, channels]``, in the order of the block's edges.
        block: The edges.

    Returns:
        ``[num_targets · num_relations, channels]``.
    """
    num_slots = block.num_targets * block.num_relations
    pointer = torch.searchsorted(block.slot, torch.arange(num_slots + 1, device=block.slot.device))
    out: Tensor = segment(messages, pointer, reduce="mean")
    return out


class _GatherMatmul(torch.autograd.Function):
    """``out[v] = Σ_r x[s(v, r)] W_r`` where ``s(v, r)`` is the one source of relation r into v, if any.

    Forward: the sources of all slots side by side, ``[num_targets, num_relations · in]``, times the stacked
    weights. Backward towards x it is the same along reversed edges,

        grad_x[u] = Σ_r grad_out[t(u, r)] W_rᵀ,

    with ``t(u, r)`` the one target of relation r out of u: gathers and matrix products in both directions. If
    some source has two such targets, products come first and are then added up for each source.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, block: EdgeBlock) -> Tensor:
        assert block.sources_of_slots is not None
        received = _gather(x, block.sources_of_slots, block.num_targets)
        ctx.save_for_backward(received, weight)
        ctx.block = block
        return received @ weight.flatten(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        received, weight = ctx.saved_tensors
        block: EdgeBlock = ctx.block
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (received.t() @ grad_out).view_as(weight)
        if ctx.needs_input_grad[0]:
            if block.targets_of_slots is not None:
                sent = _gather(grad_out, block.targets_of_slots, block.num_sources)
                grad_x = sent @ weight.transpose(1, 2).flatten(0, 1)
            else:
                grad_slots = (grad_out @ weight.flatten(0, 1).t()).view(block.num_slots, -1)
                grad_x = grad_slots.new_zeros(block.num_sources, grad_slots.shape[1])
                grad_x.index_add_(0, block.source, grad_slots[block.slot])
        return grad_x, grad_weight, None


def _gather(rows: Tensor, table: Tensor, num_out: int) -> Tensor:
    """Rows by table, zeros where the table points past the end, ``[num_out, slots per row · channels]``."""
    padded = torch.cat([rows, rows.new_zeros(1, rows.shape[1])])
    return padded.index_select(0, table).view(num_out, -1)
