"""save_graph: writes graphs for other programs that draw or analyse graphs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
from torch_geometric.data import Data

from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import printable
from grapheme_pyg.visualization.networks import Metadata, to_networkx

if TYPE_CHECKING:
    from grapheme_pyg.visualization.networks import Network

SUFFIXES = (".graphml", ".dot", ".gv")
SIDE = 10  # longer side in inches of a picture drawn by Graphviz


def save_graph(
    data: Data,
    path: str | os.PathLike[str],
    model: ImageClassificationModel | None = None,
    *,
    metadata: Metadata | None = None,
) -> None:
    """Writes a graph as GraphML, for Gephi, yEd, Cytoscape and networkx, or in Graphviz's DOT.

    Nodes have ``x`` and ``y`` (right and down, each in [0, 1]), ``level`` and ``node_type``, and edges have
    ``edge_type``. With a model, nodes also have ``state``, numbers separated by spaces, and edges ``strength``; see
    :func:`to_networkx`. Numbers have nine digits, which represent single precision exactly. In DOT, nodes also have
    ``pos``, where ``neato -n2`` draws them, and edges with a model ``penwidth``.

    Args:
        data: The graph of one image.
        path: The file, whose suffix determines the format: ``.graphml``, or ``.dot`` or ``.gv``.
        model: The model, for states, strengths and names.
        metadata: ``brain.metadata``, for names without a model; types are numbers if both are None.

    Raises:
        ValueError: The file has another suffix, or the graph is refused by :func:`to_networkx`.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"path: expected a suffix of {SUFFIXES}, got {path.name!r}")
    graph = to_networkx(data, model, metadata=metadata, multi=True)
    height, width = data.image_size[0].tolist() if "image_size" in data else (1, 1)
    strongest = max((strength for *_, strength in graph.edges(data="strength", default=0.0)), default=0.0)
    for node in graph.nodes.values():
        node["x"], node["y"] = (float(f"{value:.9g}") for value in node.pop("pos"))
        if "state" in node:
            node["state"] = " ".join(f"{value:.9g}" for value in node["state"])
    for edge in graph.edges.values():
        if "strength" in edge:
            edge["strength"] = float(f"{edge['strength']:.9g}")
    for values in (*graph.nodes.values(), *graph.edges.values()):
        # The names of brains are [a-z0-9_]+, but metadata can have any.
        values.update({key: printable(value) for key, value in values.items() if isinstance(value, str)})
    if path.suffix == ".graphml":
        # A simple graph, if it is one, for programs that do not accept parallel edges.
        simple = nx.DiGraph(graph)
        nx.write_graphml(simple if simple.number_of_edges() == graph.number_of_edges() else graph, path)
        return
    # Graphviz's y axis points up, in points with -n2.
    scale = 72 * SIDE / max(height, width)
    for node in graph.nodes.values():
        node["pos"] = f"{node['x'] * width * scale:.9g},{(1 - node['y']) * height * scale:.9g}"
    for edge in graph.edges.values():
        if strongest > 0:
            edge["penwidth"] = float(f"{3 * edge['strength'] / strongest:.3g}")
    path.write_text(_dot(graph), encoding="utf-8")


def _dot(graph: "Network") -> str:
    """Returns a graph in the DOT language (https://graphviz.org/doc/info/lang.html), with all values quoted."""
    lines = ["digraph {", '  node [shape=point, width=0.08]; edge [color="#2f9bd8", arrowsize=0.3];']
    lines += [f"  {node} {_attributes(values)};" for node, values in graph.nodes(data=True)]
    lines += [f"  {source} -> {target} {_attributes(values)};" for source, target, values in graph.edges(data=True)]
    return "\n".join([*lines, "}", ""])


def _attributes(values: Mapping[str, Any]) -> str:
    # DOT has the quotation marks and backslashes of JSON.
    return "[" + ", ".join(f"{key}={json.dumps(str(value), ensure_ascii=False)}" for key, value in values.items()) + "]"
