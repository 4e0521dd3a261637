"""JSON from strangers: no key twice, no number without a value, and no more than fits the file."""

import json
import math
import re
from typing import Any

# What everything in a text may come to, beside a share of the size of the weights that it belongs to. What Python
# makes of JSON takes up to 72 bytes for a value of three characters, and nine bytes for each byte of text.
MOST_BYTES, MOST_VALUES = 2**16, 2**12
LARGEST_BYTES = 2**24
MOST_DIGITS = 18
MOST_NESTING = 8

_MARKS = re.compile(rb'\\.|["\[\]{},]', re.DOTALL)


def most_bytes(size: int) -> int:
    """How long a text may be that belongs to weights of so many bytes."""
    return min(MOST_BYTES + size // 4, LARGEST_BYTES)


def parse_json(text: bytes, size: int) -> Any:
    """The value of a JSON text (RFC 8259) in UTF-8.

    Args:
        text: At most :func:`most_bytes` long.
        size: Of the weights that it belongs to, in bytes; bounds how many values there may be.

    Raises:
        ValueError: It is too long or no JSON, a key occurs twice in an object, a number is infinite or none or has more
            than 18 digits, or there are more values or nestings than any model has.
    """
    if len(text) > most_bytes(size):
        raise ValueError(f"JSON: expected at most {most_bytes(size)} bytes beside weights of {size}, got {len(text)}")
    _check_extent(text, MOST_VALUES + size // 64)
    hooks: dict[str, Any] = {"parse_int": _integer, "parse_float": _finite, "parse_constant": _constant}
    try:
        return json.loads(text.decode(), object_pairs_hook=_distinct, **hooks)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"JSON: expected a valid text in UTF-8, got {error}") from error


def _check_extent(text: bytes, most: int) -> None:
    """Refuses too many values, or values too deep in one another, before there is an object for each of them."""
    values, depth, in_string = 1, 0, False
    for match in _MARKS.finditer(text):
        mark = match[0]
        if mark == b'"':
            in_string = not in_string
        elif in_string:
            continue
        elif mark in b"[{":
            depth += 1
            values += 1
        elif mark in b"]}":
            depth -= 1
        elif mark == b",":
            values += 1
        if depth > MOST_NESTING:
            raise ValueError(f"JSON: expected at most {MOST_NESTING} nestings, got more")
        if values > most:
            raise ValueError(f"JSON: expected at most {most} values, got more")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"JSON: expected every key once, got {key[:80]!r} twice")
        found[key] = value
    return found


def _integer(digits: str) -> int:
    if (count := len(digits.lstrip("-"))) > MOST_DIGITS:
        raise ValueError(f"JSON: expected integers of at most {MOST_DIGITS} digits, got one of {count}")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"JSON: expected finite numbers, got {digits[:80]}")
    return value


def _constant(name: str) -> float:
    raise ValueError(f"JSON: expected finite numbers, got {name}")
