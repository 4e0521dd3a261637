"""The data that a command is given by name."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from grapheme_pyg.datasets import ImageFiles, ImageFolder, load_idx_data, load_image_folder, load_mnist, load_mnist5k
from grapheme_pyg.datasets.catalog import SPECS

# Share of the training images that is held out for validation, where they are not a folder.
VALIDATION_SHARE = 1 / 12


class Part(NamedTuple):
    """Images and their labels, ``[N]`` int64."""

    images: Tensor | ImageFiles
    labels: Tensor


class Data(NamedTuple):
    """What to learn from, what to validate with, and what to test with, if there is anything."""

    name: str
    classes: list[str]
    training: Part
    validation: Part
    test: Part | None


def load(data: str, data_dir: Path | None, in_channels: int, limit: int | None = None) -> Data:
    """Loads data.

    Args:
        data: ``"mnist"``, another set of its family, ``"mnist5k"``, or a folder with one folder of pictures for each
            class, of which the last tenth are for validation.
        data_dir: Where the files of a set of the family are.
        in_channels: Of the pictures of a folder.
        limit: How many training and how many test images to take; all if None.

    Raises:
        ValueError: There is no such set or folder, or ``limit`` is below 2.
    """
    if limit is not None and limit < 2:
        raise ValueError(f"limit: expected at least 2, got {limit}")
    if data not in (*SPECS, "mnist5k"):
        folder = load_image_folder(data, in_channels)
        training, validation = folder.split()
        return Data(Path(data).name, list(folder.classes), _part(training, limit), _part(validation, limit), None)
    if data == "mnist5k":
        found = load_mnist5k()
    else:
        found = load_mnist(data_dir) if data == "mnist" else load_idx_data(data, data_dir)
    images, labels = found.train.images[:limit], found.train.labels[:limit]
    kept = len(images) - max(1, round(VALIDATION_SHARE * len(images)))
    test = Part(found.test.images[:limit], found.test.labels[:limit])
    parts = (Part(images[:kept], labels[:kept]), Part(images[kept:], labels[kept:]))
    return Data(found.name, list(found.classes), *parts, test)


def _part(folder: ImageFolder, limit: int | None) -> Part:
    return Part(folder.images[:limit], folder.labels[:limit])
