"""``grapheme draw``: the graph of a picture, or a model's weights."""

from pathlib import Path
from typing import Literal

from grapheme_pyg.cli.data import read_drawing
from grapheme_pyg.cli.outputs import output_file
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.visualization import draw_dag, draw_weights, save_graph

DPI = 150
GRAPH_FILES = (".graphml", ".dot", ".gv")


def draw(
    model: Path,
    *,
    image: Path | None = None,
    out: Path | None = None,
    layout: Literal["image", "levels"] = "image",
    colour: Literal["group", "relation"] = "group",
    as_mnist: bool = False,
    find: bool = True,
) -> None:
    """Draws the graph of a picture, with stronger edges wider; without a picture, the weights of the model.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        image: The picture.
        out: The file to write: a picture, or .graphml or .dot for other programs. By default, in the
            current folder, <image>-drawing.png, or drawing.png without a picture.
        layout: Place nodes where they are in the image, or level by level.
        colour: Colour edges by group of relations, or each relation differently.
        as_mnist: Whether the picture is a photograph or drawing of a single digit, to be cropped, scaled and centred
            like MNIST's digits.
        find: Whether to look for the drawing on a larger picture, if the model is for drawings.
    """
    out = output_file(out, "drawing", model, *([] if image is None else [image]))
    network = ImageClassificationModel.from_pretrained(model)
    if image is None:
        draw_weights(network).savefig(out, dpi=DPI)
        say(str(out))
        return
    pixels = read_drawing(network, image, as_mnist=as_mnist, find=find)
    graph = network.vision(pixels)
    if out.suffix in GRAPH_FILES:
        save_graph(graph, out, network)
    else:
        from matplotlib.figure import Figure  # below the package, whose error tells what to install

        figure = draw_dag(graph, pixels, model=network, layout=layout, color=colour).figure
        assert isinstance(figure, Figure)
        figure.savefig(out, dpi=DPI)
    say(str(out))
