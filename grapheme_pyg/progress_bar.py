"""The bar of what may take long."""

from typing import Any

from tqdm import tqdm

# Seconds after which a bar appears.
DELAY = 2.0


def progress_bar(total: int | None, unit: str, *, verbose: bool = True) -> "tqdm[Any]":
    """Makes a bar on standard error, which appears after two seconds, and goes when it is closed.

    Args:
        total: Units of work; None if they are not known.
        unit: What they are, such as ``"images"``.
        verbose: Whether to show the bar; it is never shown where standard error is no terminal.
    """
    return tqdm(total=total, unit=f" {unit}", delay=DELAY, leave=False, disable=None if verbose else True)
