"""``grapheme predict``: what pictures show."""

import sys
from json import dumps
from pathlib import Path
from typing import Any

from torch import Tensor

from grapheme_pyg.datasets import read_image
from grapheme_pyg.datasets.mnist_style import mnist_style
from grapheme_pyg.errors import ImageError
from grapheme_pyg.model import ImageClassificationModel


def predict(
    model: Path,
    *files: Path,
    json: bool = False,
    as_mnist: bool = False,
    views: int = 1,
    reject: float | None = None,
) -> int:
    """Says what pictures show.

    Args:
        model: Folder of a model.
        files: Pictures in BMP, GIF, JPEG, PNG, PPM, TIFF or WebP files.
        json: Whether to print a list of objects with file, label, confidence and the runner-up.
        as_mnist: Whether pictures are photographs or drawings of single digits, to be cropped, scaled and centred as
            those of MNIST were.
        views: Over how many shifted views of each picture to average, 1 to 9.
        reject: Which share of pictures of a known kind may be refused, in [0, 1), if the model remembers its training
            images; what is unlike them has no label then.

    Returns:
        1 if a file could not be read or, with ``as_mnist``, has nothing on it, which is said on standard error; else 0.
    """
    network = ImageClassificationModel.from_pretrained(model)
    images: list[Tensor] = []
    found: list[dict[str, Any]] = []
    for file in files:
        entry: dict[str, Any] = {"file": str(file)}
        try:
            image = read_image(file, network.vision.in_channels)
            if as_mnist and not (image := mnist_style(image)).any():
                raise ImageError(f"{file}: expected a digit, got an empty page")
            images.append(image)
        except (ImageError, OSError) as error:
            entry["error"] = " ".join(str(error).split())
            print(f"grapheme predict: {entry['error']}", file=sys.stderr)
        found.append(entry)
    good = [entry for entry in found if "error" not in entry]
    if images:
        prediction = network.predict(images, views=views, reject=reject)
        second = min(2, len(network.classes))
        best = prediction.probabilities.topk(second)
        for i, entry in enumerate(good):
            entry |= {"label": prediction.labels[i], "confidence": float(prediction.confidences[i])}
            if second == 2:
                runner_up = network.classes[int(best.indices[i, 1])]
                entry["runner_up"] = {"label": runner_up, "confidence": float(best.values[i, 1])}
    if json:
        print(dumps(found, indent=2, ensure_ascii=False))
    else:
        for entry in good:
            print(_line(entry))
    return int(len(good) < len(found))


def _line(entry: dict[str, Any]) -> str:
    label = "refused" if entry["label"] is None else entry["label"]
    line = f"{entry['file']}: {label} ({100 * entry['confidence']:.1f} %)"
    if "runner_up" not in entry:
        return line
    return f"{line}, then {entry['runner_up']['label']} ({100 * entry['runner_up']['confidence']:.1f} %)"
