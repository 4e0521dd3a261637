"""What a cache of graphs is of: written last, read first."""

import hashlib
import json
import os
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from grapheme_pyg.datasets.image_files import ImageFiles
from grapheme_pyg.datasets.labelled_images import ImageDataset, ImageSequenceDataset
from grapheme_pyg.errors import DatasetError

# Bytes that the settings of a brain may take, and those of one graph: three integers.
_SETTINGS, _GRAPH = 1 << 16, 3 * 24


@dataclass(frozen=True)
class Description:
    """What the graphs in a cache are of, and what each of them must be.

    Attributes:
        images: Fingerprint of images and labels.
        vision: Settings of the brain that made the graphs.
        num_nodes: Of each graph.
        num_edges: Of each graph.
        crc32: Of each graph.
    """

    images: str
    vision: dict[str, Any]
    num_nodes: list[int]
    num_edges: list[int]
    crc32: list[int]


def write_description(path: Path, description: Description) -> None:
    """Writes a description, which is there whole or not at all, and its CRC-32."""
    values = asdict(description)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(values | {"checksum": _checksum(values)}) + "\n")
    part.replace(path)


def read_description(path: Path, count: int) -> Description:
    """Reads a description.

    Args:
        path: The file.
        count: How many graphs there must be.

    Raises:
        DatasetError: It is damaged, or of another number of graphs, or of another format.
    """
    advice = "delete the folder to have the graphs made anew"
    longest = _SETTINGS + _GRAPH * count
    with path.open("rb") as file:
        content = file.read(longest + 1)
    if len(content) > longest:
        raise DatasetError(f"{path}: expected at most {longest} bytes for {count} graphs, got more; {advice}")
    try:
        values = json.loads(content)
        checksum = values.pop("checksum")
        description = Description(**values)
    # Of what is no JSON, nested too deeply, no object, or of other names.
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        names = ", ".join(field.name for field in fields(Description))
        raise DatasetError(
            f"{path}: expected an object with {names} and checksum, got {type(error).__name__}: {error}; {advice}"
        ) from error
    if checksum != _checksum(values):
        raise DatasetError(f"{path}: checksum: expected {_checksum(values)}, got {checksum!r}; {advice}")
    for name in ("num_nodes", "num_edges", "crc32"):
        numbers = getattr(description, name)
        if not isinstance(numbers, list) or len(numbers) != count:
            raise DatasetError(f"{path}: {name}: expected a list of {count} integers, got another; {advice}")
        if not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
            raise DatasetError(f"{path}: {name}: expected integers in [0, 2⁶³), got others; {advice}")
    return description


def _checksum(values: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(values).encode())


def fingerprint(images: ImageDataset | ImageSequenceDataset) -> str:
    """SHA-256 of labels and pixels; of files, of their names, sizes and times."""
    digest = hashlib.sha256(images.labels.numpy().tobytes())
    if isinstance(images.images, Tensor):
        digest.update(repr(tuple(images.images.shape)).encode())
        digest.update(images.images.contiguous().numpy().tobytes())
    elif isinstance(images.images, ImageFiles):
        digest.update(str(images.images.in_channels).encode())
        for path in images.images.paths:
            known = path.stat()
            # A name need not be UTF-8.
            digest.update(os.fsencode(path) + f"\n{known.st_size} {known.st_mtime_ns}\n".encode())
    else:
        for image in images.images:
            digest.update(repr(tuple(image.shape)).encode())
            digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()
