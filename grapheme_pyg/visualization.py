"""Pictures of graphs, predictions and training, with networkx and matplotlib. Nothing else imports this."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from torch_geometric.data import Batch, Data

from grapheme_pyg.vision.pixels import to_pixels
from grapheme_pyg.vision.unroll import EdgeType

try:
    import networkx as nx
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter
except ImportError as error:
    raise ImportError(f'{error.name} is needed to draw: pip install "grapheme-pyg[plot]"') from error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from grapheme_pyg.vision.pixels import Image

Metadata = tuple[Sequence[str], Sequence[EdgeType]]
Array = np.ndarray[Any, Any]

LAYOUTS = ("image", "levels")
# Groups of relations, in the order in which they are drawn, with colours that colour-blind people can tell.
GROUPS = ("self", "lateral", "part of")
GROUP_COLORS = ("#8a8a8a", "#2f9bd8", "#e8791a")
GROUP_WIDTHS = {"image": (0.0, 1.0, 0.7), "levels": (0.5, 0.35, 0.5)}
NODE_COLORMAP = "viridis"
# Beyond this, bars could no longer be read.
MAX_BARS = 12
RIGHT, WRONG = "#1a7f37", "#c62828"


def to_networkx(data: Data, metadata: Metadata | None = None) -> "nx.DiGraph[int]":
    """The graph for networkx, in plain Python values.

    Args:
        data: The graph of one image.
        metadata: ``brain.metadata``, to have names instead of numbers.

    Returns:
        Nodes 0…num_nodes − 1 with ``pos`` (x right, y down), ``level`` and ``node_type``; edges with
        ``edge_type``, with metadata the relation's name, such as ``"north_of"``.

    Raises:
        ValueError: ``data`` is a batch of several graphs, lacks a field, or has two edges from one node to
            another, which a ``DiGraph`` cannot hold.
    """
    _check_data(data)
    pairs = [(source, target) for source, target in data.edge_index.t().tolist()]
    if len(set(pairs)) < len(pairs):
        raise ValueError("data: expected at most one edge from a node to another, got parallel edges")
    node_types: list[Any] = data.node_type.tolist()
    edge_types: list[Any] = data.edge_type.tolist()
    if metadata is not None:
        node_types = [metadata[0][kind] for kind in node_types]
        edge_types = [metadata[1][kind][1] for kind in edge_types]
    graph: nx.DiGraph[int] = nx.DiGraph()
    nodes = zip(data.pos.tolist(), data.level.tolist(), node_types, strict=True)
    for node, (pos, level, node_type) in enumerate(nodes):
        graph.add_node(node, pos=tuple(pos), level=level, node_type=node_type)
    for (source, target), edge_type in zip(pairs, edge_types, strict=True):
        graph.add_edge(source, target, edge_type=edge_type)
    return graph


def draw_dag(
    data: Data,
    image: "Image | None" = None,
    *,
    metadata: Metadata | None = None,
    layout: str = "image",
    ax: "Axes | None" = None,
    max_edges: int = 5000,
) -> "Axes":
    """Draws a graph over its image, or as the layered network that it is.

    ``layout="image"`` puts each node at its ``pos``. The rounds of one entity coincide there, so an entity
    is drawn once, coloured by its last level, relations between two entities once, and self edges not at all.
    ``layout="levels"`` draws every node and edge, computation running from left to right: a column for
    each level, within it the nodes in image order. Coarser entities have bigger markers.

    Args:
        data: The graph of one image.
        image: What to draw under it, as the brain takes it; only for ``layout="image"``.
        metadata: ``brain.metadata``: names the columns, and tells groups of relations by their names; without
            it they are told by whether the entities stay the same from one level to the next.
        layout: ``"image"`` or ``"levels"``.
        ax: Where to draw; by default, on a figure of its own, ``result.figure``.
        max_edges: If there are more edges to draw, so many are drawn, evenly spread, and the title says so.

    Returns:
        The axes.

    Raises:
        ValueError: Unknown ``layout``; ``max_edges`` is not positive; ``data`` is a batch of several graphs or
            lacks a field; ``image`` is not as the brain takes it.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: expected one of {LAYOUTS}, got {layout!r}")
    if max_edges < 1:
        raise ValueError(f"max_edges: expected a positive integer, got {max_edges}")
    _check_data(data)
    if ax is None:
        size = (5.0, 5.4) if layout == "image" else (9.0, 5.4)
        ax = Figure(figsize=size, layout="constrained").subplots()
    sketch = _sketch(data, metadata)
    if layout == "image":
        nodes, edges = _merge_rounds(sketch)
        xy, diameter = sketch.pos, _diameters_over_image(sketch, edges, ax)
    else:
        nodes, edges = np.arange(len(sketch.pos)), np.arange(len(sketch.group))
        xy, diameter = _columns(sketch, ax)
    num_edges, num_drawn = len(edges), min(len(edges), max_edges)
    edges = edges[np.arange(num_drawn) * num_edges // max(num_drawn, 1)]
    _draw_network(sketch, nodes, edges, xy, diameter, ax, GROUP_WIDTHS[layout])
    if layout == "image":
        _show_image(data, image, ax)
    else:
        _label_columns(data, metadata, ax)
    count = f"{num_edges:,}" if num_drawn == num_edges else f"{num_drawn:,} of {num_edges:,}"
    if layout == "levels" or num_drawn < num_edges:
        ax.set_title(f"{len(nodes):,} nodes, {count} edges", fontsize="medium")
    return ax


class _Sketch(NamedTuple):
    """Arrays of a graph; ``scale`` counts how often entities changed up to a node's level."""

    pos: Array
    level: Array
    scale: Array
    source: Array
    target: Array
    group: Array
    place: Array


def _sketch(data: Data, metadata: Metadata | None) -> _Sketch:
    pos, level = data.pos.detach().cpu().numpy(), data.level.cpu().numpy()
    source, target = data.edge_index.cpu().numpy()
    place = np.unique(pos, axis=0, return_inverse=True)[1].reshape(-1)
    scale, current, before = np.zeros_like(level), -1, None
    for stage in np.unique(level):
        here = np.unique(place[level == stage])
        current += not np.array_equal(here, before)
        scale[level == stage] = current
        before = here
    if metadata is None:
        group = np.where(scale[source] != scale[target], 2, place[source] != place[target])
    else:
        names = [relation for _, relation, _ in metadata[1]]
        of_type = [0 if name == "self" else 2 if name.endswith("part_of") else 1 for name in names]
        group = np.array(of_type, dtype=np.int64)[data.edge_type.cpu().numpy()]
    return _Sketch(pos, level, scale, source, target, group.astype(np.int64), place)


def _merge_rounds(sketch: _Sketch) -> tuple[Array, Array]:
    """The last node at each place, and one edge for each pair of places and group."""
    last = np.zeros(sketch.place.max() + 1, dtype=np.int64)
    order = np.argsort(sketch.level, kind="stable")
    last[sketch.place[order]] = order
    ends = np.sort(sketch.place[np.stack([sketch.source, sketch.target])], axis=0)
    apart = np.flatnonzero(ends[0] != ends[1])
    first = np.unique(np.stack([*ends, sketch.group])[:, apart], axis=1, return_index=True)[1]
    return last[np.argsort(sketch.level[last], kind="stable")], apart[np.sort(first)]


def _size_in_points(ax: "Axes") -> tuple[float, float]:
    extent, dpi = ax.get_window_extent(), ax.get_figure(root=True).dpi
    return extent.width * 72 / dpi, extent.height * 72 / dpi


def _diameters_over_image(sketch: _Sketch, edges: Array, ax: "Axes") -> Array:
    """Marker diameters in points, from how far neighbours are apart."""
    steps = np.linalg.norm(sketch.pos[sketch.source[edges]] - sketch.pos[sketch.target[edges]], axis=1)
    spacing = float(np.median(steps)) * min(_size_in_points(ax)) if len(edges) else np.inf
    return np.clip(0.3 * spacing, 1.5, 7) * 1.4**sketch.scale


def _columns(sketch: _Sketch, ax: "Axes") -> tuple[Array, Array]:
    """Places and marker diameters in points: x is the level, y the rank in image order, centred."""
    xy, diameter = np.zeros((len(sketch.pos), 2)), np.zeros(len(sketch.pos))
    most, height = np.bincount(sketch.level).max(), _size_in_points(ax)[1]
    for stage in np.unique(sketch.level):
        column = np.flatnonzero(sketch.level == stage)
        column = column[np.lexsort(sketch.pos[column].T)]
        # Columns shrink more slowly than their nodes get fewer: a network that narrows, without a tangle.
        gap = (len(column) / most) ** 0.5 / len(column)
        xy[column, 0] = stage
        xy[column, 1] = (np.arange(len(column)) - (len(column) - 1) / 2) * gap
        diameter[column] = np.clip(0.8 * gap * height, 1, 4 * 1.4 ** sketch.scale[column])
    return xy, diameter


def _draw_network(
    sketch: _Sketch,
    nodes: Array,
    edges: Array,
    xy: Array,
    diameter: Array,
    ax: "Axes",
    widths: Sequence[float],
) -> None:
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(nodes.tolist())
    place = dict(enumerate(xy.tolist()))
    lines = []
    for i, name in enumerate(GROUPS):
        own = edges[sketch.group[edges] == i]
        if len(own):
            pairs = list(zip(sketch.source[own].tolist(), sketch.target[own].tolist(), strict=True))
            style = {"edge_color": GROUP_COLORS[i], "width": widths[i]}
            nx.draw_networkx_edges(graph, place, pairs, ax=ax, arrows=False, hide_ticks=False, **style)
            lines.append(Line2D([], [], color=GROUP_COLORS[i], label=name))
    nx.draw_networkx_nodes(
        graph,
        place,
        nodes.tolist(),
        node_size=(diameter[nodes] ** 2).tolist(),
        node_color=sketch.level[nodes].tolist(),
        cmap=NODE_COLORMAP,
        vmin=0,
        vmax=max(1, sketch.level.max()),
        edgecolors="white",
        linewidths=(0.08 * diameter[nodes]).tolist(),
        ax=ax,
        hide_ticks=False,
    )
    if lines:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
        ax.legend(handles=lines, ncols=len(lines), fontsize="small", frameon=False, **below)


def _show_image(data: Data, image: "Image | None", ax: "Axes") -> None:
    if image is not None:
        pixels = to_pixels(image, 3).cpu()
        height, width = pixels.shape[1:]
        ax.imshow(pixels.permute(1, 2, 0).numpy(), extent=(0, 1, 1, 0), interpolation="nearest")
    else:
        height, width = data.image_size[0].tolist() if "image_size" in data else (1, 1)
    ax.set(xlim=(0, 1), ylim=(1, 0), aspect=height / width, xticks=[], yticks=[])


def _label_columns(data: Data, metadata: Metadata | None, ax: "Axes") -> None:
    stages = data.level.unique().tolist()
    labels = [str(stage) for stage in stages]
    if metadata is not None:
        types = [data.node_type[data.level == stage].unique().tolist() for stage in stages]
        labels = ["\n".join(metadata[0][kind].replace("_", "\n") for kind in kinds) for kinds in types]
    ax.set_xticks(stages, labels, fontsize="small")
    ax.tick_params(bottom=False)
    ax.set_yticks([])
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    if metadata is None:
        ax.set_xlabel("level")


def _check_data(data: Data) -> None:
    if isinstance(data, Batch) and data.num_graphs != 1:
        raise ValueError(f"data: expected the graph of one image, got a batch of {data.num_graphs}")
    lacking = {"pos", "level", "node_type", "edge_index", "edge_type"}.difference(data.keys())
    if lacking:
        raise ValueError(f"data: expected a graph as VisionBrain makes it, got one without {sorted(lacking)}")
