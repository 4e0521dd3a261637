"""Display of external names, such as those of classes and files."""

import re
import sys
import unicodedata
from collections.abc import Callable, Collection

# Left-to-right mark, which is invisible.
MARK = "\u200e"
# Invisible characters that Unicode counts among letters, marks and symbols.
INVISIBLE = {
    *"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0",
    *map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE0F), *range(0xE0100, 0xE01F0))),
}
NON_JOINER, JOINER, AS_EMOJI = "\u200c", "\u200d", "\ufe0f"
VIRAMA = 9
# The beginning of a formula in a spreadsheet, unless it is a number.
FORMULA = re.compile(r"[=+\-@](?!\d+(\.\d+)?$)")


def printable(text: str, shown: Callable[[str], bool] | None = None) -> str:
    r"""Escapes invisible and harmful characters as in Python's string literals.

    All external text that is printed or logged passes through here. It escapes control characters, which a terminal
    would obey, line breaks, which would forge lines, marks that change the direction of writing, invisible characters,
    unusual spaces, and lone surrogates, which stand for bytes of file names that are not UTF-8. Joiners remain where a
    script or an emoji needs them.

    Args:
        text: The text.
        shown: Returns whether another character can be shown; if None, all can.

    Example:
        >>> print(printable("line\nbreak, \x1b[31mred, caf\udce9, 猫"))
        line\nbreak, \x1b[31mred, caf\udce9, 猫
    """
    if shown is None and text.isascii() and text.isprintable():
        return text
    around = f" {text} "
    return "".join(
        c if _is_seen(before, c, after) and (shown is None or shown(c)) else c.encode("unicode_escape").decode("ascii")
        for before, c, after in zip(around, text, around[2:], strict=False)
    )


def _is_seen(before: str, character: str, after: str) -> bool:
    """Returns whether a character is visible, or joins its neighbours as scripts do (Unicode's annex 31, RFC 5892)."""
    if character == AS_EMOJI:
        return unicodedata.category(before) == "So" or before in "0123456789#*"
    if character in (JOINER, NON_JOINER) and VIRAMA in map(unicodedata.combining, (before, after)):
        return True
    if character == NON_JOINER:  # between Arabic letters, which can have marks
        return unicodedata.bidirectional(before) in ("AL", "NSM") and unicodedata.bidirectional(after) == "AL"
    if character == JOINER:  # between emoji, which can have a skin tone
        return unicodedata.category(after) == "So" and (
            unicodedata.category(before) in ("So", "Sk") or before == AS_EMOJI
        )
    return character.isprintable() and character not in INVISIBLE


def say(text: str, *, error: bool = False) -> None:
    """Prints a text, escaped, on one line of the standard output or of standard error."""
    print(printable(text), file=sys.stderr if error else sys.stdout, flush=True)


def is_name(value: object) -> bool:
    """Returns whether a value can be a name: a string without control characters and lone surrogates."""
    if not isinstance(value, str):
        return False
    return value.isprintable() or all(unicodedata.category(character) not in ("Cc", "Cs") for character in value)


def are_names(values: Collection[object]) -> bool:
    """Returns whether all values can be names; see :func:`is_name`."""
    # All at once, which takes a tenth of the time if all are usual.
    usual = all(isinstance(value, str) for value in values) and "".join(map(str, values)).isprintable()
    return usual or all(map(is_name, values))


def shortened(text: str, longest: int, shown: Callable[[str], bool] | None = None) -> str:
    """Returns a printable name of limited length, in which ``…`` replaces the middle of a longer one.

    Args:
        text: The name.
        longest: Largest number of characters to return, at least 1.
        shown: Returns whether a character can be shown; see :func:`printable`.

    Example:
        >>> shortened("n02098286-West_Highland_white_terrier", 20)
        'n02098286-…e_terrier'
    """
    if len(text) <= longest and len(whole := printable(text, shown)) <= longest:
        return whole
    # Escape sequences are not cut, so fewer characters may fit.
    for kept in range(min(longest, len(text)) - 1, 0, -1):
        ends = (text[: (kept + 1) // 2], text[len(text) - kept // 2 :])
        short = "…".join(printable(end, shown) for end in ends)
        if len(short) <= longest:
            return short
    return "…"


def in_place(text: str) -> str:
    """Returns a name that keeps its place in a sentence, between two marks if it is written from right to left.

    Without marks, ``f"{truth} → {predicted}"`` would be shown with two Hebrew names exchanged.
    """
    from_right = any(unicodedata.bidirectional(character) in ("R", "AL") for character in text)
    return f"{MARK}{text}{MARK}" if from_right else text


def in_markdown(text: str) -> str:
    r"""Returns a name that Markdown shows unchanged in a heading, a paragraph or a table cell.

    Example:
        >>> print(in_markdown("<b>|* $x$ a_b"))
        \<b\>\|\* \$x\$ a\_b
    """
    # Colons, at signs and the dot of "www." would make links.
    return re.sub(r"([\\`*_<>|\[\]$&~#:@]|(?<=www)\.)", r"\\\1", in_place(printable(text)), flags=re.IGNORECASE)


def in_csv(text: str) -> str:
    """Returns a name for a table cell that no spreadsheet takes for a formula.

    Example:
        >>> print(in_csv("=1+1"), in_csv("-1"))
        '=1+1 -1
    """
    shown = printable(text)
    return f"'{shown}" if FORMULA.match(shown) else shown
