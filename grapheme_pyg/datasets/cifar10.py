"""CIFAR-10, from its binary version, since the Python version would have to be unpickled."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import torch

from grapheme_pyg.datasets.catalog import ImageData, Split, register_dataset
from grapheme_pyg.datasets.download import cached_archive
from grapheme_pyg.datasets.local_files import data_folder, read_at_most, refusing_unreadable, unpacked
from grapheme_pyg.errors import DatasetError

ARCHIVE = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
ARCHIVE_BYTES = 170_052_171
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
NAMES = (*TRAIN, *TEST)
PER_FILE = 10_000
SIDE = 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# Most bytes of the unpacked archive besides the images.
SURPLUS = 1 << 20
# Bytes of an image: the label, then the red, green and blue pixels, row by row.
RECORD = 1 + 3 * SIDE * SIDE


def load_cifar10(data_dir: str | Path | None = None) -> ImageData:
    """Load CIFAR-10 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

    The binary version, as an archive or unpacked, is taken from `data_dir`; if that is None, from the folder in the
    environment variable GRAPHEME_DATA; if that is unset too, it is downloaded once (162 MiB) into
    `$XDG_CACHE_HOME/grapheme_pyg` (by default `~/.cache/grapheme_pyg`), and its checksum is verified each time it is
    loaded. From an archive, at most 1 MiB more than CIFAR-10's images is unpacked.

    Args:
        data_dir: Folder with `cifar-10-binary.tar.gz` or with the six `.bin` files, directly or in a sub-folder
            `cifar10` or `cifar-10-batches-bin`. Nothing is downloaded if it is given.

    Returns:
        The 50,000 training and 10,000 test images: uint8 [N, 3, 32, 32], with int64 labels [N].

    Raises:
        FileNotFoundError: If `data_dir` (or GRAPHEME_DATA) lacks the files.
        DatasetError: If a file is invalid; the message names it.
        DownloadError: If the archive has to be downloaded and cannot be.
    """
    folder = data_folder(data_dir)
    if folder is None:
        parts = _unpack(cached_archive(URL, "cifar10", sha256=SHA256, max_bytes=ARCHIVE_BYTES))
    else:
        with refusing_unreadable(folder):
            place = _find(folder)
            parts = _read(place) if place.is_dir() else _unpack(place)
    train, test = (
        Split(torch.cat([parts[name].images for name in names]), torch.cat([parts[name].labels for name in names]))
        for names in (TRAIN, TEST)
    )
    return ImageData("cifar10", train, test, CLASSES)


def read_cifar(content: bytes, name: str, count: int | None = None) -> Split:
    """Read a file of CIFAR-10's binary version.

    Args:
        content: The bytes of the file.
        name: The file's name, for messages.
        count: The number of images that it must have; any number if None.

    Returns:
        Images uint8 [N, 3, 32, 32] and labels int64 [N].

    Raises:
        DatasetError: If the content is not a sequence of whole images, or has another number of images or a label
            above 9.
    """
    _check_size(len(content), name, count)
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    labels = torch.from_numpy(records[:, 0].astype(np.int64))
    if int(labels.max()) >= len(CLASSES):
        raise DatasetError(f"{name}: expected labels in 0…{len(CLASSES) - 1}, got {int(labels.max())}")
    return Split(torch.from_numpy(records[:, 1:].reshape(-1, 3, SIDE, SIDE).copy()), labels)


def _find(folder: Path) -> Path:
    """Find the archive or the folder with its files."""
    for base in (folder, folder / "cifar10"):
        for place in (base, base / FOLDER):
            if all((place / name).is_file() for name in NAMES):
                return place
        if (base / ARCHIVE).is_file():
            return base / ARCHIVE
    raise FileNotFoundError(f"{folder}: expected {ARCHIVE}, or {', '.join(NAMES)}, in it or in cifar10 within it")


def _check_size(size: int, name: str, count: int | None) -> None:
    """Refuse a file of another size, in bytes."""
    if not size or size % RECORD or (count is not None and size != count * RECORD):
        expected = f"{count:,} images of {RECORD} bytes" if count else f"images of {RECORD} bytes each"
        raise DatasetError(f"{name}: expected {expected}, got {size:,} bytes")


def _read(folder: Path) -> dict[str, Split]:
    """Read the images of each file."""
    parts = {}
    for name in NAMES:
        label = f"{folder}: {name}"
        with (folder / name).open("rb") as file:
            _check_size(os.fstat(file.fileno()).st_size, label, PER_FILE)
            # A file that grows while it is read is refused, too.
            parts[name] = read_cifar(file.read(PER_FILE * RECORD + 1), label, PER_FILE)
    return parts


def _unpack(archive: Path) -> dict[str, Split]:
    """Read the images of each file in an archive; nothing is written, so names in the archive can do no harm."""
    with unpacked(archive) as stream:
        content = read_at_most(stream, len(NAMES) * PER_FILE * RECORD + SURPLUS, archive)
    parts: dict[str, Split] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for member in tar:
                name = member.name.removeprefix(f"{FOLDER}/")
                if name == member.name or name not in NAMES or name in parts:
                    continue
                label = f"{archive}: {name}"
                file = tar.extractfile(member) if member.isreg() and not member.issparse() else None
                if file is None:
                    raise DatasetError(f"{label}: expected a regular file, got a member of type {member.type!r}")
                parts[name] = read_cifar(file.read(), label, PER_FILE)
    except (DatasetError, MemoryError):
        raise
    # For broken archives tarfile raises TarError, OSError, RecursionError, UnicodeDecodeError and others.
    except Exception as error:
        raise DatasetError(f"{archive}: expected CIFAR-10's archive, got {type(error).__name__}: {error}") from error
    missing = [name for name in NAMES if name not in parts]
    if missing:
        raise DatasetError(f"{archive}: expected CIFAR-10's archive, got one without {', '.join(missing)}")
    return parts


register_dataset("cifar10", load_cifar10)
