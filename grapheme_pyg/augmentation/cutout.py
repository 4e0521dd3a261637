"""RandomCutout hides a square of each image."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from grapheme_pyg.vision.canvas import sizes_of

# Level of the hidden square.
GREY = 127


@dataclass(frozen=True)
class RandomCutout:
    """Hides a square of each image, as in DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017.

    Attributes:
        side: Side of the square, as a share of the longer side of the image; it can reach beyond the border.
    """

    side: float = 0.375

    def draw(self, num_images: int, generator: Generator) -> Tensor:
        """Draws the centres of the squares, ``[num_images, 2]``: y and x as shares of height and width."""
        return torch.rand(num_images, 2, generator=generator, dtype=torch.float32)

    def __call__(self, images: Tensor, middles: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Hides a square of each image.

        Args:
            images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
            middles: ``[N, 2]``, from :meth:`draw`.
            sizes: Heights and widths of images in the upper left corners, int64 ``[N, 2]``; None if all are ``H × W``.

        Returns:
            uint8 of the same shape. The result for an image does not depend on the others.
        """
        sizes = sizes_of(images, sizes)
        half = self.side * sizes.amax(1, keepdim=True) / 2
        rows, columns = (
            (torch.arange(end) + 0.5 - (middle * size)[:, None]).abs() < half
            for end, size, middle in zip(images.shape[-2:], sizes.t(), middles.t(), strict=True)
        )
        hidden = rows[:, :, None] & columns[:, None]
        return images.masked_fill(hidden if images.dim() == 3 else hidden[:, None], GREY)
