"""draw_dag: pictures of graphs."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch_geometric.data import Data

from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.vision.pixels import to_pixels
from grapheme_pyg.visualization.layouts import Array, columns, growth, places_and_scales
from grapheme_pyg.visualization.networks import Metadata, check_graph, compute, names_of
from grapheme_pyg.visualization.relations import GROUPS, LATERAL, PART_OF, SELF, colors_of_relations
from grapheme_pyg.visualization.strengths import relative_strengths, strongest
from grapheme_pyg.visualization.text import as_label

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image

# By layout, for each group of relations.
LINE_WIDTHS = {"image": (1.0, 0.0, 0.7), "levels": (0.5, 0.7, 0.6)}
COLORS = ("group", "relation")
# Factors of the line width for the strongest and the weakest edges.
WIDEST, NARROWEST = 2.5, 0.2
# Width of small letters in points.
CHARACTER = 5.0
# Most characters of the names of levels and relations; those of the modes have at most 18.
LONGEST = 24


def draw_dag(
    data: Data,
    image: "Image | None" = None,
    *,
    model: ImageClassificationModel | None = None,
    metadata: Metadata | None = None,
    layout: str = "image",
    color: str = "group",
    ax: Axes | None = None,
    max_edges: int = 5000,
) -> Axes:
    """Draws a graph over its image, or as a layered network.

    ``layout="image"`` puts nodes at their ``pos``. All rounds of an entity have the same place, so an entity is drawn
    once, in the colour of its last level; relations between two entities are drawn once, and self edges are left out.
    ``layout="levels"`` draws every node and edge, computed from left to right: a column for each level, with its nodes
    in image order from top to bottom. Coarser entities have larger markers.

    With a model, the width of an edge shows its strength, see :func:`grapheme_pyg.nn.messages.messages`, in comparison
    with other edges into the same level. Of edges with the same ends, the strongest is drawn.

    Args:
        data: The graph of one image.
        image: The image to draw under ``layout="image"``, in any form that the brain accepts.
        model: The model, for strengths and names.
        metadata: ``brain.metadata``, for names without a model.
        layout: ``"image"`` or ``"levels"``.
        color: Whether each ``"group"`` of relations has a colour, or each ``"relation"``, which needs names. Over an
            image, relations in both directions then meet halfway, with the relation that an entity receives next to it.
        ax: The axes; by default those of a new figure, ``result.figure``.
        max_edges: The most edges to draw: an even selection or, with a model, the strongest into each level. The legend
            tells if edges are left out.

    Returns:
        The axes.

    Raises:
        ValueError: ``layout`` or ``color`` is unknown, names are missing or given twice, ``max_edges`` is not positive,
            ``image`` is not an image, or ``data`` is a batch, lacks a field or does not fit the model.
    """
    if layout not in LINE_WIDTHS:
        raise ValueError(f"layout: expected one of {sorted(LINE_WIDTHS)}, got {layout!r}")
    if color not in COLORS:
        raise ValueError(f"color: expected one of {COLORS}, got {color!r}")
    if max_edges < 1:
        raise ValueError(f"max_edges: expected a positive integer, got {max_edges}")
    check_graph(data)
    names = names_of(model, metadata)
    if color == "relation" and names is None:
        raise ValueError("metadata: expected names of relations, or a model, for color='relation', got None")
    if ax is None:
        size = (5.0, 5.6) if layout == "image" else (9.0, 5.6)
        taller = 1.5 if color == "relation" else 0.0  # for the legend
        ax = Figure(figsize=(size[0], size[1] + taller), layout="constrained").subplots()
    pos, level, ends = (data[key].detach().cpu().numpy() for key in ("pos", "level", "edge_index"))
    place, scale = places_and_scales(pos, level)
    height = ax.get_window_extent().height * 72 / ax.figure.dpi  # in points, like the size of markers
    (source, target), (start, stop) = ends, place[ends]
    strength = np.zeros(ends.shape[1])
    if model is not None:
        strength = relative_strengths(compute(model, data).strengths.cpu().double().numpy(), level[target])
    group = np.where(scale[source] != scale[target], PART_OF, np.where(start == stop, SELF, LATERAL))
    kind, looks = group, list(GROUPS)
    if color == "relation" and names is not None:
        relations = list(dict.fromkeys(relation for _, relation, _ in names[1]))
        number = np.array([relations.index(relation) for _, relation, _ in names[1]])
        kind = number[data.edge_type.cpu().numpy()]
        looks = list(colors_of_relations(relations).items())

    lines = pos[ends].transpose(1, 0, 2)
    if layout == "image":
        # The last node at each place.
        nodes = np.sort(len(pos) - 1 - np.unique(place[::-1], return_index=True)[1])
        edges = _distinct(start, stop, kind, strength, both_ways=color == "group")
        _show_image(data, image, ax)
        spacing = height * np.linalg.norm(pos[source[edges]] - pos[target[edges]], axis=1)
        diameter = np.clip(0.25 * np.median(spacing) if len(edges) else np.inf, 0.6, 6) * growth(scale)
        if color == "relation":
            lines[group == LATERAL, 0] = lines[group == LATERAL].mean(axis=1)
    else:
        nodes, edges = np.arange(len(pos)), np.arange(len(group))
        _label_columns(data, names, ax)
        pos, diameter = columns(pos, level, scale, height)
        lines = pos[ends].transpose(1, 0, 2)

    num_edges, num_drawn = len(edges), min(len(edges), max_edges)
    if model is None:
        edges = edges[np.arange(num_drawn) * num_edges // max(num_drawn, 1)]
    else:
        edges = edges[strongest(strength[edges], level[target[edges]], num_drawn)]
    width = np.array(LINE_WIDTHS[layout])[group[edges]] * np.clip((500 / max(num_drawn, 1)) ** 0.5, 0.5, 1)
    if model is not None:
        width = width * np.clip(WIDEST * strength[edges], NARROWEST, WIDEST)
    handles = []
    for i, (name, paint) in enumerate(looks):
        own = kind[edges] == i
        if own.any():
            drawn = LineCollection(lines[edges[own]], linewidths=width[own], colors=paint, zorder=1)
            ax.add_collection(drawn, autolim=False)
            handles.append(Line2D([], [], color=paint, label=as_label(name, LONGEST).replace("_", " ")))
    style: dict[str, Any] = {"c": level[nodes], "cmap": "viridis", "vmin": 0, "vmax": max(1, level.max())}
    style |= {"s": diameter[nodes] ** 2, "linewidths": 0.08 * diameter[nodes], "edgecolors": "white", "zorder": 2}
    ax.scatter(pos[nodes, 0], pos[nodes, 1], **style)

    words = ("entities", "relations") if layout == "image" else ("nodes", "edges")
    few = "" if num_drawn == num_edges else f" of {num_edges:,}" if model is None else f" strongest of {num_edges:,}"
    title = f"{len(nodes):,} {words[0]}, {num_drawn:,}{few} {words[1]}"
    title += "" if model is None else ",\nas wide as strong within their level"
    _add_legend(ax, handles, title, wide=layout == "levels")
    return ax


def _distinct(start: Array, stop: Array, kind: Array, strength: Array, *, both_ways: bool) -> Array:
    """Returns positions of edges between different places, the strongest of each kind between two; ascending."""
    order = (-strength).argsort(kind="stable")
    order = order[start[order] != stop[order]]
    ends = np.stack([start[order], stop[order]])
    if both_ways:
        ends.sort(axis=0)
    num_places, num_kinds = max(start.max(initial=0), stop.max(initial=0)) + 1, kind.max(initial=0) + 1
    first = np.unique((ends[0] * num_places + ends[1]) * num_kinds + kind[order], return_index=True)[1]
    return np.sort(order[first])


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
        own = [f"level {stage}"] if metadata is None else [as_label(metadata[0][kind], LONGEST) for kind in kinds]
        names.append("\n".join(own))
    # Labels are rotated if the longest word would reach into the next column.
    room = ax.get_window_extent().width * 72 / ax.figure.dpi / len(stages)
    upright = room < CHARACTER * max(map(len, "_".join(names).replace("\n", "_").split("_")))
    labels = [name.replace("_", " " if upright else "\n") for name in names]
    ax.set_xticks(stages, labels, fontsize="small", rotation=90 if upright else 0)
    ax.tick_params(top=False, labeltop=True, bottom=False, labelbottom=False)
    ax.set(xlim=(stages[0] - 0.3, stages[-1] + 0.3), ylim=(0.52, -0.52), yticks=[])
    ax.spines[:].set_visible(False)


def _add_legend(ax: Axes, handles: list[Line2D], title: str, *, wide: bool) -> None:
    few = len(handles) <= len(GROUPS)
    style: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "frameon": False}
    style |= {"title": title, "title_fontsize": "small", "fontsize": "small" if few else "x-small"}
    legend = ax.legend(handles=handles, ncols=3 if few or not wide else 6, **style)
    legend.get_title().set_multialignment("center")
    if not few:
        for line in legend.get_lines():
            line.set_linewidth(2.5)  # hues of thin lines are hard to tell apart
