"""Names as text in pictures."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties, findfont, get_font

from grapheme_pyg.names import MARK, in_place, shortened

WRONG = "#c62828"  # the colour of titles of wrong predictions


def as_label(name: str, longest: int = 16, *, weight: str = "normal") -> str:
    r"""Returns a name as text that matplotlib draws literally, without mathematics or line breaks.

    Characters that no font in ``rcParams["font.family"]`` has are escaped, such as 猫 as ``\u732b``. Otherwise they
    would be drawn as boxes, so that different names would look the same, and matplotlib would issue a warning for each.
    To have them drawn, add a font that has them to ``rcParams["font.family"]``.

    Args:
        name: The name, such as that of a class.
        longest: The most characters to show.
        weight: Weight of the font.
    """
    families = FontProperties().get_family()
    fonts = [get_font(findfont(FontProperties(family=[family], weight=weight))) for family in families]

    def has_glyph(character: str) -> bool:
        return any(font.get_char_index(ord(character)) for font in fonts)

    text = shortened(name, longest, has_glyph)
    # Dollar signs would delimit mathematics.
    text = text.replace("$", r"\$")
    return in_place(text) if has_glyph(MARK) else text


def as_labels(names: Sequence[str]) -> list[str]:
    """Does :func:`as_label` for several names, and numbers them if some of them would look the same."""
    labels = [as_label(name) for name in names]
    if len(set(labels)) == len(labels):
        return labels
    return [as_label(f"{number}: {name}") for number, name in enumerate(names)]


def add_title(ax: Axes, lines: Sequence[str], longest: int, **style: Any) -> None:
    """Writes a title on one line or, if it has more than ``longest`` characters, smaller and on several lines."""
    title = " ".join(lines)
    if len(title) > longest:
        title, style = "\n".join(lines), style | {"fontsize": "small"}
    ax.set_title(title, **style)
