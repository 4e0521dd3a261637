"""CIFAR-10, from its binary version: the Python version would have to be unpickled."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import IO

import numpy as np
import torch

from grapheme_pyg.datasets.download import FOLDER_VARIABLE, cache_folder, download
from grapheme_pyg.datasets.image_data import ImageData, Split

ARCHIVE = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FOLDER = "cifar-10-batches-bin"
TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST = ("test_batch.bin",)
PER_FILE = 10_000
SIDE = 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
# A label, then the red, the green and the blue pixels, row by row.
RECORD = 1 + 3 * SIDE * SIDE


def load_cifar10(data_dir: str | Path | None = None) -> ImageData:
    """Load CIFAR-10 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

    The binary version, as an archive or unpacked, is taken from `data_dir`; if that is None, from the folder in the
    environment variable GRAPHEME_DATA; if that is unset too, it is downloaded once (162 MiB) into
    `$XDG_CACHE_HOME/grapheme_pyg` (by default `~/.cache/grapheme_pyg`) and its checksum compared.

    Args:
        data_dir: Folder with `cifar-10-binary.tar.gz` or with the six `.bin` files, directly or in a sub-folder
            `cifar10` or `cifar-10-batches-bin`. Nothing is downloaded if it is given.

    Returns:
        The 50,000 training and 10,000 test images: uint8 [N, 3, 32, 32], with int64 labels [N].

    Raises:
        FileNotFoundError: If `data_dir` (or GRAPHEME_DATA) lacks the files.
        ValueError: If a file is not what it should be; the message names it.
        DownloadError: If the archive has to be downloaded and cannot be.
    """
    given = data_dir if data_dir is not None else os.environ.get(FOLDER_VARIABLE) or None
    if given is None:
        place = cache_folder() / "cifar10" / ARCHIVE
        if not place.exists():
            download([URL], place, verify=_verify)
    else:
        place = _find(Path(given).expanduser())
    files = _read(place) if place.is_dir() else _unpack(place)
    parts = {name: read_cifar(files[name], f"{place}: {name}", PER_FILE) for name in files}
    train, test = (
        Split(torch.cat([parts[name].images for name in names]), torch.cat([parts[name].labels for name in names]))
        for names in (TRAIN, TEST)
    )
    return ImageData("cifar10", train, test, CLASSES)


def read_cifar(content: bytes, name: str, count: int | None = None) -> Split:
    """Read a file of CIFAR-10's binary version.

    Args:
        content: Of the file.
        name: Of the file, for messages.
        count: How many images it must have; any number if None.

    Returns:
        Images uint8 [N, 3, 32, 32] and labels int64 [N].

    Raises:
        ValueError: If it is not made of whole images, or has another number of them, or a label above 9.
    """
    if not content or len(content) % RECORD or (count is not None and len(content) != count * RECORD):
        expected = f"{count:,} images of {RECORD} bytes" if count else f"images of {RECORD} bytes each"
        raise ValueError(f"{name}: expected {expected}, got {len(content):,} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    labels = torch.from_numpy(records[:, 0].astype(np.int64))
    if int(labels.max()) >= len(CLASSES):
        raise ValueError(f"{name}: expected labels in 0…{len(CLASSES) - 1}, got {int(labels.max())}")
    return Split(torch.from_numpy(records[:, 1:].reshape(-1, 3, SIDE, SIDE).copy()), labels)


def _find(folder: Path) -> Path:
    """The archive, or the folder with all its files."""
    for base in (folder, folder / "cifar10"):
        for place in (base, base / FOLDER):
            if all((place / name).is_file() for name in (*TRAIN, *TEST)):
                return place
        if (base / ARCHIVE).is_file():
            return base / ARCHIVE
    raise FileNotFoundError(f"{folder}: expected {ARCHIVE}, or {', '.join((*TRAIN, *TEST))}, there or in cifar10")


def _verify(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise ValueError(f"{path}: expected an archive with SHA-256 {SHA256}, got {digest}")


def _read(folder: Path) -> dict[str, bytes]:
    """The files' contents."""
    return {name: (folder / name).read_bytes() for name in (*TRAIN, *TEST)}


def _unpack(archive: Path) -> dict[str, bytes]:
    """The files' contents; nothing is written, so that names in the archive are of no consequence."""
    contents = {}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for name in (*TRAIN, *TEST):
                member: IO[bytes] | None = tar.extractfile(f"{FOLDER}/{name}")
                assert member is not None
                contents[name] = member.read(PER_FILE * RECORD + 1)
    except (KeyError, AssertionError, EOFError, OSError, tarfile.TarError) as error:
        raise ValueError(f"{archive}: expected CIFAR-10's archive, got {type(error).__name__}: {error}") from error
    return contents
