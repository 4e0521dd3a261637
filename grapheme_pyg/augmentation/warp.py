"""RandomWarp moves and bends images at random; and views of an image, which are shifted by a pixel."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from grapheme_pyg import ops
from grapheme_pyg.vision.canvas import sizes_of

# A function of images, uint8 ``[N, C, H, W]``, that returns others of the same shape.
View: TypeAlias = Callable[[Tensor], Tensor]
# Shifts of views by at most one pixel: (down, right).
SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))

# Amounts for images that are moved further: degrees of rotation, change of size, degrees of shear, shift.
WIDE = (45.0, 0.6, 15.0, 0.14)


@dataclass(frozen=True)
class RandomWarp:
    """Rotates, scales, shears, shifts and bends each image by random amounts.

    All amounts but the bending are uniform and symmetric around no change. Bending moves the points of a coarse grid by
    normally distributed amounts and interpolates between them cubically; it is the elastic distortion of Simard et al.,
    "Best Practices for Convolutional Neural Networks", 2003, with a grid in place of smoothing. Images that are only
    shifted and mirrored are shifted by whole pixels, which preserves detail. The border is repeated beyond itself.

    Attributes:
        degrees: Largest rotation.
        scale: Largest change of size; 0.1 means factors from 1 / 1.1 to 1.1, and for the width another half of that.
        shear: Largest shear angle in degrees.
        shift: Largest shift, as a share of height and width.
        bend: Standard deviation of the bending, as a share of height and width.
        points: Number of points of the bending grid in a row and in a column.
        flip: Probability of mirroring left and right.
        wide: Share of images that are moved further: rotated by up to 45°, scaled by up to 1.6, sheared by up to 15°
            and shifted by up to 0.14.
    """

    degrees: float = 10.0
    scale: float = 0.1
    shear: float = 10.0
    shift: float = 0.07
    bend: float = 0.018
    points: int = 7
    flip: float = 0.0
    wide: float = 0.0

    def draw(self, num_images: int, generator: Generator) -> Tensor:
        """Draws maps from output to input coordinates, in units of half the image.

        Returns:
            ``[num_images, 2, 3 + points²]``: an affine map, then the displacement of each point of the grid, row by
            row.
        """
        angle, common, aspect, shear, *shifts = (
            2 * torch.rand(6, num_images, generator=generator, dtype=torch.float32) - 1
        )
        further = torch.zeros(num_images, dtype=torch.bool)
        if self.wide > 0:
            further = torch.rand(num_images, generator=generator, dtype=torch.float32) < self.wide
        degrees, scale, sheared, shift = (
            torch.where(further, most, usual).float()
            for most, usual in zip(WIDE, (self.degrees, self.scale, self.shear, self.shift), strict=True)
        )
        angle, shear = angle * torch.deg2rad(degrees), torch.tan(shear * torch.deg2rad(sheared))
        size = torch.exp(common * torch.log1p(scale))
        width = size * torch.exp(aspect * torch.log1p(scale / 2))
        cos, sin = torch.cos(angle), torch.sin(angle)
        x = torch.stack([cos * width, (shear * cos - sin) * size, 2 * shift * shifts[0]], dim=1)
        y = torch.stack([sin * width, (shear * sin + cos) * size, 2 * shift * shifts[1]], dim=1)
        affine = torch.stack([x, y], dim=1)
        bending = torch.randn(num_images, 2, self.points**2, generator=generator, dtype=torch.float32)
        if self.flip > 0:
            mirrored = torch.rand(num_images, generator=generator, dtype=torch.float32) < self.flip
            affine[:, 0] *= torch.where(mirrored, -1, 1)[:, None]
            bending[:, 0] *= torch.where(mirrored, -1, 1)[:, None]
        return torch.cat([affine, 2 * self.bend * bending], dim=2)

    def __call__(self, images: Tensor, maps: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Applies one map to each image.

        Args:
            images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
            maps: ``[N, 2, 3 + points²]``, from :meth:`draw`; or ``[N, 2, 3]``, only affine maps.
            sizes: Heights and widths of images in the upper left corners, int64 ``[N, 2]``; None if all are ``H × W``.

        Returns:
            uint8 of the same shape. The result for an image does not depend on the others.
        """
        sizes = sizes_of(images, sizes)
        height, width = sizes.float().t()
        a, b, c, d, e, f = maps[..., :3].reshape(-1, 6).t()
        if not (self.degrees or self.scale or self.shear or self.bend or self.wide):
            c, f = ((shift * size / 2).round() * (2 / size) for shift, size in ((c, width), (f, height)))
        # The ratio preserves angles if the image is not square.
        ratio = height / width
        affine = torch.stack([a, b * ratio, c, d / ratio, e, f], dim=1).view(-1, 2, 3)
        points = self.points if maps.shape[2] > 3 and self.bend > 0 else 0
        moves = maps[..., 3 : 3 + points**2].unflatten(2, (points, points))
        pixels = images.view(len(images), -1, *images.shape[-2:])
        down, across = (cubic_of(points, size, count) for size, count in zip(sizes.t(), images.shape[-2:], strict=True))
        return ops.warp(pixels, sizes, affine, moves, down, across.mT).view_as(images)


def cubic_of(points: int, sizes: Tensor, count: int) -> Tensor:
    """Returns the matrix of :func:`cubic` for each of the sizes ``[N]``, ``[N, count, points]``, with 0 below."""
    if points == 0:
        return torch.zeros(len(sizes), count, 0)
    own, image = sizes.unique(return_inverse=True)
    return torch.stack([F.pad(cubic(points, size), (0, 0, 0, count - size)) for size in own.tolist()])[image]


@lru_cache
def cubic(points: int, size: int) -> Tensor:
    """Returns the matrix of cubic interpolation from so many points to ``size`` pixels along a line.

    Interpolation is linear and separable, and takes a sixth of the time as two matrix products.
    """
    lines = torch.eye(points, dtype=torch.float32)[:, None, :, None]
    return F.interpolate(lines, size=(size, 1), mode="bicubic", align_corners=True)[:, 0, :, 0].t().contiguous()


def views_of(*, mirrored: bool) -> list[View]:
    """Returns functions that make views of images: as they are first, then shifted and, if ``mirrored``, mirrored."""
    ways = [(down, right, mirror) for down, right in SHIFTS for mirror in ((False, True) if mirrored else (False,))]
    return [partial(_view, down=down, right=right, mirrored=mirror) for down, right, mirror in ways]


def _view(pixels: Tensor, *, down: int, right: int, mirrored: bool) -> Tensor:
    return shifted(pixels.flip(-1) if mirrored else pixels, down, right)


def shifted(pixels: Tensor, down: int, right: int) -> Tensor:
    """Shifts images by a few pixels and repeats their border.

    Args:
        pixels: uint8 ``[N, C, H, W]``.
        down: Number of pixels, upwards if negative.
        right: Number of pixels, to the left if negative.
    """
    if down == right == 0:
        return pixels
    padding = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    height, width = pixels.shape[-2:]
    padded = F.pad(pixels.float(), padding, mode="replicate").to(pixels.dtype)
    top, left = max(-down, 0), max(-right, 0)
    return padded[..., top : top + height, left : left + width]
