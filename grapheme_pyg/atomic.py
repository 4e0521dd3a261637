"""Files that are written whole or not at all."""

import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock

PART = re.compile(r"\.[0-9a-f]{16}\.part")


@contextmanager
def writing(folder: Path, *, alone: bool = False) -> Iterator[None]:
    """Locks a folder for writing, and removes the temporary files that killed processes have left there.

    The lock lies on the folder itself and dies with its process. Temporary files are removed while nobody else writes,
    so that those of a living process stay. Where folders cannot be locked (on Windows, on some network file systems)
    nobody is waited for and nothing is removed.

    Args:
        folder: Made if missing.
        alone: Whether to wait until nobody else writes in the folder, and let the others wait.

    Raises:
        OSError: The folder can be neither made nor opened.
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
        # A process that was forked meanwhile has the lock too, until it is given back.
        with suppress(OSError):
            flock(number, LOCK_UN)
        os.close(number)


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """Gives a name for a temporary file that nobody can guess; the file is removed unless it was renamed.

    Make it with mode ``"x"``, within :func:`writing`.
    """
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes, *, keep_as: Path | None = None) -> None:
    """Writes a file so that whatever happens meanwhile, the old one or the new one is there, whole.

    Args:
        path: The file; its folder is made if missing. A link there is replaced, not followed.
        content: What it is to hold.
        keep_as: Another name in that folder, which the old file gets; it is not kept if None.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    with writing(path.parent):
        put_file(path, content, keep_as=keep_as)


def put_file(path: Path, content: bytes, *, keep_as: Path | None = None) -> None:
    """As :func:`replace_file`, within :func:`writing`.

    The new one is written beside the old one, to the disk and not just to its cache, before it takes the old one's
    name; so does the folder's entry (Pillai et al., "All File Systems Are Not Created Equal", 2014).
    """
    with temporary(path.parent) as part:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep_as is not None and path.exists():
            _keep(path, keep_as)
        part.replace(path)
    if sys.platform != "win32":  # which opens no folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep(path: Path, name: Path) -> None:
    """Gives a file another name too, under which there may be an older one."""
    if name.exists() and path.samefile(name):
        return  # whoever was killed came so far
    with temporary(name.parent) as second:
        try:
            second.hardlink_to(path)
        except OSError:  # not on every file system; then there is none of the first name for a moment
            path.replace(name)
        else:
            second.replace(name)
