"""Graphs for networkx."""

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import networkx as nx
from torch_geometric.data import Batch, Data
from torch_geometric.typing import EdgeType

from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn.messages import Messages, messages

Metadata = tuple[Sequence[str], Sequence[EdgeType]]
if TYPE_CHECKING:
    Network = nx.DiGraph[int] | nx.MultiDiGraph[int]


def to_networkx(
    data: Data,
    model: ImageClassificationModel | None = None,
    *,
    metadata: Metadata | None = None,
    multi: bool = False,
) -> "Network":
    """The graph for networkx, in plain Python values.

    Args:
        data: The graph of one image.
        model: Which computes states and strengths in it, and has the names.
        metadata: ``brain.metadata``, to have names without a model; numbers if both are None.
        multi: Whether to make a ``MultiDiGraph``, which holds several edges between two nodes: blobs, for one, may be
            near one another and one above the other.

    Returns:
        Nodes 0…num_nodes − 1 with ``pos`` (x right, y down, each in [0, 1]), ``level`` and ``node_type``, and with a
        model ``state``, a tuple as long as states of its type are wide; edges with ``edge_type``, with names the
        relation's, such as ``"north_of"``, and with a model ``strength``, see
        :func:`grapheme_pyg.nn.messages.messages`.

    Raises:
        ValueError: ``data`` is a batch, lacks a field, has parallel edges without ``multi``, or is no graph that the
            model takes; or there are a model and metadata.
    """
    check_graph(data)
    names, computed = names_of(model, metadata), None if model is None else compute(model, data)
    node_types: list[Any] = data.node_type.tolist()
    nodes = [
        {"pos": tuple(pos), "level": level, "node_type": kind if names is None else names[0][kind]}
        for pos, level, kind in zip(data.pos.tolist(), data.level.tolist(), node_types, strict=True)
    ]
    edges: list[dict[str, Any]] = [
        {"edge_type": kind if names is None else names[1][kind][1]} for kind in data.edge_type.tolist()
    ]
    if model is not None and computed is not None:
        for node, kind, state in zip(nodes, node_types, computed.states.tolist(), strict=True):
            node["state"] = tuple(state[: model.dag.hidden_channels[kind]])
        for edge, strength in zip(edges, computed.strengths.tolist(), strict=True):
            edge["strength"] = strength
    graph: Network = nx.MultiDiGraph() if multi else nx.DiGraph()
    graph.add_nodes_from(enumerate(nodes))
    for (source, target), edge in zip(data.edge_index.t().tolist(), edges, strict=True):
        if not multi and graph.has_edge(source, target):
            raise ValueError(
                f"data: expected no parallel edges without multi=True, got several from node {source} to node {target}"
            )
        graph.add_edge(source, target, **edge)
    return graph


def check_graph(data: Data) -> None:
    """Refuses what is not the graph of one image."""
    if isinstance(data, Batch) and data.num_graphs != 1:
        raise ValueError(f"data: expected the graph of one image, got a batch of {data.num_graphs}")
    lacking = {"pos", "level", "node_type", "edge_index", "edge_type"}.difference(data.keys())
    if lacking:
        raise ValueError(f"data: expected a graph as VisionBrain makes it, got one without {sorted(lacking)}")


def names_of(model: ImageClassificationModel | None, metadata: Metadata | None) -> Metadata | None:
    """The names that a model has, or that are given."""
    if model is None:
        return metadata
    if not isinstance(model, ImageClassificationModel):
        raise ValueError(f"model: expected an ImageClassificationModel or None, got {type(model).__name__}")
    if metadata is not None:
        raise ValueError("metadata: expected None with a model, which has the names, got some")
    return model.vision.metadata


def compute(model: ImageClassificationModel, data: Data) -> Messages:
    """States and strengths, computed where the model is, of a graph that is looked at where it lies."""
    model.check(data)
    # A copy, because PyG moves a graph in place.
    return messages(model.dag, copy(data).to(model.classifier.templates.device))
