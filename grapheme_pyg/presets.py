"""Sizes of models, by name."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A size of model.

    Attributes:
        vision: Arguments of :class:`grapheme_pyg.VisionBrain`.
        model: Arguments of :class:`grapheme_pyg.ImageClassificationModel`.
    """

    vision: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)


# Widths of states for each mode: of the two finest levels, and of all above them.
WIDTHS = {"grid": (32, 64, 96), "blob": (64, 64, 64), "superpixel": (64, 96, 128), "hybrid": (32, 64, 96)}
# Colour images have more to tell apart than digits.
COLOUR_WIDTHS = {"grid": (48, 96, 192), "blob": (64, 64, 64), "superpixel": (64, 128, 192), "hybrid": (64, 128, 192)}
# Modes and channels in which models keep states from round to round unless they ask for something else.
RESIDUAL = {("grid", 3)}


def default_widths(mode: str, in_channels: int, num_levels: int) -> tuple[int, ...]:
    """Widths of states for each level, fine to coarse, of a model that asks for none.

    Args:
        mode: Of :class:`grapheme_pyg.VisionBrain`.
        in_channels: Of its images, 1 or 3.
        num_levels: Configured levels.

    Raises:
        ValueError: The mode is none of the library's own.
    """
    widths = WIDTHS if in_channels == 1 else COLOUR_WIDTHS
    if mode not in widths:
        number = f"{num_levels} positive integers, one for each level"
        raise ValueError(f"hidden_channels: expected {number}, as mode {mode!r} has no default, got None")
    finest, second, others = widths[mode]
    return (finest, second, *(others,) * num_levels)[:num_levels]


# Numbers of weights are for ten classes of grey images. The small ones have no levels beyond the third, whose weights
# small images would not train.
PRESETS = {
    # 4,933 weights
    "tiny": Preset(
        {"rounds": (3, 2, 1), "extend": False},
        {
            "hidden_channels": (8, 10, 14),
            "embedding_channels": 16,
            "templates_per_class": 1,
            "readout": "sinks",
        },
    ),
    # 9,801 weights
    "mini": Preset(
        {"rounds": (3, 2, 1), "extend": False},
        {
            "hidden_channels": (11, 16, 17),
            "embedding_channels": 20,
            "templates_per_class": 1,
            "readout": "sinks",
        },
    ),
    # 19,889 weights
    "small": Preset(
        {"rounds": (3, 2, 1), "extend": False},
        {
            "hidden_channels": (15, 24, 25),
            "embedding_channels": 24,
            "templates_per_class": 1,
            "readout": "sinks",
        },
    ),
    # 351,425 weights
    "base": Preset(),
}


def list_presets() -> list[str]:
    """Returns the names of the sizes of models, small to large, that ``from_preset`` takes."""
    return list(PRESETS)
