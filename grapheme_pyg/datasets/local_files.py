"""The folders of data sets, and safe reading of files: no pipes, bounded sizes, one kind of error."""

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
    """Returns the folder named by an argument or, if it is None, by the environment; None if neither names one."""
    if data_dir is not None:
        return as_path("data_dir", data_dir).expanduser()
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder).expanduser() if folder else None


def cache_folder() -> Path:
    """Returns the folder in which downloads are kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # By the XDG specification relative paths are ignored, which includes an unset variable.
    return (base if base.is_absolute() else Path.home() / ".cache") / "grapheme_pyg"


def check_regular(path: Path, error: type[ValueError]) -> None:
    """Refuses pipes, sockets and devices, on which reading could wait forever, before they are opened."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise error(f"{path}: expected a regular file, got a pipe, a socket or a device")


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for reading, and unpacks it on the way if its first bytes, not its name, are those of gzip.

    Raises:
        DatasetError: The file is a pipe, a socket or a device, or a damaged gzip file.
        OSError: The file cannot be opened or read.
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
    """Reads ``count`` bytes, or all if there are fewer, in pieces, so that a false ``count`` costs no memory."""
    data = bytearray()
    while piece := stream.read(min(_CHUNK, count - len(data))):
        data += piece
    return data


def read_at_most(stream: BinaryIO, limit: int, path: Path) -> bytearray:
    """Reads a stream to its end, where gzip verifies its checksum.

    Raises:
        DatasetError: The stream has more than ``limit`` bytes.
    """
    data = read_up_to(stream, limit + 1)
    if len(data) > limit:
        raise DatasetError(f"{path}: expected at most {limit} bytes for its contents, but more follow")
    return data


@contextmanager
def refusing_unreadable(folder: str | Path) -> Iterator[None]:
    """Turns errors about files that exist but cannot be read into DatasetError.

    Args:
        folder: The folder of the files, for messages.

    Raises:
        DatasetError: A file or folder cannot be read.
        FileNotFoundError: A file or folder is missing; this error is not changed.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: expected a readable file or folder, got {error}") from error
