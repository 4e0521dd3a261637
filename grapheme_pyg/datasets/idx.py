"""IDX, the file format of MNIST and its relatives: single files and folders of files."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.catalog import ImageData, Split
from grapheme_pyg.datasets.local_files import read_up_to, refusing_unreadable, unpacked
from grapheme_pyg.datasets.mnist_specs import EMNIST
from grapheme_pyg.errors import DatasetError

if TYPE_CHECKING:
    from typing import BinaryIO

_UNSIGNED_BYTE = 0x08
_MAX_DIMS = 8
_MAX_BYTES = 1 << 30
# The contents of the four files of a data set, and the pattern of their names.
_PARTS = ("training images", "training labels", "test images", "test labels")
_NAME = re.compile(r"(?!\.).*(train|t10k|test).*(images.*[-.]idx3|labels.*[-.]idx1)-ubyte", re.IGNORECASE)


def read_idx(path: str | Path, sha256: str | None = None) -> Tensor:
    """Read an IDX file of unsigned bytes, gzipped or not.

    The format is described with MNIST (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"). A gzipped
    file is recognised by its first bytes, not by its name. At most one byte more than the header promises is unpacked;
    a header that promises more than 1 GiB is refused.

    Args:
        path: The file.
        sha256: SHA-256 (hexadecimal) that the uncompressed content must have; not checked if None.

    Returns:
        A uint8 tensor with the shape in the header.

    Raises:
        DatasetError: If the content is not exactly one well-formed IDX array of unsigned bytes, or does not
            have the given SHA-256, or the file is a pipe or a device.
        OSError: If the file cannot be opened or read.
    """
    tensor, digest = read_idx_and_digest(path)
    if sha256 is not None:
        check_digest(path, digest, sha256)
    return tensor


def read_idx_and_digest(
    path: str | Path, check_shape: Callable[[tuple[int, ...]], None] | None = None
) -> tuple[Tensor, str]:
    """Like `read_idx`, but also return the SHA-256 of the uncompressed content.

    Args:
        path: The file.
        check_shape: A function that is called with the shape in the header before any data is read, and raises an error
            if the shape is wrong.
    """
    path = as_path("path", path)
    with unpacked(path) as stream:
        header, shape = _read_header(stream, path)
        if check_shape is not None:
            check_shape(shape)
        count = math.prod(shape)
        body = read_up_to(stream, count)
        if len(body) < count:
            raise DatasetError(f"{path}: expected {count} bytes of data for shape {shape}, got only {len(body)}")
        # Reading past the promised end also makes gzip verify its checksum.
        if stream.read(1):
            raise DatasetError(f"{path}: expected {count} bytes of data for shape {shape}, but more follow")
    digest = hashlib.sha256(header)
    digest.update(body)
    # frombuffer refuses an empty buffer.
    flat = torch.frombuffer(body, dtype=torch.uint8) if count else torch.empty(0, dtype=torch.uint8)
    return flat.reshape(shape), digest.hexdigest()


def check_digest(path: str | Path, digest: str, expected: str) -> None:
    """Raise DatasetError, naming the file, unless its SHA-256 is the expected one."""
    if digest != expected.lower():
        raise DatasetError(f"{path}: expected content with SHA-256 {expected}, got {digest}")


def _read_header(stream: BinaryIO, path: Path) -> tuple[bytes, tuple[int, ...]]:
    """Read a header; return its bytes and the shape in it."""
    magic = bytes(read_up_to(stream, 4))
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DatasetError(f"{path}: expected an IDX file, which starts with two zero bytes, got {magic.hex(' ')!r}")
    kind, dims = magic[2:]
    if kind != _UNSIGNED_BYTE:
        raise DatasetError(f"{path}: expected an IDX file of unsigned bytes (type 0x08), got type 0x{kind:02x}")
    if not 1 <= dims <= _MAX_DIMS:
        raise DatasetError(f"{path}: expected an IDX header with 1 to {_MAX_DIMS} dimensions, got {dims}")
    sizes = read_up_to(stream, 4 * dims)
    if len(sizes) < 4 * dims:
        raise DatasetError(f"{path}: expected an IDX header of {4 + 4 * dims} bytes, got {4 + len(sizes)}")
    shape = struct.unpack(f">{dims}I", sizes)
    # A size of zero must not hide absurd sizes beside it.
    if math.prod(max(size, 1) for size in shape) > _MAX_BYTES:
        raise DatasetError(f"{path}: expected at most {_MAX_BYTES} bytes of data, but the header says {shape}")
    return magic + sizes, shape


def load_idx_folder(folder: str | Path, *, transposed: bool = False) -> ImageData:
    """Load images, of any number and size, from a folder of IDX files.

    Files are found by their names: `*train*images*-idx3-ubyte` and `*train*labels*-idx1-ubyte`, and, if there are
    test images, the same with `t10k` or `test`. They may be gzipped, and have `.idx` in place of `-idx`; if a file is
    there both unpacked and gzipped, the gzipped one is ignored. The classes are the distinct labels of the training
    images, named by their numbers, or by letters if the files have the names of an EMNIST split.

    Args:
        folder: The folder; its name becomes that of the data set.
        transposed: Whether to exchange rows and columns of the images, as EMNIST's need.

    Returns:
        Training and test images uint8 [N, H, W], with int64 labels [N], which are indices into the classes. There may
        be no test images.

    Raises:
        DatasetError: If there is no folder, if a file is missing, duplicated, unreadable or invalid, or if the test
            images have a label that the training images lack.
    """
    folder = as_path("folder", folder).expanduser()
    if not folder.is_dir():
        raise DatasetError(f"{folder}: expected a folder of IDX files, but there is no folder")
    with refusing_unreadable(folder):
        found = _find_by_name(folder)
        # Test files may be missing, but only both of them.
        expected = _PARTS if any(found[2:]) else _PARTS[:2]
        for part, files in zip(expected, found, strict=False):
            if len(files) != 1:
                got = ", ".join(path.name for path in files) or "none"
                raise DatasetError(f"{folder}: expected exactly one IDX file of {part}, got {got}")
        paths = [path for files in found for path in files]
        train, *others = [_read_pair(*paths[i : i + 2]) for i in range(0, len(paths), 2)]
    # Names of labels other than their numbers.
    file = paths[1].name.lower().replace(".idx", "-idx")
    specs = [spec for spec in EMNIST if spec.files[1] in file]
    names = {label: name for spec in specs for label, name in enumerate(spec.classes, spec.first_label)}
    values, labels = train.labels.unique(return_inverse=True)
    test = Split(train.images[:0], labels[:0])
    for other in others:
        unknown = sorted({*other.labels.tolist()} - {*values.tolist()})
        if unknown:
            got = ", ".join(names.get(value, str(value)) for value in unknown)
            raise DatasetError(f"{paths[3]}: expected only classes that have training images, got also {got}")
        test = Split(other.images, torch.searchsorted(values, other.labels))
    classes = tuple(names.get(value, str(value)) for value in values.tolist())
    data = ImageData(folder.resolve().name, Split(train.images, labels), test, classes)
    return data.transposed() if transposed else data


def is_idx_folder(path: str | Path) -> bool:
    """Tell whether a path is a folder with an IDX file that `load_idx_folder` would find.

    Raises:
        DatasetError: If the folder cannot be read.
    """
    folder = Path(path).expanduser()
    with refusing_unreadable(folder):
        return folder.is_dir() and any(_find_by_name(folder))


def _find_by_name(folder: Path) -> list[list[Path]]:
    """Return the files of training images, training labels, test images and test labels."""
    found: list[list[Path]] = [[], [], [], []]
    # An unpacked file comes after its archive and replaces it.
    paths = {path.name.removesuffix(".gz"): path for path in sorted(folder.iterdir(), reverse=True) if path.is_file()}
    for name, path in sorted(paths.items()):
        match = _NAME.fullmatch(name)
        if match:
            found[2 * (match[1].lower() != "train") + match[2].lower().startswith("labels")].append(path)
    return found


def _read_pair(images_path: Path, labels_path: Path) -> Split:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dim() != 3 or 0 in images.shape:
        got = tuple(images.shape)
        raise DatasetError(f"{images_path}: expected images of shape (N, H, W), each at least 1, got shape {got}")
    if labels.shape != (len(images),):
        expected = f"labels of shape ({len(images)},), one for each image"
        raise DatasetError(f"{labels_path}: expected {expected}, got shape {tuple(labels.shape)}")
    return Split(images, labels.to(torch.int64))
