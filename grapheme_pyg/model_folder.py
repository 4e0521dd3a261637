"""Reading and writing the two files of a saved model, which are replaced together."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from grapheme_pyg.atomic import put_file, writing
from grapheme_pyg.errors import ModelFileError
from grapheme_pyg.names import printable

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MOST_SETTINGS_BYTES = 2**24
SHOWN = 500
# Name of new weights, with their SHA-256, until the settings that name them are in place.
WAITING = "model-{}.safetensors"
# Names of the other files of a model, which a process leaves that is killed before it has saved one.
PARTS = re.compile(r"\.lock|\.[0-9a-f]{16}\.part|drawing-[0-9a-f]{16}\.png|model-[0-9a-f]{64}\.safetensors")
# This cannot occur within a JSON string, where quotation marks have a backslash.
NAMED = re.compile(rb'"sha256"\s*:\s*"([0-9a-f]{64})"')


def write_model_files(folder: Path, settings: bytes, weights: bytes) -> None:
    """Replaces both files of a model atomically: the folder always holds either the old or the new model.

    The new weights are written beside the old ones, under a name that contains their SHA-256. Then the new settings,
    which contain that sum, replace the old ones; from this moment the folder holds the new model. Finally the weights
    get their usual name. Interrupted writes of other processes are completed or undone first.

    Raises:
        OSError: A file cannot be written. The folder holds one of the two models.
    """
    with writing(folder, alone=True):
        _settle(folder)
        try:
            put_file(folder / WAITING.format(hashlib.sha256(weights).hexdigest()), weights)
            put_file(folder / CONFIG, settings)
        finally:
            _settle(folder)


def _settle(folder: Path) -> None:
    """Renames waiting weights that the settings name to their usual name, and removes the others."""
    settings = b""
    with suppress(FileNotFoundError), open(folder / CONFIG, "rb", opener=_open) as file:
        settings = file.read(MOST_SETTINGS_BYTES) or b""  # a pipe returns None
    # Renamed before others are removed, so that a concurrent reader always finds weights.
    if named := NAMED.search(settings):
        with suppress(FileNotFoundError):
            (folder / WAITING.format(named[1].decode())).replace(folder / WEIGHTS)
    for path in folder.glob(WAITING.format("[0-9a-f]" * 64)):
        path.unlink()


@contextmanager
def open_model_files(folder: Path) -> Iterator[tuple[bytes, Path, BinaryIO]]:
    """Reads the settings of a model and opens its weights, even while another process saves a model there.

    Yields:
        The settings, up to one byte more than allowed; the path of the weights; and the open weights.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ModelFileError: A file cannot be read, or is not a regular file.
    """
    while True:
        with ExitStack() as files:
            with naming(folder / CONFIG):
                config = files.enter_context(_open_regular(folder / CONFIG))
                settings = config.read(MOST_SETTINGS_BYTES + 1)
            path, weights = _open_weights(folder, settings)
            files.enter_context(weights)
            # Settings are replaced before weights, so the two belong together if the settings are still the same file.
            if os.path.samestat(os.fstat(config.fileno()), (folder / CONFIG).stat()):
                yield settings, path, weights
                return


def files_of(folder: Path) -> list[Path]:
    """Returns the files in a folder that belong to its model; none if it holds no model."""
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        return []
    return [path for path in folder.iterdir() if path.name in (WEIGHTS, CONFIG) or PARTS.fullmatch(path.name)]


def version_of(folder: Path) -> str:
    """Returns a digest that differs for different models in a folder: that of the settings, which name the weights.

    Raises:
        FileNotFoundError: One of the two files is missing.
        ModelFileError: A file cannot be read, or is not a regular file.
    """
    with open_model_files(folder) as (settings, _, _):
        return hashlib.sha256(settings).hexdigest()


def _open_weights(folder: Path, settings: bytes) -> tuple[Path, BinaryIO]:
    if named := NAMED.search(settings):
        path = folder / WAITING.format(named[1].decode())
        with suppress(FileNotFoundError), naming(path):
            return path, _open_regular(path)
    path = folder / WEIGHTS
    with naming(path):
        return path, _open_regular(path)


def _open(path: str, flags: int) -> int:
    # Without the flag, which not every system has, opening a named pipe would wait.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _open_regular(path: Path) -> BinaryIO:
    file = open(path, "rb", opener=_open)  # noqa: SIM115 - the caller closes it
    known = os.fstat(file.fileno())
    if not stat.S_ISREG(known.st_mode):
        file.close()
        raise ValueError(f"expected a regular file, got {stat.filemode(known.st_mode)}")
    return file


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turns errors into a :class:`ModelFileError` or, if the file is missing, a FileNotFoundError that names it."""
    try:
        yield
    except ModelFileError:
        raise
    except FileNotFoundError as error:
        run = path.parent / "model"
        hint = f"; there is one in {run}" if (run / CONFIG).exists() else ""
        raise FileNotFoundError(f"{path}: expected a file of a model, got none{hint}") from error
    except NotADirectoryError as error:
        raise ModelFileError(f"{path.parent}: expected a folder of a model, got a file") from error
    except MemoryError as error:
        raise ModelFileError(f"{path}: expected a model that fits into memory, got a larger one") from error
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelFileError(f"{path}: {printable(str(error)[:SHOWN])}") from error
