"""The order of a sweep: which nodes are computed together, and along which edges they receive."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from grapheme_pyg.dag import check_edges
from grapheme_pyg.nn.neighbours import NeighbourLists, Neighbours, NeighbourTable
from grapheme_pyg.nn.vocabulary import EdgeVocabulary

# Kinds of edges are counted in a table while it is smaller than this times the number of edges.
TABLE = 4


@dataclass(frozen=True)
class Slots:
    """The slots of all blocks of a sweep, one block after the other.

    A slot is a pair of target and relation. Messages of one slot are averaged; a slot's mean is multiplied by the
    relation's weight.

    Shapes:
        - **slot**: ``[num_edges]`` int64, of each edge
        - **source**: ``[num_edges]`` int64, row of each edge's source among the sources of its block
    """

    count: int
    slot: Tensor
    source: Tensor

    @cached_property
    def sources(self) -> Tensor:
        """The source of each slot plus one, 0 where none, ``[count]``; one of them, where a slot has several."""
        return self._table(self.source + 1)

    @cached_property
    def edges(self) -> Tensor:
        """The edge of each slot plus one, 0 where none, ``[count]``; one of them, where a slot has several."""
        return self._table(torch.arange(1, self.slot.numel() + 1, device=self.slot.device))

    @cached_property
    def order(self) -> Tensor:
        """Edges by slot, ``[num_edges]``."""
        return self.slot.argsort(stable=True)

    @cached_property
    def are_single(self) -> bool:
        """Whether no slot has more than one edge."""
        return int(self.sources.count_nonzero()) == self.slot.numel()

    def _table(self, values: Tensor) -> Tensor:
        table = values.new_zeros(self.count)
        table[self.slot] = values
        return table


@dataclass(frozen=True)
class EdgeBlock:
    """All edges into one group of nodes from one node type.

    Attributes:
        pair: Of node types.
        source_groups: Whose nodes, one group after the other, are the sources.
        num_sources: Their number.
        num_targets: Number of nodes in the group.
        num_relations: Of the pair.
        num_edges: Number of edges.
        first_edge: Where its edges start in the order of all slots.
        first_slot: Where its slots start, row by row of the targets.
        slots: Of the whole sweep.
    """

    pair: int
    source_groups: tuple[int, ...]
    num_sources: int
    num_targets: int
    num_relations: int
    num_edges: int
    first_edge: int
    first_slot: int
    slots: Slots

    @cached_property
    def edge(self) -> Tensor:
        """Positions in the ``edge_index`` that the sweep was made from, by slot, ``[num_edges]``."""
        return self.slots.order[self.first_edge : self.first_edge + self.num_edges]

    @cached_property
    def source(self) -> Tensor:
        """Of each edge, row of the states of ``source_groups``, concatenated, ``[num_edges]``."""
        return self.slots.source[self.edge]

    @cached_property
    def slot(self) -> Tensor:
        """Of each edge, ``target row · num_relations + relation``, ascending, ``[num_edges]``."""
        return self.slots.slot[self.edge] - self.first_slot

    @cached_property
    def neighbours(self) -> Neighbours:
        """Which source each target reads, relation by relation."""
        if self.has_single_slots:
            return NeighbourTable(self._part(self.slots.sources), self.num_sources)
        return NeighbourLists(self.source, self.slot, self.num_slots, self.num_sources)

    @cached_property
    def edges(self) -> Neighbours:
        """Which edge each target reads, relation by relation."""
        num_edges = self.slots.slot.numel()
        if self.has_single_slots:
            return NeighbourTable(self._part(self.slots.edges), num_edges)
        return NeighbourLists(self.edge, self.slot, self.num_slots, num_edges)

    @property
    def num_slots(self) -> int:
        """Number of pairs of target and relation, with or without an edge."""
        return self.num_targets * self.num_relations

    @cached_property
    def has_single_slots(self) -> bool:
        """Whether no slot has more than one edge."""
        return self.slots.are_single or int(self._part(self.slots.sources).count_nonzero()) == self.num_edges

    def _part(self, table: Tensor) -> Tensor:
        """The block's part of a table of all slots, ``[num_targets, num_relations]``."""
        return table[self.first_slot : self.first_slot + self.num_slots].view(-1, self.num_relations)


@dataclass(frozen=True)
class NodeGroup:
    """All nodes of one type in one level: they are computed in one step.

    Shapes:
        - **nodes**: ``[num_nodes]`` int64, ascending
    """

    level: int
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
    edge_index: Tensor, edge_type: Tensor, node_type: Tensor, level: Tensor, vocabulary: EdgeVocabulary
) -> Sweep:
    """Sorts nodes into groups and edges into blocks.

    All that is asked of an edge depends on its kind alone: the groups at its ends, and its type. There are some dozens
    of kinds, which are checked and planned one by one; a few gathers then tell each edge its slot.

    Args:
        edge_index: ``[2, num_edges]`` int64, in range.
        edge_type: ``[num_edges]`` int64, in range.
        node_type: ``[num_nodes]`` int64, in range.
        level: ``[num_nodes]`` int64, not negative.
        vocabulary: Of the types.

    Raises:
        ValueError: An edge joins other node types than its type, or does not rise; see
            :func:`grapheme_pyg.dag.check_edges`.
    """
    sweep = _group_nodes(node_type, level, len(vocabulary.node_types))
    groups = sweep.groups
    if edge_type.numel() == 0:
        return sweep
    kind, kinds, size = _kinds_of_edges(sweep, edge_index, edge_type, len(vocabulary.edge_types))
    if not all(_may_be(kind, groups, vocabulary) for kind in kinds):
        check_edges(edge_index, edge_type, node_type, level, vocabulary.endpoints)

    members: dict[tuple[int, int], list[_Kind]] = {}
    for one in kinds:
        members.setdefault((one.target, vocabulary.pair_of_type[one.edge_type]), []).append(one)
    # For each kind, by number: the first slot of its relation, the stride between targets, the first row of its sources.
    lookup = torch.zeros(3, size, dtype=torch.int64)
    first_edge = first_slot = 0
    plans = []
    for (target, pair), some in members.items():
        source_groups = tuple(sorted({one.source for one in some}))
        first_rows = [0, *accumulate(groups[source].nodes.numel() for source in source_groups)]
        num_relations = len(vocabulary.relations[vocabulary.pairs[pair]])
        for one in some:
            first = first_slot + vocabulary.relation_of_type[one.edge_type]
            row = first_rows[source_groups.index(one.source)]
            lookup[:, one.number] = torch.tensor([first, num_relations, row])
        num_edges, num_targets = sum(one.num_edges for one in some), groups[target].nodes.numel()
        shape = (pair, source_groups, first_rows[-1], num_targets, num_relations, num_edges)
        plans.append((target, shape, first_edge, first_slot))
        first_edge += num_edges
        first_slot += num_targets * num_relations

    source_row, target_row = sweep.row_of.index_select(0, edge_index.flatten()).view(2, -1)
    first, stride, row = (numbers.index_select(0, kind) for numbers in lookup.to(kind.device))
    slots = Slots(first_slot, stride.mul_(target_row).add_(first), row.add_(source_row))
    for target, shape, first_edge, first_slot in plans:
        groups[target].blocks.append(EdgeBlock(*shape, first_edge, first_slot, slots))
    return sweep


def _group_nodes(node_type: Tensor, level: Tensor, num_node_types: int) -> Sweep:
    """Nodes of one level and type together, without edges yet."""
    num_nodes, device = level.numel(), level.device
    key = level * num_node_types + node_type
    order = key.argsort(stable=True)
    keys, counts = key[order].unique_consecutive(return_counts=True)
    group_of, row_of = torch.empty_like(order), torch.empty_like(order)
    numbers = torch.arange(counts.numel(), device=device)
    group_of[order] = numbers.repeat_interleave(counts, output_size=num_nodes)
    row_of[order] = torch.arange(num_nodes, device=device)
    row_of -= (counts.cumsum(0) - counts).index_select(0, group_of)
    nodes = order.split(counts.tolist())
    groups = [NodeGroup(*divmod(key, num_node_types), some) for key, some in zip(keys.tolist(), nodes, strict=True)]
    return Sweep(groups, group_of, row_of)


@dataclass(frozen=True)
class _Kind:
    """Edges of one type from one group to another."""

    number: int
    source: int
    target: int
    edge_type: int
    num_edges: int


def _kinds_of_edges(
    sweep: Sweep, edge_index: Tensor, edge_type: Tensor, num_edge_types: int
) -> tuple[Tensor, list[_Kind], int]:
    """The number of each edge's kind, the kinds that there are, and a bound of their numbers."""
    source, target = sweep.group_of.index_select(0, edge_index.flatten()).view(2, -1)
    size = len(sweep.groups) ** 2 * num_edge_types
    code = source.mul_(len(sweep.groups)).add_(target).mul_(num_edge_types).add_(edge_type)
    if size <= TABLE * code.numel():
        counts = torch.bincount(code, minlength=size)
        codes = numbers = counts.nonzero().squeeze(1)
        counts = counts[codes]
    else:
        codes, code, counts = code.unique(return_inverse=True, return_counts=True)
        numbers = torch.arange(codes.numel())
        size = codes.numel()
    kinds = []
    for number, packed, count in zip(numbers.tolist(), codes.tolist(), counts.tolist(), strict=True):
        ends, kind = divmod(packed, num_edge_types)
        kinds.append(_Kind(number, *divmod(ends, len(sweep.groups)), kind, count))
    return code, kinds, size


def _may_be(kind: _Kind, groups: list[NodeGroup], vocabulary: EdgeVocabulary) -> bool:
    """Whether edges of this kind rise, between the node types that their type joins."""
    source, target = groups[kind.source], groups[kind.target]
    expected = [ends[kind.edge_type] for ends in vocabulary.endpoints]
    return source.level < target.level and [source.node_type, target.node_type] == expected
