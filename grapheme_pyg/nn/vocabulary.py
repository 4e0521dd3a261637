"""EdgeVocabulary: the names and numbers of node types, edge types and relations."""

import re
from collections.abc import Sequence

import torch
from torch import nn
from torch_geometric.typing import EdgeType

NAME = re.compile("[a-z0-9_]+")
# Names that a module dictionary cannot have as keys.
RESERVED = frozenset(dir(nn.ModuleDict()))
# For each pair of node types, the relations along the first dimension of its weight.
RelationNames = dict[str, list[str]]


class EdgeVocabulary:
    """Groups edge types by the pair of node types that they join.

    Args:
        metadata: Names of node types and triples (source node type, relation, target node type).

    Attributes:
        relations: For each pair ``<source>__<target>``, the names of its relations, in the order of their types.
        pairs: Names of the pairs, in the order in which they first occur.
        pair_of_type: For each edge type, the number of its pair.
        relation_of_type: For each edge type, its number among the relations of the pair.
        ends_of_pair: For each pair, its source and target node types.
        endpoints: The source node type of each edge type, and the target node type of each.
        kinds: ``[4, num_edge_types]`` int64: ``endpoints``, ``pair_of_type`` and ``relation_of_type``.

    Raises:
        ValueError: A name is not in ``[a-z0-9_]+``, has a double underscore, is reserved or occurs twice; or an edge
            type joins unknown node types.
    """

    def __init__(self, metadata: tuple[Sequence[str], Sequence[EdgeType]]) -> None:
        self.node_types = list(metadata[0])
        self.edge_types = [(source, relation, target) for source, relation, target in metadata[1]]
        number = {name: i for i, name in enumerate(self.node_types)}
        if not self.node_types:
            raise ValueError("metadata: expected at least one node type, got none")
        for name in [*self.node_types, *(relation for _, relation, _ in self.edge_types)]:
            if not NAME.fullmatch(name):
                raise ValueError(f"metadata: expected names in [a-z0-9_]+, got {name!r}")
            if "__" in name:
                raise ValueError(f"metadata: expected names without '__', which joins them, got {name!r}")
        for name in self.node_types:
            if name in RESERVED:
                raise ValueError(f"metadata: expected no attribute of torch modules as node type, got {name!r}")
        unknown = {name for source, _, target in self.edge_types for name in (source, target)} - number.keys()
        if unknown:
            raise ValueError(f"metadata: expected edge types between {self.node_types}, got also {sorted(unknown)}")
        if len(number) < len(self.node_types) or len(set(self.edge_types)) < len(self.edge_types):
            raise ValueError("metadata: expected every node type and edge type once, got one twice")

        self.relations: RelationNames = {}
        self.ends_of_pair: dict[str, tuple[int, int]] = {}
        self.relation_of_type: list[int] = []
        for source, relation, target in self.edge_types:
            names = self.relations.setdefault(f"{source}__{target}", [])
            self.ends_of_pair[f"{source}__{target}"] = number[source], number[target]
            self.relation_of_type.append(len(names))
            names.append(relation)
        self.pairs = list(self.relations)
        place = {pair: i for i, pair in enumerate(self.pairs)}
        self.pair_of_type = [place[f"{source}__{target}"] for source, _, target in self.edge_types]
        self.endpoints = [[number[edge_type[end]] for edge_type in self.edge_types] for end in (0, 2)]
        # On the CPU even if the default device is "meta", on which models are made before their weights are read.
        kinds = [*self.endpoints, self.pair_of_type, self.relation_of_type]
        self.kinds = torch.tensor(kinds, dtype=torch.int64, device="cpu")
