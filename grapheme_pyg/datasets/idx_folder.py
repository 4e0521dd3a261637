"""Any folder of IDX files, found by their names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.bounded import refusing_unreadable
from grapheme_pyg.datasets.catalog import EMNIST
from grapheme_pyg.datasets.idx import read_idx_and_digest
from grapheme_pyg.datasets.image_data import ImageData, Split
from grapheme_pyg.errors import DatasetError

if TYPE_CHECKING:
    from torch import Tensor

# What each of the four files has, and the names that files of any set have.
_PARTS = ("training images", "training labels", "test images", "test labels")
_NAME = re.compile(r"(?!\.).*(train|t10k|test).*(images.*[-.]idx3|labels.*[-.]idx1)-ubyte", re.IGNORECASE)


def load_idx_folder(folder: str | Path, *, transposed: bool = False) -> ImageData:
    """Load the images of a folder of IDX files, of any number and size.

    Files are found by their names: `*train*images*-idx3-ubyte` and `*train*labels*-idx1-ubyte`, and, if there are
    test images, the same with `t10k` or `test`; gzipped or not, `.idx` for `-idx` as well. Beside an unpacked file,
    its gzipped one is ignored. The classes are the distinct labels of the training images, named by their numbers, or,
    if the files are named as those of EMNIST, by its letters.

    Args:
        folder: The folder; its name becomes that of the set.
        transposed: Whether the images are stored with rows and columns exchanged, as EMNIST's are, and are to be
            turned upright.

    Returns:
        Training images and test images, of which there may be none, uint8 [N, H, W], with int64 labels [N], which are
        positions among the classes.

    Raises:
        DatasetError: If there is no folder, a file is missing or comes twice, cannot be read or is not what it should
            be, or a label of the test images does not occur among those of the training images.
    """
    folder = as_path("folder", folder).expanduser()
    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder of IDX files, but there is no folder")
    with refusing_unreadable(folder):
        found = _find_by_name(folder)
        # Test files may be missing, but only both.
        expected = _PARTS if any(found[2:]) else _PARTS[:2]
        for part, files in zip(expected, found, strict=False):
            if len(files) != 1:
                got = ", ".join(path.name for path in files) or "none"
                raise DatasetError(f"{folder}: expected exactly one IDX file of {part}, got {got}")
        paths = [path for files in found for path in files]
        train, *others = [_read_pair(paths[i], paths[i + 1], transposed) for i in range(0, len(paths), 2)]
    file = paths[1].name.lower().replace(".idx", "-idx")
    # Of labels whose names are not just numbers.
    names = {}
    for spec in EMNIST:
        if spec.files[1] in file:
            names = dict(enumerate(spec.classes, spec.first_label))
    values, labels = train.labels.unique(return_inverse=True)
    test = Split(train.images[:0], labels[:0])
    for other in others:
        unknown = sorted({*other.labels.tolist()} - {*values.tolist()})
        if unknown:
            got = ", ".join(names.get(value, str(value)) for value in unknown)
            raise DatasetError(f"{paths[3]}: expected only classes that have training images, got also {got}")
        test = Split(other.images, torch.searchsorted(values, other.labels))
    classes = tuple(names.get(value, str(value)) for value in values.tolist())
    return ImageData(folder.resolve().name, Split(train.images, labels), test, classes)


def is_idx_folder(path: str | Path) -> bool:
    """Tell whether there is a folder with an IDX file of images or labels, as `load_idx_folder` finds them.

    Raises:
        DatasetError: If the folder cannot be read.
    """
    folder = Path(path).expanduser()
    with refusing_unreadable(folder):
        return folder.is_dir() and any(_find_by_name(folder))


def to_split(images: Tensor, labels: Tensor, transposed: bool) -> Split:
    """Images, turned upright if they are stored with rows and columns exchanged, and labels as int64."""
    return Split(images.mT.contiguous() if transposed else images, labels.to(torch.int64))


def _find_by_name(folder: Path) -> list[list[Path]]:
    """Files of training images, training labels, test images and test labels."""
    found: list[list[Path]] = [[], [], [], []]
    # An unpacked file comes after, and takes the place of, its archive.
    paths = {path.name.removesuffix(".gz"): path for path in sorted(folder.iterdir(), reverse=True) if path.is_file()}
    for name, path in sorted(paths.items()):
        match = _NAME.fullmatch(name)
        if match:
            found[2 * (match[1].lower() != "train") + match[2].lower().startswith("labels")].append(path)
    return found


def _read_pair(images_path: Path, labels_path: Path, transposed: bool) -> Split:
    def check_images(shape: tuple[int, ...]) -> None:
        if len(shape) != 3 or 0 in shape:
            raise DatasetError(f"{images_path}: expected images of shape (N, H, W), each at least 1, got shape {shape}")

    def check_labels(shape: tuple[int, ...]) -> None:
        if shape != (len(images),):
            raise DatasetError(
                f"{labels_path}: expected labels of shape ({len(images)},), one for each image, got shape {shape}"
            )

    images, _ = read_idx_and_digest(images_path, check_images)
    labels, _ = read_idx_and_digest(labels_path, check_labels)
    return to_split(images, labels, transposed)
