"""Pictures of graphs, with networkx."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch_geometric.data import Batch, Data
from torch_geometric.typing import EdgeType

from grapheme_pyg.vision.pixels import to_pixels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image

Metadata = tuple[Sequence[str], Sequence[EdgeType]]
Array = np.ndarray[Any, Any]

# Relations by group, in drawing order; colours that colour-blind people can tell apart (after Okabe and Ito).
LATERAL, SELF, PART_OF = range(3)
GROUPS = (("lateral", "#2f9bd8"), ("self", "#5a5a5a"), ("part of", "#e8791a"))
LINE_WIDTHS = {"image": (1.0, 0.0, 0.7), "levels": (0.5, 0.7, 0.6)}


def to_networkx(
    data: Data, metadata: Metadata | None = None, *, multi: bool = False
) -> "nx.DiGraph[int] | nx.MultiDiGraph[int]":
    """The graph for networkx, in plain Python values.

    Args:
        data: The graph of one image.
        metadata: ``brain.metadata``, to have names instead of numbers.
        multi: Whether to make a ``MultiDiGraph``, which holds several edges between two nodes: blobs, for one, may be
            near one another and one above the other.

    Returns:
        Nodes 0…num_nodes − 1 with ``pos`` (x right, y down), ``level`` and ``node_type``; edges with
        ``edge_type``, which with metadata is the relation's name, such as ``"north_of"``.

    Raises:
        ValueError: ``data`` is a batch, lacks a field, or has parallel edges without ``multi``.
    """
    _check_data(data)
    node_types: list[Any] = data.node_type.tolist()
    edge_types: list[Any] = data.edge_type.tolist()
    if metadata is not None:
        node_types = [metadata[0][kind] for kind in node_types]
        edge_types = [metadata[1][kind][1] for kind in edge_types]
    graph: nx.DiGraph[int] | nx.MultiDiGraph[int] = nx.MultiDiGraph() if multi else nx.DiGraph()
    for node, (pos, level) in enumerate(zip(data.pos.tolist(), data.level.tolist(), strict=True)):
        graph.add_node(node, pos=tuple(pos), level=level, node_type=node_types[node])
    for (source, target), edge_type in zip(data.edge_index.t().tolist(), edge_types, strict=True):
        if not multi and graph.has_edge(source, target):
            raise ValueError(
                f"data: expected no parallel edges without multi=True, got several from node {source} to node {target}"
            )
        graph.add_edge(source, target, edge_type=edge_type)
    return graph


def draw_dag(
    data: Data,
    image: "Image | None" = None,
    *,
    metadata: Metadata | None = None,
    layout: str = "image",
    ax: Axes | None = None,
    max_edges: int = 5000,
) -> Axes:
    """Draws a graph over its image, or as the layered network that it is.

    ``layout="image"`` puts nodes at their ``pos``. The rounds of one entity coincide there, so an entity is drawn
    once, in the colour of its last level, relations between two entities once, and self edges not at all.
    ``layout="levels"`` draws every node and edge, computed from left to right: a column for each level, its nodes
    in image order from top to bottom. Coarser entities have bigger markers.

    Args:
        data: The graph of one image.
        image: What lies under ``layout="image"``, as the brain takes it.
        metadata: ``brain.metadata``, to name the columns of ``layout="levels"``.
        layout: ``"image"`` or ``"levels"``.
        ax: Where to draw; by default on a new figure, ``result.figure``.
        max_edges: Of more edges so many are drawn, evenly spread; the legend says so.

    Returns:
        The axes.

    Raises:
        ValueError: ``layout`` is unknown, ``max_edges`` not positive, ``image`` not an image, or ``data`` a batch or
            lacking a field.
    """
    if layout not in LINE_WIDTHS:
        raise ValueError(f"layout: expected one of {sorted(LINE_WIDTHS)}, got {layout!r}")
    if max_edges < 1:
        raise ValueError(f"max_edges: expected a positive integer, got {max_edges}")
    _check_data(data)
    if ax is None:
        ax = Figure(figsize=(5, 5.6) if layout == "image" else (9, 5.6), layout="constrained").subplots()
    pos, level, ends = (data[key].detach().cpu().numpy() for key in ("pos", "level", "edge_index"))
    place, scale = _places_and_scales(pos, level)
    height = ax.get_window_extent().height * 72 / ax.figure.dpi  # in points, as markers are
    (source, target), (start, stop) = ends, place[ends]
    group = np.where(scale[source] != scale[target], PART_OF, np.where(start == stop, SELF, LATERAL))
    if layout == "image":
        # The last node at each place, and the first edge of each group between two places.
        nodes = np.sort(len(pos) - 1 - np.unique(place[::-1], return_index=True)[1])
        pairs = np.stack([np.minimum(start, stop), np.maximum(start, stop), group])
        edges = np.sort(np.unique(pairs, axis=1, return_index=True)[1])
        edges = edges[start[edges] != stop[edges]]
        _show_image(data, image, ax)
        spacing = height * np.linalg.norm(pos[source[edges]] - pos[target[edges]], axis=1)
        diameter = np.clip(0.25 * np.median(spacing) if len(edges) else np.inf, 1.5, 6) * 1.4**scale
    else:
        nodes, edges = np.arange(len(pos)), np.arange(len(group))
        _label_columns(data, metadata, ax)
        pos, diameter = _columns(pos, level, scale, height)

    num_edges, num_drawn = len(edges), min(len(edges), max_edges)
    edges = edges[np.arange(num_drawn) * num_edges // max(num_drawn, 1)]
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(nodes.tolist())
    where, lines = dict(enumerate(pos.tolist())), []
    style: dict[str, Any] = {"ax": ax, "hide_ticks": False}
    thinner = np.clip((500 / max(num_drawn, 1)) ** 0.5, 0.5, 1)
    for i, (name, color) in enumerate(GROUPS):
        own = ends[:, edges[group[edges] == i]].T.tolist()
        width = float(LINE_WIDTHS[layout][i] * thinner)
        if own:
            nx.draw_networkx_edges(graph, where, own, width, edge_color=color, arrows=False, **style)
            lines.append(Line2D([], [], color=color, label=name))
    style |= {"node_size": diameter[nodes] ** 2, "linewidths": 0.08 * diameter[nodes], "edgecolors": "white"}
    style |= {"node_color": level[nodes], "cmap": "viridis", "vmin": 0, "vmax": max(1, level.max())}
    nx.draw_networkx_nodes(graph, where, **style)

    words = ("entities", "relations") if layout == "image" else ("nodes", "edges")
    of_all = f" of {num_edges:,}" if num_drawn < num_edges else ""
    style = {"title": f"{len(nodes):,} {words[0]}, {num_drawn:,}{of_all} {words[1]}", "title_fontsize": "small"}
    style |= {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "fontsize": "small", "frameon": False}
    ax.legend(handles=lines, ncols=len(GROUPS), **style)
    return ax


def _check_data(data: Data) -> None:
    if isinstance(data, Batch) and data.num_graphs != 1:
        raise ValueError(f"data: expected the graph of one image, got a batch of {data.num_graphs}")
    lacking = {"pos", "level", "node_type", "edge_index", "edge_type"}.difference(data.keys())
    if lacking:
        raise ValueError(f"data: expected a graph as VisionBrain makes it, got one without {sorted(lacking)}")


def _places_and_scales(pos: Array, level: Array) -> tuple[Array, Array]:
    """Numbers each distinct position, and counts for each node how often the entities changed up to its level."""
    place = np.unique(pos, axis=0, return_inverse=True)[1].reshape(-1)
    scale, current, before = np.zeros_like(level), -1, np.empty(0)
    for stage in np.unique(level):
        here = np.unique(place[level == stage])
        current += not np.array_equal(here, before)
        scale[level == stage], before = current, here
    return place, scale


def _columns(pos: Array, level: Array, scale: Array, height: float) -> tuple[Array, Array]:
    """Places of nodes, x their level and y their centred rank in image order, and marker diameters in points."""
    xy, diameter = np.zeros((len(pos), 2)), np.zeros(len(pos))
    most = np.bincount(level).max()
    for stage in np.unique(level):
        column = np.flatnonzero(level == stage)
        column = column[np.lexsort(pos[column].T)]
        # Columns shrink more slowly than their nodes get fewer: a network that narrows, but no tangle.
        gap = (len(column) / most) ** 0.35 / len(column)
        xy[column, 0] = stage
        xy[column, 1] = (np.arange(len(column)) - (len(column) - 1) / 2) * gap
        diameter[column] = np.clip(0.8 * gap * height, 1, 4 * 1.4 ** scale[column])
    return xy, diameter


def _show_image(data: Data, image: "Image | None", ax: Axes) -> None:
    height, width = data.image_size[0].tolist() if "image_size" in data else (1, 1)
    if image is not None:
        pixels = to_pixels(image, 3).cpu()
        height, width = pixels.shape[1:]
        ax.imshow(pixels.permute(1, 2, 0).numpy(), extent=(0, 1, 1, 0), interpolation="nearest")
    ax.set(xlim=(0, 1), ylim=(1, 0), aspect=height / width, xticks=[], yticks=[])


def _label_columns(data: Data, metadata: Metadata | None, ax: Axes) -> None:
    stages, names = data.level.unique().tolist(), []
    for stage in stages:
        kinds = data.node_type[data.level == stage].unique().tolist()
        names.append(f"level {stage}" if metadata is None else "\n".join(metadata[0][kind] for kind in kinds))
    ax.set_xticks(stages, [name.replace("_", "\n") for name in names], fontsize="small")
    ax.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.set(xlim=(stages[0] - 0.3, stages[-1] + 0.3), ylim=(0.52, -0.52), yticks=[])
    ax.spines[:].set_visible(False)
