"""Canvases: images of several sizes in one tensor, each in the upper left corner, so that they are computed together."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Images of at most so many pixels share a canvas. Graphs of such images are subgraphs of the lattice of all cells;
# graphs of larger ones are built from their cells, which takes memory only for cells that exist.
CANVAS_PIXELS = 2**16
# Images of several sizes share a canvas of at most so many times their pixels.
SPARE = 4


def sizes_of(images: Tensor, sizes: Tensor | None) -> Tensor:
    """Returns the sizes of images on canvases ``[N, ..., H, W]``, int64 ``[N, 2]``, which are ``H × W`` if None."""
    return torch.tensor([images.shape[-2:]]).expand(len(images), 2) if sizes is None else sizes


def canvas_sizes(stacks: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Chooses the size of the canvas for the images of each stack ``[n_i, C, H_i, W_i]``; large ones keep their size.

    It is the same for all if it has at most ``SPARE`` times as many pixels as they have; else sides are powers of two.
    """
    height, width = (rounded_up(max(stack.shape[dim] for stack in stacks)) for dim in (-2, -1))
    pixels, images = sum(stack[:, 0].numel() for stack in stacks), sum(len(stack) for stack in stacks)
    if height * width <= CANVAS_PIXELS and images * height * width <= SPARE * pixels:
        return [(height, width)] * len(stacks)
    own = [(stack.shape[-2], stack.shape[-1]) for stack in stacks]
    powers = [(1 << (down - 1).bit_length(), 1 << (across - 1).bit_length()) for down, across in own]
    return [power if power[0] * power[1] <= CANVAS_PIXELS else size for size, power in zip(own, powers, strict=True)]


def on_canvas(stacks: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Puts images of several sizes into the upper left corners of canvases.

    Args:
        stacks: ``[n_i, C, H_i, W_i]``, images of one size each.
        size: Height and width of the canvases.

    Returns:
        ``[N, C, height, width]``, 0 outside of the images, in the order of the stacks; and the sizes of the images,
        int64 ``[N, 2]``.
    """
    counts = [len(stack) for stack in stacks]
    canvas = stacks[0].new_zeros(sum(counts), stacks[0].shape[1], *size)
    for stack, corner in zip(stacks, canvas.split(counts), strict=True):
        corner[..., : stack.shape[-2], : stack.shape[-1]] = stack
    sizes = torch.tensor([stack.shape[-2:] for stack in stacks])
    return canvas, sizes.repeat_interleave(torch.tensor(counts), dim=0)


def runs(sizes: Tensor) -> Iterator[tuple[slice, int, int]]:
    """Yields rows of images of one size that follow one another, with their height and width."""
    own, counts = torch.unique_consecutive(sizes, dim=0, return_counts=True)
    first = 0
    for (height, width), count in zip(own.tolist(), counts.tolist(), strict=True):
        yield slice(first, first + count), height, width
        first += count


def rounded_up(side: int) -> int:
    """Rounds up to one of four numbers between powers of two, so that a few cached values serve all sizes."""
    step = 1 << max(0, side.bit_length() - 3)
    return -(-side // step) * step
