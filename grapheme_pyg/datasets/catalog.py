"""Data sets by name: their form, and the loaders of the package and of users."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

# The group of entry points under which installed packages offer loaders.
GROUP = "grapheme_pyg.datasets"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Split(NamedTuple):
    """Images and their labels.

    Attributes:
        images: uint8, shape [N, H, W] or [N, 3, H, W]; 0 is background.
        labels: int64, shape [N]; indices into the classes.
    """

    images: Tensor
    labels: Tensor


# eq=False: tensors have no single truth value, so a generated == would raise.
@dataclass(frozen=True, eq=False)
class ImageData:
    """An image-classification data set, split into training and test images.

    Attributes:
        name: Short name, such as "mnist".
        train: The training images.
        test: The test images; there may be none.
        classes: The names of the classes, in the order of the labels.
        drawings: Whether each image shows a single drawing in MNIST's form; see
            :class:`grapheme_pyg.ImageClassificationModel`.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    drawings: bool = False

    def transposed(self) -> ImageData:
        """Returns the same data set with rows and columns of all images exchanged."""
        train, test = (Split(split.images.mT.contiguous(), split.labels) for split in (self.train, self.test))
        return replace(self, train=train, test=test)


Loader = Callable[[Path | None], ImageData]
_loaders: dict[str, Loader] = {}


def register_dataset(name: str, loader: Loader) -> None:
    """Registers a data set, so that `load_dataset` and the commands find it by its name.

    An installed package need not call this function: it can name the loader in its `pyproject.toml`, under
    `[project.entry-points."grapheme_pyg.datasets"]`, as in `my_set = "my_package:load_my_set"`.

    Args:
        name: A new name of letters, digits, `_` and `-`.
        loader: A function that takes the user's folder of data, or None, and returns an `ImageData`.

    Raises:
        ValueError: The name has other characters or is registered already, or the loader is not callable.

    Example:
        >>> import torch
        >>> pixels, labels = torch.zeros(4, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
        >>> blank = ImageData("blank", Split(pixels, labels), Split(pixels[:0], labels[:0]), ("a", "b"))
        >>> register_dataset("blank", lambda data_dir: blank)
        >>> load_dataset("blank").classes
        ('a', 'b')
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"name: expected letters, digits, _ and -, got {name!r}")
    if name in _loaders:
        raise ValueError(f"name: expected one that no data set has yet, got {name!r}")
    if not callable(loader):
        raise ValueError(f"loader: expected a function that takes a folder, got {type(loader).__name__}")
    _loaders[name] = loader


def dataset_names() -> list[str]:
    """Returns the names of all data sets that can be loaded by name, sorted."""
    return sorted({*_loaders, *entry_points(group=GROUP).names})


def load_dataset(name: str, data_dir: str | Path | None = None) -> ImageData:
    """Loads a data set of the package, a registered one, or one that an installed package offers.

    Args:
        name: One of :func:`dataset_names`.
        data_dir: The folder of its files; if None, where the loader looks for them.

    Raises:
        ValueError: There is no such data set, two packages offer it, or its loader does not return an `ImageData`.
        DatasetError: A file is invalid.
        OSError: Files are missing or cannot be downloaded.
    """
    if name not in _loaders:
        for entry in entry_points(group=GROUP, name=name):
            register_dataset(name, entry.load())
    if name not in _loaders:
        raise ValueError(f"name: expected one of {', '.join(dataset_names())}, got {name!r}")
    data = _loaders[name](None if data_dir is None else Path(data_dir))
    if not isinstance(data, ImageData):
        raise ValueError(f"{name}: expected its loader to return ImageData, got {type(data).__name__}")
    return data
