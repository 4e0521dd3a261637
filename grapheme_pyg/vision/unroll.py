"""Unrolling of hierarchies into directed acyclic graphs, with a node for each entity and round. Knows no pixels."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.typing import EdgeType

from grapheme_pyg.vision.checks import check
from grapheme_pyg.vision.hierarchy import Hierarchy, Relations, Schema

# Largest number of relations in all rounds; settings may come from a file, and each relation takes memory.
MOST_EDGE_TYPES = 2**13
# Largest number of rounds, that is, nodes of an entity.
MOST_ROUNDS = 16


class Vocabulary:
    """Node types and edge types of all graphs of a schema.

    A node type is an entity type and a round; an edge type is a relation between two node types.

    Args:
        schema: Types of entities and relations.

    Raises:
        ValueError: A name is not in ``[a-z0-9_]+``, two entity types have the same name, an entity type has no relation
            ``self``, there are too many relations in all rounds, or an entity has more than 16 rounds.
    """

    def __init__(self, schema: Schema) -> None:
        names = [kind.name for kind in schema.entity_types]
        for name in (*names, *(it.name for it in (*schema.lateral, *schema.part_of))):
            check("schema", name, re.fullmatch("[a-z0-9_]+", name) is not None, "names of a…z, digits and underscores")
        check("schema", names, len(set(names)) == len(names), "different names of entity types")
        itself = {it.source: i for i, it in enumerate(schema.lateral) if it.name == "self"}
        alone = [name for kind, name in enumerate(names) if kind not in itself]
        check("schema", alone, not alone, "a lateral relation 'self' of every entity type")
        self.schema = schema
        self.max_rounds = max(entity.rounds for entity in schema.entity_types)
        if (most := len(schema.lateral) * self.max_rounds + len(schema.part_of)) > MOST_EDGE_TYPES:
            raise ValueError(f"rounds: expected at most {MOST_EDGE_TYPES} relations in all rounds, got {most}")
        check("rounds", self.max_rounds, self.max_rounds <= MOST_ROUNDS, f"at most {MOST_ROUNDS} of an entity")
        self.node_types: list[str] = []
        # The entity type of each node type, its level, and the round.
        self.node_kinds: list[int] = []
        self.node_levels: list[int] = []
        self.node_rounds: list[int] = []
        self.first_node_type: list[int] = []
        for kind, entity in enumerate(schema.entity_types):
            self.first_node_type.append(len(self.node_types))
            self.node_types += [f"{entity.name}_round{r}" for r in range(entity.rounds)]
            self.node_kinds += [kind] * entity.rounds
            self.node_levels += [entity.level] * entity.rounds
            self.node_rounds += range(entity.rounds)

        self.edge_types: list[EdgeType] = []
        self.num_levels = max(entity.level for entity in schema.entity_types) + 1
        # The edge type of each lateral relation into each round, −1 for none, and of each part-of relation.
        self.lateral_types = torch.full((len(schema.lateral), self.max_rounds), -1)
        self.part_of_types = torch.full((len(schema.part_of),), -1)
        for level in range(self.num_levels):
            own = [(i, it) for i, it in enumerate(schema.lateral) if schema.entity_types[it.source].level == level]
            for r in range(1, self.max_rounds):
                for i, it in own:
                    if r < schema.entity_types[it.target].rounds:
                        self.lateral_types[i, r] = self._add(it.source, r - 1, it.name, it.target, r)
            for i, it in enumerate(schema.part_of):
                source = schema.entity_types[it.source]
                if source.level == level:
                    self.part_of_types[i] = self._add(it.source, source.rounds - 1, it.name, it.target, 0)
        self.self_relation = torch.tensor([itself[kind] for kind in range(len(schema.entity_types))])
        self.rounds = torch.tensor([entity.rounds for entity in schema.entity_types])
        # Entity types that also serve levels beyond the configured ones.
        self._beyond = {kind.source for kind in schema.part_of if kind.source == kind.target}

    def _add(self, source: int, source_round: int, name: str, target: int, target_round: int) -> int:
        ends = self.first_node_type[source] + source_round, self.first_node_type[target] + target_round
        self.edge_types.append((self.node_types[ends[0]], name, self.node_types[ends[1]]))
        return len(self.edge_types) - 1

    def first_stages(self, num_levels: int) -> list[int]:
        """Returns the stage at which the first round of each level of a hierarchy is computed."""
        stages = [0]
        for level in range(num_levels - 1):
            here = [
                entity.rounds
                for kind, entity in enumerate(self.schema.entity_types)
                if entity.level == level or (entity.level < level and kind in self._beyond)
            ]
            stages.append(stages[-1] + max(here, default=0))
        return stages

    def generations(self, num_levels: int) -> list[tuple[int, int]]:
        """Returns stage and node type of all groups of nodes in hierarchies of at most so many levels, in order."""
        first = self.first_stages(num_levels)
        found = []
        for kind, entity in enumerate(self.schema.entity_types):
            last = num_levels if kind in self._beyond else entity.level + 1
            found += [
                (first[level] + r, self.first_node_type[kind] + r)
                for level in range(entity.level, last)
                for r in range(entity.rounds)
            ]
        return sorted(found)


@dataclass(frozen=True)
class Dag:
    """Unrolled hierarchies.

    Shapes:
        - **entity**, **node_type**, **level**: ``[num_nodes]`` int64; nodes are sorted by (image, level, entity)
        - **edge_index**: ``[2, num_edges]`` int64, source and target; edges are sorted by (target, type, source)
        - **edge_type**: ``[num_edges]`` int64
        - **first_node**: ``[num_entities]`` int64, the node of each entity's first round
    """

    entity: Tensor
    node_type: Tensor
    level: Tensor
    edge_index: Tensor
    edge_type: Tensor
    first_node: Tensor


def unroll(hierarchy: Hierarchy, vocabulary: Vocabulary) -> Dag:
    """Unrolls a hierarchy over rounds, so that cyclic relations become an acyclic graph.

    Edges of lateral relations run from one round to the next, including an edge from each entity to itself; edges of
    part-of relations run from the last round of a part to the first round of its whole.

    Args:
        hierarchy: Entities and relations, with any number of levels.
        vocabulary: The vocabulary of the hierarchy's schema.

    Returns:
        The graph, in which ``level[source] < level[target]`` for every edge.
    """
    rounds = vocabulary.rounds[hierarchy.type]
    if hierarchy.alone is not None:
        rounds = torch.where(hierarchy.alone, 1, rounds)
    entities = torch.arange(rounds.numel())
    num_levels = int(hierarchy.level.max()) + 1 if rounds.numel() else 0
    stage = torch.tensor(vocabulary.first_stages(num_levels))[hierarchy.level]
    # Nodes are listed by entity first, and then sorted.
    first = rounds.cumsum(0) - rounds
    entity = entities.repeat_interleave(rounds)
    number = torch.arange(entity.numel()) - first[entity]
    level = stage[entity] + number
    order = (hierarchy.image[entity] * (int(level.max()) + 1 if level.numel() else 1) + level).argsort(stable=True)
    position = torch.empty_like(order)
    position[order] = torch.arange(order.numel())

    lateral = hierarchy.lateral
    itself = Relations(entities, entities, vocabulary.self_relation[hierarchy.type])
    edges = []
    for r in range(1, vocabulary.max_rounds):
        for relations in (lateral, itself):
            edge_type = vocabulary.lateral_types[relations.type, r]
            kept = ((edge_type >= 0) & (r < rounds[relations.target])).nonzero().squeeze(1)
            source, target = first[relations.source[kept]] + r - 1, first[relations.target[kept]] + r
            edges.append((position[source], position[target], edge_type[kept]))
    part_of = hierarchy.part_of
    source = first[part_of.source] + rounds[part_of.source] - 1
    edges.append((position[source], position[first[part_of.target]], vocabulary.part_of_types[part_of.type]))
    source, target, edge_type = (torch.cat(column) for column in zip(*edges, strict=True))
    del edges  # which is most of the memory for a large image
    by = ((target * len(vocabulary.edge_types) + edge_type) * order.numel() + source).argsort()
    edge_index = torch.empty(2, by.numel(), dtype=torch.int64)
    for ends, row in zip((source, target), edge_index, strict=True):
        torch.index_select(ends, 0, by, out=row)
    entity = entity[order]
    first_type = torch.tensor(vocabulary.first_node_type)
    return Dag(
        entity=entity,
        node_type=first_type[hierarchy.type[entity]] + number[order],
        level=level[order],
        edge_index=edge_index,
        edge_type=edge_type[by],
        first_node=position[first],
    )
