"""Augmentation of training data: warped, occluded and degraded images, and graphs with missing parts."""

from grapheme_pyg.augmentation.cutout import RandomCutout
from grapheme_pyg.augmentation.degradation import RandomDegradation
from grapheme_pyg.augmentation.dropping import RandomDropping
from grapheme_pyg.augmentation.warp import RandomWarp

__all__ = ["RandomCutout", "RandomDegradation", "RandomDropping", "RandomWarp"]
