"""Makes the pictures of graphs: a digit, its graph, the same graph as a network; and its graphs in every mode.

make picture
"""

from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from grapheme_pyg import VisionBrain
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.visualization import draw_dag

FOLDER = Path(__file__).parent / "images"
MODES = ("grid", "blob", "superpixel", "hybrid")


def main() -> None:
    images, labels = load_mnist().test
    FOLDER.mkdir(exist_ok=True)
    save(draw_idea(images[0]), "graph.png", dpi=110)
    # Its holes are blobs, too.
    save(draw_modes(images[labels == 8][1]), "modes.png", dpi=80)


def save(figure: Figure, name: str, dpi: int) -> None:
    """With a palette that keeps rare colours, too: a third of the size."""
    drawn = BytesIO()
    figure.savefig(drawn, dpi=dpi)
    palette = Image.open(drawn).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=5)
    palette.save(FOLDER / name, optimize=True)


def draw_idea(image: Tensor) -> Figure:
    """An image, its graph over it, and the graph as the network that it is."""
    vision = VisionBrain()
    graph = vision(image)
    figure = Figure(figsize=(12, 4), layout="constrained")
    pixels, over, levels = figure.subplots(1, 3, width_ratios=(1, 1, 1.6))
    pixels.imshow(image.numpy(), cmap="gray", extent=(0, 1, 1, 0))
    pixels.set(xticks=[], yticks=[], title="an image")
    draw_dag(graph, image, metadata=vision.metadata, ax=over)
    over.set_title("its graph")
    draw_dag(graph, layout="levels", metadata=vision.metadata, ax=levels)
    levels.set_title("the same graph, computed from left to right")
    return figure


def draw_modes(image: Tensor) -> Figure:
    """The graph of an image in each mode, over the image and as a network."""
    figure = Figure(figsize=(18, 9.5), layout="constrained")
    # The hybrid has most levels.
    axes = figure.subplots(2, len(MODES), height_ratios=(1, 1.1), width_ratios=(1, 1, 1, 1.3))
    figure.draw_without_rendering()  # which gives axes the room that labels have
    for column, mode in zip(axes.T, MODES, strict=True):
        vision = VisionBrain(mode, seg=True)
        graph = vision(image)
        draw_dag(graph, image, metadata=vision.metadata, ax=column[0])
        column[0].set_title(f"{mode}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges")
        draw_dag(graph, layout="levels", metadata=vision.metadata, ax=column[1])
        if mode == "superpixel":
            outline(graph.seg.view(image.shape), column[0])
    return figure


def outline(seg: Tensor, ax: Axes) -> None:
    """Draws the borders between regions.

    Args:
        seg: ``[H, W]``, the region of each pixel.
        ax: Of a drawing in which the image is the unit square.
    """
    height, width = seg.shape
    for y, x in (seg[:, 1:] != seg[:, :-1]).nonzero().tolist():
        ax.plot(2 * [(x + 1) / width], [y / height, (y + 1) / height], color="0.55", linewidth=0.8, zorder=1)
    for y, x in (seg[1:] != seg[:-1]).nonzero().tolist():
        ax.plot([x / width, (x + 1) / width], 2 * [(y + 1) / height], color="0.55", linewidth=0.8, zorder=1)


if __name__ == "__main__":
    main()
