"""The order of a sweep: which nodes are computed together, and along which edges they receive."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class EdgeBlock:
    """All edges into one group of nodes from one node type, sorted by slot.

    A slot is a pair of target and relation. Messages of one slot are averaged; a slot's mean is multiplied
    by the relation's weight.

    Shapes:
        - **edge**: ``[num_edges]`` int64, positions in the ``edge_index`` that the sweep was made from
        - **source**: ``[num_edges]`` int64, rows of the states of ``source_groups``, concatenated
        - **slot**: ``[num_edges]`` int64, ``target row · num_relations + relation``, ascending
    """

    pair: int
    source_groups: tuple[int, ...]
    num_sources: int
    num_targets: int
    num_relations: int
    edge: Tensor
    source: Tensor
    slot: Tensor

    @property
    def num_slots(self) -> int:
        """Number of pairs of target and relation, with or without an edge."""
        return self.num_targets * self.num_relations

    @cached_property
    def sources_of_slots(self) -> Tensor | None:
        """The source of each slot, ``num_sources`` where none, ``[num_slots]``; None if a slot has several."""
        return _table(self.slot, self.source, self.num_slots, self.num_sources)

    @cached_property
    def targets_of_slots(self) -> Tensor | None:
        """The same seen from the sources: targets of pairs of source and relation, ``num_targets`` where none."""
        target = self.slot // self.num_relations
        slot = self.source * self.num_relations + self.slot % self.num_relations
        return _table(slot, target, self.num_sources * self.num_relations, self.num_targets)


def _table(slot: Tensor, value: Tensor, num_slots: int, missing: int) -> Tensor | None:
    table = torch.full((num_slots,), missing, device=slot.device)
    table[slot] = value
    # Two edges in one slot leave one entry.
    return table if int((table != missing).sum()) == slot.numel() else None


@dataclass(frozen=True)
class NodeGroup:
    """All nodes of one type in one level: they are computed in one step.

    Shapes:
        - **nodes**: ``[num_nodes]`` int64, ascending
    """

    node_type: int
    nodes: Tensor
    blocks: list[EdgeBlock] = field(default_factory=list)


@dataclass(frozen=True)
class Sweep:
    """Groups in the order in which they can be computed.

    Shapes:
        - **group_of**, **row_of**: ``[num_nodes]`` int64, the group of each node and its row therein
    """

    groups: list[NodeGroup]
    group_of: Tensor
    row_of: Tensor


def plan_sweep(
    edge_index: Tensor,
    edge_type: Tensor,
    node_type: Tensor,
    level: Tensor,
    *,
    pair_of_type: Tensor,
    relation_of_type: Tensor,
    relations_of_pair: list[int],
    num_node_types: int,
) -> Sweep:
    """Sorts nodes into groups and edges into blocks.

    Args:
        edge_index: ``[2, num_edges]`` int64, of a valid typed DAG.
        edge_type: ``[num_edges]`` int64.
        node_type: ``[num_nodes]`` int64.
        level: ``[num_nodes]`` int64, rising along every edge.
        pair_of_type: ``[num_edge_types]`` int64, the pair of node types that an edge type joins.
        relation_of_type: ``[num_edge_types]`` int64, its number among the relations of that pair.
        relations_of_pair: Number of relations of each pair.
        num_node_types: Number of node types.
    """
    num_nodes, device = level.numel(), level.device
    key = level * num_node_types + node_type
    order = key.argsort(stable=True)
    keys, counts = key[order].unique_consecutive(return_counts=True)
    sizes: list[int] = counts.tolist()
    first = counts.cumsum(0) - counts
    group_of = torch.empty_like(order)
    group_of[order] = torch.arange(len(sizes), device=device).repeat_interleave(counts)
    row_of = torch.empty_like(order)
    row_of[order] = torch.arange(num_nodes, device=device) - first.repeat_interleave(counts)
    types: list[int] = (keys % num_node_types).tolist()
    groups = [NodeGroup(t, nodes) for t, nodes in zip(types, order.split(sizes), strict=True)]

    num_pairs = len(relations_of_pair)
    source, target = edge_index
    block_key = group_of[target] * num_pairs + pair_of_type[edge_type]
    by_block = block_key.argsort(stable=True)
    block_keys, counts = block_key[by_block].unique_consecutive(return_counts=True)
    groups_of_type: dict[int, list[int]] = {}
    for i, kind in enumerate(types):
        groups_of_type.setdefault(kind, []).append(i)
    for block, edges in zip(block_keys.tolist(), by_block.split(counts.tolist()), strict=True):
        group, pair = divmod(block, num_pairs)
        num_relations = relations_of_pair[pair]
        slot = row_of[target[edges]] * num_relations + relation_of_type[edge_type[edges]]
        # Edges sorted by (target, type), as ours are, need no second sort.
        if bool((slot[1:] < slot[:-1]).any()):
            by_slot = slot.argsort(stable=True)
            slot, edges = slot[by_slot], edges[by_slot]
        nodes = source[edges]
        origin = group_of[nodes]
        source_groups = groups_of_type[int(node_type[nodes[0]])]
        if len(source_groups) > 1:
            source_groups = origin.unique().tolist()
        row = row_of[nodes]
        if len(source_groups) > 1:
            start = torch.zeros(len(groups), dtype=torch.int64)
            start[source_groups] = torch.tensor([0, *(sizes[g] for g in source_groups[:-1])]).cumsum(0)
            row = row + start.to(device)[origin]
        num_sources = sum(sizes[g] for g in source_groups)
        groups[group].blocks.append(
            EdgeBlock(pair, tuple(source_groups), num_sources, sizes[group], num_relations, edges, row, slot)
        )
    return Sweep(groups, group_of, row_of)
