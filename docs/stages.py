"""Draws the pictures of the page "How it works": what one image becomes in each stage of a model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from grapheme_pyg import VisionBrain
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.vision import ImageGraph
from grapheme_pyg.visualization.relations import GROUPS, LATERAL, PART_OF, colors_of_relations

CELLS, EDGES = GROUPS[LATERAL][1], GROUPS[PART_OF][1]


def draw_images(images: Mapping[str, Tensor]) -> Figure:
    """Draws grey images side by side, each with its title.

    Args:
        images: uint8 ``[H, W]`` by title.
    """
    figure = Figure(figsize=(3.4 * len(images), 3.7), layout="constrained")
    for ax, (title, image) in zip(_row(figure, len(images)), images.items(), strict=True):
        ax.imshow(image.numpy(), cmap="gray", vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[], title=title)
    return figure


def draw_cells(vision: VisionBrain, graph: ImageGraph, image: Tensor) -> Figure:
    """Draws the cells of each level over an image.

    Args:
        vision: A brain of the mode ``"grid"``.
        graph: Of the image.
        image: uint8 ``[H, W]``, as :meth:`VisionBrain.prepared` gives it.
    """
    num_levels = max(vision.node_levels) + 1
    figure = Figure(figsize=(3.4 * num_levels, 3.7), layout="constrained")
    for level, ax in enumerate(_row(figure, num_levels)):
        side, cells = _side(vision, level), _cells(vision, graph, level, image.shape[0])
        _show(image, ax)
        for row, column in cells:
            _outline(torch.tensor([column + 0.5, row + 0.5]) * side, side, ax, color=CELLS)
        ax.set_title(f"{len(cells)} cells, {side} pixels a side")
    return figure


def draw_relations(vision: VisionBrain, graph: ImageGraph, image: Tensor) -> Figure:
    """Draws what one cell of the second level reads: its parts, and its neighbours of the same level.

    The cell is the one with the most edges; in both pictures its relations have one colour each.

    Args:
        vision: A brain of the mode ``"grid"``.
        graph: Of the image.
        image: uint8 ``[H, W]``, as :meth:`VisionBrain.prepared` gives it.
    """
    node_types, edge_types = vision.metadata
    colors = colors_of_relations([relation for _, relation, _ in edge_types])
    source, target = graph.edge_index
    places = graph.pos * image.shape[0]
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    titles = {"cell1_round0": "its parts", "cell1_round1": "its neighbours and itself"}
    place = None
    for ax, (name, title) in zip(_row(figure, 2), titles.items(), strict=True):
        of_type = graph.node_type == node_types.index(name)
        if place is None:
            place = places[(torch.bincount(target, minlength=graph.num_nodes) * of_type).argmax()]
        chosen = int((of_type & (places == place).all(dim=1)).nonzero())
        _show(image, ax)
        for edge in (target == chosen).nonzero().flatten().tolist():
            kind = int(graph.node_type[source[edge]])
            relation = edge_types[int(graph.edge_type[edge])][1]
            _outline(places[source[edge]], _side(vision, vision.node_levels[kind]), ax, color="0.6")
            style: dict[str, Any] = {"color": colors[relation], "label": relation, "linewidth": 2.2, "marker": "o"}
            if torch.equal(places[source[edge]], place):  # itself, one round before
                ax.plot(
                    *place.tolist(), **style | {"linewidth": 0}, markersize=13, fillstyle="none", markeredgewidth=2.2
                )
            else:
                ax.plot(*zip(places[source[edge]].tolist(), place.tolist(), strict=True), **style, markevery=[0])
        _outline(place, _side(vision, 1), ax, color="black")
        ax.plot(*place.tolist(), "o", color="white", markeredgecolor="black", markersize=8, zorder=3)
        x, y = place.tolist()
        ax.set(xlim=(x - 8, x + 8), ylim=(y + 8, y - 8))
        ax.set_title(f"{name} reads {title}", fontsize="medium")
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize="small", frameon=False)
    return figure


def draw_states(
    vision: VisionBrain, graph: ImageGraph, plan: Plan, states: Sequence[Tensor], *, num_channels: int = 3
) -> Figure:
    """Draws states as maps: a column for each generation, in it the channels that differ most between nodes.

    Args:
        vision: A brain of the mode ``"grid"``.
        graph: Of one image.
        plan: Of the graph.
        states: Of the generations of the plan, ``[num_nodes, channels]`` each.
        num_channels: How many channels to draw.
    """
    figure = Figure(figsize=(1.75 * len(states), 0.4 + 1.75 * num_channels), layout="constrained")
    rows = figure.subplots(num_channels, len(states), squeeze=False)
    height = int(graph.image_size[0, 0]) if vision.longer_side is None else vision.longer_side
    for column, (generation, state) in enumerate(zip(plan.generations, states, strict=True)):
        side = _side(vision, vision.node_levels[generation.node_type])
        pos = graph.pos[generation.nodes[:, 0].long() - 1]
        at = (pos * height / side).long()
        count = -(-height // side)
        for row, channel in enumerate(state.var(dim=0).topk(num_channels).indices.tolist()):
            # Absent cells have no state, and stay white.
            shown = np.full((count, count), np.nan)
            shown[at[:, 1], at[:, 0]] = state[:, channel].numpy()
            ax = rows[row, column]
            ax.imshow(shown, cmap="magma", vmin=0)
            ax.set(xticks=[], yticks=[])
            if row == 0:
                ax.set_title(vision.metadata[0][generation.node_type].replace("_", "\n"), fontsize="small")
    return figure


def draw_vectors(vectors: Mapping[str, Tensor]) -> Figure:
    """Draws vectors as stripes, one below the other, each number a bar.

    Args:
        vectors: ``[channels]`` by title.
    """
    figure = Figure(figsize=(9.6, 1.05 * len(vectors)), layout="constrained")
    for ax, (title, vector) in zip(figure.subplots(len(vectors), 1, squeeze=False)[:, 0], vectors.items(), strict=True):
        ax.bar(range(len(vector)), vector.tolist(), width=0.9, color=CELLS)
        ax.axhline(0, color="black", linewidth=0.6)
        ax.set(xlim=(-1, len(vector)), xticks=[], yticks=[])
        ax.set_ylabel(title, rotation=0, ha="right", va="center", fontsize="small")
        ax.spines[:].set_visible(False)
    return figure


def draw_answer(
    probabilities: Tensor, classes: Sequence[str], quantiles: Tensor, threshold: float, familiarity: Mapping[str, float]
) -> Figure:
    """Draws probabilities of classes, and how familiar images are beside the validation images.

    Args:
        probabilities: ``[num_classes]``.
        classes: Their names.
        quantiles: Of the familiarity of validation images, ascending.
        threshold: The familiarity below which an image is refused.
        familiarity: Of images, by their names.
    """
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    left.bar(range(len(classes)), probabilities.tolist(), color=CELLS)
    left.set(xticks=range(len(classes)), xticklabels=classes, ylim=(0, 1), title="probabilities")
    right.plot(quantiles.tolist(), np.linspace(0, 1, len(quantiles)), color="0.4", label="validation images")
    lowest = min(*familiarity.values(), float(quantiles[0])) - 0.03
    right.axvspan(lowest, threshold, color=EDGES, alpha=0.15, linewidth=0)
    right.text(lowest + 0.01, 0.93, "refused", color=EDGES)
    for color, (name, value) in zip(("#2f9bd8", "#c62828", "#7a7ab8"), familiarity.items(), strict=False):
        right.axvline(value, color=color, linewidth=2, label=name)
    right.set(xlim=(lowest, 1), ylim=(0, 1), xlabel="familiarity", ylabel="share that is less familiar")
    right.legend(frameon=False, fontsize="small", loc="center left")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _row(figure: Figure, number: int) -> Sequence[Axes]:
    axes: Sequence[Axes] = figure.subplots(1, number, squeeze=False)[0]
    return axes


def _show(image: Tensor, ax: Axes) -> None:
    height, width = image.shape
    # Pale, so that lines show.
    ax.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=500, extent=(0, width, height, 0))
    ax.set(xticks=[], yticks=[])


def _outline(centre: Tensor, side: int, ax: Axes, *, color: str) -> None:
    """Draws the border of a cell, whose centre is given in pixels."""
    x, y = (centre - side / 2).tolist()
    ax.add_patch(Rectangle((x, y), side, side, facecolor="none", edgecolor=color, linewidth=1))


def _side(vision: VisionBrain, level: int) -> int:
    side: int = vision.config["patch_size"] * 2**level
    return side


def _cells(vision: VisionBrain, graph: ImageGraph, level: int, height: int) -> list[list[int]]:
    """Row and column of each cell of a level."""
    types = [kind for kind, own in enumerate(vision.node_levels) if own == level]
    pos = graph.pos[torch.isin(graph.node_type, torch.tensor(types))]
    # Several rounds of one cell are in one place.
    cells: list[list[int]] = (pos.flip(1) * height / _side(vision, level)).long().unique(dim=0).tolist()
    return cells
