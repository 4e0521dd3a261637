"""Atomic writing of files: completely or not at all."""

import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

# Number of files that are synchronised together.
AT_ONCE = 16
PART = re.compile(r"\.[0-9a-f]{16}\.part")


@contextmanager
def writing(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Locks a folder for writing, and removes temporary files that killed processes have left there.

    The lock is on the folder itself and ends with the process. Temporary files are removed only while no other process
    writes. Where folders cannot be locked (on Windows and some network file systems), this neither waits nor removes.

    Args:
        folder: The folder; created if missing.
        alone: Whether to wait for other writers, and make them wait.

    Raises:
        OSError: The folder can be neither created nor opened.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            flock(number, LOCK_EX if alone else LOCK_EX | LOCK_NB)
            for path in folder.iterdir():
                if PART.fullmatch(path.name):
                    path.unlink()
        if not alone:
            with suppress(OSError):
                flock(number, LOCK_SH)
        yield
    finally:
        # Explicitly, because a process that was forked meanwhile shares the lock.
        with suppress(OSError):
            flock(number, LOCK_UN)
        os.close(number)


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """Yields an unguessable path for a temporary file, which is removed at the end unless it was renamed.

    Use it within :func:`writing`, and open the file with mode ``"x"``.
    """
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes, *, keep_as: Path | None = None) -> None:
    """Replaces a file atomically: the path always holds the complete old or new file.

    Args:
        path: The file; its folder is created if missing. A link there is replaced, not followed.
        content: The new content.
        keep_as: Path in the same folder under which the old file is kept; None to remove it.

    Raises:
        OSError: The file cannot be written; the old one is unchanged.
    """
    with writing(path.parent):
        put_file(path, content, keep_as=keep_as)


def put_file(path: Path, content: bytes, *, keep_as: Path | None = None) -> None:
    """Does the work of :func:`replace_file` within :func:`writing`.

    The new file is synchronised to disk before it replaces the old one, and the folder afterwards (Pillai et al., "All
    File Systems Are Not Created Equal", 2014).
    """
    with temporary(path.parent) as part:
        _write(part, content)
        if keep_as is not None and path.exists():
            _keep(path, keep_as)
        part.replace(path)
    _synchronise(path.parent)


def put_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replaces many files of a folder, given by name, each as :func:`put_file` does, but in less time.

    If writing fails, all files are the old ones; if it is interrupted, some may be new.

    Raises:
        OSError: A file cannot be written.
    """
    if not contents:
        return
    with ExitStack() as stack:
        parts = [stack.enter_context(temporary(folder)) for _ in contents]
        # File systems synchronise files together that are waited for together.
        with ThreadPoolExecutor(min(AT_ONCE, len(parts))) as pool:
            list(pool.map(_write, parts, contents.values()))
        for part, name in zip(parts, contents, strict=True):
            part.replace(folder / name)
    _synchronise(folder)


def _write(path: Path, content: bytes) -> None:
    """Writes a new file and waits until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _synchronise(folder: Path) -> None:
    """Waits until the names of a folder's files are on the disk."""
    if sys.platform == "win32":  # where folders cannot be opened
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _keep(path: Path, name: Path) -> None:
    """Adds a second name to a file, replacing an older file of that name."""
    if name.exists() and path.samefile(name):
        return  # a killed process has done it
    with temporary(name.parent) as second:
        try:
            second.hardlink_to(path)
        except OSError:  # this file system has no hard links; the first name is missing for a moment
            path.replace(name)
        else:
            second.replace(name)
