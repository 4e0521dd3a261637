"""Corruptions of graphs, for `robustness.py`: cells or edges that are not there."""

import torch
from torch import Generator, Tensor
from torch_geometric.data import Batch
from torch_geometric.index import index2ptr

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.dag import sinks

NODES, EDGES = "graph: cells dropped", "graph: edges dropped"


def corrupt_graphs(
    kind: str, batch: Batch, p: float, vision: VisionBrain, generator: Generator, read: Tensor | None = None
) -> Batch:
    """One of the two kinds; see :func:`drop_nodes` and :func:`drop_edges` for the arguments."""
    if kind == NODES:
        return drop_nodes(batch, p, vision, generator)
    return drop_edges(batch, p, generator, read=read)


def drop_nodes(batch: Batch, p: float, vision: VisionBrain, generator: Generator | None = None) -> Batch:
    """Drops cells of the finest level with probability p, each with the nodes of all its rounds.

    What is left is the induced subgraph. Coarser cells stay, with their features, even where no finer cell is left
    that is part of them, so that p = 1 leaves what coarse cells alone can tell. A cell goes with all its rounds, and
    thus nothing that stays loses its last outgoing edge: no node becomes a sink.

    Args:
        batch: Graphs that ``vision`` made.
        p: Probability; ValueError if it is none.
        vision: Says which node types are the finest level's.
        generator: Of the draw, one number for each cell; PyTorch's own if None.
    """
    _check_probability(p)
    finest = torch.tensor([level == 0 for level in vision.node_levels])[batch.node_type]
    # A graph's nodes are sorted by level, then cell: each round of the finest level has the same cells in order.
    cells = torch.bincount(batch.batch[finest & (batch.level == 0)], minlength=batch.num_graphs)
    graph = batch.batch[finest]
    place = (finest.nonzero().squeeze(1) - batch.ptr[graph]) % cells[graph]
    stays = torch.rand(int(cells.sum()), generator=generator) >= p
    nodes = ~finest
    nodes[finest] = stays[(cells.cumsum(0) - cells)[graph] + place]
    return subgraph(batch, nodes, torch.ones(batch.num_edges, dtype=torch.bool))


def drop_edges(batch: Batch, p: float, generator: Generator | None = None, *, read: Tensor | None = None) -> Batch:
    """Removes edges with probability p, and then whatever nobody hears any more.

    A node that has lost all its outgoing edges would be a sink and enter the readout, next to states of another kind
    that were trained for it. So nodes from which no path leads to a node that is read out of the original graph go
    too, with their edges. Nobody reads them: the result is that of the nodes that were read, in the graph with just
    the drawn edges removed. Those stay, with or without edges into them; p = 1 leaves them alone, with their features.

    Args:
        batch: Graphs.
        p: Probability; ValueError if it is none.
        generator: Of the draw, one number for each edge; PyTorch's own if None.
        read: ``[num_read]`` int64, the nodes that a model reads out; the sinks if None.
    """
    _check_probability(p)
    num_nodes = int(batch.num_nodes or 0)
    edges = torch.rand(batch.num_edges, generator=generator) >= p
    source, target = batch.edge_index[:, edges]
    heard = torch.zeros(num_nodes, dtype=torch.bool)
    heard[sinks(batch.edge_index, num_nodes) if read is None else read] = True
    while not bool(heard[source[heard[target]]].all()):
        heard[source[heard[target]]] = True
    return subgraph(batch, heard, edges)


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability in [0, 1], got {p}")


def subgraph(batch: Batch, nodes: Tensor, edges: Tensor) -> Batch:
    """The marked nodes and those marked edges that run between them, as the batch of the smaller graphs."""
    edges = edges & nodes[batch.edge_index].all(dim=0)
    edge_graph = batch.batch[batch.edge_index[0]]
    number = nodes.cumsum(0) - 1
    ptr, edge_ptr = (index2ptr(graph, batch.num_graphs) for graph in (batch.batch[nodes], edge_graph[edges]))
    out = batch.clone()
    # Copies of their own: a clone shares them with the original.
    out._slice_dict, out._inc_dict = dict(batch._slice_dict), dict(batch._inc_dict)
    for name in batch._slice_dict:
        if batch.is_node_attr(name):
            out[name], out._slice_dict[name] = batch[name][nodes], ptr
        elif name != "edge_index" and batch.is_edge_attr(name):
            out[name], out._slice_dict[name] = batch[name][edges], edge_ptr
    out.edge_index, out.batch, out.ptr = number[batch.edge_index[:, edges]], batch.batch[nodes], ptr
    out._slice_dict["edge_index"], out._inc_dict["edge_index"] = edge_ptr, ptr[:-1]
    if "seg" in batch:  # numbers of nodes within each graph, −1 where there is none
        seg = batch.seg.view(batch.num_graphs, -1)
        node = seg.clamp(min=0) + batch.ptr[:-1, None]
        out.seg = torch.where((seg >= 0) & nodes[node], number[node] - ptr[:-1, None], -1).flatten()
    return out


def pooled_nodes(model: ImageClassificationModel, batch: Batch) -> list[Tensor]:
    """The nodes that a model pools, kind by kind, ``[num_nodes]`` int64 each."""
    plan = model.plan(batch)
    rows = plan.pooled([generation.nodes.long() - 1 for generation in plan.generations], batch.node_type)
    return [nodes[chosen.rows].flatten() for nodes, chosen in zip(rows, plan.chosen, strict=True)]
