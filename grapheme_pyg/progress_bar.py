"""progress_bar: a progress bar for operations that may take long."""

import os
import threading
from typing import Any

from tqdm import tqdm

# Seconds before a bar appears.
DELAY = 2.0


class Bar(tqdm):  # type: ignore[type-arg] # generic in its types alone
    """A bar with a lock of its own process: a killed child would hold that of tqdm, which all share, for ever."""


def _make_lock() -> None:
    Bar.set_lock(threading.RLock())


_make_lock()
if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have held the lock.
    os.register_at_fork(after_in_child=_make_lock)


def progress_bar(total: int | None, unit: str, *, verbose: bool = True) -> "tqdm[Any]":
    """Returns a bar on standard error that appears after two seconds and disappears when it is closed.

    Args:
        total: The number of items; None if unknown.
        unit: The name of the items, such as ``"images"``.
        verbose: Whether to show the bar. It is never shown if standard error is not a terminal.
    """
    return Bar(total=total, unit=f" {unit}", delay=DELAY, leave=False, disable=None if verbose else True)
