"""Moving and bending of images; :class:`grapheme_pyg.augmentation.RandomWarp` draws the maps."""

import torch
from torch import Tensor

from grapheme_pyg.ops.canvas import inside
from grapheme_pyg.ops.definition import define


def warp(pixels: Tensor, sizes: Tensor, affine: Tensor, moves: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Takes each pixel from where a map leads, by bilinear interpolation; the border is repeated.

    Maps lead from the centre of an output pixel to a place in the input, (x, y), both in units of half of the image's
    width and height. A map is affine, plus displacements of the points of a grid, which are interpolated.

    Args:
        pixels: ``[N, C, H, W]`` uint8, images in the upper left corners.
        sizes: ``[N, 2]`` int64, height and width of each image.
        affine: ``[N, 2, 3]`` float32.
        moves: ``[N, 2, P, P]`` float32, displacements of points, row by row; P may be 0.
        down: ``[N, H, P]`` float32, shares of the rows of points in each row of pixels.
        across: ``[N, P, W]`` float32, shares of the columns of points in each column of pixels.

    Returns:
        ``[N, C, H, W]`` uint8, 0 outside of the images. Each sum has its order, and products are fused exactly where
        they are in the plain implementation, so that results depend neither on the batch nor on the processor.
    """
    out: Tensor = _warp(pixels, sizes, affine, moves, down, across)
    return out


def _plain(pixels: Tensor, sizes: Tensor, affine: Tensor, moves: Tensor, down: Tensor, across: Tensor) -> Tensor:
    rows, columns = pixels.shape[-2:]
    size = sizes.float().view(-1, 2, 1, 1)
    height, width = size.unbind(1)
    y, x = (
        (2 * torch.arange(count, dtype=torch.float32, device=pixels.device) + 1) / size.mT - 1
        for count, size in ((rows, height), (columns, width))
    )
    grid = affine[..., :1, None] * x[:, None] + affine[..., 1:2, None] * y.mT[:, None] + affine[..., 2:, None]
    bent = torch.zeros_like(grid)
    for j in range(moves.shape[-1]):
        # Products for rows are not fused, and those for columns are.
        move = down[:, None, :, :1] * moves[:, :, :1, j, None]
        for i in range(1, moves.shape[-1]):
            move = move + down[:, None, :, i : i + 1] * moves[:, :, i : i + 1, j, None]
        bent = _fused(move, across[:, None, j : j + 1], bent)
    place = _fused(grid + bent + 1, size.flip(1) / 2, torch.tensor(-0.5, device=pixels.device))
    place = place.clamp(min=0).minimum(size.flip(1) - 1)
    first = place.floor()
    (right, bottom), (left, top) = (place - first).unbind(1), (1 - (place - first)).unbind(1)
    starts = first.long()
    ends = (starts + 1).minimum(sizes.flip(1)[..., None, None] - 1)
    flat = pixels.flatten(2).float()

    def levels(x: Tensor, y: Tensor) -> Tensor:
        at = (y * columns + x).flatten(1)[:, None].expand(-1, pixels.shape[1], -1)
        return flat.gather(2, at).view_as(pixels)

    out = levels(starts[:, 0], starts[:, 1]) * (left * top)[:, None]
    for x, y, share in (
        (ends[:, 0], starts[:, 1], right * top),
        (starts[:, 0], ends[:, 1], left * bottom),
        (ends[:, 0], ends[:, 1], right * bottom),
    ):
        out = _fused(levels(x, y), share[:, None], out)
    return out.round().to(torch.uint8) * inside(sizes, rows, columns)[:, None]


def _fused(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Computes ``a * b + c``, rounded once; products of float32 are exact in float64."""
    return (a.double() * b.double() + c).float()


_warp = define(
    "warp(Tensor pixels, Tensor sizes, Tensor affine, Tensor moves, Tensor down, Tensor across) -> Tensor",
    _plain,
    lambda pixels, *_: torch.empty_like(pixels),
)
