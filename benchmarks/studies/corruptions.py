"""Corruptions of images, at five severities each, for `robustness.py`.

The idea and most of the kinds are from MNIST-C (Mu and Gilmer, "MNIST-C: A Robustness Benchmark for Computer Vision",
2019). The code and the severities are our own, so that results are not comparable with those published for it.

A corruption depends only on the images, the severity and the seed. All severities use the same random numbers, so that
pixels that are changed at a lower severity are changed at every higher one; and the corruption of a 28×28 image does
not depend on later images.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Generator, Tensor

PROBABILITIES = (0.1, 0.2, 0.3, 0.5, 0.7)
# Side of the squares of "patches dropped", which is that of the grid's finest cells by default.
PATCH = 2
# Factor by which images are enlarged to change the width of strokes, which is about three pixels.
FINER = 4


@dataclass(frozen=True)
class Corruption:
    """A kind of corruption at several severities.

    Attributes:
        name: Name of the corruption.
        unit: Unit of the severity.
        severities: Severities from mild to severe.
        apply: A function of images, float32 ``[N, H, W]`` in 0…255, a severity and a generator, which returns images
            that are not yet rounded or clipped.
        neutral: The severity that changes nothing; None if there is none.
    """

    name: str
    unit: str
    severities: tuple[float, ...]
    apply: Callable[[Tensor, float, Generator], Tensor]
    neutral: float | None = None

    def __call__(self, images: Tensor, severity: float, seed: int = 0) -> Tensor:
        """Corrupts images; the result is uint8 of the same shape.

        Args:
            images: uint8 ``[N, H, W]``, light ink on a background of 0.
            severity: One of ``severities``, or another number in that unit.
            seed: Seed of the random numbers.

        Raises:
            ValueError: The images have another shape or dtype.
        """
        if images.dtype != torch.uint8 or images.dim() != 3:
            came = f"{images.dtype} of shape {list(images.shape)}"
            raise ValueError(f"images: expected torch.uint8 of shape [N, H, W], got {came}")
        out = self.apply(images.float(), severity, torch.Generator().manual_seed(seed))
        return out.round().clamp(0, 255).to(torch.uint8)


def gaussian_noise(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Adds Gaussian noise; ``sigma`` is in levels of 0…255."""
    return images + sigma * torch.randn(images.shape, generator=generator)


def shot_noise(images: Tensor, photons: float, generator: Generator) -> Tensor:
    """Adds shot noise with a mean number of photons at white; the background has none and stays clean."""
    return torch.poisson(images * (photons / 255), generator=generator) * (255 / photons)


def impulse_noise(images: Tensor, p: float, generator: Generator) -> Tensor:
    """Makes pixels black or white, with equal chances, with probability p."""
    hit, value = torch.rand(images.shape[0], 2, *images.shape[1:], generator=generator).unbind(1)
    return torch.where(hit < p, 255 * value.round(), images)


def gaussian_blur(images: Tensor, sigma: float, _: Generator) -> Tensor:
    """Blurs by a Gaussian; ``sigma`` is in pixels."""
    return torch.from_numpy(ndimage.gaussian_filter(images.numpy(), sigma=(0, sigma, sigma), mode="constant"))


def patches_dropped(images: Tensor, p: float, generator: Generator) -> Tensor:
    """Sets squares of the pixel grid to background with probability p.

    For a network of cells this differs from dropping nodes: a blank cell next to ink has contrast within its margin, so
    that its node is present, with the features of a blank cell.
    """
    rows, columns = (-(-size // PATCH) for size in images.shape[1:])
    kept = (torch.rand(len(images), rows, columns, generator=generator) >= p).float()
    pixels = kept.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return images * pixels[:, : images.shape[1], : images.shape[2]]


def shift(images: Tensor, pixels: float, generator: Generator) -> Tensor:
    """Moves each image in one of eight directions, by a number of pixels along one axis or both."""
    directions = torch.tensor([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0)])
    chosen = directions[torch.randint(8, (len(images),), generator=generator)]
    size = torch.tensor([images.shape[2], images.shape[1]])
    # Maps lead from the output to the input.
    offset = -2 * pixels * chosen / size
    return _warp(images, torch.cat([torch.eye(2).expand(len(images), 2, 2), offset[:, :, None]], dim=2))


def scale(images: Tensor, factor: float, _: Generator) -> Tensor:
    """Enlarges (factor above 1) or shrinks (below 1) the content around the centre of the image."""
    return _warp(images, torch.eye(2, 3).div(factor).expand(len(images), 2, 3))


def rotation(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Rotates square images around their centres, in random directions."""
    angle = math.radians(degrees) * (2 * torch.randint(2, (len(images),), generator=generator) - 1)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(images))
    return _warp(images, torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3))


def stroke(images: Tensor, pixels: float, _: Generator, *, thicker: bool) -> Tensor:
    """Moves the edges of strokes outwards or inwards by a number of pixels, by grey dilation or erosion with a disc.

    It works on an enlarged image, like Morpho-MNIST (Castro et al., 2019), but without interpolation, so that 0 pixels
    change nothing.
    """
    radius = round(pixels * FINER)
    reach = np.arange(-radius, radius + 1)
    disc = reach[:, None] ** 2 + reach**2 <= radius**2
    fine = images.to(torch.uint8).repeat_interleave(FINER, 1).repeat_interleave(FINER, 2).numpy()
    change = ndimage.grey_dilation if thicker else ndimage.grey_erosion
    changed = torch.from_numpy(change(fine, footprint=disc[None], mode="constant", cval=0)).float()
    return F.avg_pool2d(changed[:, None], FINER).squeeze(1)


def contrast(images: Tensor, kept: float, _: Generator) -> Tensor:
    """Keeps a share of the contrast with the black background."""
    return kept * images


def inversion(images: Tensor, kept: float, _: Generator) -> Tensor:
    """Makes ink dark on white, and keeps a share of the contrast; a share of 1 is 255 − x."""
    return 255 - kept * images


def motion_blur(images: Tensor, pixels: float, generator: Generator) -> Tensor:
    """Blurs each image by motion along a line of a number of pixels in a random direction."""
    angle = 2 * math.pi * torch.rand(len(images), generator=generator)
    direction = 2 * torch.stack([angle.cos() / images.shape[2], angle.sin() / images.shape[1]], dim=1)
    places = torch.linspace(-pixels / 2, pixels / 2, 2 * math.ceil(pixels) + 1)
    still = torch.eye(2).expand(len(images), 2, 2)
    moved = [_warp(images, torch.cat([still, place * direction[:, :, None]], dim=2)) for place in places]
    return torch.stack(moved).mean(dim=0)


def _warp(images: Tensor, maps: Tensor) -> Tensor:
    """Warps images by bilinear interpolation, with 0 beyond the border.

    Args:
        images: float32 ``[N, H, W]``.
        maps: ``[N, 2, 3]``, affine maps from output to input, in units of half the image.
    """
    grid = F.affine_grid(maps, [len(images), 1, *images.shape[1:]], align_corners=False)
    return F.grid_sample(images[:, None], grid, align_corners=False).squeeze(1)


CORRUPTIONS = (
    Corruption("Gaussian noise", "standard deviation, levels of 255", (16, 32, 64, 96, 128), gaussian_noise, 0),
    Corruption("shot noise", "photons at white", (30, 10, 5, 2, 1), shot_noise),
    Corruption("impulse noise", "probability", (0.02, 0.05, 0.1, 0.2, 0.3), impulse_noise, 0),
    Corruption("blur", "standard deviation, pixels", (0.5, 1, 1.5, 2, 2.5), gaussian_blur, 0),
    Corruption("patches dropped", "probability", PROBABILITIES, patches_dropped, 0),
    Corruption("shift", "pixels", (1, 2, 3, 4, 6), shift, 0),
    Corruption("smaller", "factor", (0.9, 0.8, 0.7, 0.6, 0.5), scale, 1),
    Corruption("larger", "factor", (1.1, 1.2, 1.3, 1.4, 1.6), scale, 1),
    Corruption("rotation", "degrees", (10, 20, 30, 45, 60), rotation, 0),
    Corruption("thicker strokes", "pixels", (0.25, 0.5, 0.75, 1, 1.5), partial(stroke, thicker=True), 0),
    Corruption("thinner strokes", "pixels", (0.25, 0.5, 0.75, 1, 1.25), partial(stroke, thicker=False), 0),
    Corruption("low contrast", "share kept", (0.75, 0.5, 0.3, 0.2, 0.1), contrast, 1),
    Corruption("inversion", "contrast kept", (1, 0.75, 0.5, 0.3, 0.2), inversion),
    Corruption("motion blur", "pixels", (2, 4, 6, 8, 10), motion_blur, 0),
)
# Kinds unlike all augmentations of our training.
UNSEEN = ("shot noise", "patches dropped", "low contrast", "thicker strokes", "motion blur")
