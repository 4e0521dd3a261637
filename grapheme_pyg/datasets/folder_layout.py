"""The layout of folders of pictures: split into parts or not, nested, with files of operating systems among them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from grapheme_pyg.datasets.image_reading import SUFFIXES
from grapheme_pyg.errors import DatasetError
from grapheme_pyg.labels import canonical
from grapheme_pyg.names import printable

log = logging.getLogger(__name__)

# Folders and files that operating systems leave among pictures. Hidden ones are ignored, too.
OF_SYSTEMS = frozenset(["__macosx", "@eadir", "#recycle", "lost+found", "$recycle.bin", "thumbs.db", "desktop.ini"]) | {
    "system volume information"
}
# Words in the names of the parts of a data set, such as "train" and "seg_test".
SPLITS = {"train": "training", "training": "training"} | dict.fromkeys(
    ("test", "testing", "eval", "evaluation"), "test"
)
SPLITS |= dict.fromkeys(("val", "valid", "validation", "dev"), "validation")


def find_pictures(folder: Path) -> list[Path]:
    """Returns the pictures below a folder, sorted, without hidden ones; links to folders are not followed.

    Raises:
        OSError: A folder cannot be read.
    """
    return sorted(path for path in files(folder) if path.suffix.lower() in SUFFIXES)


def find_splits(folder: Path) -> dict[str, Path]:
    """Returns the folder of each part of a data set; ``{"training": folder}`` if it is not split into parts.

    A folder that holds nothing but one folder of folders, as archives often do, is skipped.

    Raises:
        DatasetError: Two folders are named like the same part.
    """
    folder, given = _unwrapped(folder), folder
    if folder != given:
        log.warning("%s: the folders in %s are taken for classes", printable(str(given)), printable(folder.name))
    places = sorted(place for place in entries(folder) if place.is_dir() and _has_pictures(place))
    classes = {place: _classes_in(place) | _classes_in(_unwrapped(place)) for place in places}
    parts: dict[str, list[Path]] = {}
    for place in places:
        words = {SPLITS[word] for word in re.split(r"[^a-z]+", place.name.casefold()) if word in SPLITS}
        if len(words) == 1 and classes[place]:
            parts.setdefault(words.pop(), []).append(place)
    others = [place for place in places if not any(place in some for some in parts.values())]
    known = set().union(*(classes[place] for place in parts.get("training", [])))
    in_common = any(known & classes[place] for part, some in parts.items() if part != "training" for place in some)
    if "training" in parts and (in_common or not others):
        for part, some in parts.items():
            if len(some) > 1:
                names = [place.name for place in some]
                raise DatasetError(f"{folder}: expected one folder for {part}, got {names}")
        for place in others:
            left_out = printable(str(place))
            log.warning("left out: %s: expected folders of classes in it, or a name like train or test", left_out)
        inside = {part: _unwrapped(some[0]) for part, some in parts.items()}
        known = _classes_in(inside["training"])
        # A part with a single class looks like a folder to skip.
        return {part: some[0] if _classes_in(some[0]) <= known else inside[part] for part, some in parts.items()}
    shared = set.intersection(*(classes[place] for place in places)) if len(places) > 1 else set()
    if len(shared) > 1:
        several = ", ".join(repr(place.name) for place in places)
        log.warning(
            "%s: %s are taken for classes, though each has the folders %s; if those are the classes, pass one of the "
            "folders that hold them",
            printable(str(folder)),
            several,
            ", ".join(map(repr, sorted(shared))),
        )
    return {"training": folder}


def _unwrapped(folder: Path) -> Path:
    """Follows a chain of folders, each the only one with pictures in the one before, to the folder of classes."""
    inside = [place for place in entries(folder) if place.is_dir() and _has_pictures(place)]
    if len(inside) != 1 or _own_pictures(inside[0]) or not _classes_in(inside[0]):
        return folder
    return _unwrapped(inside[0])


def _classes_in(place: Path) -> set[str]:
    """Returns the names of the folders with pictures in a folder."""
    return {canonical(entry.name) for entry in entries(place) if entry.is_dir() and _has_pictures(entry)}


def _own_pictures(place: Path) -> bool:
    return any(entry.suffix.lower() in SUFFIXES for entry in entries(place) if not entry.is_dir())


def _has_pictures(place: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in files(place))


def entries(folder: Path) -> Iterator[Path]:
    """Iterates over a folder in no order, without hidden files and those of operating systems."""
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    return (path for path in paths if path.name.casefold() not in OF_SYSTEMS)


def files(place: Path) -> Iterator[Path]:
    """Iterates over the files below a folder, in no order."""
    folders = [place]
    while folders:
        for path in entries(folders.pop()):
            if not path.is_dir():
                yield path
            # A link may lead to a folder above.
            elif not path.is_symlink():
                folders.append(path)
