"""Node states as a sweep keeps them: a list of tensors, one for each group of nodes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.nn.slots import EdgeBlock
from grapheme_pyg.nn.sweep import Sweep


def source_states(states: list[Tensor], block: EdgeBlock) -> Tensor:
    """States that the block's ``source`` indexes, ``[num_sources, channels]``."""
    groups = [states[i] for i in block.source_groups]
    return groups[0] if len(groups) == 1 else torch.cat(groups)


def states_of_nodes(
    states: list[Tensor], sweep: Sweep, nodes: Tensor | None, *, like: Tensor, width: int = 0
) -> Tensor:
    """States of chosen nodes, or of all, zero-padded to one width.

    Args:
        states: Of each group.
        sweep: Which nodes the groups have.
        nodes: ``[num_chosen]`` int64, or None.
        like: A tensor of the dtype and device of an answer without nodes.
        width: Of the answer, at least; the width of the widest chosen state if that is more.

    Returns:
        ``[num_chosen, width]``.
    """
    if nodes is not None and nodes.numel() > 0:
        first = int(sweep.group_of[nodes[0]])
        if torch.equal(nodes, sweep.groups[first].nodes):
            # All of one group, as a readout of levels wants them: nothing to gather.
            return pad_channels(states[first], max(width, states[first].shape[1]))
    group = sweep.group_of if nodes is None else sweep.group_of[nodes]
    row = sweep.row_of if nodes is None else sweep.row_of[nodes]
    wanted: list[int] = group.unique().tolist()
    if not wanted:
        return like.new_zeros(0, width)
    width = max(width, *(states[number].shape[1] for number in wanted))
    if len(wanted) == 1:
        # The sinks of images of one size: no copying into a wider tensor.
        return pad_channels(states[wanted[0]].index_select(0, row), width)
    parts = [(group == number).nonzero().squeeze(1) for number in wanted]
    chosen = [pad_channels(states[i].index_select(0, row[part]), width) for i, part in zip(wanted, parts, strict=True)]
    order = torch.cat(parts).argsort()
    return torch.cat(chosen).index_select(0, order)


def pad_channels(states: Tensor, width: int) -> Tensor:
    """The same states, with zeros up to a width."""
    missing = width - states.shape[1]
    return F.pad(states, (0, missing)) if missing else states
