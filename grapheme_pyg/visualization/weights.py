"""draw_weights: pictures of the weights of each relation."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.vision.cells import NAMES
from grapheme_pyg.visualization.layouts import Array

# A grid's relations in their order, row by row as in a convolution kernel; regions have another order.
KERNELS = (["self" if name == "centre" else f"{name}_of" for name in NAMES], [f"{name}_part_of" for name in NAMES])
COLORMAP = "YlGnBu"
MAX_COUNTED = 12  # columns; numbers in the cells of more would be illegible
KERNELS_IN_ROW = 8


def draw_weights(model: ImageClassificationModel, *, figure: Figure | None = None) -> Figure:
    r"""Draws the weights of all relations: a map of relations by levels and, for grids, their kernels.

    Each number is the root mean square of the weights of a relation, :math:`\lVert W_r \rVert_F / \sqrt{in \cdot out}`,
    which does not depend on widths; weights of node features and edge attributes are left out. The map has a column for
    each pair of node types, in order of the target's level; a cell is empty if the pair lacks the relation. For cells
    of a grid, the nine relations of a pair form a 3×3 kernel, each at the place of the source relative to the target.

    Args:
        model: The model with the weights.
        figure: The figure to draw on; by default a new one.

    Returns:
        The figure; its first axes have the map, the others the kernels.
    """
    norms = _norms(model)
    relations = list(dict.fromkeys(name for row in norms.values() for name in row))
    ends = model.dag.vocabulary.ends_of_pair
    levels = {pair: model.vision.node_levels[target] for pair, (_, target) in ends.items()}
    pairs = sorted(norms, key=lambda pair: levels[pair])
    kernels = {pair: list(norms[pair].values())[:9] for pair in pairs if list(norms[pair])[:9] in KERNELS}
    num_rows = -(-len(kernels) // KERNELS_IN_ROW)
    if figure is None:
        width, height = max(8.0, 3.0 + 0.34 * len(pairs)), 2.2 + 0.24 * len(relations)
        figure = Figure(figsize=(width, height + 1.75 * num_rows), layout="constrained")
    heights = (2.2 + 0.24 * len(relations), 1.75 * num_rows)[: 1 + bool(kernels)]
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).flatten()
    above = parts[0]
    highest = max(max(row.values()) for row in norms.values())
    style: dict[str, Any] = {"cmap": COLORMAP, "vmin": 0, "vmax": highest}

    ax = above.subplots()
    table = np.array([[norms[pair].get(name, np.nan) for pair in pairs] for name in relations])
    shown = ax.imshow(table, aspect="auto", **style)
    if len(pairs) <= MAX_COUNTED:
        _add_numbers(ax, table, highest)
    ax.set_xticks(range(len(pairs)), [_label(pair) for pair in pairs], rotation=90, fontsize="x-small")
    ax.set_yticks(range(len(relations)), [name.replace("_", " ") for name in relations], fontsize="x-small")
    ax.tick_params(length=0)
    for level in sorted(set(levels.values())):
        here = [i for i, pair in enumerate(pairs) if levels[pair] == level]
        ax.axvline(here[-1] + 0.5, color="black", linewidth=0.8)
        ax.text((here[0] + here[-1]) / 2, -0.7, f"level {level}", ha="center", va="bottom", fontsize="small")
    bar = above.colorbar(shown, ax=ax, fraction=0.03, pad=0.01)
    bar.set_label("root mean square of weights", fontsize="small")
    bar.ax.tick_params(labelsize="x-small")
    if kernels:
        panels = parts[1].subplots(num_rows, min(len(kernels), KERNELS_IN_ROW), squeeze=False).flatten()
        for panel, (pair, values) in zip(panels, kernels.items(), strict=False):
            kernel = np.array(values).reshape(3, 3)
            panel.imshow(kernel, **style)
            _add_numbers(panel, kernel, highest)
            panel.set_title(_label(pair).replace("→ ", "→\n"), fontsize="x-small")
            panel.set(xticks=[], yticks=[])
        for panel in panels[len(kernels) :]:
            panel.set_axis_off()
    return figure


def _norms(model: ImageClassificationModel) -> dict[str, dict[str, float]]:
    """Returns the root mean square of the weights of each relation, by pair of node types."""
    vocabulary = model.dag.vocabulary
    norms = {}
    for pair, names in vocabulary.relations.items():
        squares = model.dag.weight[pair].detach().double().square().mean(dim=(1, 2))
        norms[pair] = dict(zip(names, squares.sqrt().tolist(), strict=True))
    return norms


def _label(pair: str) -> str:
    return pair.replace("__", " → ").replace("_", " ")


def _add_numbers(ax: Axes, values: Array, highest: float) -> None:
    for row, column in np.argwhere(~np.isnan(values)).tolist():
        color = "white" if values[row, column] > 0.6 * highest else "black"
        text = f"{values[row, column]:#.3g}"
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize="xx-small")
