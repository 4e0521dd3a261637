"""Checks of the settings of finders and brains."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from grapheme_pyg.checks import as_int

# Default contrast thresholds in levels of 0…255, by the number of channels; colour pictures have softer edges than ink.
THRESHOLDS = {1: 32, 3: 8}


def check(name: str, value: object, valid: bool, expected: str) -> None:
    """Refuses an invalid setting.

    Raises:
        ValueError: ``valid`` is False; the message names the setting, what was expected and what came.
    """
    if not valid:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def is_int(value: object, minimum: int) -> TypeGuard[int]:
    """Returns whether a value is an int, but not a bool, of at least the minimum."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def plain(value: Any) -> Any:
    """Replaces NumPy's numbers in a setting by Python's, which JSON has."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def set_int(finder: object, name: str, minimum: int, maximum: int | None = None, *, default: int | None = None) -> None:
    """Validates an integer option of a frozen finder, and sets a default if it is None."""
    value = getattr(finder, name)
    value = default if value is None and default is not None else value
    object.__setattr__(finder, name, as_int(name, value, minimum, maximum))


def set_rounds(finder: Any) -> None:
    """Validates the option ``rounds`` of a frozen finder and makes it a tuple."""
    rounds = finder.rounds
    valid = isinstance(rounds, Sequence) and len(rounds) >= 2 and all(is_int(count, 1) for count in rounds)
    check("rounds", rounds, valid, "at least two positive integers")
    object.__setattr__(finder, "rounds", tuple(rounds))
