"""A Plan is a value that says in which order node states are computed and what each of them reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.dag import check_ascending, check_integers, check_range
from grapheme_pyg.ops.plan import Sweep


class Segments(NamedTuple):
    """Segments of edges: those of one type into one node, which are averaged.

    Attributes:
        sources: ``[num_edges]`` int32, the row of each edge's source.
        first: ``[num_segments]`` int32, where each segment starts.
        of_edge: ``[num_edges]`` int64, the segment of each edge.
    """

    sources: Tensor
    first: Tensor
    of_edge: Tensor


class Neighbours(NamedTuple):
    """A table of what a generation reads from one node type.

    The rows that are read are the concatenated states of the source generations; or, if some target has several edges
    of one type, means of segments of these.

    Attributes:
        pair: ``<source type>__<target type>``, the name of the weight.
        generations: Consecutive generations of the source type whose states are read.
        rows: ``[num_targets, num_relations]`` int32: 0 where nothing is read, else the row's number plus one.
        readers: ``[num_rows, num_relations]`` int32, the reverse table; None if a row has several readers.
        edges: Edge numbers, in the form of ``rows``, or ``[num_edges]`` by segment; None if the plan has none.
        segments: None if no target has several edges of one type.
    """

    pair: str
    generations: tuple[int, ...]
    rows: Tensor
    readers: Tensor | None
    edges: Tensor | None
    segments: Segments | None

    def by_edge(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lists edges by slot: number, source row and slot (target · num_relations + relation), int64."""
        assert self.edges is not None, "expected a plan whose edges are numbered"
        slot = self.rows.flatten().nonzero().squeeze(1)
        if self.segments is None:
            return self.edges.flatten()[slot].long() - 1, self.rows.flatten()[slot].long() - 1, slot
        return self.edges.long(), self.segments.sources.long(), slot[self.segments.of_edge]


class Generation(NamedTuple):
    """All nodes of one type in one level, which are computed together.

    Attributes:
        level: Level of the nodes.
        node_type: Number of their type.
        nodes: ``[num_nodes, 1]`` int32, the number of each node plus one, ascending.
        sources: A table for each node type that they read from.
    """

    level: int
    node_type: int
    nodes: Tensor
    sources: tuple[Neighbours, ...]

    @property
    def num_nodes(self) -> int:
        """Number of nodes."""
        return self.nodes.shape[0]


class Chosen(NamedTuple):
    """Rows that are pooled, graph by graph.

    Attributes:
        rows: ``[num_chosen]`` int64; None for all rows in order.
        first: ``[num_graphs + 1]`` int64, where each graph starts in ``rows``, and ``num_chosen``.
    """

    rows: Tensor | None
    first: Tensor

    @classmethod
    def of(cls, graph: Tensor, num_graphs: int) -> Self:
        """Chooses all rows.

        Args:
            graph: ``[num_rows]`` int64, the graph of each row, ascending, in [0, num_graphs).
            num_graphs: Number of graphs.

        Raises:
            GraphError: ``graph`` has another dtype, shape or range, or does not ascend.
        """
        check_integers("graph", graph, (graph.numel(),))
        check_ascending("graph", graph, num_graphs)
        ends = torch.arange(num_graphs + 1, device=graph.device)
        return cls(None, torch.searchsorted(graph, ends))


@dataclass(frozen=True)
class Tables:
    """The few tensors of which the parts of :class:`Plan` are views, as they are sent and stored."""

    sweep: Sweep
    generations: list[list[int]]
    blocks: list[list[int]]
    pairs: list[tuple[str, int]]
    readout: tuple[Tensor, Tensor, Tensor] | None
    num_edges: int
    num_graphs: int

    def to(self, device: torch.device | str) -> "Tables":
        """Returns the same tables on another device."""
        sweep = Sweep(*(tensor.to(device) for tensor in self.sweep))
        if self.readout is None:
            return replace(self, sweep=sweep)
        rows, first, used = (tensor.to(device) for tensor in self.readout)
        return replace(self, sweep=sweep, readout=(rows, first, used))


@dataclass(frozen=True)
class Plan:
    """The order of a sweep over a graph or a batch of graphs, and what is pooled: a value of plain tensors.

    Networks and compiled kernels trust plans, because only planning makes them, and it checks the whole graph. A plan
    that another process sends is checked again on arrival. :meth:`to` moves a plan to another device.

    Attributes:
        generations: In the order in which they are computed.
        chosen: The pooled rows of each kind of node; empty in a plan without readout.
        pooled_generations: For each kind, the generations whose concatenated states these rows index.
        num_nodes: Number of nodes.
        num_edges: Number of edges.
        num_graphs: Number of graphs.
        tables: The underlying tensors.
    """

    generations: tuple[Generation, ...]
    chosen: tuple[Chosen, ...]
    pooled_generations: tuple[tuple[int, ...], ...]
    num_nodes: int
    num_edges: int
    num_graphs: int
    tables: Tables

    @classmethod
    def of(cls, tables: Tables) -> Self:
        """Makes the plan of some tables."""
        chosen, pooled = _chosen(tables)
        num_nodes = tables.sweep.nodes.numel()
        return cls(_generations(tables), chosen, pooled, num_nodes, tables.num_edges, tables.num_graphs, tables)

    @property
    def device(self) -> torch.device:
        """Device of its tensors."""
        return self.tables.sweep.rows.device

    def to(self, device: torch.device | str) -> "Plan":
        """Returns the same plan on another device."""
        return self if self.device == torch.device(device) else Plan.of(self.tables.to(device))

    def by_node(self, states: Sequence[Tensor]) -> Tensor:
        """Puts the states of generations into the order of nodes, ``[num_nodes, widest]``, zero-padded."""
        if not states:
            return torch.zeros(0, 0, device=self.device)
        width = max(state.shape[1] for state in states)
        together = torch.cat([pad_channels(state, width) for state in states])
        return torch.zeros_like(together).index_copy(0, self.tables.sweep.nodes, together)

    def pooled(self, states: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        """Returns, for each kind, the states that the rows of ``chosen`` index; see :func:`pooled_states`."""
        return pooled_states(states, self.pooled_generations, like)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.tables,)


def pooled_states(states: Sequence[Tensor], generations: Sequence[Sequence[int]], like: Tensor) -> list[Tensor]:
    """Concatenates the states of the generations of each kind, ``[num_rows, widest]``, zero-padded.

    Args:
        states: States of all generations.
        generations: The generations of each kind.
        like: A tensor of the dtype and device of states, for a kind without generations.
    """
    found = []
    for numbers in generations:
        parts = [states[number] for number in numbers] or [like[:0, :0]]
        width = max([part.shape[1] for part in parts])
        parts = [pad_channels(part, width) for part in parts]
        found.append(torch.cat(parts) if len(parts) > 1 else parts[0])
    return found


def pad_channels(states: Tensor, width: int) -> Tensor:
    """Pads states with zero channels up to a width."""
    missing = width - states.shape[1]
    return F.pad(states, (0, missing)) if missing else states


def _generations(tables: Tables) -> tuple[Generation, ...]:
    sweep = tables.sweep
    counts = [count for _, _, count in tables.generations]
    of_type: dict[int, list[int]] = {}
    for number, (_, node_type, _) in enumerate(tables.generations):
        of_type.setdefault(node_type, []).append(number)
    sources: list[list[Neighbours]] = [[] for _ in counts]
    at_row = at_reader = at_edge = at_source = at_first = 0
    for target, pair, lowest, highest, num_edges, num_segments, has_readers in tables.blocks:
        name, num_relations = tables.pairs[pair]
        own = of_type[tables.generations[lowest][1]]
        read = tuple(own[own.index(lowest) : own.index(highest) + 1])
        is_listed, num_slots = num_segments >= 0, counts[target] * num_relations
        num_rows = num_segments if is_listed else sum(counts[number] for number in read)
        rows = sweep.rows[at_row : at_row + num_slots].view(counts[target], num_relations)
        at_row += num_slots
        readers = edges = segments = None
        if has_readers:
            readers = sweep.readers[at_reader : at_reader + num_rows * num_relations].view(num_rows, num_relations)
            at_reader += num_rows * num_relations
        if sweep.edges.numel() > 0:
            length = num_edges if is_listed else num_slots
            edges = sweep.edges[at_edge : at_edge + length]
            edges = edges if is_listed else edges.view_as(rows)
            at_edge += length
        if is_listed:
            listed = slice(at_source, at_source + num_edges)
            first = sweep.first[at_first : at_first + num_segments]
            segments = Segments(sweep.sources[listed], first, sweep.segment[listed])
            at_source, at_first = at_source + num_edges, at_first + num_segments
        sources[target].append(Neighbours(name, read, rows, readers, edges, segments))
    nodes = (sweep.nodes[:, None] + 1).int().split(counts)
    return tuple(
        Generation(level, node_type, some, tuple(read))
        for (level, node_type, _), some, read in zip(tables.generations, nodes, sources, strict=True)
    )


def _chosen(tables: Tables) -> tuple[tuple[Chosen, ...], tuple[tuple[int, ...], ...]]:
    if tables.readout is None:
        return (), ()
    rows, first, used = tables.readout
    parts = rows.split(first[:, -1].tolist())
    generations = tuple(tuple(i for i, yes in enumerate(row) if yes) for row in used.tolist())
    return tuple(Chosen(part, start) for part, start in zip(parts, first, strict=True)), generations


def _arrived(tables: Tables) -> Plan:
    """Makes a plan from another process or a file, and checks it.

    Raises:
        ValueError: A table refers to rows that do not exist, or is too short.
    """
    try:
        plan = Plan.of(tables)
    except (IndexError, RuntimeError, ValueError) as error:  # views, slices and searches that do not fit
        raise ValueError(f"plan: expected tables that fit together, got inconsistent ones: {error}") from error
    counts = [generation.num_nodes for generation in plan.generations]
    check_range("nodes", "position", tables.sweep.nodes, plan.num_nodes)
    for number, generation in enumerate(plan.generations):
        for read in generation.sources:
            if any(source >= number for source in read.generations):
                raise ValueError(f"generations: expected some before {number}, got {read.generations}")
            num_rows = sum(counts[source] for source in read.generations)
            if read.segments is not None:
                check_range("sources", "edge", read.segments.sources, num_rows, ValueError)
                num_rows = read.segments.first.numel()
                check_ascending("first", read.segments.first, max(1, read.segments.sources.numel()))
                check_range("segment", "edge", read.segments.of_edge, num_rows, ValueError)
            check_range("rows", "position", read.rows, num_rows + 1, ValueError)
            if read.readers is not None:
                check_range("readers", "position", read.readers, counts[number] + 1, ValueError)
            if read.edges is not None:
                check_range("edges", "position", read.edges, plan.num_edges + 1, ValueError)
    for chosen, numbers in zip(plan.chosen, plan.pooled_generations, strict=True):
        assert chosen.rows is not None
        check_range("rows", "position", chosen.rows, sum(counts[number] for number in numbers), ValueError)
        check_ascending("first", chosen.first, chosen.rows.numel() + 1)
    return plan
