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
from grapheme_pyg.datasets.download import check_archive, download
from grapheme_pyg.datasets.folder_layout import find_pictures
from grapheme_pyg.datasets.image_reading import open_image
from grapheme_pyg.datasets.local_files import cache_folder, check_regular, data_folder, refusing_unreadable
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
        alphabet: int64 ``[N]``, the alphabet of each drawing, an index into ``alphabets``.
        person: int64 ``[N]``, the number of who drew it; the same number is another person in another alphabet.
    """

    alphabets: tuple[str, ...]
    alphabet: Tensor
    person: Tensor


def load_omniglot(data_dir: str | Path | None = None, *, verbose: bool = True) -> Omniglot:
    """Load Omniglot's background set: 964 characters of 30 alphabets, each drawn by 20 people.

    B. Lake, R. Salakhutdinov, J. Tenenbaum, "Human-level concept learning through probabilistic program induction",
    Science 350, 2015. The archive, or what is in it, is taken from `data_dir`; if that is None, from the folder in the
    environment variable GRAPHEME_DATA; if that is unset too, it is downloaded once (8 MiB) into
    `$XDG_CACHE_HOME/grapheme_pyg` (by default `~/.cache/grapheme_pyg`) and its checksum compared, also when it is
    loaded again.

    Args:
        data_dir: Folder with `images_background.zip` or the folder `images_background`, directly or in a sub-folder
            `omniglot`. Nothing is downloaded if it is given.
        verbose: Whether to show a progress bar, in a terminal.

    Returns:
        As :func:`read_omniglot`.

    Raises:
        FileNotFoundError: If `data_dir` (or GRAPHEME_DATA) lacks the files.
        DatasetError: If a file is not what it should be; the message names it.
        DownloadError: If the archive has to be downloaded and cannot be.
    """
    folder = data_folder(data_dir)
    if folder is not None:
        for base in (folder, folder / "omniglot"):
            for place in (base / FOLDER, base / ARCHIVE):
                if place.is_dir() if place.name == FOLDER else place.is_file():
                    return read_omniglot(place, verbose=verbose)
        raise FileNotFoundError(f"{folder}: expected {ARCHIVE} or the folder {FOLDER}, there or in omniglot")
    place = cache_folder() / "omniglot" / ARCHIVE
    if place.exists():
        try:
            _verify(place)
        except DatasetError as error:
            raise DatasetError(f"{error}; delete the file to have it downloaded again") from error
    else:
        download([URL], place, verify=_verify, max_bytes=ARCHIVE_BYTES)
    return read_omniglot(place, verbose=verbose)


def read_omniglot(path: str | Path, *, verbose: bool = True) -> Omniglot:
    """Read drawings in Omniglot's layout: the background set, the evaluation set, or others of one's own.

    Args:
        path: A folder or a zip file in which, at any depth, `<alphabet>/character<nn>/<drawing>_<person>.png` are
            drawings of 105×105 pixels, dark on white. Other files are left out; nothing is unpacked to files.
        verbose: Whether to show a progress bar, in a terminal.

    Returns:
        All drawings as training images, sorted by class and file name: uint8 [N, 105, 105], with 0 for the paper and
        255 for ink; int64 labels [N]; classes `<alphabet>/character<nn>`.

    Raises:
        FileNotFoundError: There is no such folder or file.
        DatasetError: There are no drawings in it, or more than 40,000; one is broken, of another size, larger than
            16 KiB or there twice; a name cannot be that of a class; or the file is no zip file, or larger than 16 MiB.
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


def _verify(path: Path) -> None:
    check_archive(path, SHA256)


def _files_in_folder(folder: Path) -> Iterator[tuple[re.Match[str], bytes]]:
    """Names and contents of the drawings below a folder, whose own name may be that of an alphabet."""
    for path in find_pictures(folder):
        name = (folder.absolute().name / path.relative_to(folder)).as_posix()
        if match := _NAME.fullmatch(name):
            check_regular(path, DatasetError)
            with path.open("rb") as file:
                yield match, file.read(MAX_FILE + 1)


def _files_in_archive(path: Path) -> Iterator[tuple[re.Match[str], bytes]]:
    """Names and contents of the drawings in a zip file."""
    check_regular(path, DatasetError)
    if (size := path.stat().st_size) > MAX_ARCHIVE:
        raise DatasetError(f"{path}: expected at most {MAX_ARCHIVE:,} bytes, got {size:,}")
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if (match := _NAME.fullmatch(member.filename)) is None:
                    continue
                # Those alone are unpacked a piece at a time.
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    expected = "a member that is stored or deflated"
                    raise DatasetError(f"{path}: {member.filename}: expected {expected}, got {member.compress_type}")
                with archive.open(member) as file:
                    yield match, file.read(MAX_FILE + 1)
    except (DatasetError, FileNotFoundError, MemoryError):
        raise
    # For broken archives zipfile raises BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error and others,
    # which have no other base in common.
    except Exception as error:
        raise DatasetError(f"{path}: expected a zip file of drawings, got {type(error).__name__}: {error}") from error


def _read(content: bytes, label: str) -> Tensor:
    """A drawing, uint8 ``[105, 105]``, with light ink."""
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
