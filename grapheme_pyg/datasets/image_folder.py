"""Folders of pictures, with one folder for each class."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from grapheme_pyg.datasets.image_files import ImageFiles
from grapheme_pyg.datasets.image_reading import SUFFIXES, read_image
from grapheme_pyg.errors import DatasetError
from grapheme_pyg.vision.pil_images import MAX_PIXELS

log = logging.getLogger(__name__)

ON_ERROR = ("raise", "skip")
EXPECTED = f"pictures ({', '.join(SUFFIXES)}) in folders of classes"


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Labelled pictures from a folder with one folder for each class.

    Attributes:
        images: The pictures, class by class, in the order of their names.
        labels: int64 ``[N]``, indices into the classes.
        classes: Names of the folders, sorted.
    """

    images: ImageFiles
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def split(self, share: float = 0.1) -> tuple[ImageFolder, ImageFolder]:
        """Training and validation: of each class the last ``share`` of the files, but at least one, for the latter.

        Args:
            share: In (0, 1).

        Raises:
            ValueError: The share is out of range.
            DatasetError: A class has one picture only.
        """
        if not 0 < share < 1:
            raise ValueError(f"share: expected a number in (0, 1), got {share!r}")
        training, validation = [], []
        for label, name in enumerate(self.classes):
            members = (self.labels == label).nonzero().flatten()
            if len(members) < 2:
                raise DatasetError(f"class {name!r}: expected at least two pictures to split, got {len(members)}")
            held_out = min(len(members) - 1, max(1, round(share * len(members))))
            training.append(members[:-held_out])
            validation.append(members[-held_out:])
        first, second = (torch.cat(parts) for parts in (training, validation))
        return self._part(first), self._part(second)

    def _part(self, indices: Tensor) -> ImageFolder:
        return ImageFolder(self.images.select(indices), self.labels[indices], self.classes)


def load_image_folder(
    folder: str | Path, in_channels: int = 3, *, on_error: str = "raise", max_pixels: int = MAX_PIXELS
) -> ImageFolder:
    """Pictures of a folder ``folder/class_name/*.png|jpg|…``, of any sizes and modes; see :func:`read_image`.

    Files that are no pictures by their name are left out, and so are hidden files and hidden folders. Folders within
    the folder of a class are searched, but links to folders there are not followed.

    Args:
        folder: The folder.
        in_channels: 1 or 3.
        on_error: What to do about broken files: ``"raise"`` when one is asked for, or ``"skip"`` them now, which reads
            every file once and logs a warning for each that is left out, and for each class that has none then.
        max_pixels: As of :func:`read_image`; larger pictures count as broken.

    Raises:
        NotADirectoryError: There is no such folder.
        DatasetError: A folder cannot be read, has no pictures, or a name that is not UTF-8; or what is named like a
            picture is a link that leads nowhere, or a pipe or a device. The message names it.
        ValueError: An argument is out of range.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error: expected one of {ON_ERROR}, got {on_error!r}")
    folder = Path(folder)
    try:
        found_in = _find(folder, on_error == "skip", max_pixels) if folder.is_dir() else None
    except OSError as error:
        place = error.filename or folder
        raise DatasetError(f"{place}: expected a folder that can be read, got {error.strerror}") from error
    if found_in is None:
        what = "a file" if folder.exists() else "nothing"
        raise NotADirectoryError(f"{folder}: expected a folder with one folder for each class, got {what}")
    if not found_in:
        raise DatasetError(f"{folder}: expected {EXPECTED}, got none")
    paths = [path for members in found_in.values() for path in members]
    counts = torch.tensor([len(members) for members in found_in.values()])
    labels = torch.arange(len(counts)).repeat_interleave(counts)
    return ImageFolder(ImageFiles(paths, in_channels, max_pixels=max_pixels), labels, tuple(found_in))


def _find(folder: Path, skip: bool, max_pixels: int) -> dict[str, list[Path]]:
    """The pictures of each class."""
    found: dict[str, list[Path]] = {}
    for place in _entries(folder):
        if not place.is_dir():
            continue
        if not _is_utf8(place.name):
            raise DatasetError(f"{folder}: expected names of classes in UTF-8, got {os.fsencode(place.name)!r}")
        members = sorted(_pictures(place, skip, max_pixels))
        if members:
            found[place.name] = members
        elif skip:
            log.warning("left out: %s: expected pictures, got none", place)
        else:
            raise DatasetError(f"{place}: expected {EXPECTED}, got none in this one")
    return found


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without what is hidden."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _pictures(place: Path, skip: bool, max_pixels: int) -> Iterator[Path]:
    """The pictures of a class, in no order."""
    folders = [place]
    while folders:
        for path in _entries(folders.pop()):
            if path.is_dir():
                # A link may lead to a folder above.
                if not path.is_symlink():
                    folders.append(path)
            elif path.suffix.lower() in SUFFIXES:
                if not path.is_file():
                    problem = f"{path}: expected a file, got a link that leads nowhere, or a pipe or a device"
                    if not skip:
                        raise DatasetError(problem)
                    log.warning("left out: %s", problem)
                elif not skip or _readable(path, max_pixels):
                    yield path


def _readable(path: Path, max_pixels: int) -> bool:
    try:
        read_image(path, max_pixels=max_pixels)
    except (OSError, ValueError) as error:
        log.warning("left out: %s", error)
        return False
    return True


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
