"""Slots: pairs of target and relation, in which edges arrive."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from grapheme_pyg.native import available
from grapheme_pyg.nn import kernels
from grapheme_pyg.nn.neighbours import NeighbourLists, Neighbours, NeighbourTable


@dataclass(frozen=True)
class Slots:
    """The slots of all blocks of a sweep, one block after the other.

    Messages of one slot are averaged; a slot's mean is multiplied by the relation's weight. Seen from the sources,
    there is a second numbering: pairs of source and relation.

    Shapes:
        - **edge_index**: ``[2, num_edges]`` int64
        - **row_of**: ``[num_nodes]`` int64, the row of each node in its group
        - **kind**: ``[num_edges]`` int64, of each edge
        - **lookup**: ``[4, num_kinds]`` int64, for each kind of edges: its relation's slot in the first row of its
          block, the same among pairs of source and relation, how far rows are apart in both, and the row of its
          first source
    """

    edge_index: Tensor
    row_of: Tensor
    kind: Tensor
    lookup: Tensor
    num_slots: int
    num_reader_slots: int

    @cached_property
    def source(self) -> Tensor:
        """Row of each edge's source among the sources of its block, ``[num_edges]``."""
        return self.row_of[self.edge_index[0]] + self.lookup[3][self.kind]

    @cached_property
    def slot(self) -> Tensor:
        """Of each edge, ``[num_edges]``."""
        return self.lookup[0][self.kind] + self.row_of[self.edge_index[1]] * self.lookup[2][self.kind]

    @cached_property
    def order(self) -> Tensor:
        """Edges by slot, ``[num_edges]``."""
        return self.slot.argsort(stable=True)

    @cached_property
    def edges(self) -> Tensor:
        """The edge of each slot plus one, 0 where none, ``[num_slots]``; one of them, where a slot has several."""
        table = self.slot.new_zeros(self.num_slots, dtype=torch.int32)
        table[self.slot] = torch.arange(1, self.slot.numel() + 1, dtype=torch.int32, device=self.slot.device)
        return table

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor]:
        """The source of each slot plus one, and the target of each pair of source and relation plus one.

        0 where there is none; one of them, where there are several.
        """
        sizes = (self.num_slots, self.num_reader_slots)
        if available() and self.kind.device.type == "cpu":
            return kernels.fill_tables(self.edge_index, self.kind, self.row_of, self.lookup, sizes)
        sources, readers = (self.kind.new_zeros(size, dtype=torch.int32) for size in sizes)
        sources[self.slot] = (self.source + 1).int()
        target = self.row_of[self.edge_index[1]]
        readers[self.lookup[1][self.kind] + self.source * self.lookup[2][self.kind]] = (target + 1).int()
        return sources, readers

    @cached_property
    def are_single(self) -> tuple[bool, bool]:
        """Whether no slot has more than one edge, and whether no pair of source and relation has."""
        sources, readers = (int(table.count_nonzero()) == self.kind.numel() for table in self.tables)
        return sources, readers


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
        first_reader: Where its pairs of source and relation start, row by row of the sources.
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
    first_reader: int
    slots: Slots

    @property
    def num_slots(self) -> int:
        """Number of pairs of target and relation, with or without an edge."""
        return self.num_targets * self.num_relations

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
        sources, readers = self.slots.tables
        rows = self._by_target(sources)
        if not (self.slots.are_single[0] or self._has_all(rows)):
            return NeighbourLists(self.source, self.slot, self.num_targets, self.num_relations, self.num_sources)
        last = self.first_reader + self.num_sources * self.num_relations
        reading = readers[self.first_reader : last].view(-1, self.num_relations)
        single = self.slots.are_single[1] or self._has_all(reading)
        return NeighbourTable(rows, self.num_sources, reading if single else None)

    @cached_property
    def edges(self) -> Neighbours:
        """Which edge each target reads, relation by relation."""
        num_edges = self.slots.kind.numel()
        if isinstance(self.neighbours, NeighbourLists):
            return NeighbourLists(self.edge, self.slot, self.num_targets, self.num_relations, num_edges)
        return NeighbourTable(self._by_target(self.slots.edges), num_edges)

    def _by_target(self, table: Tensor) -> Tensor:
        """The block's part of a table of all slots, ``[num_targets, num_relations]``."""
        return table[self.first_slot : self.first_slot + self.num_slots].view(-1, self.num_relations)

    def _has_all(self, table: Tensor) -> bool:
        return int(table.count_nonzero()) == self.num_edges
