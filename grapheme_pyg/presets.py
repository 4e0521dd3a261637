"""Presets: named sizes of models."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A model size.

    Attributes:
        vision: Arguments of :class:`grapheme_pyg.VisionBrain`.
        model: Arguments of :class:`grapheme_pyg.ImageClassificationModel`.
    """

    vision: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)


# Default widths of states for each mode: those of the two finest levels, and of all other levels.
WIDTHS = {"grid": (32, 64, 96), "blob": (64, 64, 64), "superpixel": (64, 96, 128), "hybrid": (32, 64, 96)}
# Colour images vary more than digits.
COLOUR_WIDTHS = {"grid": (48, 96, 192), "blob": (64, 64, 64), "superpixel": (64, 128, 192), "hybrid": (64, 128, 192)}
# Modes and channels of models that are residual by default.
RESIDUAL = {("grid", 3)}


def default_widths(mode: str, in_channels: int, num_levels: int) -> tuple[int, ...]:
    """Returns the default width of states for each level, fine to coarse.

    Args:
        mode: Mode of :class:`grapheme_pyg.VisionBrain`.
        in_channels: Channels of its images, 1 or 3.
        num_levels: Number of configured levels.

    Raises:
        ValueError: The mode is not one of the library's own.
    """
    widths = WIDTHS if in_channels == 1 else COLOUR_WIDTHS
    if mode not in widths:
        number = f"{num_levels} positive integers, one for each level"
        raise ValueError(f"hidden_channels: expected {number}, as mode {mode!r} has no default, got None")
    finest, second, others = widths[mode]
    return (finest, second, *(others,) * num_levels)[:num_levels]


def _small(hidden_channels: tuple[int, ...], embedding_channels: int) -> Preset:
    # Without levels beyond the third, whose weights small images would not train.
    model = {"templates_per_class": 1, "readout": "sinks"}
    model |= {"hidden_channels": hidden_channels, "embedding_channels": embedding_channels}
    return Preset({"rounds": (3, 2, 1), "extend": False}, model)


# Numbers of weights are for ten classes of grey images.
PRESETS = {
    "tiny": _small((8, 10, 14), 16),  # 4,933 weights
    "mini": _small((11, 16, 17), 20),  # 9,801 weights
    "small": _small((15, 24, 25), 24),  # 19,889 weights
    "base": Preset(),  # 351,425 weights
}


def list_presets() -> list[str]:
    """Returns the names of the presets that ``from_preset`` accepts, small to large."""
    return list(PRESETS)
