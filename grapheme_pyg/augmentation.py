"""Random affine maps of images, drawn apart from their use so that every way of loading sees the same ones."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass(frozen=True)
class RandomAffine:
    """Rotates, scales, shears and shifts images, each by an amount of its own.

    All amounts are uniform and symmetric around no change. Pixels from beyond the border repeat it.

    Attributes:
        degrees: Largest rotation.
        scale: Largest change of size; 0.1 means from 1 / 1.1 to 1.1, height and width each by half as much more.
        shear: Largest shear angle in degrees.
        shift: Largest shift, as a fraction of height and width.
    """

    degrees: float = 10.0
    scale: float = 0.1
    shear: float = 10.0
    shift: float = 0.07

    def draw(self, num_images: int, generator: Generator) -> Tensor:
        """Maps from output to input coordinates, ``[num_images, 2, 3]``, in units of half the image."""
        angle, common, aspect, shear, *shifts = 2 * torch.rand(6, num_images, generator=generator) - 1
        angle, shear = angle * math.radians(self.degrees), torch.tan(shear * math.radians(self.shear))
        size = torch.exp(common * math.log1p(self.scale))
        wide = size * torch.exp(aspect * math.log1p(self.scale / 2))
        cos, sin = torch.cos(angle), torch.sin(angle)
        x = torch.stack([cos * wide, (shear * cos - sin) * size, 2 * self.shift * shifts[0]], dim=1)
        y = torch.stack([sin * wide, (shear * sin + cos) * size, 2 * self.shift * shifts[1]], dim=1)
        return torch.stack([x, y], dim=1)

    def __call__(self, images: Tensor, maps: Tensor) -> Tensor:
        """Applies one map to each image.

        Args:
            images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
            maps: ``[N, 2, 3]``, from :meth:`draw`.

        Returns:
            uint8 of the same shape. An image's result does not depend on the others.
        """
        height, width = images.shape[-2:]
        pixels = images.view(images.shape[0], -1, height, width).float()
        y = ((2 * torch.arange(height) + 1) / height - 1)[:, None]
        x = (2 * torch.arange(width) + 1) / width - 1
        # Angles are kept on images that are not square. Sums, not a matrix product, whose rounding would
        # depend on the size of the batch.
        (a, b, c), (d, e, f) = maps.permute(1, 2, 0)[..., None, None]
        ratio = height / width
        grid = torch.stack([a * x + (b * ratio) * y + c, (d / ratio) * x + e * y + f], dim=-1)
        warped = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
        return warped.round_().to(torch.uint8).view_as(images)
