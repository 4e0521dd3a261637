"""Reader for IDX files, the format MNIST and its relatives are published in."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import torch
from torch import Tensor

from grapheme_pyg.checks import as_path
from grapheme_pyg.datasets.bounded import BoundedReader, Readable, check_regular, largest_gzip
from grapheme_pyg.errors import DatasetError

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_MAX_DIMS = 8
_MAX_BYTES = 1 << 30
_CHUNK = 1 << 20


def read_idx(path: str | Path, sha256: str | None = None) -> Tensor:
    """Read an IDX file of unsigned bytes, gzipped or not.

    The format is described with MNIST (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"). Whether
    the file is gzipped is told from its first bytes, not from its name. Of a plain file the header is compared with
    the file's length before anything else is read; of a gzipped one no more is unpacked than the header promises and
    one byte, and no more is read than that much can take. A header that promises more than 1 GiB is refused.

    Args:
        path: The file.
        sha256: SHA-256 (hexadecimal) that the uncompressed content must have; not checked if None.

    Returns:
        A uint8 tensor with the shape that the header gives.

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
        check_shape: Called with the shape that the header gives, before any data is read; raises if it is wrong.
    """
    path = as_path("path", path)
    check_regular(path)
    with path.open("rb") as raw:
        zipped = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            return _parse(raw, path, check_shape, length=os.fstat(raw.fileno()).st_size)
        packed = BoundedReader(raw, path)
        try:
            # gzip asks of a file no more than that it can be read.
            with gzip.GzipFile(fileobj=cast(IO[bytes], packed), mode="rb") as stream:
                return _parse(stream, path, check_shape, packed=packed)
        except EOFError as error:
            raise DatasetError(f"{path}: expected a whole gzip file, but it is cut short") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DatasetError(f"{path}: expected a sound gzip file, got a damaged one ({error})") from error


def check_digest(path: str | Path, digest: str, expected: str) -> None:
    """Raise DatasetError, naming the file, unless its SHA-256 is the expected one."""
    if digest != expected.lower():
        raise DatasetError(f"{path}: expected content with SHA-256 {expected}, got {digest}")


def _parse(
    stream: Readable,
    path: Path,
    check_shape: Callable[[tuple[int, ...]], None] | None,
    *,
    length: int | None = None,
    packed: BoundedReader | None = None,
) -> tuple[Tensor, str]:
    """The array and its digest; `length` of a plain file, `packed` what is below a gzipped one."""
    magic = _read_up_to(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DatasetError(f"{path}: expected an IDX file, which starts with two zero bytes, got {magic.hex(' ')!r}")
    kind, dims = magic[2], magic[3]
    if kind != _UNSIGNED_BYTE:
        raise DatasetError(f"{path}: expected an IDX file of unsigned bytes (type 0x08), got type 0x{kind:02x}")
    if not 1 <= dims <= _MAX_DIMS:
        raise DatasetError(f"{path}: expected an IDX header with 1 to {_MAX_DIMS} dimensions, got {dims}")
    sizes = _read_up_to(stream, 4 * dims)
    if len(sizes) < 4 * dims:
        raise DatasetError(f"{path}: expected an IDX header of {4 + 4 * dims} bytes, got {4 + len(sizes)}")
    shape = struct.unpack(f">{dims}I", sizes)
    # A zero must not hide absurd sizes beside it.
    if math.prod(max(size, 1) for size in shape) > _MAX_BYTES:
        raise DatasetError(f"{path}: expected at most {_MAX_BYTES} bytes of data, but the header says {shape}")
    if check_shape is not None:
        check_shape(shape)
    count = math.prod(shape)
    if packed is not None:
        packed.limit = largest_gzip(count)
    there = None if length is None else length - 4 - 4 * dims
    # What a plain file lacks is known before it is read.
    body = _read_up_to(stream, count) if there is None or there >= count else bytearray()
    if len(body) < count:
        got = len(body) if there is None else there
        raise DatasetError(f"{path}: expected {count} bytes of data for shape {shape}, got only {got}")
    # This read past the promised end also makes gzip verify its checksum.
    if stream.read(1):
        raise DatasetError(f"{path}: expected {count} bytes of data for shape {shape}, but more follow")
    digest = hashlib.sha256(magic)
    digest.update(sizes)
    digest.update(body)
    # frombuffer refuses an empty buffer.
    flat = torch.frombuffer(body, dtype=torch.uint8) if count else torch.empty(0, dtype=torch.uint8)
    return flat.reshape(shape), digest.hexdigest()


def _read_up_to(stream: Readable, count: int) -> bytearray:
    # In pieces, so that a lying header costs no memory that the file does not fill.
    data = bytearray()
    while len(data) < count:
        piece = stream.read(min(_CHUNK, count - len(data)))
        if not piece:
            break
        data += piece
    return data
