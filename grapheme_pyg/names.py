"""How names that come from outside, such as those of classes and files, are shown."""

import re
import unicodedata
from collections.abc import Callable

# Left-to-right mark, which is invisible.
MARK = "\u200e"


def printable(text: str, shown: Callable[[str], bool] = str.isprintable) -> str:
    r"""Escapes what cannot be shown, as in Python's string literals.

    Without an argument, control characters, line breaks, marks that change the direction of writing, spaces other
    than the usual one and lone surrogates, which stand for bytes of file names that are not UTF-8, are escaped.

    Args:
        text: The name.
        shown: Says whether a character can be shown.

    Example:
        >>> print(printable("line\nbreak, \x1b[31mred, caf\udce9, 猫"))
        line\nbreak, \x1b[31mred, caf\udce9, 猫
    """
    return "".join(c if shown(c) else c.encode("unicode_escape").decode("ascii") for c in text)


def is_name(value: object) -> bool:
    """Whether a value is text that can be shown: no control characters, which a terminal would obey, no half ones."""
    if not isinstance(value, str):
        return False
    return value.isprintable() or all(unicodedata.category(character) not in ("Cc", "Cs") for character in value)


def shortened(text: str, longest: int, shown: Callable[[str], bool] = str.isprintable) -> str:
    """Returns a name that is printable and not too long: the middle of a longer one becomes ``…``.

    Args:
        text: The name.
        longest: How many characters to return at most, 1 or more.
        shown: Says whether a character can be shown; see :func:`printable`.

    Example:
        >>> shortened("n02098286-West_Highland_white_terrier", 20)
        'n02098286-…e_terrier'
    """
    if len(text) <= longest and len(whole := printable(text, shown)) <= longest:
        return whole
    # Escapes are kept whole, so that fewer characters may fit.
    for kept in range(min(longest, len(text)) - 1, 0, -1):
        ends = (text[: (kept + 1) // 2], text[len(text) - kept // 2 :])
        short = "…".join(printable(end, shown) for end in ends)
        if len(short) <= longest:
            return short
    return "…"


def in_place(text: str) -> str:
    """Returns a name that keeps its place in a sentence: marked on both sides if it is written from right to left.

    Without marks, ``f"{truth} → {predicted}"`` would be shown with the names of, say, two Hebrew letters exchanged.
    """
    from_right = any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)
    return f"{MARK}{text}{MARK}" if from_right else text


def in_markdown(text: str) -> str:
    r"""Returns a name that Markdown shows as it is, in a heading, a paragraph or the cell of a table.

    Example:
        >>> print(in_markdown("<b>|* $x$ a_b"))
        \<b\>\|\* \$x\$ a\_b
    """
    return re.sub(r"([\\`*_<>|\[\]$&~#])", r"\\\1", in_place(printable(text)))
