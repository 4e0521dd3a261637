"""Canvases: images of several sizes in one tensor, each in the upper left corner, to compute them together."""

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


def stacked(images: Sequence[Tensor]) -> tuple[list[Tensor], list[list[int]]]:
    """Stacks images ``[C, H_i, W_i]`` of one shape; returns the stacks, and the positions of their images."""
    positions: dict[torch.Size, list[int]] = {}
    for i, image in enumerate(images):
        positions.setdefault(image.shape, []).append(i)
    return [torch.stack([images[i] for i in some]) for some in positions.values()], list(positions.values())


def by_canvas(stacks: Sequence[Tensor]) -> dict[tuple[int, int, int], list[int]]:
    """Groups the positions of stacks ``[n_i, C_i, H_i, W_i]`` by the channels, height and width of their canvases.

    All have the same canvas if it has at most ``SPARE`` times as many pixels as they have; else its sides are powers of
    two. Large images are their own canvas.
    """
    shapes = [(len(stack), *stack.shape[1:]) for stack in stacks]
    tallest, widest = (rounded_up(max(shape[axis] for shape in shapes)) for axis in (2, 3))
    pixels, images = sum(n * height * width for n, _, height, width in shapes), sum(n for n, *_ in shapes)
    fits_all = tallest * widest <= CANVAS_PIXELS and images * tallest * widest <= SPARE * pixels
    groups: dict[tuple[int, int, int], list[int]] = {}
    for i, (_, channels, height, width) in enumerate(shapes):
        down, across = (tallest, widest) if fits_all else (1 << (side - 1).bit_length() for side in (height, width))
        size = (down, across) if down * across <= CANVAS_PIXELS else (height, width)
        groups.setdefault((channels, *size), []).append(i)
    return groups


def on_canvas(stacks: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Puts images of several sizes into the upper left corners of canvases.

    Args:
        stacks: ``[n_i, C, H_i, W_i]``, images of one size each.
        size: Height and width of the canvases.

    Returns:
        ``[N, C, height, width]``, 0 outside of the images, in the order of the stacks; and the sizes of the images,
        int64 ``[N, 2]``.
    """
    shapes = [stack.shape for stack in stacks]
    counts = [shape[0] for shape in shapes]
    canvas = stacks[0].new_zeros(sum(counts), shapes[0][1], *size)
    for stack, corner, (_, _, height, width) in zip(stacks, canvas.split(counts), shapes, strict=True):
        corner[..., :height, :width] = stack
    return canvas, torch.tensor([shape[2:] for shape in shapes]).repeat_interleave(torch.tensor(counts), dim=0)


def runs(sizes: Tensor) -> Iterator[tuple[slice, int, int]]:
    """Yields rows of images of one size that follow one another, with their height and width."""
    own, counts = torch.unique_consecutive(sizes, dim=0, return_counts=True)
    first = 0
    for (height, width), count in zip(own.tolist(), counts.tolist(), strict=True):
        yield slice(first, first + count), height, width
        first += count


def rounded_up(side: int) -> int:
    """Rounds up to one of eight numbers between powers of two, so that a few cached values serve all sizes."""
    step = 1 << max(0, side.bit_length() - 4)
    return -(-side // step) * step
