"""Hierarchies → directed acyclic graphs: one copy of each entity for every round. Knows no pixels."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.typing import EdgeType

from grapheme_pyg.vision.checks import check
from grapheme_pyg.vision.hierarchy import Hierarchy, Relations, Schema

# Relations in all rounds: settings may come from a file, and each takes memory.
MOST_EDGE_TYPES = 2**13
# Of an entity: each is a node with edges, whatever the width of the weights.
MOST_ROUNDS = 16


class Vocabulary:
    """Node types and edge types of every graph that a schema can make.

    A node type is an entity type and a round; an edge type is a relation between two node types.

    Args:
        schema: The words for entities and relations.

    Raises:
        ValueError: A name is not in ``[a-z0-9_]+``, two entity types have one, or one has no relation to itself; there
            are too many relations in all rounds, or an entity has more than 16 rounds.
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
        # For each node type: the entity type and its level, and the round.
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
        # Edge type of each lateral relation into each round, −1 where there is none, and of each part-of relation.
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

    def _add(self, source: int, source_round: int, name: str, target: int, target_round: int) -> int:
        ends = self.first_node_type[source] + source_round, self.first_node_type[target] + target_round
        self.edge_types.append((self.node_types[ends[0]], name, self.node_types[ends[1]]))
        return len(self.edge_types) - 1

    def first_stages(self, num_levels: int) -> list[int]:
        """For each of so many levels of a hierarchy, the stage at which its first round is computed."""
        types = self.schema.entity_types
        beyond = {kind.source for kind in self.schema.part_of if kind.source == kind.target}
        stages = [0]
        for level in range(num_levels - 1):
            here = [
                entity.rounds
                for kind, entity in enumerate(types)
                if entity.level == level or (entity.level < level and kind in beyond)
            ]
            stages.append(stages[-1] + max(here, default=0))
        return stages

    def generations(self, num_levels: int) -> list[tuple[int, int]]:
        """Stage and node type of all groups of nodes that hierarchies of up to so many levels can have, in order."""
        first = self.first_stages(num_levels)
        beyond = {kind.source for kind in self.schema.part_of if kind.source == kind.target}
        found = []
        for kind, entity in enumerate(self.schema.entity_types):
            last = num_levels if kind in beyond else entity.level + 1
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
        - **entity**, **node_type**, **level**: ``[num_nodes]`` int64; nodes by image, then level, then entity
        - **edge_index**: ``[2, num_edges]`` int64, source and target; edges by (target, type, source)
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
    """Unrolls lateral relations, which go both ways, over rounds, which only go forward.

    Lateral relations run from the entities' nodes of one round to the nodes of the next, with an edge from
    each entity to itself; part-of relations run from an entity's last round to the first of its whole.

    Args:
        hierarchy: Entities and relations; the number of its levels is free.
        vocabulary: Of the schema that the hierarchy keeps to.

    Returns:
        The graph, in which ``level[source] < level[target]`` for every edge.
    """
    rounds = vocabulary.rounds[hierarchy.type]
    if hierarchy.alone is not None:
        rounds = torch.where(hierarchy.alone, 1, rounds)
    entities = torch.arange(rounds.numel())
    num_levels = int(hierarchy.level.max()) + 1 if rounds.numel() else 0
    stage = torch.tensor(vocabulary.first_stages(num_levels))[hierarchy.level]
    # All nodes, entity by entity; then sorted.
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
    del edges  # what is not needed any more is given back at once: of large images it is most of the memory
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
