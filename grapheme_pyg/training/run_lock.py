"""alone_in: one process at a time changes a folder, by a lock that ends with the process."""

import os
import platform
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from grapheme_pyg.errors import TrainingError, TrainingWarning

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
# Windows lets nobody read bytes that are locked: one is locked that lies behind the holder's name.
LOCKED_BYTE, MOST_NAME = 2**30, 200
# Seconds between two looks at a lock that another holds.
WAIT = 0.05
# By folder: the descriptor whose lock this process holds, and the thread that took it.
_held: dict[Path, tuple[int, int]] = {}


@contextmanager
def alone_in(folder: Path, *, patience: float = 0) -> Iterator[None]:
    """Keeps every other process and thread from changing a folder; may be used again within itself.

    The lock is on the file ``.lock``, which stays, as removing it could let two in. However the process ends, the
    system takes the lock away; processes that it has forked, such as those that load data, do not hold it.

    Args:
        folder: The folder; made if missing.
        patience: Seconds to wait for another process or thread that has it.

    Raises:
        TrainingError: Another process or thread has it.
        OSError: The folder or the file cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place, thread = folder.resolve(), threading.get_ident()
    if place in _held and _held[place][1] == thread:
        yield
        return
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    until = time.monotonic() + patience
    try:
        while True:
            try:
                _take(descriptor, folder)
                break
            except TrainingError:
                if time.monotonic() >= until:
                    raise
            time.sleep(WAIT)
    except BaseException:
        os.close(descriptor)
        raise
    _held[place] = descriptor, thread
    try:
        yield
    finally:
        if _held.pop(place, None):  # else this is a forked process
            os.close(descriptor)


def _take(descriptor: int, folder: Path) -> None:
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = os.read(descriptor, MOST_NAME).decode(errors="replace").strip()
        raise TrainingError(
            f"folder: expected one that nothing else changes, got {folder}, which process {holder} does"
        ) from error
    except OSError as error:
        warnings.warn(f"run_dir: {folder} cannot be locked ({error}): start no second run in it", TrainingWarning, 3)
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, f"{os.getpid()} on {platform.node()}\n".encode())


def _leave_to_parent() -> None:
    """Closes a forked process's copies of descriptors, which would keep the locks when the parent has ended."""
    for descriptor, _ in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
