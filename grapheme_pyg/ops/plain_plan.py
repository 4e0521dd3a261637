"""The plain implementation of planning, vectorised over all edges or nodes, on any device."""

from typing import NamedTuple

import torch
from torch import Tensor

# Levels are smaller, so that a level and a node type together fit into 64 bits.
LEVELS = 2**31


def plan(
    edge_index: Tensor,
    edge_type: Tensor,
    node_type: Tensor,
    level: Tensor,
    graph: Tensor | None,
    kinds: Tensor,
    expected: Tensor,
    num_node_types: int,
    num_graphs: int,
    edges: bool,
) -> tuple[Tensor, ...]:
    """Implements :func:`grapheme_pyg.ops.plan_sweep`."""
    wrong_node, wrong_edge = _first(_wrong_nodes(node_type, level, graph, num_node_types, num_graphs)), -1
    if wrong_node < 0:
        wrong_edge = _first(_wrong_edges(edge_index, edge_type, node_type, level, graph, kinds))
    if wrong_node < 0 and wrong_edge < 0:
        return _tables(edge_index, edge_type, node_type, level, kinds, expected, num_node_types, edges)
    wrong, nothing, narrow = node_type.new_tensor([wrong_node, wrong_edge]), node_type[:0], node_type[:0].int()
    grids = nothing.view(0, 3), nothing.view(0, 7)
    wide, thin = [nothing.clone() for _ in range(4)], [narrow.clone() for _ in range(5)]
    return wrong, grids[0], *wide[:3], nothing.bool(), grids[1], *thin[:4], wide[3], thin[4]


def _first(wrong: Tensor) -> int:
    return int(wrong.int().argmax()) if bool(wrong.any()) else -1


def _wrong_nodes(
    node_type: Tensor, level: Tensor, graph: Tensor | None, num_node_types: int, num_graphs: int
) -> Tensor:
    wrong = (node_type < 0) | (node_type >= num_node_types) | (level < 0) | (level >= LEVELS)
    if graph is not None:
        wrong |= (graph < 0) | (graph >= num_graphs)
        wrong[1:] |= graph[1:] < graph[:-1]
    return wrong


def _wrong_edges(
    edge_index: Tensor, edge_type: Tensor, node_type: Tensor, level: Tensor, graph: Tensor | None, kinds: Tensor
) -> Tensor:
    num_nodes, num_edge_types = node_type.numel(), kinds.shape[1]
    wrong = ((edge_index < 0) | (edge_index >= num_nodes)).any(dim=0) | (edge_type < 0) | (edge_type >= num_edge_types)
    if num_nodes == 0 or num_edge_types == 0:
        return wrong
    ends, known = edge_index.masked_fill(wrong, 0).flatten(), edge_type.masked_fill(wrong, 0)
    wrong |= (_of_ends(node_type, ends) != kinds[:2].index_select(1, known)).any(dim=0)
    levels = _of_ends(level, ends)
    wrong |= levels[0] >= levels[1]
    if graph is not None:
        graphs = _of_ends(graph, ends)
        wrong |= graphs[0] != graphs[1]
    return wrong


def _of_ends(values: Tensor, ends: Tensor) -> Tensor:
    """Returns the values of the nodes at both ends of edges, ``[2, num_edges]``, several times as fast as indexing."""
    return values.index_select(0, ends).view(2, -1)


def _tables(
    edge_index: Tensor,
    edge_type: Tensor,
    node_type: Tensor,
    level: Tensor,
    kinds: Tensor,
    expected: Tensor,
    num_node_types: int,
    numbered: bool,
) -> tuple[Tensor, ...]:
    nodes = _sort_nodes(node_type, level, expected, num_node_types)
    blocks, edges = _find_blocks(nodes, edge_index, edge_type, kinds, keep_all=expected.numel() > 0)
    rows = edges.slot.new_zeros(int(blocks.num_slots.sum()), dtype=torch.int32)
    rows[edges.slot] = (edges.source + 1).int()
    filled = _sums_of_runs(rows != 0, blocks.num_slots)
    listed = filled < blocks.num_edges
    in_list, segment, first = _list_edges(blocks, edges, rows, filled, listed)
    numbers = _number_edges(blocks, edges, listed, in_list) if numbered else rows[:0].clone()
    readers, single = _reverse(blocks, rows, filled, listed)
    is_sink = torch.ones_like(node_type, dtype=torch.bool)
    is_sink[edge_index[0]] = False
    described = [blocks.target, blocks.pair, blocks.lowest, blocks.highest, blocks.num_edges]
    described += [torch.where(listed, filled, -1), single.long()]
    return (
        node_type.new_tensor([-1, -1]),
        torch.stack([nodes.level, nodes.type, nodes.counts], dim=1),
        nodes.order,
        nodes.generation,
        nodes.row,
        is_sink,
        torch.stack(described, dim=1),
        rows,
        readers,
        numbers,
        edges.source[in_list].int(),
        segment,
        first,
    )


class _Nodes(NamedTuple):
    """Nodes sorted by generation, and the level, type, number of nodes, place and start of generations."""

    order: Tensor
    generation: Tensor
    row: Tensor
    level: Tensor
    type: Tensor
    counts: Tensor
    by_type: Tensor  # generations by type, then level
    place: Tensor  # among those
    start: Tensor  # of its rows among all rows, in that order


def _sort_nodes(node_type: Tensor, level: Tensor, expected: Tensor, num_node_types: int) -> _Nodes:
    key = level * num_node_types + node_type
    keys = torch.cat([key, expected]).unique()
    generation = torch.searchsorted(keys, key)
    counts = torch.bincount(generation, minlength=keys.numel())
    order = generation.argsort(stable=True)
    row = torch.empty_like(order)
    row[order] = torch.arange(order.numel(), device=order.device) - _starts(counts)[generation[order]]
    types = keys % num_node_types
    by_type = types.argsort(stable=True)
    place, start = torch.empty_like(by_type), torch.empty_like(counts)
    place[by_type] = torch.arange(by_type.numel(), device=by_type.device)
    start[by_type] = _starts(counts[by_type])
    return _Nodes(order, generation, row, keys // num_node_types, types, counts, by_type, place, start)


class _Blocks(NamedTuple):
    target: Tensor
    pair: Tensor
    lowest: Tensor
    highest: Tensor
    num_edges: Tensor
    width: Tensor  # number of relations
    num_sources: Tensor
    num_slots: Tensor


class _Edges(NamedTuple):
    """The block of each edge, its slot among those of all blocks, and the row of its source."""

    block: Tensor
    slot: Tensor
    source: Tensor


def _find_blocks(
    nodes: _Nodes, edge_index: Tensor, edge_type: Tensor, kinds: Tensor, *, keep_all: bool
) -> tuple[_Blocks, _Edges]:
    # A generation can have a block for each pair that ends in its type.
    num_pairs = int(kinds[2].max()) + 1 if kinds.numel() else 0
    ends = kinds.new_zeros(2, num_pairs)
    ends[:, kinds[2]] = kinds[:2]
    target, pair = (nodes.type[:, None] == ends[1]).nonzero(as_tuple=True)
    number = kinds.new_full((nodes.type.numel(), num_pairs), -1)
    number[target, pair] = torch.arange(target.numel(), device=target.device)

    generations = _of_ends(nodes.generation, edge_index.flatten())
    pair_of_edge, relation = kinds[2:].index_select(1, edge_type)
    block = number.flatten().index_select(0, generations[1] * num_pairs + pair_of_edge)
    count = torch.bincount(block, minlength=target.numel())
    places = nodes.place.index_select(0, generations[0])
    low = torch.full_like(target, nodes.type.numel()).scatter_reduce_(0, block, places, "amin")
    high = torch.full_like(target, -1).scatter_reduce_(0, block, places, "amax")
    # A block without edges reads the last generation before its own, if there is one.
    in_order = nodes.type[nodes.by_type] * LEVELS + nodes.level[nodes.by_type]
    last = torch.searchsorted(in_order, ends[0][pair] * LEVELS + nodes.level[target]) - 1
    last = torch.where((last >= 0) & (nodes.type[nodes.by_type[last]] == ends[0][pair]), last, -1)
    low, high = torch.where(count > 0, low, last), torch.where(count > 0, high, last)
    kept = ((count > 0) | keep_all) & (high >= 0)
    block = (kept.cumsum(0) - 1).index_select(0, block)
    target, pair, count, low, high = (column[kept] for column in (target, pair, count, low, high))

    lowest, highest = nodes.by_type[low], nodes.by_type[high]
    width = torch.bincount(kinds[2], minlength=num_pairs)[pair]
    first_row, num_slots = nodes.start[lowest], nodes.counts[target] * width
    num_sources = nodes.start[highest] + nodes.counts[highest] - first_row
    row_of_source, row_of_target = _of_ends(nodes.row, edge_index.flatten())
    slot = _starts(num_slots).index_select(0, block) + row_of_target * width.index_select(0, block) + relation
    source = nodes.start.index_select(0, generations[0]) + row_of_source - first_row.index_select(0, block)
    return _Blocks(target, pair, lowest, highest, count, width, num_sources, num_slots), _Edges(block, slot, source)


def _list_edges(
    blocks: _Blocks, edges: _Edges, rows: Tensor, filled: Tensor, listed: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Lists the edges of listed blocks by segment, the segment of each, and where segments start; updates ``rows``."""
    lists = listed[edges.block].nonzero().squeeze(1)
    in_list = lists[edges.slot[lists].argsort(stable=True)]
    slots, times = edges.slot[in_list].unique_consecutive(return_counts=True)
    block = edges.block[in_list[_starts(times)]]
    # Segments and edges are numbered within their blocks.
    segment = torch.arange(slots.numel(), device=slots.device) - _starts(torch.where(listed, filled, 0))[block]
    rows[slots] = (segment + 1).int()
    first = _starts(times) - _starts(torch.where(listed, blocks.num_edges, 0))[block]
    return in_list, torch.repeat_interleave(segment, times, output_size=in_list.numel()), first.int()


def _number_edges(blocks: _Blocks, edges: _Edges, listed: Tensor, in_list: Tensor) -> Tensor:
    length = torch.where(listed, blocks.num_edges, blocks.num_slots)
    numbers = edges.slot.new_zeros(int(length.sum()), dtype=torch.int32)
    singles = (~listed)[edges.block].nonzero().squeeze(1)
    shift = (_starts(length) - _starts(blocks.num_slots))[edges.block[singles]]
    numbers[shift + edges.slot[singles]] = (singles + 1).int()
    block = edges.block[in_list]
    within = (
        torch.arange(in_list.numel(), device=block.device) - _starts(torch.where(listed, blocks.num_edges, 0))[block]
    )
    numbers[_starts(length)[block] + within] = in_list.int()
    return numbers


def _reverse(blocks: _Blocks, rows: Tensor, filled: Tensor, listed: Tensor) -> tuple[Tensor, Tensor]:
    """Makes the reverse tables of the blocks that have one, and says which blocks these are."""
    num_slots = torch.where(listed, filled, blocks.num_sources) * blocks.width
    slot = (rows != 0).nonzero().squeeze(1)
    block = torch.repeat_interleave(blocks.num_slots, output_size=rows.numel()).index_select(0, slot)
    inside = slot - _starts(blocks.num_slots).index_select(0, block)
    width = blocks.width.index_select(0, block)
    reader_slot = (rows.index_select(0, slot) - 1) * width + inside % width
    readers = rows.new_zeros(int(num_slots.sum()))
    readers[_starts(num_slots).index_select(0, block) + reader_slot] = (inside // width + 1).int()
    single = _sums_of_runs(readers != 0, num_slots) == filled
    return readers[torch.repeat_interleave(single, num_slots, output_size=readers.numel())], single


def _starts(lengths: Tensor) -> Tensor:
    """Returns where consecutive runs of these lengths start."""
    return lengths.cumsum(0) - lengths


def _sums_of_runs(values: Tensor, lengths: Tensor) -> Tensor:
    sums = torch.cat([lengths.new_zeros(1), values.cumsum(0)])
    starts = _starts(lengths)
    return sums[starts + lengths] - sums[starts]


def choose(
    node_type: Tensor,
    graph: Tensor | None,
    generation: Tensor,
    row: Tensor,
    is_sink: Tensor,
    generations: Tensor,
    kind: Tensor,
    read: Tensor,
    num_kinds: int,
    num_graphs: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Implements :func:`grapheme_pyg.ops.plan_readout`."""
    chosen = (is_sink | read[node_type]).nonzero().squeeze(1)
    kinds = kind[node_type[chosen]]
    chosen = chosen[kinds.argsort(stable=True)]
    kinds = kind[node_type[chosen]]
    of_graph = torch.zeros_like(chosen) if graph is None else graph[chosen]
    counts = torch.bincount(kinds * num_graphs + of_graph, minlength=num_kinds * num_graphs).view(num_kinds, -1)
    first = torch.cat([counts.new_zeros(num_kinds, 1), counts.cumsum(1)], dim=1)
    used = torch.zeros(num_kinds, generations.shape[0], dtype=torch.bool, device=row.device)
    used[kinds, generation[chosen]] = True
    lengths = torch.where(used, generations[:, 2], 0)
    starts = lengths.cumsum(1) - lengths
    return row[chosen] + starts[kinds, generation[chosen]], first, used
