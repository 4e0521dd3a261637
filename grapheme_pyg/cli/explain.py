"""``grapheme explain``: which pixels and edges decided."""

from json import dumps
from pathlib import Path
from typing import Literal

from grapheme_pyg.cli.data import check_apart, default_out, read_drawing
from grapheme_pyg.explanation import explain as explained
from grapheme_pyg.labels import match_classes
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.names import say
from grapheme_pyg.visualization import draw_explanation

DPI = 150


def explain(
    model: Path,
    image: Path,
    *,
    out: Path | None = None,
    method: Literal["gradient", "integrated", "gnnexplainer"] = "gradient",
    target: str | None = None,
    as_mnist: bool = False,
    find: bool = True,
    json: bool = False,
) -> None:
    """Shows which pixels and edges of a picture decided.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        image: The picture.
        out: The picture to write; by default explanation.png, unless the picture is in the current folder.
        method: By one gradient, by integrated gradients (Captum), or by a learned mask (GNNExplainer).
        target: The class to explain; the predicted one by default.
        as_mnist: Whether the picture is a photograph or drawing of a single digit, to be cropped, scaled and centred as
            those of MNIST were.
        find: Whether the drawing is looked for on a larger picture, if the model is of drawings.
        json: Whether to print an object with the attribution of each pixel and edge too.
    """
    from matplotlib.figure import Figure  # below the package, whose error tells what to install

    network = ImageClassificationModel.from_pretrained(model)
    number = None if target is None else int(match_classes([target], network.classes, name="target"))
    out = default_out("explanation.png", image) if out is None else out
    check_apart("out", out, image)
    pixels = read_drawing(network, image, as_mnist=as_mnist, find=find)
    explanation = explained(network, pixels, method=method, target=number)
    figure = draw_explanation(explanation, pixels).figure
    assert isinstance(figure, Figure)
    figure.savefig(out, dpi=DPI)
    if not json:
        say(str(out))
        return
    ends = explanation.graph.edge_index.t().tolist()
    edges = [[*pair, value] for pair, value in zip(ends, explanation.edges.tolist(), strict=True)]
    target = network.classes[explanation.target]
    found = {"label": explanation.label, "target": target, "pixels": explanation.pixels.tolist(), "edges": edges}
    print(dumps(found, allow_nan=False))
