"""The picture of `robustness.py`, with a panel for each corruption."""

from typing import Any

import torch
from corruptions import CORRUPTIONS
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator
from torch import Tensor

from grapheme_pyg import VisionBrain
from grapheme_pyg.augmentation.dropping import drop_edges, drop_nodes
from grapheme_pyg.dag import sinks

COLUMNS = 4
# A hue for each kind of model, a shade for each model.
SHADES = {
    "ours": ("#1565c0", "#4fc3f7", "#0d2b6b", "#26a69a", "#7e57c2"),
    "CNN": ("#e65100", "#ffb300", "#8d2f0a", "#c2185b", "#8d6e63"),
}
# Corruptions of graphs.
NODES, EDGES = "graph: cells dropped", "graph: edges dropped"
STYLES = {"ours": "o-", "CNN": "s--"}


def draw(results: dict[str, Any], image: Tensor, vision: VisionBrain | None) -> Figure:
    """Draws a panel for each corruption: accuracy over severity, and above it the corruptions of one image."""
    clean, *corruptions = results["corruptions"]
    rows = -(-len(corruptions) // COLUMNS)
    layout = ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.06, hspace=0.01, wspace=0.02)
    figure = Figure(figsize=(3.3 * COLUMNS, 2.95 * rows), layout=layout)
    axes = figure.subplots(2 * rows, COLUMNS, height_ratios=(1, 3.6) * rows)
    panels = [(axes[2 * i, j], axes[2 * i + 1, j]) for i in range(rows) for j in range(COLUMNS)]
    for (strip, plot), corruption in zip(panels, corruptions, strict=False):
        severities = corruption["severities"]
        draw_strip(strip, corruption["name"], severities, image, vision, results["seed"])
        left = {kind: iter(SHADES[kind]) for kind in SHADES}
        for name, described in results["models"].items():
            style = {"color": next(left[described["kind"]], "gray"), "markersize": 3.5, "linewidth": 1.4}
            if name in corruption["accuracy"]:
                accuracy = [100 * value for value in clean["accuracy"][name] + corruption["accuracy"][name]]
                plot.plot(accuracy, STYLES[described["kind"]], label=name, **style)
        plot.axhline(10, color="gray", linestyle=":", linewidth=1, label="chance")
        plot.set(xlim=strip.get_xlim(), ylim=(0, 102), xlabel=corruption["unit"])
        plot.set_xticks(range(len(severities) + 1), ["none", *(f"{severity:g}" for severity in severities)])
        plot.yaxis.set_major_locator(MultipleLocator(25))
        plot.tick_params(labelsize="small")
        plot.grid(alpha=0.25, linewidth=0.6)
        plot.spines[["top", "right"]].set_visible(False)
    for row in range(rows):
        axes[2 * row + 1, 0].set_ylabel("accuracy (%)")
    for ax in (ax for pair in panels[len(corruptions) :] for ax in pair):
        ax.axis("off")
    legend = panels[0][1].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=len(legend[0]), frameon=False, title=results["images"])
    return figure


def draw_strip(
    ax: Axes, name: str, severities: list[float], image: Tensor, vision: VisionBrain | None, seed: int
) -> None:
    """Draws the corrupted image above each tick; for graphs, the remaining finest cells or the edges between them."""
    corruption = {one.name: one for one in CORRUPTIONS}.get(name)
    for k, severity in enumerate([None, *severities]):
        left, width, tile = k - 0.46, 0.92, image
        ax.add_patch(Rectangle((left, 0), width, 1, fill=False, edgecolor="#b0b0b0", linewidth=0.6, zorder=3))
        if corruption is not None and severity is not None:
            tile = corruption(image[None], severity, seed)[0]
        elif corruption is None and vision is not None:
            generator = torch.Generator().manual_seed(seed)
            seeing = VisionBrain(**(vision.config | {"seg": True}))
            graph = seeing.batch(image[None])
            if name == NODES:
                graph = drop_nodes(graph, severity or 0, seeing, generator)
            else:
                graph = drop_edges(graph, severity or 0, sinks(graph.edge_index, graph.num_nodes), generator)
            # Places without a cell are white, so that they do not look like black cells.
            tile = torch.where(graph.seg.view(image.shape) >= 0, 0.8 * image, 255)
            if name == EDGES:
                tile = torch.full_like(image, 255)
                ends = graph.edge_index[:, graph.level[graph.edge_index[1]] == 1].t()
                place = graph.pos * torch.tensor([width, -1]) + torch.tensor([left, 1])
                ax.add_collection(LineCollection(place[ends].tolist(), colors="black", linewidths=0.35))
        extent = (left, left + width, 0, 1)
        ax.imshow(tile.numpy(), cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto", interpolation="nearest")
    ax.set_title(name, fontsize="medium", fontweight="bold", pad=4)
    ax.set(xlim=(-0.5, len(severities) + 0.5), ylim=(-0.02, 1.02))
    ax.axis("off")
