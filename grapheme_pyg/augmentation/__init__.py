"""Training data as it may come otherwise: images moved, bent, hidden in part and spoilt, graphs with parts missing."""

from grapheme_pyg.augmentation.cutout import RandomCutout
from grapheme_pyg.augmentation.degradation import RandomDegradation
from grapheme_pyg.augmentation.dropping import RandomDropping
from grapheme_pyg.augmentation.warp import RandomWarp

__all__ = ["RandomCutout", "RandomDegradation", "RandomDropping", "RandomWarp"]
