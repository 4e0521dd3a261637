"""write_report: a report on a model's predictions, with numbers and pictures, in a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from grapheme_pyg.evaluation import BINS, Evaluation, evaluate
from grapheme_pyg.names import in_markdown
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.visualization import draw_calibration, draw_confusion, draw_hardest

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

LISTED_CONFUSIONS = 5
DPI = 130


def write_report(
    folder: str | Path,
    *,
    name: str,
    probabilities: Tensor,
    images: "Images",
    labels: Tensor,
    vision: VisionBrain,
    classes: Sequence[str],
    hardest: int = 20,
) -> Evaluation:
    """Evaluates probabilities and writes a report.

    The files are ``evaluation.json`` (all numbers), ``confusion.png``, ``calibration.png``, ``hardest.png``, and
    ``report.md``, which shows them. Those of an earlier report are overwritten.

    Args:
        folder: The folder; made if missing.
        name: A name for the images, such as ``"mnist, test images"``, for the heading.
        probabilities: ``[N, num_classes]``, in any form that :func:`grapheme_pyg.evaluation.evaluate` accepts.
        images: N images in any form that :meth:`VisionBrain.batch` accepts.
        labels: ``[N]`` int64, true classes, in [0, num_classes).
        vision: Makes the graphs that are drawn over the hardest images.
        classes: Names of the classes.
        hardest: Number of hardest images to draw; all images if there are fewer.

    Returns:
        The evaluation.

    Raises:
        ValueError: An argument has another form; nothing has been written then.
    """
    if hardest < 1:
        raise ValueError(f"hardest: expected a positive integer, got {hardest}")
    evaluation = evaluate(probabilities, labels, hardest=hardest)
    if len(images) != len(labels):
        raise ValueError(f"images: expected {len(labels)}, as many as labels, got {len(images)}")
    if len(classes) != probabilities.shape[1]:
        expected = f"{probabilities.shape[1]} names, one for each column of probabilities"
        raise ValueError(f"classes: expected {expected}, got {len(classes)}")
    chosen = evaluation.hardest.tolist()
    shown = [images[i] for i in chosen]
    graphs = [vision(image) for image in shown]
    pictures: dict[str, Any] = {
        "confusion": draw_confusion(evaluation.confusion, classes).figure,
        "calibration": draw_calibration(evaluation).figure,
        "hardest": draw_hardest(shown, graphs, probabilities[chosen].cpu(), labels[chosen].cpu(), classes),
    }

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for title, figure in pictures.items():
        figure.savefig(folder / f"{title}.png", dpi=DPI)
    described = {"name": name, "classes": list(classes)} | evaluation.summary()
    # JSON has no NaN, and other programs could not read a file that has it.
    (folder / "evaluation.json").write_text(json.dumps(described, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(_markdown(name, evaluation, classes), encoding="utf-8")
    return evaluation


def _markdown(name: str, evaluation: Evaluation, classes: Sequence[str]) -> str:
    mistakes = evaluation.confusion.clone().fill_diagonal_(0)
    most = mistakes.flatten().sort(descending=True, stable=True)
    cells = list(zip(most.values.tolist(), most.indices.tolist(), strict=True))[:LISTED_CONFUSIONS]
    pairs = [(count, *divmod(cell, len(classes))) for count, cell in cells if count]
    names = [in_markdown(name) for name in classes]
    confused = ", ".join(f"{names[truth]} → {names[guess]} ({count:,})" for count, truth, guess in pairs)
    return f"""# {in_markdown(name)}

| | |
|---|---|
| images | {evaluation.num_images:,} |
| accuracy | {100 * evaluation.accuracy:.2f} % |
| mistakes | {evaluation.num_mistakes:,} |
| mean negative log-likelihood | {evaluation.loss:.4f} nats |
| expected calibration error ({BINS} bins) | {100 * evaluation.calibration_error:.2f} % |

All numbers are in [evaluation.json](evaluation.json).

## Confusions

Truth → predicted, the most frequent first: {confused or "none"}.

![Images by true and predicted class](confusion.png)

## Calibration

![Accuracy by confidence](calibration.png)

## The hardest images

The images with the highest loss, hardest first: truth → predicted, confidence. The finest cells of each image's graph
are drawn over it. Positions in the data set, from 0: {", ".join(str(i) for i in evaluation.hardest.tolist())}.

![The hardest images with their graphs](hardest.png)
"""
