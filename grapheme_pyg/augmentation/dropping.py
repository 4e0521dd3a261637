"""Removal of entities and edges from graphs, at random for training, and for studies."""

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
    """Removes finest entities from some graphs and edges from others.

    The model so learns to do without a neighbour or a part (Rong et al., "DropEdge: Towards Deep Graph Convolutional
    Networks on Node Classification", 2020). No other node becomes a sink.

    Attributes:
        share: Share of batches that are changed; for the others it takes no time.
        nodes: Probability that a graph of such a batch loses entities.
        max_nodes: Largest probability with which it loses each of them.
        edges: Probability that a graph loses edges instead.
        max_edges: Largest probability with which it loses each of them.
    """

    share: float = 0.175
    nodes: float = 0.35
    max_nodes: float = 0.6
    edges: float = 0.4
    max_edges: float = 0.6

    def __call__(self, batch: Batch, vision: VisionBrain, generator: Generator | None = None) -> Batch:
        """Returns the batch, or a smaller copy of it.

        Args:
            batch: Graphs that ``vision`` made.
            vision: Brain, which knows the node types of the finest level.
            generator: Random number generator; PyTorch's default if None.
        """
        if float(torch.rand((), generator=generator)) >= self.share:
            return batch
        which, amount = torch.rand(2, batch.num_graphs, generator=generator)
        nodes = torch.where(which < self.nodes, amount * self.max_nodes, 0.0)
        lacks_edges = (which >= self.nodes) & (which < self.nodes + self.edges)
        edges = torch.where(lacks_edges, amount * self.max_edges, 0.0)
        source = batch.edge_index[0]
        kept = torch.rand(batch.num_edges, generator=generator) >= edges[batch.batch[source]]
        # A node that would lose all its outgoing edges keeps them all.
        heard = torch.zeros(int(batch.num_nodes or 0), dtype=torch.bool)
        heard[source[kept]] = True
        return subgraph(batch, _staying(batch, nodes, vision, generator), kept | ~heard[source])


def drop_nodes(batch: Batch, p: float, vision: VisionBrain, generator: Generator | None = None) -> Batch:
    """Removes entities of the finest level with probability p, each with the nodes of all its rounds.

    The result is the induced subgraph. Coarser entities keep their features even if they have no parts left, so p = 1
    shows what they tell alone; a graph that has nothing else stays whole. Nodes that would become sinks are removed as
    well.

    Args:
        batch: Graphs that ``vision`` made.
        p: Probability in [0, 1], else ValueError.
        vision: Brain, which knows the node types of the finest level.
        generator: Random number generator; PyTorch's default if None. One number is drawn for each entity.
    """
    _check_probability(p)
    stays = _staying(batch, torch.full((batch.num_graphs,), p), vision, generator)
    return subgraph(batch, stays, torch.ones(batch.num_edges, dtype=torch.bool))


def drop_edges(batch: Batch, p: float, read: Tensor, generator: Generator | None = None) -> Batch:
    """Removes edges with probability p, and then nodes that no longer influence the readout.

    A node that lost all its outgoing edges would be a sink and enter the readout, for which it was not trained. So all
    nodes without a path to a node that is read out of the original graph are removed, too. The result of the model is
    that of the same nodes in the graph without the drawn edges. Nodes that are read stay; with p = 1 only they remain.

    Args:
        batch: Graphs.
        p: Probability in [0, 1], else ValueError.
        read: ``[num_read]`` int64, the nodes that a model reads out.
        generator: Random number generator; PyTorch's default if None. One number is drawn for each edge.
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
    """Draws which nodes stay, bool ``[num_nodes]``; ``p`` are the probabilities of graphs to lose a finest entity."""
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
    # Removes nodes that would become sinks.
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
    """Returns the batch of the subgraphs of the marked nodes and of the marked edges between them."""
    source, target = batch.edge_index
    # Numbers, because indexing by a mask would search it again for each field.
    chosen, kept = nodes.nonzero().squeeze(1), (edges & nodes[source] & nodes[target]).nonzero().squeeze(1)
    number = nodes.cumsum(0) - 1
    out = copy(batch)
    # The original keeps its own.
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
    """Returns the nodes that a model pools, ``[num_nodes]`` int64 for each kind."""
    plan = model.plan(batch)
    rows = plan.pooled([generation.nodes.long() - 1 for generation in plan.generations], batch.node_type)
    return [nodes[chosen.rows].flatten() for nodes, chosen in zip(rows, plan.chosen, strict=True)]
