"""Grey images relative to their ground: what is drawn is light on 0, whatever its polarity, brightness and contrast."""

from torch import Tensor

from grapheme_pyg import ops

# The ground is the median of a frame, of this part of the shorter side.
FRAME = 14
# The contrast is what so many of all pixels exceed, and no less than so many levels: less is no drawing.
BRIGHTEST, LEAST_CONTRAST = 0.005, 16
# A pixel is ground if the mean around it differs from the ground by less than so many standard deviations of noise.
DEVIATIONS = 2.0
# Of white noise of deviation 1: of Immerkær's mask, times 0.6745 for the median of its magnitude; of the binomial mean.
OF_MASK, OF_MEAN = 6 * 0.6745, 0.375


def relative_to_ground(pixels: Tensor) -> Tensor:
    """Brings drawings of either polarity, on a ground of any level, to light ones on 0.

    In this order: specks of a single pixel go (the LUM smoother of Hardie and Boncelet, "LUM filters: a class of
    rank-order-based filters for smoothing and sharpening", 1993: each pixel is brought between the second smallest and
    the second largest of its eight neighbours). The ground is the median of the image's frame, and the drawing lies on
    that side of it to which the image is skewed. Levels are divided by the contrast, the 99.5th percentile of the
    image's binomial mean over 3×3 pixels. Where that mean does not exceed what noise makes of it, there is ground; the
    noise is measured by the mask of Immerkær, "Fast noise variance estimation", 1996, and a median.

    Images without noise in which ink of 255 lies on 0 stay nearly as they are, but for specks; inverted ones give the
    same. All comes from integers and correctly rounded operations, and so does not depend on the batch.

    Args:
        pixels: uint8 ``[B, 1, H, W]``.

    Returns:
        uint8 of the same shape: 0 is the ground, 255 the contrast or more.
    """
    height, width = pixels.shape[-2:]
    frame = max(1, min(height, width) // FRAME)
    brightest = max(1, round(BRIGHTEST * height * width))
    return ops.relative_to_ground(pixels, frame, brightest, LEAST_CONTRAST, DEVIATIONS * OF_MEAN / OF_MASK)
