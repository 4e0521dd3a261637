"""RandomDegradation degrades images as cameras, scanners and pens do."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from grapheme_pyg.augmentation.warp import cubic
from grapheme_pyg.ops.canvas import repeat_border
from grapheme_pyg.vision.canvas import rounded_up, runs, sizes_of
from grapheme_pyg.vision.ground import relative_to_ground

# Points of the smooth ground's grid in a row and in a column.
POINTS = 3
# Reach of the blur in pixels, on either side.
REACH = 6
# Noise is a window of one field at a random offset; number of offsets in each direction.
OFFSETS = 256
# Number of scratches across an image.
SCRATCHES = 3
# Random numbers for an image: whether, twice, the two kinds, then the amounts of each kind.
COLUMNS = 4 + 1 + 1 + 3 * SCRATCHES + 5 + 2 + POINTS**2 + 3 + 4


@dataclass(frozen=True)
class RandomDegradation:
    """Degrades images: it thins strokes, blurs, scratches, hides a rectangle, or adds a smooth ground, noise or specks.

    A degraded image has one kind of degradation, or two different ones; more would make drawings illegible. Amounts are
    uniformly distributed up to their maximum. Grey images are first normalised by
    :func:`grapheme_pyg.vision.ground.relative_to_ground`, so that ink is light on 0; colour images must already be so.

    Attributes:
        share: Share of images that are degraded; the others do not change.
        twice: Share of degraded images for which a second kind is drawn.
        thin: Probability of thinner strokes, by up to one pixel on each side.
        blur: Probability of a Gaussian blur.
        scratch: Probability of three straight scratches across the image, where ink is missing.
        hide: Probability of a hidden rectangle of up to 0.3 of height and width, filled with ground or ink.
        ground: Probability of a smoothly varying ground.
        noise: Probability of Gaussian noise.
        specks: Probability of black and white specks, in any proportion.
        max_blur: Largest standard deviation of the blur, in pixels.
        max_scratch: Largest width of a scratch, as a share of the longer side.
        max_ground: Largest level of the ground, in [0, 1].
        max_noise: Largest standard deviation of the noise, for levels in [0, 1].
        max_specks: Largest share of specks.

    Raises:
        ValueError: The probabilities of the kinds add up to more than 1.
    """

    share: float = 0.25
    twice: float = 0.35
    thin: float = 0.15
    blur: float = 0.19
    scratch: float = 0.12
    hide: float = 0.06
    ground: float = 0.16
    noise: float = 0.19
    specks: float = 0.13
    max_blur: float = 3.0
    max_scratch: float = 0.09
    max_ground: float = 0.8
    max_noise: float = 0.47
    max_specks: float = 0.4

    def __post_init__(self) -> None:
        total = self.thin + self.blur + self.scratch + self.hide + self.ground + self.noise + self.specks
        if not 0 <= total <= 1 + 1e-9:
            raise ValueError(f"probabilities: expected at most 1 together, got {total:g}")

    def draw(self, num_images: int, generator: Generator) -> Tensor:
        """Draws the random numbers that determine the degradation of images.

        Returns:
            ``[num_images, columns]`` float32 in [0, 1].
        """
        return torch.rand(num_images, COLUMNS, generator=generator, dtype=torch.float32)

    def __call__(self, images: Tensor, drawn: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Degrades images.

        Args:
            images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
            drawn: ``[N, columns]``, from :meth:`draw`.
            sizes: Heights and widths of images in the upper left corners, int64 ``[N, 2]``; None if all are ``H × W``.

        Returns:
            uint8 of the same shape. The result for an image does not depend on the others.
        """
        rows = (drawn[:, 0] < self.share).nonzero().squeeze(1)
        if rows.numel() == 0:
            return images
        whole = images.reshape(len(images), -1, *images.shape[-2:])
        chosen, own = whole[rows], sizes_of(images, sizes)[rows]
        light = relative_to_ground(chosen, own) if chosen.shape[1] == 1 else chosen
        degraded = self._spoil(light, own, drawn[rows, 1:])
        return whole.index_copy(0, rows, degraded).view_as(images)

    def _spoil(self, images: Tensor, sizes: Tensor, drawn: Tensor) -> Tensor:
        kinds = (
            (self.thin, _thinner, 1),
            (self.blur, self._blurred, 1),
            (self.scratch, self._scratched, 3 * SCRATCHES),
            (self.hide, _hidden, 5),
            (self.ground, self._on_ground, 2 + POINTS**2),
            (self.noise, self._noisy, 3),
            (self.specks, self._with_specks, 4),
        )
        edges = torch.tensor([probability for probability, _, _ in kinds]).cumsum(0)
        again, *which = drawn[:, :3].t()
        first, second = (torch.searchsorted(edges, one.contiguous(), right=True) for one in which)
        second = torch.where(again < self.twice, second, first)
        out, columns = images.float() / 255, iter(drawn[:, 3:].t())
        for number, (_, apply, amounts) in enumerate(kinds):
            rows = ((first == number) | (second == number)).nonzero().squeeze(1)
            own = torch.stack([next(columns) for _ in range(amounts)], dim=1)
            if rows.numel() > 0:
                out[rows] = apply(out[rows], sizes[rows], own[rows])
        return (out * 255).round_().clamp_(0, 255).to(torch.uint8)

    def _blurred(self, images: Tensor, sizes: Tensor, amounts: Tensor) -> Tensor:
        deviation = 0.3 + (self.max_blur - 0.3) * amounts
        weights = torch.exp(-(torch.arange(-REACH, REACH + 1) ** 2) / (2 * deviation**2))
        weights = weights / weights.sum(dim=1, keepdim=True)
        padded = repeat_border(images, sizes, REACH)
        for dim in (2, 3):
            # Sums, because the rounding of a convolution depends on the batch size.
            size = images.shape[dim]
            parts = [weights[:, i, None, None, None] * padded.narrow(dim, i, size) for i in range(2 * REACH + 1)]
            padded = torch.stack(parts).sum(dim=0)
        return padded

    def _scratched(self, images: Tensor, sizes: Tensor, amounts: Tensor) -> Tensor:
        side = sizes.amax(1).view(-1, 1, 1, 1)
        y, x = (
            (torch.arange(end) + 0.5 - size[:, None] / 2) / side[:, 0, 0]
            for end, size in zip(images.shape[2:], sizes.t(), strict=True)
        )
        y, x = y[:, None, :, None], x[:, None, None]
        for angle, place, thickness in amounts.view(-1, SCRATCHES, 3, 1, 1, 1).permute(1, 2, 0, 3, 4, 5):
            distance = (x * torch.cos(math.pi * angle) + y * torch.sin(math.pi * angle) - 0.8 * (place - 0.5)).abs()
            # Partly covered pixels lose a part of their ink.
            images = images * (0.5 - (self.max_scratch * thickness / 2 - distance) * side).clamp(0, 1)
        return images

    def _on_ground(self, images: Tensor, sizes: Tensor, amounts: Tensor) -> Tensor:
        level, contrast = amounts[:, :2, None, None, None].unbind(1)
        points = amounts[:, 2:].view(-1, 1, POINTS, POINTS)
        ground = images.new_zeros(len(images), 1, *images.shape[2:])
        for rows, height, width in runs(sizes):
            smooth = cubic(POINTS, height) @ points[rows] @ cubic(POINTS, width).t()
            ground[rows, :, :height, :width] = smooth
        ground = ground.clamp(0, 1) * (self.max_ground * level)
        return ground + images * (torch.maximum(ground, 0.4 + 0.6 * contrast) - ground)

    def _noisy(self, images: Tensor, sizes: Tensor, amounts: Tensor) -> Tensor:
        noise = _windows(amounts[:, 1:], images, sizes, normal=True)
        return images + self.max_noise * amounts[:, 0, None, None, None] * noise

    def _with_specks(self, images: Tensor, sizes: Tensor, amounts: Tensor) -> Tensor:
        uniform = _windows(amounts[:, 1:], images, sizes, normal=False)
        share = self.max_specks * amounts[:, 0, None, None, None]
        return torch.where(uniform < share, (uniform < share * amounts[:, 3, None, None, None]).float(), images)


def _thinner(images: Tensor, sizes: Tensor, amounts: Tensor) -> Tensor:
    """Moves pixels towards the smallest of themselves and their four neighbours."""
    padded, smallest = repeat_border(images, sizes, 1), images
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        neighbour = padded[..., y : y + images.shape[2], x : x + images.shape[3]]
        smallest = torch.minimum(smallest, neighbour)
    return images + amounts[:, :, None, None] * (smallest - images)


def _hidden(images: Tensor, sizes: Tensor, amounts: Tensor) -> Tensor:
    inside = torch.ones(len(images), 1, 1, 1, dtype=torch.bool)
    for dim in (2, 3):
        place, extent = amounts[:, dim - 2], 0.3 * amounts[:, dim]
        at = (torch.arange(images.shape[dim]) + 0.5) / sizes[:, dim - 2, None]
        start = place * (1 - extent)
        hit = (at >= start[:, None]) & (at < (start + extent)[:, None])
        inside = inside & hit[:, None].unsqueeze(5 - dim)
    # Ground in two of three cases, else ink of a random level.
    level = (3 * amounts[:, 4] - 2).clamp(min=0)[:, None, None, None]
    return torch.where(inside, level, images)


def _windows(places: Tensor, images: Tensor, sizes: Tensor, *, normal: bool) -> Tensor:
    """Cuts a window of a field of noise for each image, ``[N, 1, H, W]``."""
    offsets = (places * OFFSETS).long().clamp(max=OFFSETS - 1)
    windows = images.new_zeros(len(images), 1, *images.shape[2:])
    for rows, height, width in runs(sizes):
        field = _field(rounded_up(max(height, width)), normal=normal)
        every = field.unfold(0, height, 1).unfold(1, width, 1)
        windows[rows, 0, :height, :width] = every[offsets[rows, 0], offsets[rows, 1]]
    return windows


@lru_cache(maxsize=16)
def _field(side: int, *, normal: bool) -> Tensor:
    generator = torch.Generator().manual_seed(int(normal))
    size = (side + OFFSETS - 1,) * 2
    return torch.randn(size, generator=generator) if normal else torch.rand(size, generator=generator)
