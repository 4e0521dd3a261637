"""Colours of relations."""

from collections.abc import Sequence

from matplotlib.colors import to_hex, to_rgb

# Groups of relations in drawing order, in colours that colour-blind people can distinguish (after Okabe and Ito).
LATERAL, SELF, PART_OF = range(3)
GROUPS = (("lateral", "#2f9bd8"), ("self", "#5a5a5a"), ("part of", "#e8791a"))
UNSELECTED = "#b9c4cc"  # of bars of other classes

# Hues of directions, once around the circle, so that opposite ones differ most; visible on black and on white.
DIRECTIONS = {
    "north": "#2f86e0",
    "north_east": "#16a9a9",
    "east": "#35a845",
    "south_east": "#a3b01c",
    "south": "#eaa012",
    "south_west": "#ea5b1c",
    "west": "#dd3a78",
    "north_west": "#9a56dc",
}
SYNONYMS = {"above": "north", "below": "south", "left": "west", "right": "east"}
CENTRE = "#8a8a8a"
OTHERS = ("#a9743b", "#e88fc0", "#6fc7f2", "#c9c94a", "#7a7ab8", "#5fbf95")


def colors_of_relations(names: Sequence[str]) -> dict[str, str]:
    """Returns a colour for each relation: a hue for each direction, paler for parts, darker for far relations.

    Args:
        names: Names of all relations of a vocabulary, so that a relation has the same colour in all graphs.

    Returns:
        Colours by name.
    """
    colors: dict[str, str] = {}
    for name in names:
        words = [SYNONYMS.get(word, word) for word in name.split("_")]
        direction = "_".join(word for word in words if word in DIRECTIONS)
        if direction in DIRECTIONS:
            color = DIRECTIONS[direction]
        elif name in ("self", "centre_part_of"):
            color = CENTRE
        else:
            color = OTHERS[len(set(colors.values()) & set(OTHERS)) % len(OTHERS)]
        if "far" in words:
            color = _mixed(color, "black", 0.4)
        elif name.endswith("_part_of"):
            color = _mixed(color, "white", 0.45)
        colors.setdefault(name, color)
    return colors


def _mixed(color: str, other: str, share: float) -> str:
    (r, g, b), (red, green, blue) = to_rgb(color), to_rgb(other)
    return to_hex((r + share * (red - r), g + share * (green - g), b + share * (blue - b)))
