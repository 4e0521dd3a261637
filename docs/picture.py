"""Makes README's picture: a digit, its graph over it, and the same graph as the network that it is.

make picture
"""

from pathlib import Path

from matplotlib.figure import Figure

from grapheme_pyg import VisionBrain
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.visualization import draw_dag


def main() -> None:
    image = load_mnist().test.images[0]
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
    folder = Path(__file__).parent / "images"
    folder.mkdir(exist_ok=True)
    figure.savefig(folder / "graph.png", dpi=110)


if __name__ == "__main__":
    main()
