"""Photographs and drawings of single digits, made like those of MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grapheme_pyg.vision.drawings import FORM, find_drawings

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image


def mnist_style(image: Image) -> Tensor:
    """Crops, scales and centres the digit on a picture as those of MNIST were; light ink on black.

    It is the largest of those that :func:`grapheme_pyg.vision.find_drawings` finds.

    Args:
        image: As :class:`grapheme_pyg.VisionBrain` takes it.

    Returns:
        uint8 ``[28, 28]``; all zeros for a picture without anything on it.

    Raises:
        ImageError: It is no image, or one of a broken file.
    """
    found = find_drawings(image)
    return found[0].pixels if found else torch.zeros(FORM, FORM, dtype=torch.uint8)
