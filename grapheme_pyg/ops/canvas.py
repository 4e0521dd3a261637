"""Images of several sizes in one tensor: each lies in the upper left corner of its canvas."""

import torch
from torch import Tensor


def inside(sizes: Tensor, height: int, width: int) -> Tensor:
    """Marks the pixels of images on canvases of ``height × width`` pixels.

    Args:
        sizes: ``[B, 2]`` int64, height and width of each image.
        height: Height of the canvases.
        width: Width of the canvases.

    Returns:
        ``[B, height, width]`` bool.
    """
    y, x = torch.arange(height, device=sizes.device), torch.arange(width, device=sizes.device)
    return (y < sizes[:, :1])[:, :, None] & (x < sizes[:, 1:])[:, None]


def repeat_border(values: Tensor, sizes: Tensor, margin: int, below: int = 0, right: int = 0) -> Tensor:
    """Repeats the borders of images up to the ends of their canvases and beyond.

    Args:
        values: ``[B, C, H, W]`` of any dtype.
        sizes: ``[B, 2]`` int64, height and width of each image.
        margin: Number of rows and columns that are added on each side.
        below: Number of further rows.
        right: Number of further columns.

    Returns:
        ``[B, C, H + 2 margin + below, W + 2 margin + right]``.
    """
    height, width = values.shape[-2:]
    y, x = (
        torch.arange(-margin, end + margin, device=values.device).clamp(min=0).minimum(size[:, None] - 1)
        for end, size in zip((height + below, width + right), sizes.t(), strict=True)
    )
    at = (y * width)[:, :, None] + x[:, None]
    pixels = values.flatten(2).gather(2, at.view(len(values), 1, -1).expand(-1, values.shape[1], -1))
    return pixels.view(*values.shape[:2], *at.shape[1:])
