"""Sizes of models, by name."""

from collections.abc import Callable
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


# Widths of states for each mode, by the number of levels.
WIDTHS: dict[str, Callable[[int], tuple[int, ...]]] = {
    "grid": lambda levels: (32, 64, *(96,) * (levels - 2)),
    "blob": lambda levels: (64,) * levels,
    "superpixel": lambda levels: (64, 96, *(128,) * (levels - 2)),
    "hybrid": lambda levels: (32, 64, *(96,) * (levels - 2)),
}

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
            "dropout": 0.0,
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
            "dropout": 0.0,
        },
    ),
    # 351,425 weights
    "base": Preset(),
}
