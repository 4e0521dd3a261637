"""Photographs and drawings of single digits, made like those of MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grapheme_pyg.vision.pixels import to_pixels

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float64]

# Pixels are neighbours across corners, too.
EIGHT = np.ones((3, 3), dtype=bool)
# MNIST's: the digit fits into a box of BOX², and its centre of mass is at the centre of SIZE².
SIZE, BOX = 28, 20
# Of the strongest ink: what is weaker is paper.
PAPER = 0.3
# And of soft edges beside strokes.
FAINT = 0.05
# Of the largest connected part: what is smaller is dirt.
DIRT = 0.05
# Pictures are looked at in at most so many pixels a side to tell ink from paper: less noise, and no stroke is lost.
COARSE = 2 * SIZE
# Along its outline ink rises by at least so much of its strength from one of these pixels to the next. Light and shadow
# that no plane describes come and go slowly.
EDGE = 0.2
# And one part has at least so much of all ink. Noise and the grain of paper are everywhere.
TOGETHER = 0.2
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

    A picture has nothing on it if what differs most from the plane has no edges as strokes have, because it is light or
    shadow, or does not hold together, because it is noise. Along the outline of an ideal stroke its strength, smoothed
    by a Gaussian of 0.7 pixels of at most 56 a side, rises by 0.44 of itself from one pixel to the next; half of the
    outline must have 0.2.

    Args:
        image: As :class:`grapheme_pyg.VisionBrain` takes it; one digit, not cut by the border.

    Returns:
        uint8 ``[28, 28]``; all zeros for a picture without anything on it.

    Raises:
        ImageError: It is no image, or one of a broken file.
    """
    from PIL.Image import Resampling, fromarray
    from scipy.ndimage import center_of_mass

    grey = to_pixels(image, 1)[0].cpu().numpy().astype(np.float64)
    if not _has_strokes(_ink(_coarse(grey))):
        return torch.zeros(SIZE, SIZE, dtype=torch.uint8)
    ink = _without_dirt(_ink(grey))
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink = np.minimum(ink / np.percentile(ink[ink > 0], FULL), 1)
    scale = BOX / max(ink.shape)
    width, height = (max(1, round(scale * side)) for side in ink.shape[::-1])
    # The mean over the area that a pixel covers, as by antialiasing; what is enlarged has no such area.
    resampling = Resampling.BOX if scale < 1 else Resampling.BILINEAR
    digit = np.asarray(fromarray(ink.astype(np.float32)).resize((width, height), resampling))
    # Of MNIST's own 60,000 the mean centre of mass is at pixel (14, 14), not on the border between 13 and 14.
    y, x = (round(SIZE // 2 - centre) for centre in center_of_mass(digit))
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


def _coarse(grey: Floats) -> Floats:
    """In at most ``COARSE`` pixels a side."""
    from PIL.Image import Resampling, fromarray

    scale = COARSE / max(grey.shape)
    if scale >= 1:
        return grey
    width, height = (max(1, round(scale * side)) for side in grey.shape[::-1])
    small = fromarray(grey.astype(np.float32)).resize((width, height), Resampling.BOX)
    return np.asarray(small, dtype=np.float64)


def _has_strokes(ink: Floats) -> bool:
    """Whether what differs from the paper holds together and has edges."""
    from scipy import ndimage

    if ink.max() < 1:  # of 255: a plane
        return False
    inked = ink >= PAPER * ink.max()
    parts, _ = ndimage.label(inked, EIGHT)
    if np.bincount(parts[inked]).max() < TOGETHER * inked.sum():
        return False
    outline = ndimage.binary_dilation(inked, EIGHT) & ~ndimage.binary_erosion(inked, EIGHT, border_value=1)
    rise = ndimage.gaussian_gradient_magnitude(ink, 0.7)[outline]
    return bool(rise.size and np.median(rise) >= EDGE * np.percentile(ink[inked], FULL))


def _without_dirt(ink: Floats) -> Floats:
    """Ink without paper and without specks, of which the others say nothing."""
    from scipy import ndimage

    inked = ink >= PAPER * ink.max()
    parts, number = ndimage.label(inked, EIGHT)
    sizes = ndimage.sum_labels(inked, parts, range(1, number + 1))
    kept = np.isin(parts, 1 + np.flatnonzero(sizes >= DIRT * sizes.max()))
    # Soft edges belong to the strokes that they are beside.
    kept = ndimage.binary_dilation(kept, EIGHT) & (ink >= FAINT * ink.max())
    return np.where(kept, ink, 0)
