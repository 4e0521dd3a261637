"""Grey images relative to their ground: what is drawn is light on 0, whatever its polarity, brightness and contrast."""

from collections.abc import Callable

import torch
from torch import Tensor

Choice = Callable[[Tensor, Tensor], Tensor]
Pair = tuple[Tensor, Tensor]

# The ground is the median of a frame, of this part of the shorter side.
FRAME = 14
# The contrast is what so many of all pixels exceed, and no less than so many levels: less is no drawing.
BRIGHTEST, LEAST_CONTRAST = 0.005, 16
# A pixel is ground if the mean around it differs from the ground by less than so many standard deviations of noise.
DEVIATIONS = 2.0
# Of white noise: of Immerkær's mask, times 0.6745 for the median of its magnitude; and of the binomial mean.
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
    levels = pixels[:, 0].to(torch.int16)
    noise = _deviation_of_noise(levels)
    levels = _without_specks(levels)
    # From here on twice the levels, as a median may lie between two, and of the mean 16 times as much.
    levels = 2 * levels - _twice_median_of_frame(levels)[:, None, None]
    mean = _along(_along(levels, 1, (1, 2, 1)), 2, (1, 2, 1))
    side = torch.where(mean.flatten(1).long().pow(3).sum(1) < 0, -1, 1).to(torch.int16)[:, None, None]
    levels, mean = levels * side, mean * side
    brightest = max(1, round(BRIGHTEST * height * width))
    contrast = mean.flatten(1).kthvalue(height * width - brightest + 1, dim=1).values.float() / 16
    contrast = contrast.clamp(min=2 * LEAST_CONTRAST)[:, None, None]
    drawn = mean > (32 * DEVIATIONS * OF_MEAN * noise)[:, None, None]
    out = (levels.float() * 255 / contrast).round_().clamp_(0, 255).to(torch.uint8)
    return (out * drawn)[:, None]


def _padded(levels: Tensor, dim: int) -> Tensor:
    """One row or column more on either side, the border repeated."""
    size = levels.shape[dim]
    return levels.index_select(dim, torch.arange(-1, size + 1).clamp(0, size - 1))


def _along(levels: Tensor, dim: int, weights: tuple[int, int, int]) -> Tensor:
    padded, size = _padded(levels, dim), levels.shape[dim]
    left, middle, right = (padded.narrow(dim, start, size) for start in range(3))
    return left * weights[0] + middle * weights[1] + right * weights[2]


def _deviation_of_noise(levels: Tensor) -> Tensor:
    """Standard deviation of white noise, ``[B]`` float32; 0 if most of the image is flat."""
    mask = _along(_along(levels, 1, (1, -2, 1)), 2, (1, -2, 1))
    return mask.abs().flatten(1).median(dim=1).values.float() / OF_MASK


def _without_specks(levels: Tensor) -> Tensor:
    """Each pixel between the second smallest and the second largest of its eight neighbours."""
    height, width = levels.shape[1:]
    padded = _padded(_padded(levels, 1), 2)
    places = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    around = [padded[:, y : y + height, x : x + width].contiguous() for y, x in places]
    pairs = list(zip(around[::2], around[1::2], strict=True))
    # The first and second largest, and smallest, of each pair; then of two pairs together, and of all.
    large = [(torch.maximum(*pair), torch.minimum(*pair)) for pair in pairs]
    small = [(second, first) for first, second in large]
    while len(large) > 1:
        large = [_merged(torch.maximum, torch.minimum, *two) for two in zip(large[::2], large[1::2], strict=True)]
        small = [_merged(torch.minimum, torch.maximum, *two) for two in zip(small[::2], small[1::2], strict=True)]
    return torch.minimum(torch.maximum(levels, small[0][1]), large[0][1])


def _merged(best: Choice, worst: Choice, one: Pair, other: Pair) -> Pair:
    """The best and second best of two sets, of each of which they are given."""
    return best(one[0], other[0]), best(worst(one[0], other[0]), best(one[1], other[1]))


def _twice_median_of_frame(levels: Tensor) -> Tensor:
    height, width = levels.shape[1:]
    thickness = max(1, min(height, width) // FRAME)
    frame = torch.ones(height, width, dtype=torch.bool)
    frame[thickness : height - thickness, thickness : width - thickness] = False
    ordered = levels[:, frame].sort(dim=1).values
    number = ordered.shape[1]
    return ordered[:, (number - 1) // 2] + ordered[:, number // 2]
