"""Normalisation of grey images relative to their ground; :mod:`grapheme_pyg.vision.ground` explains the steps."""

from collections.abc import Callable

import torch
from torch import Tensor

from grapheme_pyg.ops.canvas import inside, repeat_border
from grapheme_pyg.ops.definition import define

Choice = Callable[[Tensor, Tensor], Tensor]
Pair = tuple[Tensor, Tensor]


def relative_to_ground(pixels: Tensor, sizes: Tensor, least_contrast: int, cut: float) -> Tensor:
    """Normalises images relative to their ground and contrast.

    Args:
        pixels: ``[B, 1, H, W]`` uint8, images in the upper left corners.
        sizes: ``[B, 4]`` int64: height and width of each image; the thickness in pixels of its frame, whose median is
            the ground; and the number of pixels whose local mean reaches the contrast.
        least_contrast: Smallest contrast, in levels.
        cut: A pixel is ground if its local mean does not exceed the median magnitude of Immerkær's mask times this.

    Returns:
        ``[B, 1, H, W]`` uint8, 0 outside of the images; computed from integers by correctly rounded operations, so that
        it does not depend on the batch.
    """
    out: Tensor = _relative_to_ground(pixels, sizes, least_contrast, cut)
    return out


def _plain(pixels: Tensor, sizes: Tensor, least_contrast: int, cut: float) -> Tensor:
    frame, brightest = sizes[:, 2], sizes[:, 3]
    own, count = inside(sizes[:, :2], *pixels.shape[-2:]), sizes[:, 0] * sizes[:, 1]
    padded = repeat_border(pixels.to(torch.int16), sizes[:, :2], 1)[:, 0]
    noise = _ordered(_weighed(padded, (1, -2, 1)).abs(), own, (count - 1) // 2)
    levels = _without_specks(padded)
    # Levels are doubled, because a median can lie between two; so the mean, a weighted sum, is 32 times too large.
    levels = 2 * levels - _twice_median_of_frame(levels, own, sizes[:, :2], frame)[:, None, None]
    mean = _weighed(repeat_border(levels[:, None], sizes[:, :2], 1)[:, 0], (1, 2, 1))
    side = torch.where((mean * own).flatten(1).long().pow(3).sum(1) < 0, -1, 1).to(torch.int16)[:, None, None]
    levels, mean = levels * side, mean * side
    contrast = _ordered(mean, own, count - brightest).float() / 16
    contrast = contrast.clamp(min=2 * least_contrast)[:, None, None]
    drawn = own & (mean > (32 * cut * noise.float())[:, None, None])
    out = (levels.float() * 255 / contrast).round_().clamp_(0, 255).to(torch.uint8)
    return (out * drawn)[:, None]


def _weighed(padded: Tensor, weights: tuple[int, int, int]) -> Tensor:
    """Applies weights along both axes of images with a margin of one pixel."""
    for dim in (1, 2):
        size = padded.shape[dim] - 2
        left, middle, right = (padded.narrow(dim, start, size) for start in range(3))
        padded = left * weights[0] + middle * weights[1] + right * weights[2]
    return padded


def _ordered(values: Tensor, some: Tensor, place: Tensor) -> Tensor:
    """Returns the value of each image at a place in the ascending order of some of them, ``[B]``."""
    ordered = torch.where(some, values, torch.iinfo(values.dtype).max).flatten(1).sort(dim=1).values
    return ordered.gather(1, place[:, None])[:, 0]


def _without_specks(padded: Tensor) -> Tensor:
    """Clamps each pixel between the second smallest and the second largest of its eight neighbours."""
    height, width = (size - 2 for size in padded.shape[1:])
    places = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    around = [padded[:, y : y + height, x : x + width].contiguous() for y, x in places]
    pairs = list(zip(around[::2], around[1::2], strict=True))
    # The two largest and the two smallest of each pair, then of four neighbours, then of all eight.
    large = [(torch.maximum(*pair), torch.minimum(*pair)) for pair in pairs]
    small = [(second, first) for first, second in large]
    while len(large) > 1:
        large = [_merged(torch.maximum, torch.minimum, *two) for two in zip(large[::2], large[1::2], strict=True)]
        small = [_merged(torch.minimum, torch.maximum, *two) for two in zip(small[::2], small[1::2], strict=True)]
    return torch.minimum(torch.maximum(padded[:, 1:-1, 1:-1], small[0][1]), large[0][1])


def _merged(best: Choice, worst: Choice, one: Pair, other: Pair) -> Pair:
    """Returns the best two of two sets, given the best two of each."""
    return best(one[0], other[0]), best(worst(one[0], other[0]), best(one[1], other[1]))


def _twice_median_of_frame(levels: Tensor, own: Tensor, sizes: Tensor, thickness: Tensor) -> Tensor:
    y, x = (torch.arange(size, device=levels.device) for size in levels.shape[1:])
    at_end = [
        (at < thickness[:, None]) | (at >= size[:, None] - thickness[:, None])
        for at, size in zip((y, x), sizes.t(), strict=True)
    ]
    frame = own & (at_end[0][:, :, None] | at_end[1][:, None])
    number = frame.flatten(1).sum(1)
    return _ordered(levels, frame, (number - 1) // 2) + _ordered(levels, frame, number // 2)


_relative_to_ground = define(
    "relative_to_ground(Tensor pixels, Tensor sizes, int least_contrast, float cut) -> Tensor",
    _plain,
    lambda pixels, *_: torch.empty_like(pixels),
)
