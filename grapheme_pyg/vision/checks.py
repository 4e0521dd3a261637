"""Checks of settings."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Contrast that counts unless another is asked for, in levels of 0…255, by the number of channels: pictures in colour
# have softer edges than ink.
THRESHOLDS = {1: 32, 3: 8}


def check(name: str, value: object, valid: bool, expected: str) -> None:
    """Refuses a setting.

    Raises:
        ValueError: It is not valid; the message names it, what was expected, and what came.
    """
    if not valid:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def is_int(value: object, minimum: int) -> bool:
    """Whether a value is an integer, not a bool, and not below the minimum."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def plain(value: Any) -> Any:
    """A setting whose numbers are NumPy's, with Python's own: those that JSON has."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def check_rounds(rounds: object) -> None:
    """Refuses rounds that are not two positive integers or more."""
    valid = isinstance(rounds, Sequence) and len(rounds) >= 2 and all(is_int(count, 1) for count in rounds)
    check("rounds", rounds, valid, "at least two positive integers")
