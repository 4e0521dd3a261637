"""alone_in: a lock by which one process at a time changes a folder, and which ends with the process."""

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
# On Windows locked bytes cannot be read, so the locked byte lies behind the holder's name.
LOCKED_BYTE, MOST_NAME = 2**30, 200
# Seconds between two attempts to take a lock.
WAIT = 0.05
# For each folder that is locked by this process, the file descriptor that holds the lock and the thread that took it.
_held: dict[Path, tuple[int, int]] = {}


@contextmanager
def alone_in(folder: Path, *, patience: float = 0) -> Iterator[None]:
    """Keeps other processes and threads from changing a folder; the thread that holds the lock may take it again.

    The lock is on the file ``.lock``, which is never removed, since removing it could let two processes in. The system
    releases the lock however the process ends; forked processes, such as those that load data, do not hold it.

    Args:
        folder: The folder; made if missing.
        patience: Seconds to wait for the lock if another process or thread holds it.

    Raises:
        TrainingError: Another process or thread holds the lock.
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
            f"folder: expected one that nothing else is changing, got {folder}, which process {holder} is changing"
        ) from error
    except OSError as error:
        warnings.warn(f"run_dir: {folder} cannot be locked ({error}): start no second run in it", TrainingWarning, 3)
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, f"{os.getpid()} on {platform.node()}\n".encode())


def _leave_to_parent() -> None:
    """Closes a forked process's copies of the descriptors, which would hold the locks after the parent has ended."""
    for descriptor, _ in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
