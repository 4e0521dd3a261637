"""Checks of arguments that several parts of the package have."""

import numbers
import os
from collections.abc import Callable
from pathlib import Path

# Larger seeds would share streams of random numbers, or be too large for PyTorch's generators.
LARGEST_SEED = 2**32 - 1


def as_int(name: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """Returns an integer of any type, such as NumPy's, as a Python int.

    Args:
        name: Name of the argument, for the message.
        value: The argument.
        minimum: Smallest accepted value.
        maximum: Largest accepted value; None for no limit.

    Raises:
        ValueError: The value is not an integer, is a bool, or is out of range.
    """
    if not isinstance(value, bool) and isinstance(value, numbers.Integral):
        number = int(value)
        if number >= minimum and (maximum is None or number <= maximum):
            return number
    if maximum is not None:
        expected = f"an integer in {minimum}…{maximum}"
    else:
        expected = {0: "a non-negative integer", 1: "a positive integer"}.get(
            minimum, f"an integer of at least {minimum}"
        )
    raise ValueError(f"{name}: expected {expected}, got {value!r}")


def as_seed(value: object) -> int:
    """Returns a seed as a Python int.

    Raises:
        ValueError: The value is not an integer in 0…4294967295.
    """
    return as_int("seed", value, 0, LARGEST_SEED)


def as_float(name: str, value: object, holds: Callable[[float], bool], expected: str) -> float:
    """Returns a real number of any type as a Python float.

    Args:
        name: Name of the argument, for the message.
        value: The argument.
        holds: Returns whether a number is accepted.
        expected: Description of accepted numbers, for the message.

    Raises:
        ValueError: The value is not a real number, or is not accepted.
    """
    if not isinstance(value, bool) and isinstance(value, numbers.Real) and holds(float(value)):
        return float(value)
    raise ValueError(f"{name}: expected {expected}, got {value!r}")


def as_path(name: str, value: object) -> Path:
    """Returns a path.

    Args:
        name: Name of the argument, for the message.
        value: A non-empty string, or a path of any type.

    Raises:
        ValueError: The value is not a path.
    """
    if isinstance(value, str | os.PathLike) and os.fspath(value):
        return Path(os.fsdecode(value))
    raise ValueError(f"{name}: expected a path, got {value!r}")
