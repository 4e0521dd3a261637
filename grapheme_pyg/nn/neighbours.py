"""Whose states a group of nodes reads, relation by relation. A slot is a pair of reader and relation."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class NeighbourTable:
    """At most one neighbour in each slot.

    Attributes:
        rows: ``[num_readers, num_relations]`` int32, 0 where there is no neighbour, else its number plus one.
        num_sources: How many nodes are read from.
        readers: The same seen from the sources, ``[num_sources, num_relations]``, where it is known already.
    """

    rows: Tensor
    num_sources: int
    readers: Tensor | None = None

    @cached_property
    def reversed(self) -> "NeighbourTable | None":
        """The readers of each node, relation by relation; None if a node has several of one relation."""
        if self.readers is not None:
            return NeighbourTable(self.readers, self.rows.shape[0], self.rows)
        num_readers, num_relations = self.rows.shape
        relation = torch.arange(num_relations, device=self.rows.device)
        reader = torch.arange(1, num_readers + 1, dtype=torch.int32, device=self.rows.device)
        # What has no neighbour writes to a row before the first.
        table = self.rows.new_zeros((1 + self.num_sources) * num_relations)
        table[(self.rows.long() * num_relations + relation).view(-1)] = reader.repeat_interleave(num_relations)
        rows = table[num_relations:].view(-1, num_relations)
        if int(rows.count_nonzero()) < int(self.rows.count_nonzero()):
            return None
        return NeighbourTable(rows, num_readers)


@dataclass(frozen=True)
class NeighbourLists:
    """Any number of neighbours in each slot.

    Attributes:
        sources: ``[num_edges]`` int64, slot by slot.
        slots: ``[num_edges]`` int64, ascending, ``reader · num_relations + relation``.
        num_readers: Number of readers.
        num_relations: Number of relations.
        num_sources: How many nodes are read from.
    """

    sources: Tensor
    slots: Tensor
    num_readers: int
    num_relations: int
    num_sources: int

    @cached_property
    def filled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Slots that have a neighbour, ascending; the position of each edge's slot among them; their edges' number."""
        slots, position, counts = self.slots.unique_consecutive(return_inverse=True, return_counts=True)
        return slots, position, counts

    @cached_property
    def table(self) -> NeighbourTable:
        """Which filled slot each reader reads, relation by relation."""
        slots, _, _ = self.filled
        rows = slots.new_zeros(self.num_readers * self.num_relations, dtype=torch.int32)
        rows[slots] = torch.arange(1, slots.numel() + 1, dtype=torch.int32, device=slots.device)
        return NeighbourTable(rows.view(-1, self.num_relations), slots.numel())


Neighbours = NeighbourTable | NeighbourLists
