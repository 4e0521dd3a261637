"""The order of a sweep: which nodes are computed together, and along which edges they receive."""

from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from grapheme_pyg.dag import check_edges
from grapheme_pyg.native import available
from grapheme_pyg.nn import kernels
from grapheme_pyg.nn.slots import EdgeBlock, Slots
from grapheme_pyg.nn.vocabulary import EdgeVocabulary

# What nodes and edges are sorted by is counted in a table while it is smaller than this times their number.
TABLE = 4


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
        level: ``[num_nodes]`` int64, in [0, 2³¹).
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
    lookup = torch.zeros(4, size, dtype=torch.int64)
    first_edge = first_slot = first_reader = 0
    numbers, places = [], []
    blocks: list[tuple[int, partial[EdgeBlock]]] = []
    for (target, pair), some in members.items():
        source_groups = tuple(sorted({one.source for one in some}))
        first_rows = [0, *accumulate(groups[source].nodes.numel() for source in source_groups)]
        num_relations = len(vocabulary.relations[vocabulary.pairs[pair]])
        for one in some:
            relation = vocabulary.relation_of_type[one.edge_type]
            row = first_rows[source_groups.index(one.source)]
            numbers.append((first_slot + relation, first_reader + relation, num_relations, row))
            places.append(one.number)
        num_edges, num_targets = sum(one.num_edges for one in some), groups[target].nodes.numel()
        shape = (first_rows[-1], num_targets, num_relations, num_edges, first_edge, first_slot, first_reader)
        blocks.append((target, partial(EdgeBlock, pair, source_groups, *shape)))
        first_edge += num_edges
        first_slot += num_targets * num_relations
        first_reader += first_rows[-1] * num_relations
    lookup[:, places] = torch.tensor(numbers).t()
    slots = Slots(edge_index, sweep.row_of, kind, lookup.to(kind.device), first_slot, first_reader)
    for target, block in blocks:
        groups[target].blocks.append(block(slots=slots))
    return sweep


def _group_nodes(node_type: Tensor, level: Tensor, num_node_types: int) -> Sweep:
    """Nodes of one level and type together, without edges yet."""
    key = level * num_node_types + node_type
    num_keys = int(key.max()) + 1 if key.numel() else 0
    if num_keys <= TABLE * key.numel() and available() and key.device.type == "cpu":
        counts, order, group_of, row_of = kernels.group_nodes(key, num_keys)
        keys = counts.nonzero().squeeze(1)
        counts = counts[keys]
    else:
        order = key.argsort(stable=True)
        keys, counts = key[order].unique_consecutive(return_counts=True)
        group_of, row_of = torch.empty_like(order), torch.empty_like(order)
        group_of[order] = torch.arange(keys.numel(), device=key.device).repeat_interleave(counts)
        row_of[order] = torch.arange(key.numel(), device=key.device)
        row_of -= (counts.cumsum(0) - counts)[group_of]
    nodes = order.split(counts.tolist())
    groups = [
        NodeGroup(code // num_node_types, code % num_node_types, some)
        for code, some in zip(keys.tolist(), nodes, strict=True)
    ]
    return Sweep(groups, group_of, row_of)


class _Kind(NamedTuple):
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
    num_groups = len(sweep.groups)
    size = num_groups**2 * num_edge_types
    few = size <= TABLE * edge_type.numel()
    if few and available() and edge_type.device.type == "cpu":
        number, counts = kernels.count_kinds(edge_index, edge_type, sweep.group_of, (num_groups, num_edge_types))
    else:
        source, target = sweep.group_of.index_select(0, edge_index.flatten()).view(2, -1)
        number = (source * num_groups + target) * num_edge_types + edge_type
        counts = torch.bincount(number, minlength=size) if few else number[:0]
    if few:
        codes = numbers = counts.nonzero().squeeze(1)
        counts = counts[codes]
    else:
        codes, number, counts = number.unique(return_inverse=True, return_counts=True)
        size = codes.numel()
        numbers = torch.arange(size)
    kinds = []
    for i, code, count in zip(numbers.tolist(), codes.tolist(), counts.tolist(), strict=True):
        ends, kind = divmod(code, num_edge_types)
        kinds.append(_Kind(i, ends // num_groups, ends % num_groups, kind, count))
    return number, kinds, size


def _may_be(kind: _Kind, groups: list[NodeGroup], vocabulary: EdgeVocabulary) -> bool:
    """Whether edges of this kind rise, between the node types that their type joins."""
    source, target = groups[kind.source], groups[kind.target]
    expected = [ends[kind.edge_type] for ends in vocabulary.endpoints]
    return source.level < target.level and [source.node_type, target.node_type] == expected
