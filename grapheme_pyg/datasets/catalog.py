"""Data sets by name: the form in which they come, those that the package knows, and those that users register."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

# Installed packages offer loaders under this name in their own pyproject.toml.
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
    """An image-classification set with its split.

    Attributes:
        name: Short name, such as "mnist".
        train: The images to learn from.
        test: The held-out images; a folder may have none.
        classes: The name of every class, in the order of the labels.
        drawings: Whether each image is of a single drawing in MNIST's form; see
            :class:`grapheme_pyg.ImageClassificationModel`.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    drawings: bool = False

    def transposed(self) -> ImageData:
        """Returns the same set with rows and columns of all images exchanged."""
        train, test = (Split(split.images.mT.contiguous(), split.labels) for split in (self.train, self.test))
        return replace(self, train=train, test=test)


Loader = Callable[[Path | None], ImageData]
_loaders: dict[str, Loader] = {}


def register_dataset(name: str, loader: Loader) -> None:
    """Registers a data set, which `load_dataset` and the commands then find by its name.

    A package that is installed need not call this: it names the loader in its `pyproject.toml`, under
    `[project.entry-points."grapheme_pyg.datasets"]`, as in `my_set = "my_package:load_my_set"`.

    Args:
        name: Letters, digits, `_` and `-`, not registered before.
        loader: Called with the folder of the data that the user gave, or None; returns an `ImageData`.

    Raises:
        ValueError: The name is none of these or registered already, or the loader cannot be called.

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
        raise ValueError(f"loader: expected a function of a folder, got {type(loader).__name__}")
    _loaders[name] = loader


def dataset_names() -> list[str]:
    """Returns the names of all data sets that can be loaded by name, sorted."""
    return sorted({*_loaders, *entry_points(group=GROUP).names})


def load_dataset(name: str, data_dir: str | Path | None = None) -> ImageData:
    """Loads a data set that the package knows, that was registered, or that an installed package offers.

    Args:
        name: One of :func:`dataset_names`.
        data_dir: The folder of its files; without one, each data set has its own place.

    Raises:
        ValueError: There is no such data set, or two packages offer it, or its loader returns something else.
        DatasetError: A file is not what it should be.
        OSError: Files are missing, or cannot be downloaded.
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
