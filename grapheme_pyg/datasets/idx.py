"""Reader for IDX files, the format MNIST and its relatives are published in."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_MAX_DIMS = 8
_MAX_BYTES = 1 << 30
_CHUNK = 1 << 20


def read_idx(path: str | Path, sha256: str | None = None) -> Tensor:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Whether the file is gzipped is told from its first bytes, not from its name. Nothing is decompressed
    beyond what the header promises, and a header that promises more than 1 GiB is refused.

    Args:
        path: The file.
        sha256: SHA-256 (hexadecimal) that the uncompressed content must have; not checked if None.

    Returns:
        A uint8 tensor with the shape that the header gives.

    Raises:
        ValueError: If the content is not exactly one well-formed IDX array of unsigned bytes, or does not
            have the given SHA-256.
        OSError: If the file cannot be opened or read.
    """
    tensor, digest = read_idx_and_digest(path)
    if sha256 is not None:
        check_digest(path, digest, sha256)
    return tensor


def read_idx_and_digest(path: str | Path) -> tuple[Tensor, str]:
    """Like `read_idx`, but also return the SHA-256 of the uncompressed content."""
    with Path(path).open("rb") as raw:
        zipped = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not zipped:
            return _parse(raw, path)
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                return _parse(stream, path)
        except EOFError as error:
            raise ValueError(f"{path}: expected a whole gzip file, but it is cut short") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path}: expected a sound gzip file, got a damaged one ({error})") from error


def check_digest(path: str | Path, digest: str, expected: str) -> None:
    """Raise ValueError, naming the file, unless its SHA-256 is the expected one."""
    if digest != expected.lower():
        raise ValueError(f"{path}: expected content with SHA-256 {expected}, got {digest}")


def _parse(stream: IO[bytes] | gzip.GzipFile, path: str | Path) -> tuple[Tensor, str]:
    magic = _read_up_to(stream, 4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"{path}: expected an IDX file, which starts with two zero bytes, got {magic.hex(' ')!r}")
    kind, dims = magic[2], magic[3]
    if kind != _UNSIGNED_BYTE:
        raise ValueError(f"{path}: expected an IDX file of unsigned bytes (type 0x08), got type 0x{kind:02x}")
    if not 1 <= dims <= _MAX_DIMS:
        raise ValueError(f"{path}: expected an IDX header with 1 to {_MAX_DIMS} dimensions, got {dims}")
    sizes = _read_up_to(stream, 4 * dims)
    if len(sizes) < 4 * dims:
        raise ValueError(f"{path}: expected an IDX header of {4 + 4 * dims} bytes, got {4 + len(sizes)}")
    shape = struct.unpack(f">{dims}I", sizes)
    # A zero must not hide absurd sizes beside it.
    if math.prod(max(size, 1) for size in shape) > _MAX_BYTES:
        raise ValueError(f"{path}: expected at most {_MAX_BYTES} bytes of data, but the header says {shape}")
    count = math.prod(shape)
    body = _read_up_to(stream, count)
    if len(body) < count:
        raise ValueError(f"{path}: expected {count} bytes of data for shape {shape}, got only {len(body)}")
    # This read past the promised end also makes gzip verify its checksum.
    if stream.read(1):
        raise ValueError(f"{path}: expected {count} bytes of data for shape {shape}, but more follow")
    digest = hashlib.sha256(magic)
    digest.update(sizes)
    digest.update(body)
    # frombuffer refuses an empty buffer.
    flat = torch.frombuffer(body, dtype=torch.uint8) if count else torch.empty(0, dtype=torch.uint8)
    return flat.reshape(shape), digest.hexdigest()


def _read_up_to(stream: IO[bytes] | gzip.GzipFile, count: int) -> bytearray:
    # In pieces, so that a lying header costs no memory that the file does not fill.
    data = bytearray()
    while len(data) < count:
        piece = stream.read(min(_CHUNK, count - len(data)))
        if not piece:
            break
        data += piece
    return data
