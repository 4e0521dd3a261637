"""Guards of reading: no more than something honest would hold, nothing that never ends, one kind of error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from grapheme_pyg.errors import DatasetError

# What a compressed or packed file may hold beside its data: headers, names, checksums.
SURPLUS = 1 << 20


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


class BoundedReader:
    """A stream of bytes that has at most so many of them.

    Args:
        stream: The bytes.
        path: The file they come from, for messages.
        limit: How many there may be.

    Attributes:
        limit: May be raised when more becomes known about the file.

    Raises:
        DatasetError: There are more, which is noticed by the first one beyond.
    """

    def __init__(self, stream: Readable, path: str | Path, limit: int = SURPLUS) -> None:
        self._stream, self._path, self.limit = stream, path, limit
        self._count = 0

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes; all that are allowed if negative."""
        room = self.limit - self._count + 1
        piece = self._stream.read(room if size < 0 else min(size, room))
        self._count += len(piece)
        if self._count > self.limit:
            raise DatasetError(f"{self._path}: expected at most {self.limit} bytes for what it holds, but more follow")
        return piece


def largest_gzip(size: int) -> int:
    """How long the gzip file of so many bytes may be: deflate adds less than 1 % to what it cannot compress."""
    return size + size // 100 + SURPLUS


def check_regular(path: Path) -> None:
    """Refuses pipes and devices, which might be waited for forever, before they are opened.

    Raises:
        DatasetError: It is one.
        OSError: It does not exist or may not be looked at.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DatasetError(f"{path}: expected a regular file, got a pipe, a socket or a device")


@contextmanager
def refusing_unreadable(folder: str | Path) -> Iterator[None]:
    """Files that are there and cannot be read are as bad as broken ones; those that are missing stay what they are.

    Args:
        folder: Where they are, for messages.

    Raises:
        DatasetError: A file or folder cannot be read.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: expected to be able to read it, got {error}") from error
