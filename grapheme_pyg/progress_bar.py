"""progress_bar: a progress bar for operations that may take long."""

from typing import Any

from tqdm import tqdm

# Seconds before a bar appears.
DELAY = 2.0


def progress_bar(total: int | None, unit: str, *, verbose: bool = True) -> "tqdm[Any]":
    """Returns a bar on standard error that appears after two seconds and disappears when it is closed.

    Args:
        total: The number of items; None if unknown.
        unit: The name of the items, such as ``"images"``.
        verbose: Whether to show the bar. It is never shown if standard error is not a terminal.
    """
    return tqdm(total=total, unit=f" {unit}", delay=DELAY, leave=False, disable=None if verbose else True)
