"""Normalisation of grey images: drawings become light on 0, whatever their polarity, brightness and contrast."""

import torch
from torch import Tensor

from grapheme_pyg import ops
from grapheme_pyg.vision.canvas import sizes_of

# Ratio of the shorter side to the thickness of the frame whose median is the ground.
FRAME = 14
# Share of pixels that exceed the contrast; and the smallest contrast in levels, as less is not a drawing.
BRIGHTEST, LEAST_CONTRAST = 0.005, 16
# A pixel is ground if the mean around it differs from the ground by fewer standard deviations of noise.
DEVIATIONS = 2.0
# Responses to white noise of deviation 1: median magnitude of Immerkær's mask, and deviation of the binomial mean.
OF_MASK, OF_MEAN = 6 * 0.6745, 0.375


def relative_to_ground(pixels: Tensor, sizes: Tensor | None = None) -> Tensor:
    """Converts drawings of either polarity on a ground of any level to light drawings on 0.

    First, specks of a single pixel are removed: each pixel is clamped between the second smallest and the second
    largest of its eight neighbours (the LUM smoother of Hardie and Boncelet, "LUM filters: a class of rank-order-based
    filters for smoothing and sharpening", 1993). The ground is the median of the image's frame. Ink is lighter or
    darker than the ground, depending on the skewness of the image. Levels are divided by the contrast, the 99.5th
    percentile of the binomial mean over 3×3 pixels. Pixels at which this mean could be due to noise become ground; the
    noise is estimated by the mask of Immerkær, "Fast noise variance estimation", 1996, and a median.

    Images without noise that have ink of 255 on 0 hardly change, except for specks; their inverse has the same result.
    It is computed from integers by correctly rounded operations, and so does not depend on the batch.

    Args:
        pixels: uint8 ``[B, 1, H, W]``.
        sizes: Heights and widths of images in the upper left corners, int64 ``[B, 2]``; None if all are ``H × W``.

    Returns:
        uint8 of the same shape; 0 is the ground, and 255 is the contrast or more.
    """
    height, width = sizes_of(pixels, sizes).t()
    frame = (height.minimum(width) // FRAME).clamp(min=1)
    brightest = (BRIGHTEST * height.double() * width).round().clamp(min=1).long()
    measures = torch.stack([height, width, frame, brightest], dim=1)
    return ops.relative_to_ground(pixels, measures, LEAST_CONTRAST, DEVIATIONS * OF_MEAN / OF_MASK)
