"""Pictures of graphs, predictions and training, with networkx and matplotlib. Nothing else imports this."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch_geometric.data import Batch, Data

from grapheme_pyg.vision.pixels import to_pixels
from grapheme_pyg.vision.unroll import EdgeType

try:
    import networkx as nx
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
except ImportError as error:
    raise ImportError(f'{error.name} is needed to draw: pip install "grapheme-pyg[plot]"') from error

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image, Images

Metadata = tuple[Sequence[str], Sequence[EdgeType]]
Array = np.ndarray[Any, Any]

# Relations by group, in drawing order; colours that colour-blind people can tell apart (after Okabe and Ito).
LATERAL, SELF, PART_OF = range(3)
GROUPS = (("lateral", "#2f9bd8"), ("self", "#5a5a5a"), ("part of", "#e8791a"))
LINE_WIDTHS = {"image": (1.0, 0.0, 0.7), "levels": (0.5, 0.7, 0.6)}
MAX_BARS = 12  # more could not be read


def to_networkx(data: Data, metadata: Metadata | None = None) -> "nx.DiGraph[int]":
    """The graph for networkx, in plain Python values.

    Args:
        data: The graph of one image.
        metadata: ``brain.metadata``, to have names instead of numbers.

    Returns:
        Nodes 0…num_nodes − 1 with ``pos`` (x right, y down), ``level`` and ``node_type``; edges with
        ``edge_type``, which with metadata is the relation's name, such as ``"north_of"``.

    Raises:
        ValueError: ``data`` is a batch, lacks a field or has parallel edges, which a ``DiGraph`` cannot hold.
    """
    _check_data(data)
    node_types: list[Any] = data.node_type.tolist()
    edge_types: list[Any] = data.edge_type.tolist()
    if metadata is not None:
        node_types = [metadata[0][kind] for kind in node_types]
        edge_types = [metadata[1][kind][1] for kind in edge_types]
    graph: nx.DiGraph[int] = nx.DiGraph()
    for node, (pos, level) in enumerate(zip(data.pos.tolist(), data.level.tolist(), strict=True)):
        graph.add_node(node, pos=tuple(pos), level=level, node_type=node_types[node])
    for (source, target), edge_type in zip(data.edge_index.t().tolist(), edge_types, strict=True):
        if graph.has_edge(source, target):
            raise ValueError(f"data: expected no parallel edges, got several from node {source} to node {target}")
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


def draw_predictions(
    images: "Images",
    graphs: Sequence[Data],
    labels: Sequence[str],
    confidences: Tensor,
    similarities: Tensor,
    classes: Sequence[str],
    *,
    truth: Sequence[str] | None = None,
    metadata: Metadata | None = None,
) -> Figure:
    """Draws a row for each image: its graph over it, its graph as a network, how like each class it is.

    Args:
        images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``, or a sequence of images; a handful.
        graphs: Their graphs.
        labels: The predicted classes.
        confidences: ``[N]``, in [0, 1].
        similarities: Cosines ``[N, num_classes]``, in [−1, 1]; of many classes the most similar are shown.
        classes: Names of the classes.
        truth: The true classes; a wrong prediction's title is red.
        metadata: ``brain.metadata``.

    Returns:
        The figure.

    Raises:
        ValueError: There are no images, or an argument is not of their number.
    """
    num_images = len(images)
    if num_images == 0:
        raise ValueError("images: expected at least one image, got none")
    for name, values in {"graphs": graphs, "labels": labels, "truth": labels if truth is None else truth}.items():
        if len(values) != num_images:
            raise ValueError(f"{name}: expected {num_images}, as many as images, got {len(values)}")
    shapes = {"confidences": (confidences, [num_images]), "similarities": (similarities, [num_images, len(classes)])}
    for name, (tensor, shape) in shapes.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name}: expected shape {shape}, got {list(tensor.shape)}")

    figure = Figure(figsize=(12, 3.3 * num_images), layout="constrained")
    rows = figure.subplots(num_images, 3, squeeze=False, width_ratios=(3, 5, 2.5))
    for i, (over, levels, bars) in enumerate(rows):
        draw_dag(graphs[i], images[i], ax=over)
        draw_dag(graphs[i], metadata=metadata, layout="levels", ax=levels)
        shown = similarities[i].topk(min(len(classes), MAX_BARS)).indices.sort().values.tolist()
        names = [classes[kind] for kind in shown]
        colors = [GROUPS[PART_OF][1] if name == labels[i] else "#b9c4cc" for name in names]
        bars.barh(range(len(names)), similarities[i, shown].tolist(), color=colors, tick_label=names)
        bars.set(xlim=(-1, 1), ylim=(len(names) - 0.5, -0.5), xlabel="cosine similarity")
        bars.axvline(0, color="black", linewidth=0.8)
        bars.spines[["top", "right", "left"]].set_visible(False)
        wrong = truth is not None and truth[i] != labels[i]
        title = f"predicted {labels[i]} ({100 * float(confidences[i]):.1f} %)"
        over.set_title(title if truth is None else f"{title}, truth {truth[i]}", color="#c62828" if wrong else "black")
    return figure


def draw_learning_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws losses and validation accuracy over epochs.

    Args:
        metrics: For each epoch ``epoch``, ``train_loss`` and, where measured, ``val_loss`` and ``val_accuracy``
            (in [0, 1]), as :func:`grapheme_pyg.fit` returns them; other keys are left alone.

    Returns:
        The figure.

    Raises:
        ValueError: There are no epochs, or one lacks ``epoch`` or ``train_loss``.
    """
    if not metrics:
        raise ValueError("metrics: expected at least one epoch, got none")
    for i, row in enumerate(metrics):
        if row.get("epoch") is None or row.get("train_loss") is None:
            raise ValueError(f"metrics[{i}]: expected the keys epoch and train_loss, got {sorted(row)}")

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    curves = (
        (losses, "train_loss", 1, LATERAL),
        (losses, "val_loss", 1, PART_OF),
        (accuracy, "val_accuracy", 100, PART_OF),
    )
    for ax, key, factor, color in curves:
        points = [(row["epoch"], factor * row[key]) for row in metrics if row.get(key) is not None]
        if points:
            label = "training" if key == "train_loss" else "validation"
            ax.plot(*zip(*points, strict=True), "o-", color=GROUPS[color][1], label=label, markersize=3.5)
        if points and ax is accuracy:
            epoch, best = max(points, key=lambda point: point[1])
            ax.set_title(f"best {best:.2f} %, epoch {epoch}", fontsize="medium")
            ax.set_ylim(top=min(100, ax.get_ylim()[1]))
    losses.set(yscale="log", ylabel="cross-entropy (nats)")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_formatter(NullFormatter())
    losses.legend(frameon=False)
    accuracy.set_ylabel("validation accuracy (%)")
    for ax in (losses, accuracy):
        ax.set(xlabel="epoch", xlim=(metrics[0]["epoch"] - 0.5, metrics[-1]["epoch"] + 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(which="both", alpha=0.25, linewidth=0.6)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


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
