"""Graphs with cells or edges that are not there: at random for training, and for studies."""

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor
from torch_geometric.data import Batch
from torch_geometric.index import index2ptr

from grapheme_pyg.vision import VisionBrain

if TYPE_CHECKING:
    from grapheme_pyg.model import ImageClassificationModel


@dataclass(frozen=True)
class RandomDropping:
    """Lets some graphs of some batches lack entities of the finest level, and others edges.

    A neighbour that is there and not heard, or a whole without its parts, is then known from training, as in Rong et
    al., "DropEdge: Towards Deep Graph Convolutional Networks on Node Classification", 2020. No node becomes a sink.

    Attributes:
        share: Of the batches in which that happens; in others it takes no time.
        nodes: Probability that a graph of such a batch lacks entities.
        max_nodes: Largest share of them that it lacks.
        edges: Probability that a graph lacks edges, if it has all its entities.
        max_edges: Largest share of the edges that it lacks.
    """

    share: float = 0.175
    nodes: float = 0.35
    max_nodes: float = 0.6
    edges: float = 0.4
    max_edges: float = 0.6

    def __call__(self, batch: Batch, vision: VisionBrain, generator: Generator | None = None) -> Batch:
        """Returns the batch, or one with less in it.

        Args:
            batch: Graphs that ``vision`` made.
            vision: Says which node types are the finest level's.
            generator: Of the draw; PyTorch's own if None.
        """
        if float(torch.rand((), generator=generator)) >= self.share:
            return batch
        which, amount = torch.rand(2, batch.num_graphs, generator=generator)
        nodes = torch.where(which < self.nodes, amount * self.max_nodes, 0.0)
        lacks_edges = (which >= self.nodes) & (which < self.nodes + self.edges)
        edges = torch.where(lacks_edges, amount * self.max_edges, 0.0)
        source = batch.edge_index[0]
        kept = torch.rand(batch.num_edges, generator=generator) >= edges[batch.batch[source]]
        # A node that nobody would hear any more is heard by all as before.
        heard = torch.zeros(int(batch.num_nodes or 0), dtype=torch.bool)
        heard[source[kept]] = True
        return subgraph(batch, _staying(batch, nodes, vision, generator), kept | ~heard[source])


def drop_nodes(batch: Batch, p: float, vision: VisionBrain, generator: Generator | None = None) -> Batch:
    """Drops entities of the finest level with probability p, each with the nodes of all its rounds.

    What is left is the induced subgraph. Coarser entities stay, with their features, even where nothing finer is left
    that is part of them, so that p = 1 leaves what they alone can tell; a graph that has nothing else stays whole. What
    is part of nothing but an entity that goes, goes with it: no node becomes a sink.

    Args:
        batch: Graphs that ``vision`` made.
        p: Probability; ValueError if it is none.
        vision: Says which node types are the finest level's.
        generator: Of the draw, one number for each entity; PyTorch's own if None.
    """
    _check_probability(p)
    stays = _staying(batch, torch.full((batch.num_graphs,), p), vision, generator)
    return subgraph(batch, stays, torch.ones(batch.num_edges, dtype=torch.bool))


def drop_edges(batch: Batch, p: float, read: Tensor, generator: Generator | None = None) -> Batch:
    """Removes edges with probability p, and then whatever nobody hears any more.

    A node that has lost all its outgoing edges would be a sink and enter the readout, next to states of another kind
    that were trained for it. So nodes from which no path leads to a node that is read out of the original graph go
    too, with their edges. Nobody reads them: the result is that of the nodes that were read, in the graph with just
    the drawn edges removed. Those stay, with or without edges into them; p = 1 leaves them alone, with their features.

    Args:
        batch: Graphs.
        p: Probability; ValueError if it is none.
        read: ``[num_read]`` int64, the nodes that a model reads out.
        generator: Of the draw, one number for each edge; PyTorch's own if None.
    """
    _check_probability(p)
    edges = torch.rand(batch.num_edges, generator=generator) >= p
    source, target = batch.edge_index[:, edges]
    heard = torch.zeros(int(batch.num_nodes or 0), dtype=torch.bool)
    heard[read] = True
    while not bool(heard[source[heard[target]]].all()):
        heard[source[heard[target]]] = True
    return subgraph(batch, heard, edges)


def _staying(batch: Batch, p: Tensor, vision: VisionBrain, generator: Generator | None) -> Tensor:
    """Which nodes stay, bool ``[num_nodes]``, if finest entities go with the probability of their graph, ``p``."""
    rounds = torch.tensor(vision.node_rounds)[batch.node_type]
    finest = torch.tensor([level == 0 for level in vision.node_levels])[batch.node_type]
    first = finest & (rounds == 0)
    stays = torch.ones(len(rounds), dtype=torch.bool)
    stays[first] = torch.rand(int(first.sum()), generator=generator) >= p[batch.batch[first]]
    itself = torch.tensor([name == "self" for _, name, _ in vision.metadata[1]])[batch.edge_type]
    source, target = batch.edge_index[:, itself & finest[batch.edge_index[1]]]
    for number in range(1, max(vision.node_rounds) + 1):
        here = rounds[target] == number
        stays[target[here]] = stays[source[here]]
    # What is part of nothing any more would be a sink.
    source, target = batch.edge_index
    sink = torch.ones_like(stays)
    sink[source] = False
    lost = stays.clone()
    while bool(lost.any()):
        lost = stays & ~sink
        lost[source[stays[target]]] = False
        stays &= ~lost
    left = torch.bincount(batch.batch[stays], minlength=batch.num_graphs)
    return stays | (left == 0)[batch.batch]


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability in [0, 1], got {p}")


def subgraph(batch: Batch, nodes: Tensor, edges: Tensor) -> Batch:
    """The marked nodes and those marked edges that run between them, as the batch of the smaller graphs."""
    source, target = batch.edge_index
    # Numbers, not masks, each of which would be counted again for each field.
    chosen, kept = nodes.nonzero().squeeze(1), (edges & nodes[source] & nodes[target]).nonzero().squeeze(1)
    number = nodes.cumsum(0) - 1
    out = copy(batch)
    # Copies of their own: the original keeps its.
    out._slice_dict, out._inc_dict = dict(batch._slice_dict), dict(batch._inc_dict)
    out.batch = batch.batch[chosen]
    out.edge_index = number[batch.edge_index.index_select(1, kept)]
    ptr, edge_ptr = (index2ptr(graph, batch.num_graphs) for graph in (out.batch, out.batch[out.edge_index[0]]))
    for name in batch._slice_dict:
        if batch.is_node_attr(name):
            out[name], out._slice_dict[name] = batch[name].index_select(0, chosen), ptr
        elif name != "edge_index" and batch.is_edge_attr(name):
            out[name], out._slice_dict[name] = batch[name].index_select(0, kept), edge_ptr
    out.ptr, out._slice_dict["edge_index"], out._inc_dict["edge_index"] = ptr, edge_ptr, ptr[:-1]
    if "seg" in batch:  # numbers of nodes within each graph, −1 where there is none
        seg = batch.seg.view(batch.num_graphs, -1)
        node = seg.clamp(min=0) + batch.ptr[:-1, None]
        out.seg = torch.where((seg >= 0) & nodes[node], number[node] - ptr[:-1, None], -1).flatten()
    return out


def pooled_nodes(model: "ImageClassificationModel", batch: Batch) -> list[Tensor]:
    """The nodes that a model pools, kind by kind, ``[num_nodes]`` int64 each."""
    plan = model.plan(batch)
    rows = plan.pooled([generation.nodes.long() - 1 for generation in plan.generations], batch.node_type)
    return [nodes[chosen.rows].flatten() for nodes, chosen in zip(rows, plan.chosen, strict=True)]
