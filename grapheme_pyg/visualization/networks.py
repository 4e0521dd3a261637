"""to_networkx: graphs for networkx."""

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
    """Returns a graph for networkx, with plain Python values.

    Args:
        data: The graph of one image.
        model: The model, for states, strengths and names.
        metadata: ``brain.metadata``, for names without a model; types are numbers if both are None.
        multi: Whether to make a ``MultiDiGraph``, which can hold several edges between two nodes. Graphs of blobs, for
            example, may need it.

    Returns:
        Nodes 0…num_nodes − 1 with ``pos`` (x right, y down, each in [0, 1]), ``level``, ``node_type`` and, with a
        model, ``state``, a tuple of the width of the node type's states; edges with ``edge_type``, a number or the name
        of the relation, such as ``"north_of"``, and, with a model, ``strength``; see
        :func:`grapheme_pyg.nn.messages.messages`.

    Raises:
        ValueError: ``data`` is a batch, lacks a field, has parallel edges without ``multi``, or does not fit the model;
            or both a model and metadata are given.
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
    """Refuses data that are not the graph of one image."""
    if isinstance(data, Batch) and data.num_graphs != 1:
        raise ValueError(f"data: expected the graph of one image, got a batch of {data.num_graphs}")
    lacking = {"pos", "level", "node_type", "edge_index", "edge_type"}.difference(data.keys())
    if lacking:
        raise ValueError(f"data: expected a graph as VisionBrain makes it, got one without {sorted(lacking)}")


def names_of(model: ImageClassificationModel | None, metadata: Metadata | None) -> Metadata | None:
    """Returns the names of a model, or the given ones without a model."""
    if model is None:
        return metadata
    if not isinstance(model, ImageClassificationModel):
        raise ValueError(f"model: expected an ImageClassificationModel or None, got {type(model).__name__}")
    if metadata is not None:
        raise ValueError("metadata: expected None with a model, which has names, got metadata")
    return model.vision.metadata


def compute(model: ImageClassificationModel, data: Data) -> Messages:
    """Computes states and strengths on the model's device; the graph stays on its own."""
    model.check(data)
    # A copy, since PyG moves graphs in place.
    return messages(model.dag, copy(data).to(model.classifier.templates.device))
