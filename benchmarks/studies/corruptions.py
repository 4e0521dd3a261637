"""Corruptions of images at five severities each, for `robustness.py`.

The idea, and most of the kinds, are those of MNIST-C (Mu and Gilmer, "MNIST-C: A Robustness Benchmark for Computer
Vision", 2019); the code and the severities are our own, so figures are not comparable with those published for it.

Each is a function of (images, severity, seed) alone. Severities share their random draws, so that what is hit at a
lower one is hit at every higher one; and the corruption of a 28×28 image does not depend on the images after it.
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
# Side of the squares that "patches dropped" sets to background: that of the grid's finest cells by default.
PATCH = 2
# A stroke's width is changed on an image that is finer by this factor, as a pixel of 28 is a third of a stroke.
FINER = 4


@dataclass(frozen=True)
class Corruption:
    """One way to spoil images, in several degrees.

    Attributes:
        name: What is done.
        unit: Of the severity.
        severities: From mild to severe.
        apply: Images as float32 ``[N, H, W]`` in 0…255, severity, generator → images, not yet rounded or clipped.
        neutral: The severity that changes nothing, if there is one.
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
            severity: One of ``severities``, or another number of that unit.
            seed: Of whatever is random in it.

        Raises:
            ValueError: The images are not as above.
        """
        if images.dtype != torch.uint8 or images.dim() != 3:
            came = f"{images.dtype} of shape {list(images.shape)}"
            raise ValueError(f"images: expected torch.uint8 of shape [N, H, W], got {came}")
        out = self.apply(images.float(), severity, torch.Generator().manual_seed(seed))
        return out.round().clamp(0, 255).to(torch.uint8)


def gaussian_noise(images: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Adds noise of a standard deviation in levels of 0…255."""
    return images + sigma * torch.randn(images.shape, generator=generator)


def shot_noise(images: Tensor, photons: float, generator: Generator) -> Tensor:
    """Counts photons, of which white has so many in the mean; the background, which has none, stays clean."""
    return torch.poisson(images * (photons / 255), generator=generator) * (255 / photons)


def impulse_noise(images: Tensor, p: float, generator: Generator) -> Tensor:
    """Makes pixels black or white, each as likely, with probability p."""
    hit, value = torch.rand(images.shape[0], 2, *images.shape[1:], generator=generator).unbind(1)
    return torch.where(hit < p, 255 * value.round(), images)


def gaussian_blur(images: Tensor, sigma: float, _: Generator) -> Tensor:
    """Blurs by a standard deviation in pixels."""
    return torch.from_numpy(ndimage.gaussian_filter(images.numpy(), sigma=(0, sigma, sigma), mode="constant"))


def patches_dropped(images: Tensor, p: float, generator: Generator) -> Tensor:
    """Sets squares of the pixel grid to background with probability p.

    To a network of cells this is not what dropping their nodes is: next to ink a blank cell has contrast within its
    margin, and so it is there, and says that it is blank.
    """
    rows, columns = (-(-size // PATCH) for size in images.shape[1:])
    kept = (torch.rand(len(images), rows, columns, generator=generator) >= p).float()
    pixels = kept.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)
    return images * pixels[:, : images.shape[1], : images.shape[2]]


def shift(images: Tensor, pixels: float, generator: Generator) -> Tensor:
    """Moves each image in one of eight directions, by so many pixels along one axis or along both."""
    directions = torch.tensor([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0)])
    chosen = directions[torch.randint(8, (len(images),), generator=generator)]
    size = torch.tensor([images.shape[2], images.shape[1]])
    # An output pixel's value comes from where it was before.
    offset = -2 * pixels * chosen / size
    return _warp(images, torch.cat([torch.eye(2).expand(len(images), 2, 2), offset[:, :, None]], dim=2))


def scale(images: Tensor, factor: float, _: Generator) -> Tensor:
    """Makes the content larger (factor above 1) or smaller (below) around the image's centre."""
    return _warp(images, torch.eye(2, 3).div(factor).expand(len(images), 2, 3))


def rotation(images: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Rotates square images around their centres, half of them to each side."""
    angle = math.radians(degrees) * (2 * torch.randint(2, (len(images),), generator=generator) - 1)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(len(images))
    return _warp(images, torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3))


def stroke(images: Tensor, pixels: float, _: Generator, *, thicker: bool) -> Tensor:
    """Moves the edge of strokes outwards or inwards by so many pixels: grey dilation or erosion with a disc.

    On a finer image, as Morpho-MNIST does it (Castro et al., 2019), but of square pixels and not interpolated, so that
    0 pixels change nothing.
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
    """Dark ink on white, with a share of the contrast; all of it is 255 − x."""
    return 255 - kept * images


def motion_blur(images: Tensor, pixels: float, generator: Generator) -> Tensor:
    """Moves each image along a line of so many pixels while it is taken, in a direction of its own."""
    angle = 2 * math.pi * torch.rand(len(images), generator=generator)
    direction = 2 * torch.stack([angle.cos() / images.shape[2], angle.sin() / images.shape[1]], dim=1)
    places = torch.linspace(-pixels / 2, pixels / 2, 2 * math.ceil(pixels) + 1)
    still = torch.eye(2).expand(len(images), 2, 2)
    moved = [_warp(images, torch.cat([still, place * direction[:, :, None]], dim=2)) for place in places]
    return torch.stack(moved).mean(dim=0)


def _warp(images: Tensor, maps: Tensor) -> Tensor:
    """Bilinear; maps ``[N, 2, 3]`` from output to input, in units of half the image; 0 beyond the border."""
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
# Kinds that no training of ours sees: none of them, nor anything like it, is an augmentation.
UNSEEN = ("shot noise", "patches dropped", "low contrast", "thicker strokes", "motion blur")
