"""Images as cameras, scanners and pens spoil them: at random for training, drawn apart from their use."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from grapheme_pyg.augmentation.warp import cubic

# Points of the smooth ground's grid, in a row and in a column.
POINTS = 3
# Reach of the blur in pixels, on either side.
REACH = 6
# Each image has a window of one field of noise, with one of so many offsets in each direction.
OFFSETS = 256
# What is drawn for an image: whether and how each thing happens, then the grid of the ground.
COLUMNS = 22


@dataclass(frozen=True)
class RandomDegradation:
    """Thins strokes, blurs, hides a rectangle, lays a smooth ground under the ink, adds noise and specks.

    Each of these happens to an image with a probability and an amount of its own, the amount uniform up to its largest.
    The ink is expected to be light on a ground of 0.

    Attributes:
        share: Of the images that may be spoilt; the others stay as they are.
        thin: Probability that strokes get thinner, by up to a pixel on each side.
        blur: Probability of a Gaussian blur.
        max_blur: Its largest standard deviation, in pixels.
        hide: Probability that a rectangle is hidden, of up to 0.3 of height and width, by ground or by ink.
        ground: Probability of a ground that changes smoothly.
        max_ground: Its largest level, of 1.
        noise: Probability of Gaussian noise.
        max_noise: Its largest standard deviation, of 1.
        specks: Probability that some pixels become black or white.
        max_specks: Largest share of such pixels.
    """

    share: float = 0.6
    thin: float = 0.25
    blur: float = 0.3
    max_blur: float = 2.6
    hide: float = 0.15
    ground: float = 0.3
    max_ground: float = 0.8
    noise: float = 0.4
    max_noise: float = 0.47
    specks: float = 0.2
    max_specks: float = 0.35

    def draw(self, num_images: int, generator: Generator) -> Tensor:
        """Draws what happens to images.

        Returns:
            ``[num_images, columns]`` float32 in [0, 1].
        """
        return torch.rand(num_images, COLUMNS + POINTS**2, generator=generator, dtype=torch.float32)

    def __call__(self, images: Tensor, drawn: Tensor) -> Tensor:
        """Spoils images, each as was drawn for it.

        Args:
            images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
            drawn: ``[N, columns]``, from :meth:`draw`.

        Returns:
            uint8 of the same shape. An image's result does not depend on the others.
        """
        height, width = images.shape[-2:]
        channels = images.shape[1] if images.dim() == 4 else 1
        out = images.reshape(images.shape[0], channels, height, width).float() / 255
        # Which, how strong, and others that are drawn with it.
        chosen = drawn[:, 0] < self.share
        columns = iter(drawn[:, 1:].t())
        for probability, apply, others in (
            (self.thin, _thinner, 1),
            (self.blur, self._blurred, 1),
            (self.hide, _hidden, 5),
            (self.ground, self._on_ground, 2 + POINTS**2),
            (self.noise, self._noisy, 3),
            (self.specks, self._with_specks, 3),
        ):
            rows = (chosen & (next(columns) < probability)).nonzero().squeeze(1)
            amounts = torch.stack([next(columns) for _ in range(others)], dim=1)
            if rows.numel() > 0:
                out[rows] = apply(out[rows], amounts[rows])
        return (out * 255).round_().clamp_(0, 255).to(torch.uint8).view_as(images)

    def _blurred(self, images: Tensor, amounts: Tensor) -> Tensor:
        deviation = 0.3 + (self.max_blur - 0.3) * amounts
        weights = torch.exp(-(torch.arange(-REACH, REACH + 1) ** 2) / (2 * deviation**2))
        weights = weights / weights.sum(dim=1, keepdim=True)
        for dim in (2, 3):
            size = images.shape[dim]
            at = torch.arange(-REACH, size + REACH).clamp(0, size - 1)
            padded = images.index_select(dim, at)
            # Sums, not a convolution, whose rounding would depend on the size of the batch.
            parts = [weights[:, i, None, None, None] * padded.narrow(dim, i, size) for i in range(2 * REACH + 1)]
            images = torch.stack(parts).sum(dim=0)
        return images

    def _on_ground(self, images: Tensor, amounts: Tensor) -> Tensor:
        level, contrast = amounts[:, :2, None, None, None].unbind(1)
        points = amounts[:, 2:].view(-1, 1, POINTS, POINTS)
        ground = cubic(POINTS, images.shape[2]) @ points @ cubic(POINTS, images.shape[3]).t()
        ground = ground.clamp(0, 1) * (self.max_ground * level)
        return ground + images * (torch.maximum(ground, 0.4 + 0.6 * contrast) - ground)

    def _noisy(self, images: Tensor, amounts: Tensor) -> Tensor:
        noise = _windows(amounts[:, 1:], images.shape[2:], normal=True)
        return images + self.max_noise * amounts[:, 0, None, None, None] * noise

    def _with_specks(self, images: Tensor, amounts: Tensor) -> Tensor:
        uniform = _windows(amounts[:, 1:], images.shape[2:], normal=False)
        share = self.max_specks * amounts[:, 0, None, None, None]
        return torch.where(uniform < share, (uniform < share / 2).float(), images)


def _thinner(images: Tensor, amounts: Tensor) -> Tensor:
    """Moves pixels towards the smallest of their four neighbours."""
    smallest = images
    for dim in (2, 3):
        size = images.shape[dim]
        for step in (-1, 1):
            at = (torch.arange(size) + step).clamp(0, size - 1)
            smallest = torch.minimum(smallest, images.index_select(dim, at))
    return images + amounts[:, :, None, None] * (smallest - images)


def _hidden(images: Tensor, amounts: Tensor) -> Tensor:
    inside = torch.ones(len(images), 1, 1, 1, dtype=torch.bool)
    for dim in (2, 3):
        place, extent = amounts[:, dim - 2], 0.3 * amounts[:, dim]
        at = (torch.arange(images.shape[dim]) + 0.5) / images.shape[dim]
        start = place * (1 - extent)
        hit = (at >= start[:, None]) & (at < (start + extent)[:, None])
        inside = inside & hit[:, None].unsqueeze(5 - dim)
    # Ground in two of three cases, else ink of any level.
    level = (3 * amounts[:, 4] - 2).clamp(min=0)[:, None, None, None]
    return torch.where(inside, level, images)


def _windows(places: Tensor, size: torch.Size, *, normal: bool) -> Tensor:
    """A window of the field of noise for each image, ``[N, 1, H, W]``."""
    field = _field(*size, normal=normal)
    offsets = (places * OFFSETS).long().clamp(max=OFFSETS - 1)
    return field.unfold(0, size[0], 1).unfold(1, size[1], 1)[offsets[:, 0], offsets[:, 1]][:, None]


@lru_cache(maxsize=4)
def _field(height: int, width: int, *, normal: bool) -> Tensor:
    generator = torch.Generator().manual_seed(int(normal))
    size = (height + OFFSETS - 1, width + OFFSETS - 1)
    return torch.randn(size, generator=generator) if normal else torch.rand(size, generator=generator)
