"""``grapheme explain``: the pixels and edges that decided a prediction."""

from json import dumps
from pathlib import Path
from typing import Literal

from grapheme_pyg.cli.data import load_taught, read_drawing
from grapheme_pyg.cli.outputs import output_file
from grapheme_pyg.explanation import explain as explained
from grapheme_pyg.labels import match_classes
from grapheme_pyg.names import say
from grapheme_pyg.visualization import draw_explanation
from grapheme_pyg.visualization.text import as_label

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
    """Shows which pixels and edges of a picture decided the prediction.

    Args:
        model: Folder of a model, or the name of one that comes with the package.
        image: The picture.
        out: The picture to write; by default <image>-explanation.png in the current folder.
        method: Explain by one gradient, by integrated gradients (Captum), or by a learned mask (GNNExplainer).
        target: The class to explain; by default the predicted one.
        as_mnist: Whether the picture is a photograph or drawing of a single digit, to be cropped, scaled and centred
            like MNIST's digits.
        find: Whether to look for the drawing on a larger picture, if the model is for drawings.
        json: Whether to print the attribution of each pixel and edge as a JSON object, too.
    """
    from matplotlib.figure import Figure  # below the package, whose error tells what to install

    out = output_file(out, "explanation", model, image)
    network = load_taught(model)
    number = None if target is None else int(match_classes([target], network.classes, name="target"))
    pixels = read_drawing(network, image, as_mnist=as_mnist, find=find)
    explanation = explained(network, pixels, method=method, target=number)
    # Of the picture alone, as explained: by default predict may average it with its mirror image.
    confidence = network.predict([pixels], views=1, find_drawings=False, verbose=False).confidences.item()
    axes = draw_explanation(explanation, pixels)
    label, other = (as_label(name) for name in (explanation.label, network.classes[explanation.target]))
    title = f"predicted {label} ({100 * confidence:.1f} %)\nred for {other}, blue against it"
    axes.set_title(title, fontsize="small")
    assert isinstance(axes.figure, Figure)
    axes.figure.savefig(out, dpi=DPI)
    if not json:
        say(f"{image}: {explanation.label} ({100 * confidence:.1f} %), explained in {out}")
        return
    ends = explanation.graph.edge_index.t().tolist()
    edges = [[*pair, value] for pair, value in zip(ends, explanation.edges.tolist(), strict=True)]
    target = network.classes[explanation.target]
    found = {"label": explanation.label, "target": target, "pixels": explanation.pixels.tolist(), "edges": edges}
    print(dumps(found, allow_nan=False))
