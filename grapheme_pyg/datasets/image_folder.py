"""Folders of pictures, with one folder for each class."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.folder_layout import entries, files, find_splits
from grapheme_pyg.datasets.image_files import ON_ERROR, ImageFiles
from grapheme_pyg.datasets.image_reading import SUFFIXES, Header, read_header, read_image
from grapheme_pyg.errors import DatasetError, ImageError, ImageWarning
from grapheme_pyg.labels import canonical, match_classes
from grapheme_pyg.names import printable
from grapheme_pyg.progress_bar import progress_bar
from grapheme_pyg.vision.pil_images import MAX_PIXELS, used_white

if TYPE_CHECKING:
    from collections.abc import Callable

    from tqdm import tqdm

log = logging.getLogger(__name__)

EXPECTED = f"pictures ({', '.join(SUFFIXES)}) in folders of classes"
# The largest size that is chosen for the longer side of pictures, unless another limit is given.
LARGEST_SIZE = 224
# To tell whether pictures are in colour: how many are examined, at what size, and the standard deviation of the
# difference of two channels, in levels of 255, that grey pictures do not reach after JPEG compression.
LOOKED_AT, LOOKED_AT_SIDE, HUES = 100, 64, 6.0


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Labelled pictures from a folder with one folder for each class.

    Attributes:
        images: The pictures, sorted by class and name.
        labels: int64 ``[N]``, indices into the classes.
        classes: Names of the folders, sorted.
        sizes: int64 ``[N, 2]``, height and width of each picture in its file.
        validation: The part for validation; None if the folder has no such part.
        test: The part for testing; None if the folder has no such part.
    """

    images: ImageFiles
    labels: Tensor
    classes: tuple[str, ...]
    sizes: Tensor
    validation: ImageFolder | None = None
    test: ImageFolder | None = None

    def __len__(self) -> int:
        return len(self.images)

    def typical_size(self, largest: int = LARGEST_SIZE) -> int:
        """Returns the median of the pictures' longer sides in pixels, or ``largest`` if that is smaller."""
        return min(largest, int(self.sizes.amax(dim=1).median()))

    def in_colour(self, *, verbose: bool = True) -> bool:
        """Tells whether the pictures are in colour, which uniformly tinted pictures are not.

        At least a tenth of 100 evenly chosen pictures must have colours that vary within the picture; broken ones count
        as grey.

        Args:
            verbose: Whether to show a progress bar in a terminal.
        """
        coloured = 0
        chosen = self.images[torch.linspace(0, len(self) - 1, min(len(self), LOOKED_AT)).long()]
        with progress_bar(len(chosen), "pictures", verbose=verbose) as bar:
            for path in chosen.paths:
                bar.update()
                try:
                    red, green, blue = read_image(path, 3, max_pixels=chosen.max_pixels, size=LOOKED_AT_SIDE).float()
                except (OSError, ValueError):
                    continue
                coloured += max(float((red - green).std()), float((green - blue).std())) > HUES
        return 10 * coloured >= len(chosen)

    def resized(self, size: int) -> ImageFolder:
        """Returns the same pictures, to be scaled to ``size`` pixels on their longer side when they are read."""
        return self._read(size=size)

    def with_channels(self, in_channels: int) -> ImageFolder:
        """Returns the same pictures, to be read with 1 or 3 channels."""
        return self._read(in_channels=in_channels)

    def _read(self, **how: int) -> ImageFolder:
        images = self.images[:]
        vars(images).update(how)
        validation, test = (part and part._read(**how) for part in (self.validation, self.test))
        return replace(self, images=images, validation=validation, test=test)

    def split(self, share: float = 0.1) -> tuple[ImageFolder, ImageFolder]:
        """Returns training and validation pictures: the folder's own parts, or the last ``share`` of each class.

        Args:
            share: The share of validation pictures, in (0, 1); at least one picture of each class is for validation.

        Raises:
            ValueError: The share is out of range.
            DatasetError: A class has a single picture.
        """
        if not 0 < share < 1:
            raise ValueError(f"share: expected a number in (0, 1), got {share!r}")
        if self.validation is not None:
            return replace(self, validation=None, test=None), self.validation
        training, validation = [], []
        for label, name in enumerate(self.classes):
            members = (self.labels == label).nonzero().flatten()
            if len(members) < 2:
                raise DatasetError(f"class {name!r}: expected at least two pictures to split, got {len(members)}")
            held_out = min(len(members) - 1, max(1, round(share * len(members))))
            training.append(members[:-held_out])
            validation.append(members[-held_out:])
        first, second = (torch.cat(parts) for parts in (training, validation))
        return self.select(first), self.select(second)

    def select(self, indices: Tensor) -> ImageFolder:
        """Returns the pictures at ``indices``, ``[num_chosen]`` int64, in that order, without the other parts."""
        return ImageFolder(self.images.select(indices), self.labels[indices], self.classes, self.sizes[indices])


def load_image_folder(
    folder: str | Path,
    in_channels: int = 3,
    *,
    on_error: str = "raise",
    max_pixels: int = MAX_PIXELS,
    transform: Callable[[Tensor], Any] | None = None,
    verbose: bool = True,
) -> ImageFolder:
    """Finds the pictures of a folder ``folder/class_name/*.png|jpg|…``, of any sizes and modes; see :func:`read_image`.

    If the folder is split into parts, ``folder/train/class_name/…`` with ``test`` and perhaps ``val`` or ``valid``
    beside ``train``, the training pictures are returned, with the other parts as their attributes.

    Files that do not have the name of a picture are ignored, and so are hidden files and folders and those of operating
    systems (``__MACOSX``, ``lost+found``, …); the log says how many. Folders within a class's folder are searched, but
    links to folders there are not followed. Names of classes are in Unicode's form NFC.

    Args:
        folder: The folder.
        in_channels: 1 or 3.
        on_error: How to treat broken files. ``"raise"`` raises an error now if the header or end of a file shows that
            it is broken, and otherwise when the file is read. ``"skip"`` reads every file once and leaves broken ones
            out, with a warning in the log for each, and for each class that is left without pictures.
        max_pixels: The most pixels of a picture, as in :func:`read_image`; larger pictures count as broken.
        transform: A function that is applied to the pictures of all parts, as in :class:`ImageFiles`.
        verbose: Whether to show a progress bar in a terminal.

    Raises:
        NotADirectoryError: There is no such folder.
        DatasetError: A folder cannot be read, has no pictures, or has a name that is not UTF-8; a file with the name of
            a picture is broken, a dangling link, a pipe or a device; or a part for validation or testing has other
            classes than the training part. The message names the file or folder.
        ValueError: An argument is out of range.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error: expected one of {ON_ERROR}, got {on_error!r}")
    folder = as_path("folder", folder)
    if not folder.is_dir():
        what = "a file" if folder.exists() else "nothing"
        raise NotADirectoryError(f"{folder}: expected a folder with one folder for each class, got {what}")
    try:
        splits = find_splits(folder)
        with progress_bar(None, "pictures", verbose=verbose) as bar:
            search = _Search(folder, on_error == "skip", max_pixels, bar)
            found = {part: search.classes(place) for part, place in splits.items()}
    except OSError as error:
        place = error.filename or folder
        raise DatasetError(f"{place}: expected a folder that can be read, got {error.strerror}") from error
    search.report()
    if not found["training"]:
        raise DatasetError(f"{folder}: expected {EXPECTED}, got none")
    white = search.white()
    classes = tuple(found["training"])
    parts: dict[str, ImageFolder] = {}
    for part, members in found.items():
        pictures = [picture for some in members.values() for picture in some]
        counts = torch.tensor([len(some) for some in members.values()])
        numbers = match_classes(tuple(members), classes, name=str(splits[part]), whose="the training pictures")
        images = ImageFiles(
            [path for path, _ in pictures],
            in_channels,
            max_pixels=max_pixels,
            white=white,
            on_error=on_error,
            transform=transform,
        )
        sizes = torch.tensor([(header.height, header.width) for _, header in pictures])
        parts[part] = ImageFolder(images, numbers.repeat_interleave(counts), classes, sizes)
    return replace(parts["training"], validation=parts.get("validation"), test=parts.get("test"))


@dataclass
class _Search:
    """Finds the pictures of classes and reads their headers.

    Attributes:
        folder: The folder, for messages.
        skip: Whether broken files are left out.
        max_pixels: The most pixels of a picture.
        bar: The progress bar, which advances with each picture.
        left_out: The number of ignored files, by suffix.
        broken: An error message for each broken file.
        highest: The highest level of 16-bit pictures that do not say which level is white; 0 if there are none.
    """

    folder: Path
    skip: bool
    max_pixels: int
    bar: tqdm[Any]
    left_out: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    highest: int = 0

    def classes(self, folder: Path) -> dict[str, list[tuple[Path, Header]]]:
        """Finds the pictures of each class in a folder, sorted by name."""
        found: dict[str, list[tuple[Path, Header]]] = {}
        for place in sorted(entries(folder)):
            if not place.is_dir():
                self.left_out["outside of the folders of classes"] += 1
                continue
            name = canonical(place.name)
            if name.encode(errors="ignore").decode() != name:
                raise DatasetError(f"{folder}: expected names of classes in UTF-8, got {os.fsencode(name)!r}")
            members = [(path, header) for path in sorted(files(place)) if (header := self.look(path)) is not None]
            if members or name in found:
                found[name] = found.get(name, []) + members
            elif self.skip or self.broken:
                log.warning("left out: %s: expected pictures, got none", printable(str(place)))
            else:
                raise DatasetError(f"{place}: expected {EXPECTED}, got none in this one")
        return dict(sorted(found.items()))

    def look(self, path: Path) -> Header | None:
        """Reads the header of a picture; returns None for a file that is left out."""
        if path.suffix.lower() not in SUFFIXES:
            self.left_out[path.suffix.lower() or "without a suffix"] += 1
            return None
        self.bar.update()
        try:
            if not path.is_file():
                raise ImageError(f"{path}: expected a file, got a dangling link, a pipe or a device")
            header = read_header(path, max_pixels=self.max_pixels)
            if self.skip:
                read_image(path, max_pixels=self.max_pixels, white=65_535)
        except (OSError, ValueError) as error:
            self.broken.append(str(error))
            return None
        self.highest = max(self.highest, header.highest or 0)
        return header

    def report(self) -> None:
        """Logs which files were left out.

        Raises:
            DatasetError: There are broken files, and they are not to be skipped.
        """
        if self.broken and not self.skip:
            raise DatasetError(
                f"{self.folder}: expected pictures that can be read, got {len(self.broken)} that cannot, the first: "
                f'{self.broken[0]}; on_error="skip" leaves them out'
            )
        folder = printable(str(self.folder))
        for problem in self.broken:
            log.warning("left out: %s", printable(problem))
        if self.broken:
            log.warning("%s: left out %d files that cannot be read", folder, len(self.broken))
        if self.left_out:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in self.left_out.most_common())
            log.warning(
                "%s: left out %d files that are not pictures: %s", folder, self.left_out.total(), printable(kinds)
            )

    def white(self) -> int | None:
        """Returns the white level of 16-bit pictures, the highest of the bits they use; None if there are none."""
        if not self.highest:
            return None
        white = used_white(self.highest)
        if white < 65_535:
            bits = white.bit_length()
            message = (
                f"{self.folder}: 16-bit pictures use {bits} bits only: {white:,} is taken for white in all of them"
            )
            warnings.warn(printable(message), ImageWarning, stacklevel=3)
        return white
