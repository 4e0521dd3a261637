"""Normalisation of grey images relative to their ground; :mod:`grapheme_pyg.vision.ground` explains the steps."""

from collections.abc import Callable

import torch
from torch import Tensor

from grapheme_pyg.ops.definition import define

Choice = Callable[[Tensor, Tensor], Tensor]
Pair = tuple[Tensor, Tensor]


def relative_to_ground(pixels: Tensor, frame: int, brightest: int, least_contrast: int, cut: float) -> Tensor:
    """Normalises images relative to their ground and contrast.

    Args:
        pixels: ``[B, 1, H, W]`` uint8.
        frame: Thickness in pixels of the frame whose median is the ground.
        brightest: Number of pixels whose local mean reaches the contrast.
        least_contrast: Smallest contrast, in levels.
        cut: A pixel is ground if its local mean does not exceed the median magnitude of Immerkær's mask times this.

    Returns:
        ``[B, 1, H, W]`` uint8, computed from integers by correctly rounded operations, so that it does not depend on
        the batch.
    """
    out: Tensor = _relative_to_ground(pixels, frame, brightest, least_contrast, cut)
    return out


def _plain(pixels: Tensor, frame: int, brightest: int, least_contrast: int, cut: float) -> Tensor:
    levels = pixels[:, 0].to(torch.int16)
    mask = _along(_along(levels, 1, (1, -2, 1)), 2, (1, -2, 1))
    noise = mask.abs().flatten(1).median(dim=1).values
    levels = _without_specks(levels)
    # Levels are doubled, because a median can lie between two; so the mean, a weighted sum, is 32 times too large.
    levels = 2 * levels - _twice_median_of_frame(levels, frame)[:, None, None]
    mean = _along(_along(levels, 1, (1, 2, 1)), 2, (1, 2, 1))
    side = torch.where(mean.flatten(1).long().pow(3).sum(1) < 0, -1, 1).to(torch.int16)[:, None, None]
    levels, mean = levels * side, mean * side
    contrast = mean.flatten(1).topk(brightest, dim=1).values[:, -1].float() / 16
    contrast = contrast.clamp(min=2 * least_contrast)[:, None, None]
    drawn = mean > (32 * cut * noise.float())[:, None, None]
    out = (levels.float() * 255 / contrast).round_().clamp_(0, 255).to(torch.uint8)
    return (out * drawn)[:, None]


def _padded(levels: Tensor, dim: int) -> Tensor:
    """Repeats the border once on either side of a dimension."""
    size = levels.shape[dim]
    return levels.index_select(dim, torch.arange(-1, size + 1, device=levels.device).clamp(0, size - 1))


def _along(levels: Tensor, dim: int, weights: tuple[int, int, int]) -> Tensor:
    padded, size = _padded(levels, dim), levels.shape[dim]
    left, middle, right = (padded.narrow(dim, start, size) for start in range(3))
    return left * weights[0] + middle * weights[1] + right * weights[2]


def _without_specks(levels: Tensor) -> Tensor:
    """Clamps each pixel between the second smallest and the second largest of its eight neighbours."""
    height, width = levels.shape[1:]
    padded = _padded(_padded(levels, 1), 2)
    places = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    around = [padded[:, y : y + height, x : x + width].contiguous() for y, x in places]
    pairs = list(zip(around[::2], around[1::2], strict=True))
    # The two largest and the two smallest of each pair, then of four neighbours, then of all eight.
    large = [(torch.maximum(*pair), torch.minimum(*pair)) for pair in pairs]
    small = [(second, first) for first, second in large]
    while len(large) > 1:
        large = [_merged(torch.maximum, torch.minimum, *two) for two in zip(large[::2], large[1::2], strict=True)]
        small = [_merged(torch.minimum, torch.maximum, *two) for two in zip(small[::2], small[1::2], strict=True)]
    return torch.minimum(torch.maximum(levels, small[0][1]), large[0][1])


def _merged(best: Choice, worst: Choice, one: Pair, other: Pair) -> Pair:
    """Returns the best two of two sets, given the best two of each."""
    return best(one[0], other[0]), best(worst(one[0], other[0]), best(one[1], other[1]))


def _twice_median_of_frame(levels: Tensor, thickness: int) -> Tensor:
    height, width = levels.shape[1:]
    frame = torch.ones(height, width, dtype=torch.bool, device=levels.device)
    frame[thickness : height - thickness, thickness : width - thickness] = False
    ordered = levels[:, frame].sort(dim=1).values
    number = ordered.shape[1]
    return ordered[:, (number - 1) // 2] + ordered[:, number // 2]


_relative_to_ground = define(
    "relative_to_ground(Tensor pixels, int frame, int brightest, int least_contrast, float cut) -> Tensor",
    _plain,
    lambda pixels, *_: torch.empty_like(pixels),
)
