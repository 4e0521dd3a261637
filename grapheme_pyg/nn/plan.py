"""Plan: in which order the states of a graph's nodes are computed, and what each of them reads; a value."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.dag import check_ascending, check_integers, check_range
from grapheme_pyg.ops.plan import Sweep


class Segments(NamedTuple):
    """Edges of one type into one node, which are averaged; segment by segment.

    Attributes:
        sources: ``[num_edges]`` int32, the row of each edge's source.
        first: ``[num_segments]`` int32, where each segment starts.
        of_edge: ``[num_edges]`` int64, the segment of each edge.
    """

    sources: Tensor
    first: Tensor
    of_edge: Tensor


class Neighbours(NamedTuple):
    """What a generation reads of one node type.

    Its rows are those of the source generations, one after the other; or, if some target has several edges of one
    type, means of segments of them.

    Attributes:
        pair: ``<source type>__<target type>``, the name of its weight.
        generations: Those of the source type whose states are read, consecutive.
        rows: ``[num_targets, num_relations]`` int32: 0 where nothing is read, else the number of the row plus one.
        readers: ``[num_rows, num_relations]`` int32, the same seen from the rows; None if one has several readers.
        edges: Edge numbers: in the form of ``rows``, or ``[num_edges]`` by segment; None if the plan has none.
        segments: None if no target has several edges of one type.
    """

    pair: str
    generations: tuple[int, ...]
    rows: Tensor
    readers: Tensor | None
    edges: Tensor | None
    segments: Segments | None

    def by_edge(self) -> tuple[Tensor, Tensor, Tensor]:
        """Number, source row and slot (target · num_relations + relation) of each edge, by slot, int64."""
        assert self.edges is not None, "expected a plan whose edges are numbered"
        slot = self.rows.flatten().nonzero().squeeze(1)
        if self.segments is None:
            return self.edges.flatten()[slot].long() - 1, self.rows.flatten()[slot].long() - 1, slot
        return self.edges.long(), self.segments.sources.long(), slot[self.segments.of_edge]


class Generation(NamedTuple):
    """All nodes of one type in one level, which are computed together.

    Attributes:
        level: Of the nodes.
        node_type: Its number.
        nodes: ``[num_nodes, 1]`` int32, the number of each node plus one, ascending.
        sources: What they read, one for each node type that they read of.
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
        rows: ``[num_chosen]`` int64; None for all of them in order.
        first: ``[num_graphs + 1]`` int64, where each graph starts among them, and their number.
    """

    rows: Tensor | None
    first: Tensor

    @classmethod
    def of(cls, graph: Tensor, num_graphs: int) -> Self:
        """All rows, whose graphs are known.

        Args:
            graph: ``[num_rows]`` int64, ascending, in [0, num_graphs).
            num_graphs: Number of graphs.

        Raises:
            GraphError: Graphs are not as above.
        """
        check_integers("graph", graph, (graph.numel(),))
        check_ascending("graph", graph, num_graphs)
        ends = torch.arange(num_graphs + 1, device=graph.device)
        return cls(None, torch.searchsorted(graph, ends))


@dataclass(frozen=True)
class Tables:
    """A plan as it is sent and stored: few tensors, of which the parts of :class:`Plan` are views."""

    sweep: Sweep
    generations: list[list[int]]
    blocks: list[list[int]]
    pairs: list[tuple[str, int]]
    readout: tuple[Tensor, Tensor, Tensor] | None
    num_edges: int
    num_graphs: int

    def to(self, device: torch.device | str) -> "Tables":
        """The same on another device."""
        sweep = Sweep(*(tensor.to(device) for tensor in self.sweep))
        if self.readout is None:
            return replace(self, sweep=sweep)
        rows, first, used = (tensor.to(device) for tensor in self.readout)
        return replace(self, sweep=sweep, readout=(rows, first, used))


@dataclass(frozen=True)
class Plan:
    """The order of a sweep over a graph or a batch of graphs, and what is pooled of it; a value of plain tensors.

    Only planning makes plans, and planning looks at the whole graph: networks and compiled kernels trust them. A plan
    goes from process to process and is checked again where it arrives; :meth:`to` moves it to another device.

    Attributes:
        generations: In the order in which they are computed.
        chosen: What is pooled, one for each kind of node; none in a plan without readout.
        pooled_generations: For each kind, the generations that its rows are of, one after the other.
        num_nodes: Of the graph.
        num_edges: Of the graph.
        num_graphs: Of the batch.
        tables: The tensors that all this is in.
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
        """The plan that is in some tables."""
        chosen, pooled = _chosen(tables)
        num_nodes = tables.sweep.nodes.numel()
        return cls(_generations(tables), chosen, pooled, num_nodes, tables.num_edges, tables.num_graphs, tables)

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.tables.sweep.rows.device

    def to(self, device: torch.device | str) -> "Plan":
        """The same plan on another device."""
        return self if self.device == torch.device(device) else Plan.of(self.tables.to(device))

    def by_node(self, states: Sequence[Tensor]) -> Tensor:
        """States of generations in the order of nodes, ``[num_nodes, widest]``, narrower ones zero-padded."""
        if not states:
            return torch.zeros(0, 0, device=self.device)
        width = max(state.shape[1] for state in states)
        together = torch.cat([pad_channels(state, width) for state in states])
        return torch.zeros_like(together).index_copy(0, self.tables.sweep.nodes, together)

    def pooled(self, states: Sequence[Tensor], like: Tensor) -> list[Tensor]:
        """For each kind, the states that the rows of ``chosen`` number; see :func:`pooled_states`."""
        return pooled_states(states, self.pooled_generations, like)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.tables,)


def pooled_states(states: Sequence[Tensor], generations: Sequence[Sequence[int]], like: Tensor) -> list[Tensor]:
    """For each kind, the states of some generations, one after the other, ``[num_rows, widest]``, zero-padded.

    Args:
        states: Of all generations.
        generations: Of each kind.
        like: What stands for states of a kind that has none; of their dtype and device.
    """
    found = []
    for numbers in generations:
        parts = [states[number] for number in numbers] or [like[:0, :0]]
        width = max([part.shape[1] for part in parts])
        parts = [pad_channels(part, width) for part in parts]
        found.append(torch.cat(parts) if len(parts) > 1 else parts[0])
    return found


def pad_channels(states: Tensor, width: int) -> Tensor:
    """The same states, with zeros up to a width."""
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
    """A plan from another process or a file.

    Raises:
        ValueError: A table reads what is not there, or is shorter than it must be.
    """
    try:
        plan = Plan.of(tables)
    except (IndexError, RuntimeError, ValueError) as error:  # of views, slices and searches that do not fit
        raise ValueError(f"plan: expected tables that fit together, got others: {error}") from error
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
