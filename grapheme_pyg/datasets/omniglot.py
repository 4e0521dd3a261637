"""Omniglot: handwritten characters of many alphabets, each drawn by twenty people."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.catalog import ImageData, Split, register_dataset
from grapheme_pyg.datasets.download import cached_archive
from grapheme_pyg.datasets.folder_layout import find_pictures
from grapheme_pyg.datasets.image_reading import open_image
from grapheme_pyg.datasets.local_files import check_regular, data_folder, refusing_unreadable
from grapheme_pyg.errors import DatasetError
from grapheme_pyg.labels import to_names
from grapheme_pyg.progress_bar import progress_bar
from grapheme_pyg.vision.pil_images import decoding, from_pil
from grapheme_pyg.vision.pixels import to_pixels

FOLDER = "images_background"
ARCHIVE = f"{FOLDER}.zip"
URL = f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{ARCHIVE}"
ARCHIVE_BYTES = 8_394_302
SHA256 = "db5e0a6ccfb8f72974a3688ac1b2a8f73b8170a90fa63d15ed991a559f947a41"
SIDE = 105
LAYOUT = "<alphabet>/character<nn>/<drawing>_<person>.png"
_NAME = re.compile(r"(?:.*/)?([^/]+)/(character\d{1,4})/(\d{1,6}_(\d{1,4})\.png)", re.DOTALL)
# The largest archive of the set has 8 MiB, the largest drawing 486 bytes, and both parts together 32,460 drawings.
MAX_ARCHIVE, MAX_FILE, MAX_DRAWINGS = 1 << 24, 1 << 14, 40_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Omniglot(ImageData):
    """Drawings of characters, all of them in ``train``, with their alphabets and who drew them.

    Attributes:
        alphabets: Names of the alphabets, sorted.
        alphabet: int64 ``[N]``, the alphabet of each drawing, as an index into ``alphabets``.
        person: int64 ``[N]``, the number of the person who drew it, which is specific to the alphabet.
    """

    alphabets: tuple[str, ...]
    alphabet: Tensor
    person: Tensor


def load_omniglot(data_dir: str | Path | None = None, *, verbose: bool = True) -> Omniglot:
    """Load Omniglot's background set: 964 characters of 30 alphabets, each drawn by 20 people.

    B. Lake, R. Salakhutdinov, J. Tenenbaum, "Human-level concept learning through probabilistic program induction",
    Science 350, 2015. The archive, or the unpacked folder, is taken from `data_dir`; if that is None, from the folder
    in the environment variable GRAPHEME_DATA; if that is unset too, it is downloaded once (8 MiB) into
    `$XDG_CACHE_HOME/grapheme_pyg` (by default `~/.cache/grapheme_pyg`), and its checksum is verified each time it is
    loaded.

    Args:
        data_dir: Folder with `images_background.zip` or the folder `images_background`, directly or in a sub-folder
            `omniglot`. Nothing is downloaded if it is given.
        verbose: Whether to show a progress bar in a terminal.

    Returns:
        The drawings in the form of :func:`read_omniglot`.

    Raises:
        FileNotFoundError: If `data_dir` (or GRAPHEME_DATA) lacks the files.
        DatasetError: If a file is invalid; the message names it.
        DownloadError: If the archive has to be downloaded and cannot be.
    """
    folder = data_folder(data_dir)
    if folder is not None:
        for base in (folder, folder / "omniglot"):
            for place in (base / FOLDER, base / ARCHIVE):
                if place.is_dir() if place.name == FOLDER else place.is_file():
                    return read_omniglot(place, verbose=verbose)
        raise FileNotFoundError(f"{folder}: expected {ARCHIVE} or the folder {FOLDER}, in it or in omniglot within it")
    return read_omniglot(cached_archive(URL, "omniglot", sha256=SHA256, max_bytes=ARCHIVE_BYTES), verbose=verbose)


def read_omniglot(path: str | Path, *, verbose: bool = True) -> Omniglot:
    """Read drawings in Omniglot's layout: the background set, the evaluation set, or your own.

    Args:
        path: A folder or a zip file that holds, at any depth, `<alphabet>/character<nn>/<drawing>_<person>.png`:
            drawings of 105×105 pixels, dark on white. Other files are ignored; nothing is unpacked to disk.
        verbose: Whether to show a progress bar in a terminal.

    Returns:
        All drawings as training images, sorted by class and file name: uint8 [N, 105, 105], with 0 for paper and 255
        for ink; int64 labels [N]; classes `<alphabet>/character<nn>`.

    Raises:
        FileNotFoundError: If there is no such folder or file.
        DatasetError: If there are no drawings, or more than 40,000; if a drawing is broken, of another size, larger
            than 16 KiB or duplicated; if a name cannot be that of a class; or if the file is not a zip file or is
            larger than 16 MiB.
    """
    path = as_path("path", path).expanduser()
    found: dict[tuple[str, str, str], tuple[int, Tensor]] = {}
    with refusing_unreadable(path), progress_bar(None, "drawings", verbose=verbose) as bar:
        for name, content in _files_in_folder(path) if path.is_dir() else _files_in_archive(path):
            alphabet, character, file, person = name.groups()
            label = f"{path}: {name.string}"
            if (key := (alphabet, character, file)) in found:
                raise DatasetError(f"{label}: expected one drawing {alphabet}/{character}/{file}, got two")
            found[key] = int(person), _read(content, label)
            bar.update()
            if len(found) > MAX_DRAWINGS:
                raise DatasetError(f"{path}: expected at most {MAX_DRAWINGS:,} drawings, got more")
    if not found:
        raise DatasetError(f"{path}: expected drawings {LAYOUT}, got none")
    keys = sorted(found)
    alphabets = tuple(sorted({alphabet for alphabet, _, _ in keys}))
    classes = tuple(sorted({f"{alphabet}/{character}" for alphabet, character, _ in keys}))
    try:
        to_names(classes)
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from error
    numbers, letters = ({name: i for i, name in enumerate(names)} for names in (classes, alphabets))
    labels = torch.tensor([numbers[f"{alphabet}/{character}"] for alphabet, character, _ in keys])
    images = torch.stack([found[key][1] for key in keys])
    return Omniglot(
        "omniglot",
        Split(images, labels),
        Split(images[:0], labels[:0]),
        classes,
        alphabets=alphabets,
        alphabet=torch.tensor([letters[alphabet] for alphabet, _, _ in keys]),
        person=torch.tensor([found[key][0] for key in keys]),
    )


def _files_in_folder(folder: Path) -> Iterator[tuple[re.Match[str], bytes]]:
    """Iterate over names and contents of the drawings in a folder, whose own name may be that of an alphabet."""
    for path in find_pictures(folder):
        name = (folder.absolute().name / path.relative_to(folder)).as_posix()
        if match := _NAME.fullmatch(name):
            check_regular(path, DatasetError)
            with path.open("rb") as file:
                yield match, file.read(MAX_FILE + 1)


def _files_in_archive(path: Path) -> Iterator[tuple[re.Match[str], bytes]]:
    """Iterate over names and contents of the drawings in a zip file."""
    check_regular(path, DatasetError)
    if (size := path.stat().st_size) > MAX_ARCHIVE:
        raise DatasetError(f"{path}: expected at most {MAX_ARCHIVE:,} bytes, got {size:,}")
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if (match := _NAME.fullmatch(member.filename)) is None:
                    continue
                # Only these are unpacked piece by piece.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    expected = "a member that is stored or deflated"
                    raise DatasetError(f"{path}: {member.filename}: expected {expected}, got {member.compress_type}")
                with archive.open(member) as file:
                    yield match, file.read(MAX_FILE + 1)
    except (DatasetError, FileNotFoundError, MemoryError):
        raise
    # For broken archives zipfile raises BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error and others.
    except Exception as error:
        raise DatasetError(f"{path}: expected a zip file of drawings, got {type(error).__name__}: {error}") from error


def _read(content: bytes, label: str) -> Tensor:
    """Decode a drawing as uint8 ``[105, 105]`` with light ink."""
    if len(content) > MAX_FILE:
        raise DatasetError(f"{label}: expected at most {MAX_FILE:,} bytes, got more")
    try:
        with decoding(label):
            opened = open_image(content, label, SIDE * SIDE)
        with opened:
            pixels = to_pixels(from_pil(opened, label), 1, name=label)[0]
    except ValueError as error:
        raise DatasetError(str(error)) from error
    if pixels.shape != (SIDE, SIDE):
        height, width = pixels.shape
        raise DatasetError(f"{label}: expected {SIDE} by {SIDE} pixels, got {height} by {width}")
    return 255 - pixels


register_dataset("omniglot", load_omniglot)
