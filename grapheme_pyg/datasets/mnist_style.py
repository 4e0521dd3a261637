"""mnist_style: brings photographs and drawings of single digits into MNIST's form."""

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

# Pixels are also neighbours across corners.
EIGHT = np.ones((3, 3), dtype=bool)
# MNIST's digits fit into a box of BOX² pixels, with their centre of mass at the centre of SIZE² pixels.
SIZE, BOX = 28, 20
# Ink below these shares of the strongest ink is paper, and, beside strokes, not even a soft edge.
PAPER, FAINT = 0.3, 0.05
# Connected parts smaller than this share of the largest are dirt.
DIRT = 0.05
# The longer side, in pixels, at which a picture is examined for strokes, with less noise and without losing strokes.
COARSE = 2 * SIZE
# Share of its strength by which ink must rise along its outline, from pixel to pixel. Light and shadow change slowly.
EDGE = 0.2
# Share of all ink that the largest part must have. Noise and the grain of paper are everywhere.
TOGETHER = 0.2
# Percentile of inked pixels at which ink is full.
FULL = 75.0


def mnist_style(image: Image.Image | NDArray[np.generic] | Tensor) -> Tensor:
    """Crops, scales and centres a digit as MNIST's were, with light ink on black.

    "The original black and white images were size normalized to fit in a 20×20 pixel box while preserving their aspect
    ratio. The resulting images contain grey levels as a result of the anti-aliasing technique. The images were centered
    in a 28×28 image by computing the center of mass of the pixels, and translating the image so as to position this
    point at the center" (LeCun, Cortes and Burges, "The MNIST database of handwritten digits").

    The paper is a plane fitted to the border of the picture, so the light may fall from one side. Pixels that differ
    most from it, darker or lighter, are ink; small specks are removed. The ink may be of any strength: most of it
    becomes 255.

    A picture is blank if its ink has no sharp edges, because it is light or shadow, or no large connected part, because
    it is noise. At 56 pixels a side and smoothed by a Gaussian of 0.7 pixels, the ink of an ideal stroke rises along
    its outline by 0.44 of its strength from pixel to pixel; half of the outline must have 0.2.

    Args:
        image: An image of one digit that the border does not cut, in any form that :class:`grapheme_pyg.VisionBrain`
            accepts.

    Returns:
        uint8 ``[28, 28]``; all zeros for a blank picture.

    Raises:
        ImageError: The argument is not an image, or its file is broken.
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
    # BOX takes the mean over the area that a pixel covers, as antialiasing does.
    resampling = Resampling.BOX if scale < 1 else Resampling.BILINEAR
    digit = np.asarray(fromarray(ink.astype(np.float32)).resize((width, height), resampling))
    # The mean centre of mass of MNIST's 60,000 digits is at pixel (14, 14), not on the border between 13 and 14.
    y, x = (round(SIZE // 2 - centre) for centre in center_of_mass(digit))
    # The centre of mass lies in the box, but a long tail may reach beyond the border.
    y, x = min(max(y, 0), SIZE - height), min(max(x, 0), SIZE - width)
    page = np.zeros((SIZE, SIZE))
    page[y : y + height, x : x + width] = digit
    return torch.from_numpy((255 * page).round().astype(np.uint8))


def _ink(grey: Floats) -> Floats:
    """Returns by how much each pixel differs from the paper, in the direction of the largest difference."""
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
    """Shrinks a picture to at most ``COARSE`` pixels a side."""
    from PIL.Image import Resampling, fromarray

    scale = COARSE / max(grey.shape)
    if scale >= 1:
        return grey
    width, height = (max(1, round(scale * side)) for side in grey.shape[::-1])
    small = fromarray(grey.astype(np.float32)).resize((width, height), Resampling.BOX)
    return np.asarray(small, dtype=np.float64)


def _has_strokes(ink: Floats) -> bool:
    """Tells whether ink has a large connected part and sharp edges."""
    from scipy import ndimage

    if ink.max() < 1:  # of 255
        return False
    inked = ink >= PAPER * ink.max()
    parts, _ = ndimage.label(inked, EIGHT)
    if np.bincount(parts[inked]).max() < TOGETHER * inked.sum():
        return False
    outline = ndimage.binary_dilation(inked, EIGHT) & ~ndimage.binary_erosion(inked, EIGHT, border_value=1)
    rise = ndimage.gaussian_gradient_magnitude(ink, 0.7)[outline]
    return bool(rise.size and np.median(rise) >= EDGE * np.percentile(ink[inked], FULL))


def _without_dirt(ink: Floats) -> Floats:
    """Removes paper and specks from ink."""
    from scipy import ndimage

    inked = ink >= PAPER * ink.max()
    parts, number = ndimage.label(inked, EIGHT)
    sizes = ndimage.sum_labels(inked, parts, range(1, number + 1))
    kept = np.isin(parts, 1 + np.flatnonzero(sizes >= DIRT * sizes.max()))
    # Soft edges belong to their strokes.
    kept = ndimage.binary_dilation(kept, EIGHT) & (ink >= FAINT * ink.max())
    return np.where(kept, ink, 0)
