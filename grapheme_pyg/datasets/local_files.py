"""Where the files of data sets lie, and how they are read: nothing that never ends, one kind of error."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from grapheme_pyg.checks import as_path
from grapheme_pyg.errors import DatasetError

# The environment variable that names the user's folder of data.
FOLDER_VARIABLE = "GRAPHEME_DATA"
_CHUNK = 1 << 20


def data_folder(data_dir: str | Path | None) -> Path | None:
    """Returns the folder that an argument or, if it is None, the environment names; None if neither does."""
    if data_dir is not None:
        return as_path("data_dir", data_dir).expanduser()
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder).expanduser() if folder else None


def cache_folder() -> Path:
    """Returns the folder in which downloads are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore relative paths; an unset variable is one, too.
    return (base if base.is_absolute() else Path.home() / ".cache") / "grapheme_pyg"


def check_regular(path: Path, error: type[ValueError]) -> None:
    """Refuses pipes and devices, which might be waited for forever, before they are opened."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise error(f"{path}: expected a regular file, got a pipe, a socket or a device")


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Opens a file, and unpacks it while it is read if its first bytes, not its name, say that it is gzipped.

    Raises:
        DatasetError: It is a pipe or a device, which might be waited for forever, or a damaged gzip file.
        OSError: It cannot be opened or read.
    """
    check_regular(path, DatasetError)
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not zipped:
            yield raw
            return
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                yield cast(BinaryIO, stream)
        except EOFError as error:
            raise DatasetError(f"{path}: expected a whole gzip file, but it is cut short") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DatasetError(f"{path}: expected a sound gzip file, got a damaged one ({error})") from error


def read_up_to(stream: BinaryIO, count: int) -> bytearray:
    """Reads so many bytes, or all that there are: in pieces, so that a number that lies costs no memory."""
    data = bytearray()
    while piece := stream.read(min(_CHUNK, count - len(data))):
        data += piece
    return data


def read_at_most(stream: BinaryIO, limit: int, path: Path) -> bytearray:
    """Reads a stream to its end, which is where gzip compares its checksum.

    Raises:
        DatasetError: More than so many bytes come.
    """
    data = read_up_to(stream, limit + 1)
    if len(data) > limit:
        raise DatasetError(f"{path}: expected at most {limit} bytes for what it holds, but more follow")
    return data


@contextmanager
def refusing_unreadable(folder: str | Path) -> Iterator[None]:
    """Turns errors about files that are there and cannot be read into those about broken files.

    Args:
        folder: Where they are, for messages.

    Raises:
        DatasetError: A file or folder cannot be read.
        FileNotFoundError: It is missing, as before.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: expected to be able to read it, got {error}") from error
