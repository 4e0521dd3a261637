"""Photographs and drawings of single digits, made like those of MNIST."""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor

from grapheme_pyg.vision.pixels import to_pixels

Floats = NDArray[np.float64]

# MNIST's: the digit fits into a box of BOX², and its centre of mass is at the centre of SIZE².
SIZE, BOX = 28, 20
# Of the strongest ink: what is weaker is paper.
PAPER = 0.3
# And of soft edges beside strokes.
FAINT = 0.05
# Of the largest connected part: what is smaller is dirt.
DIRT = 0.05
# Ink is full where it is as strong as so many of the inked pixels, in percent, are not.
FULL = 75.0


def mnist_style(image: Image.Image | NDArray[np.generic] | Tensor) -> Tensor:
    """Crops, scales and centres a digit as those of MNIST were; light ink on black.

    "The original black and white images were size normalized to fit in a 20×20 pixel box while preserving their aspect
    ratio. The resulting images contain grey levels as a result of the anti-aliasing technique. The images were centered
    in a 28×28 image by computing the center of mass of the pixels, and translating the image so as to position this
    point at the center" (LeCun, Cortes and Burges, "The MNIST database of handwritten digits").

    The paper is a plane fitted to the border of the picture, so its light may fall from one side. What differs most
    from it, darker or lighter, is ink; small specks are dropped. How dark the ink is does not matter: most of it
    becomes 255.

    Args:
        image: As :class:`grapheme_pyg.VisionBrain` takes it; one digit, not cut by the border.

    Returns:
        uint8 ``[28, 28]``; all zeros for a picture without anything on it.

    Raises:
        ValueError: It is no image.
    """
    grey = to_pixels(image, 1)[0].cpu().numpy().astype(np.float64)
    ink = _ink(grey)
    if ink.max(initial=0.0) < 1:  # of 255: an empty page
        return torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    ink = _without_dirt(ink)
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink = np.minimum(ink / np.percentile(ink[ink > 0], FULL), 1)
    scale = BOX / max(ink.shape)
    width, height = (max(1, round(scale * side)) for side in ink.shape[::-1])
    # The mean over the area that a pixel covers, as by antialiasing; what is enlarged has no such area.
    resampling = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    digit = np.asarray(Image.fromarray(ink.astype(np.float32)).resize((width, height), resampling))
    # Of MNIST's own 60,000 the mean centre of mass is at pixel (14, 14), not on the border between 13 and 14.
    y, x = (round(SIZE // 2 - centre) for centre in ndimage.center_of_mass(digit))
    # The centre of mass lies in the box, but a long tail may reach beyond the border.
    y, x = min(max(y, 0), SIZE - height), min(max(x, 0), SIZE - width)
    page = np.zeros((SIZE, SIZE))
    page[y : y + height, x : x + width] = digit
    return torch.from_numpy((255 * page).round().astype(np.uint8))


def _ink(grey: Floats) -> Floats:
    """How much each pixel differs from the paper, in the direction in which most do."""
    height, width = grey.shape
    y, x = np.mgrid[:height, :width] / max(height, width)
    plane = np.stack([np.ones_like(grey), y, x], axis=-1)
    border = np.ones(grey.shape, bool)
    border[1:-1, 1:-1] = False
    paper = plane @ np.linalg.lstsq(plane[border], grey[border], rcond=None)[0]
    difference = grey - paper
    ink: Floats = np.maximum(difference if difference.max() >= -difference.min() else -difference, 0)
    return ink


def _without_dirt(ink: Floats) -> Floats:
    """Ink without paper and without specks, of which the others say nothing."""
    inked = ink >= PAPER * ink.max()
    parts, number = ndimage.label(inked, np.ones((3, 3)))
    sizes = ndimage.sum_labels(inked, parts, range(1, number + 1))
    kept = np.isin(parts, 1 + np.flatnonzero(sizes >= DIRT * sizes.max()))
    # Soft edges belong to the strokes that they are beside.
    kept = ndimage.binary_dilation(kept, np.ones((3, 3))) & (ink >= FAINT * ink.max())
    return np.where(kept, ink, 0)
