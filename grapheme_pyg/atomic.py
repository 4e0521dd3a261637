"""Files that are written whole or not at all."""

import os
from pathlib import Path

PART = ".part"


def replace_file(path: Path, content: bytes, *, keep_as: Path | None = None) -> None:
    """Writes a file so that whatever happens meanwhile, the old one or the new one is there, whole.

    The new one is written beside the old one, to the disk and not just to its cache, before it takes the old one's
    name; so does the folder's entry (Pillai et al., "All File Systems Are Not Created Equal", 2014).

    Args:
        path: The file; its folder is made if missing.
        content: What it is to hold.
        keep_as: Another name in that folder, which the old file gets; it is not kept if None.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if keep_as is not None and path.exists():
        _keep(path, keep_as)
    part.replace(path)
    if os.name == "posix":  # Windows opens no folders
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _keep(path: Path, name: Path) -> None:
    """Gives a file another name too, under which there may be an older one."""
    second = name.with_name(name.name + PART)
    second.unlink(missing_ok=True)
    if name.exists() and path.samefile(name):
        return  # whoever was killed came so far
    try:
        second.hardlink_to(path)
    except OSError:  # not on every file system; then there is none of the first name for a moment
        path.replace(name)
    else:
        second.replace(name)
