"""Draw which pixels and edges decided a prediction, in red for the class and in blue against it.

python examples/explain_digit.py mnist-base
python examples/explain_digit.py mnist-base --picture photo.png --method integrated --target 3
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from grapheme_pyg import ImageClassificationModel, explain
from grapheme_pyg.datasets import load_mnist, read_image
from grapheme_pyg.sheets import is_sheet
from grapheme_pyg.vision import find_drawings
from grapheme_pyg.visualization import draw_explanation
from grapheme_pyg.visualization.text import as_label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a trained model, or the name of one that comes with the package")
    parser.add_argument("--picture", type=Path, help="picture or photograph to explain (default: the first test digit)")
    parser.add_argument("--method", choices=["gradient", "integrated", "gnnexplainer"], default="gradient")
    parser.add_argument("--target", type=int, help="number of the class to explain (default: the predicted one)")
    parser.add_argument(
        "--out", type=Path, default=Path("explanation.png"), help="picture to write (default: explanation.png)"
    )
    arguments = parser.parse_args()
    if arguments.picture is not None and arguments.out.resolve() == arguments.picture.resolve():
        parser.error(f"--out: expected another file than the picture, got {arguments.out}")
    model = ImageClassificationModel.from_pretrained(arguments.model)
    if arguments.picture is None:
        image = load_mnist().test.images[0]
    else:
        image = read_image(arguments.picture, model.vision.in_channels, white=model.vision.white)
        if model.drawings and is_sheet(image, model.vision):
            drawings = find_drawings(image, model.vision.longer_side or 28)
            if len(drawings) != 1:
                parser.error(f"{arguments.picture}: expected one drawing, got {len(drawings)}")
            image = drawings[0].pixels

    explanation = explain(model, image, arguments.method, arguments.target)
    axes = draw_explanation(explanation, image)
    predicted, target = (as_label(name) for name in (explanation.label, model.classes[explanation.target]))
    axes.set_title(f"predicted {predicted}; red for {target}, blue against it")
    assert isinstance(axes.figure, Figure)
    axes.figure.savefig(arguments.out, dpi=150)
    strongest = explanation.edges.abs().argmax()
    source, target = explanation.graph.edge_index[:, strongest].tolist()
    relation = model.vision.metadata[1][int(explanation.graph.edge_type[strongest])][1]
    print(f"{explanation.label}: strongest edge {source} → {target} ({relation}); {arguments.out}")


if __name__ == "__main__":
    main()
