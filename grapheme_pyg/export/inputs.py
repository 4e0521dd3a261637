"""graph_inputs: makes the input tensors of an exported model from graphs."""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from grapheme_pyg.export.input_format import InputFormat
from grapheme_pyg.nn.plan import Neighbours, Plan
from grapheme_pyg.nn.planning import make_plan
from grapheme_pyg.nn.vocabulary import EdgeVocabulary
from grapheme_pyg.vision import VisionBrain

Array = npt.NDArray[Any]


def graph_inputs(input_format: InputFormat, graph: Data | Batch) -> dict[str, Array]:
    """Returns the input tensors of an exported model for a graph or a batch of graphs.

    Args:
        input_format: The input format, from :func:`grapheme_pyg.export.export_onnx` or
            :func:`grapheme_pyg.export.read_format`.
        graph: A graph from the :class:`grapheme_pyg.VisionBrain` with which the model was trained.

    Returns:
        For each name in ``input_format.inputs`` an array of that shape and dtype.

    Raises:
        ValueError: The graph has a node or an edge that the format lacks, such as those of larger images; or it lacks a
            field.
    """
    wanted = ["x", "edge_index", "edge_type", "node_type", "level"] + ["edge_attr"] * bool(input_format.edge_dim)
    if missing := [name for name in wanted if not isinstance(graph.get(name), Tensor)]:
        raise ValueError(f"graph: expected the fields {wanted}, got none named {missing[0]!r}")
    plan = _plan(input_format, graph)
    found: dict[str, Tensor] = {"edge_attr": graph.edge_attr} if input_format.edge_dim else {}
    for number, (one, planned) in enumerate(zip(input_format.generations, plan.generations, strict=True)):
        if one.has_own:
            found[f"x_{number}"] = graph.x[planned.nodes.flatten() - 1, : one.num_features]
        by_pair = {read.pair: read for read in planned.sources}
        for source in one.sources:
            pair, place = f"{source.node_type}__{one.name}", f"{number}_{source.node_type}"
            tables = _tables(input_format, by_pair[pair], plan, source.generations)
            found |= {f"{name}_{place}": table for name, table in tables.items()}
    kinds = zip(input_format.readouts, plan.chosen, plan.pooled_generations, strict=True)
    for number, (readout, chosen, numbers) in enumerate(kinds):
        assert chosen.rows is not None
        rows = _renumber(chosen.rows, plan, numbers, readout.generations)
        found[f"pooled_{number}"] = _padded(rows + 1, chosen.first)
    return {
        name: np.ascontiguousarray(found[name].to("cpu", input_format.dtype(name)).numpy())
        for name in input_format.inputs
    }


def _plan(input_format: InputFormat, graph: Data | Batch) -> Plan:
    """Makes a plan with exactly the generations of the format."""
    vocabulary = _vocabulary(json.dumps(input_format.vision))
    kind, read = torch.zeros(len(vocabulary.node_types), dtype=torch.int64), torch.zeros(len(vocabulary.node_types))
    for number, readout in enumerate(input_format.readouts):
        kind[[input_format.generations[i].node_type for i in readout.generations]] = number
        read[readout.node_types] = 1
    plan = make_plan(
        vocabulary,
        *(graph.get(name) for name in ("edge_index", "edge_type", "node_type", "level", "batch")),
        num_nodes=graph.x.shape[0],
        num_graphs=getattr(graph, "num_graphs", 1),
        expected=[(one.level, one.node_type) for one in input_format.generations],
        number_edges=not input_format.single or input_format.edge_dim > 0,
        readout=(kind, read.bool(), len(input_format.readouts)),
    )
    known = {(one.level, one.node_type) for one in input_format.generations}
    for one in plan.generations:
        if (one.level, one.node_type) not in known:
            expected = f"a graph of an image of at most {input_format.max_size} pixels a side"
            came = f"level {one.level} and node type {one.node_type} at node {int(one.nodes[0]) - 1}"
            raise ValueError(f"graph: expected {expected}, got {came}")
    return plan


@lru_cache(maxsize=8)
def _vocabulary(vision: str) -> EdgeVocabulary:
    """Returns the vocabulary of a brain with these settings, which takes a millisecond to make."""
    return EdgeVocabulary(VisionBrain(**json.loads(vision)).metadata)


def _tables(input_format: InputFormat, read: Neighbours, plan: Plan, generations: list[int]) -> dict[str, Tensor]:
    """Returns the tables by which a generation reads nodes of one type, with or without segments as in the format."""
    if input_format.single:
        if read.segments is not None:
            raise ValueError("edge_index: expected at most one edge of each type into a node, got several")
        rows = _renumber(read.rows, plan, read.generations, generations, first=1)
        return {"rows": rows} if read.edges is None else {"rows": rows, "edges": read.edges}
    edge, source, slot = read.by_edge()
    slots, segment, counts = slot.unique_consecutive(return_inverse=True, return_counts=True)
    rows = torch.zeros_like(read.rows)
    rows.view(-1)[slots] = torch.arange(1, slots.numel() + 1, dtype=torch.int32, device=slots.device)
    sources = _renumber(source, plan, read.generations, generations)
    first = counts.cumsum(0) - counts
    tables = {"rows": rows, "sources": sources, "first": first, "segment": segment}
    return tables | ({"edges": edge} if input_format.edge_dim else {})


def _padded(values: Tensor, first: Tensor) -> Tensor:
    """Returns runs of values as the rows of a table, padded with zeros; it has at least one column."""
    counts = first.diff()
    table = values.new_zeros(counts.numel(), max([1, *counts.tolist()]))
    place = torch.arange(table.shape[1], device=values.device)
    table[place < counts[:, None]] = values
    return table


def _renumber(rows: Tensor, plan: Plan, own: tuple[int, ...], all_of_them: list[int], *, first: int = 0) -> Tensor:
    """Renumbers rows of some generations as rows of more generations; values below ``first`` stay as they are."""
    sizes = [generation.num_nodes for generation in plan.generations]
    starts = {number: sum(sizes[i] for i in all_of_them[:at]) for at, number in enumerate(all_of_them)}
    ends = torch.tensor([sizes[number] for number in own], device=rows.device).cumsum(0)
    shift = torch.tensor([starts[number] for number in own], device=rows.device) - ends
    shift += torch.tensor([sizes[number] for number in own], device=rows.device)
    place = torch.searchsorted(ends, rows - first, right=True).clamp(max=max(0, len(own) - 1))
    return torch.where(rows < first, rows, rows + shift[place] if own else rows).to(rows.dtype)
