"""A hierarchy → a directed acyclic graph: one copy of each entity for every round. Knows no pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.typing import EdgeType

from grapheme_pyg.vision.hierarchy import Hierarchy, LevelSpec, Relations


class Vocabulary:
    """Node types and edge types of every graph that a configuration can make.

    A node type is a level and a round; an edge type is a relation between two node types. Levels beyond the
    configured ones share the last one's types, so the relations from the last level to the next, which is
    of the same types, are in the vocabulary too.

    Args:
        levels: The words for each configured level, fine to coarse; at least two.
        rounds: How many nodes each entity of a level has, at least one.
        extend: Whether there may be levels beyond.
    """

    def __init__(self, levels: Sequence[LevelSpec], rounds: Sequence[int], *, extend: bool = True) -> None:
        self.levels, self.rounds = tuple(levels), tuple(rounds)
        self.node_types: list[str] = []
        self.node_levels: list[int] = []
        self.node_rounds: list[int] = []
        self.edge_types: list[EdgeType] = []
        self.first_node_type: list[int] = []
        # First edge type of the lateral relations into each round, and of the part-of relations from a level.
        self.first_lateral: list[list[int]] = []
        self.first_part_of: list[int] = []

        for i, (level, num_rounds) in enumerate(zip(self.levels, self.rounds, strict=True)):
            self.first_node_type.append(len(self.node_types))
            self.node_types += [f"{level.name}_round{r}" for r in range(num_rounds)]
            self.node_levels += [i] * num_rounds
            self.node_rounds += range(num_rounds)
        for i, level in enumerate(self.levels):
            first = self.first_node_type[i]
            last = first + self.rounds[i] - 1
            pairs = [(t, t + 1) for t in range(first, last)]
            self.first_lateral.append([self._add(*pair, level.lateral) for pair in pairs])
            if i + 1 == len(self.levels) and not extend:
                break
            above = self.first_node_type[min(i + 1, len(self.levels) - 1)]
            self.first_part_of.append(self._add(last, above, level.part_of))

    def _add(self, source: int, target: int, relations: Sequence[str]) -> int:
        first = len(self.edge_types)
        self.edge_types += [(self.node_types[source], name, self.node_types[target]) for name in relations]
        return first


@dataclass(frozen=True)
class Dag:
    """An unrolled hierarchy.

    Shapes:
        - **entity**, **node_type**, **level**: ``[num_nodes]`` int64; nodes by level, then entity
        - **source**, **target**, **edge_type**: ``[num_edges]`` int64; edges by (target, type, source)
        - **first_level**: for each level of the hierarchy, the ``level`` of its first round
    """

    entity: Tensor
    node_type: Tensor
    level: Tensor
    source: Tensor
    target: Tensor
    edge_type: Tensor
    first_level: list[int]


def unroll(hierarchy: Hierarchy, vocabulary: Vocabulary) -> Dag:
    """Unrolls lateral relations, which go both ways, over rounds, which only go forward.

    Lateral relations run from the entities' nodes of one round to the nodes of the next, with an edge from
    each entity to itself; part-of relations run from an entity's last round to the first of its whole.

    Args:
        hierarchy: Entities and relations; the number of its levels is free.
        vocabulary: Whose rounds and types to use.

    Returns:
        The graph, in which ``level[source] < level[target]`` for every edge.
    """
    last = len(vocabulary.levels) - 1
    per_level = torch.bincount(hierarchy.level).tolist()
    lateral_level = hierarchy.level[hierarchy.lateral.source]
    part_of_level = hierarchy.level[hierarchy.part_of.source]

    entity: list[Tensor] = []
    node_type: list[Tensor] = []
    level: list[Tensor] = []
    first_level: list[int] = []
    nothing = hierarchy.level[:0]
    edges = [(nothing, nothing, nothing)]
    first_entity = num_nodes = 0
    shift = 0  # from an entity's number to that of its node in the round at hand
    for own, count in enumerate(per_level):
        configured = min(own, last)
        entities = torch.arange(first_entity, first_entity + count)
        lateral = _select(hierarchy.lateral, lateral_level == own)
        first_level.append(len(level))
        itself = torch.full_like(entities, vocabulary.levels[configured].lateral.index("self"))
        for r in range(vocabulary.rounds[configured]):
            below, shift = shift, num_nodes - first_entity
            if r > 0:
                first = vocabulary.first_lateral[configured][r - 1]
                edges.append((lateral.source + below, lateral.target + shift, lateral.kind + first))
                edges.append((entities + below, entities + shift, itself + first))
            elif own > 0:
                part_of = _select(hierarchy.part_of, part_of_level == own - 1)
                first = vocabulary.first_part_of[min(own - 1, last)]
                edges.append((part_of.source + below, part_of.target + shift, part_of.kind + first))
            entity.append(entities)
            node_type.append(torch.full_like(entities, vocabulary.first_node_type[configured] + r))
            level.append(torch.full_like(entities, len(level)))
            num_nodes += count
        first_entity += count

    source, target, edge_type = (torch.cat(column) for column in zip(*edges, strict=True))
    order = ((target * len(vocabulary.edge_types) + edge_type) * num_nodes + source).argsort()
    return Dag(
        entity=torch.cat(entity),
        node_type=torch.cat(node_type),
        level=torch.cat(level),
        source=source[order],
        target=target[order],
        edge_type=edge_type[order],
        first_level=first_level,
    )


def _select(relations: Relations, mask: Tensor) -> Relations:
    return Relations(relations.source[mask], relations.target[mask], relations.kind[mask])
