"""``grapheme evaluate``: how good a model is on images that it has not seen."""

from json import dumps
from pathlib import Path

import torch

from grapheme_pyg.cli.data import Part, load
from grapheme_pyg.datasets import load_image_folder
from grapheme_pyg.datasets.catalog import SPECS
from grapheme_pyg.evaluation import evaluate as evaluated
from grapheme_pyg.model import ImageClassificationModel


def evaluate(
    model: Path,
    data: str,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    views: int = 1,
    report: Path | None = None,
    json: bool = False,
) -> None:
    """Measures a model on images that it has not seen.

    Args:
        model: Folder of a model.
        data: ``mnist``, ``fashion_mnist``, ``kmnist`` or ``mnist5k``, whose test images are taken; or a folder with a
            folder of pictures for each class, all of which are taken, named as the model's classes are.
        data_dir: Folder with the four IDX files of a set; by default $GRAPHEME_DATA, else they are downloaded once.
        limit: Use only so many images.
        views: Over how many shifted views of each image to average, 1 to 9.
        report: Folder to write a report with pictures to.
        json: Whether to print an object with all figures.
    """
    network = ImageClassificationModel.from_pretrained(model)
    images, labels = _test_images(network, data, data_dir, limit)
    if report is not None:
        from grapheme_pyg.runs import evaluate_run  # matplotlib takes a second

        evaluate_run(network, images, labels, name=data, folder=report, views=views)
    found = evaluated(network.predict(images, views=views).probabilities, labels)
    if json:
        print(dumps(found.summary(), indent=2))
        return
    print(f"{data}: {found.num_images:,} images, {found.num_mistakes:,} mistakes")
    print(f"accuracy {100 * found.accuracy:.2f} %, loss {found.loss:.4f}, ", end="")
    print(f"calibration error {100 * found.calibration_error:.2f} %")


def _test_images(network: ImageClassificationModel, data: str, data_dir: Path | None, limit: int | None) -> Part:
    if data in (*SPECS, "mnist5k"):
        test = load(data, data_dir, network.vision.in_channels, limit).test
        assert test is not None
        if int(test.labels.max()) >= len(network.classes):
            raise ValueError(f"data: expected images of {len(network.classes)} classes, got more in {data!r}")
        return test
    folder = load_image_folder(data, network.vision.in_channels)
    unknown = sorted(set(folder.classes) - set(network.classes))
    if unknown:
        raise ValueError(f"data: expected folders named as classes of the model, got also {unknown}")
    numbers = torch.tensor([network.classes.index(name) for name in folder.classes])
    return Part(folder.images[:limit], numbers[folder.labels][:limit])
