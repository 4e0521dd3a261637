"""Measurements of the shapes and intensities of regions. Knows pixels and no graphs."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from grapheme_pyg.vision.arrays import Floats, Ints

# Samples along each side of a square of a raster.
SAMPLES = 2


class Regions:
    """Measures regions of a stack of images, which are given by a map of labels.

    Sums are over integers in the order of pixels, and so do not depend on other images of the stack.

    Args:
        labels: ``[num_images, H, W]`` int64, the region of each pixel, −1 for none; every number below ``num_regions``
            occurs.
        num_regions: Number of regions.
    """

    def __init__(self, labels: Ints, num_regions: int) -> None:
        self.labels, self.num_regions = labels, num_regions
        _, self.height, self.width = labels.shape
        # Pixels in no region become number 0, which is dropped.
        self._flat = labels.ravel() + 1
        self._x, self._y = np.arange(self.width)[None, :], np.arange(self.height)[:, None]

    def sum(self, values: Ints | None = None) -> Floats:
        """Sums a value for each pixel, which may broadcast, or counts pixels, ``[num_regions]``."""
        weights = None
        if values is not None:
            weights = np.broadcast_to(np.asarray(values, np.float64), self.labels.shape).ravel()
        return np.bincount(self._flat, weights, self.num_regions + 1)[1:].astype(np.float64)

    def mean(self, values: Ints) -> Floats:
        """Averages a value for each pixel, ``[num_regions]``."""
        return self.sum(values) / self.area

    def mean_and_spread(self, channels: Sequence[Ints]) -> Floats:
        """Computes means, then standard deviations of channels, ``[num_regions, 2 · num_channels]``."""
        mean = np.stack([self.mean(values) for values in channels], axis=1)
        squares = np.stack([self.mean(values * values) for values in channels], axis=1)
        return np.concatenate([mean, np.sqrt((squares - mean * mean).clip(min=0))], axis=1)

    @cached_property
    def area(self) -> Floats:
        """Number of pixels."""
        return self.sum()

    @cached_property
    def box(self) -> Ints:
        """First row, first column, last row and last column, ``[num_regions, 4]``."""
        rows = np.broadcast_to(self._y, self.labels.shape).ravel()
        across = self.labels.mT.ravel() + 1
        columns = np.broadcast_to(self._x.T, self.labels.mT.shape).ravel()
        box = np.empty((4, self.num_regions + 1), np.int64)
        # The last of several assignments to one place wins.
        box[0, self._flat[::-1]], box[2, self._flat] = rows[::-1], rows
        box[1, across[::-1]], box[3, across] = columns[::-1], columns
        return box[:, 1:].T

    @cached_property
    def centre(self) -> Floats:
        """Centroids, (x right, y down) in pixels, ``[num_regions, 2]``."""
        return np.stack([self.mean(self._x), self.mean(self._y)], axis=1) + 0.5

    @cached_property
    def moments(self) -> Floats:
        """Scale-invariant central moments η, ``[num_regions, 7]``: 20, 11, 02, 30, 21, 12, 03 (x first).

        Pixels are unit squares, not points, so that the second moments of one pixel are not zero.
        """
        x, y = self._x, self._y
        mx, my = self.centre.T - 0.5
        xx, xy, yy = self.mean(x * x), self.mean(x * y), self.mean(y * y)
        xxx, xxy, xyy, yyy = self.mean(x**3), self.mean(x * x * y), self.mean(x * y * y), self.mean(y**3)
        second = np.stack([xx - mx * mx + 1 / 12, xy - mx * my, yy - my * my + 1 / 12], axis=1)
        third = np.stack(
            [
                xxx - 3 * mx * xx + 2 * mx**3,
                xxy - 2 * mx * xy - my * xx + 2 * mx * mx * my,
                xyy - 2 * my * xy - mx * yy + 2 * my * my * mx,
                yyy - 3 * my * yy + 2 * my**3,
            ],
            axis=1,
        )
        area = self.area[:, None]
        return np.concatenate([second / area, third / (area * np.sqrt(area))], axis=1)

    @cached_property
    def euler(self) -> Floats:
        """Euler numbers of regions of 8-connected pixels: 1 − the number of holes, if the region is connected.

        They are computed locally, as vertices minus edges plus triangles minus tetrahedra of the complex of neighbours
        (S. B. Gray, "Local properties of binary images in two dimensions", 1971).
        """
        labels = self.labels
        local = np.ones(labels.shape, np.int64)
        local[:, :, :-1] -= labels[:, :, :-1] == labels[:, :, 1:]
        local[:, :-1] -= labels[:, :-1] == labels[:, 1:]
        a, b, c, d = labels[:, :-1, :-1], labels[:, :-1, 1:], labels[:, 1:, :-1], labels[:, 1:, 1:]
        # Among four pixels in a square: four of one region add 1, two on a diagonal subtract 1, three add 0.
        falling, rising = a == d, b == c
        straight = (a == b) | (a == c)
        local[:, :-1, :-1] += falling & rising & (a == b)
        local[:, :-1, :-1] -= falling & ~straight
        local[:, :-1, 1:] -= rising & (b != a) & (b != d)
        return self.sum(local)


def hu_moments(moments: Floats) -> Floats:
    """Computes Hu's seven moments, which are invariant to rotation, ``[num_regions, 7]``.

    Roots bring them to a similar scale (M.-K. Hu, "Visual pattern recognition by moment invariants", 1962).

    Args:
        moments: ``[num_regions, 7]``, as :attr:`Regions.moments`.
    """
    n20, n11, n02, n30, n21, n12, n03 = moments.T
    p, q, r, s = n30 + n12, n21 + n03, n30 - 3 * n12, 3 * n21 - n03
    first = n20 + n02
    second = (n20 - n02) ** 2 + 4 * n11**2
    third, fourth = r * r + s * s, p * p + q * q
    fifth = r * p * (p * p - 3 * q * q) + s * q * (3 * p * p - q * q)
    sixth = (n20 - n02) * (p * p - q * q) + 4 * n11 * p * q
    seventh = s * p * (p * p - 3 * q * q) - r * q * (3 * p * p - q * q)
    roots = [signed_root(h) for h in (second, third, fourth, signed_root(fifth), sixth, signed_root(seventh))]
    return np.stack([first, *roots], axis=1)


def signed_root(values: Floats) -> Floats:
    """Returns square roots with the signs of the values."""
    return np.sign(values) * np.sqrt(np.abs(values))


def ellipse(moments: Floats) -> Floats:
    """Computes orientation and eccentricity of the ellipse with the same second moments, ``[num_regions, 3]``.

    Orientation is the cosine and sine of twice the angle, times the anisotropy, which is continuous and 0 for a circle.

    Args:
        moments: ``[num_regions, 7]``, as :attr:`Regions.moments`.
    """
    n20, n11, n02 = moments.T[:3]
    total, difference, both = n20 + n02, n20 - n02, 2 * n11
    root = np.sqrt(difference**2 + both**2)
    eccentricity = np.sqrt(2 * root / (total + root))
    return np.stack([difference / total, both / total, eccentricity], axis=1)


def rasters(regions: Regions, values: Floats, chosen: Ints, image_of: Ints, side: int) -> Floats:
    """Resamples regions to ``side × side``, with their proportions, ``[num_chosen, side²]``.

    Args:
        regions: The regions.
        values: ``[num_images, H, W]``, values of pixels; outside a region they count as 0.
        chosen: ``[num_chosen]``, the regions to resample.
        image_of: ``[num_chosen]``, the image of each in the stack.
        side: Side of the rasters, positive.
    """
    top, left, bottom, right = regions.box[chosen].T[..., None]
    longer = np.maximum(bottom - top, right - left) + 1
    count = 2 * side * SAMPLES
    at = np.arange(1, count, 2)
    # In integers: the middle of the box ± half a side, in steps of a sample.
    y = ((top + bottom + 1 - longer) * (count // 2) + at * longer) // count
    x = ((left + right + 1 - longer) * (count // 2) + at * longer) // count
    inside_y, inside_x = (y >= 0) & (y < regions.height), (x >= 0) & (x < regions.width)
    rows = image_of[:, None] * regions.height + y.clip(0, regions.height - 1)
    place = rows[:, :, None] * regions.width + x.clip(0, regions.width - 1)[:, None, :]
    here = (regions.labels.ravel()[place] == chosen[:, None, None]) & inside_y[:, :, None] & inside_x[:, None, :]
    drawn = np.where(here, values.ravel()[place], 0.0)
    squares: Floats = drawn.reshape(len(chosen), side, SAMPLES, side, SAMPLES).mean(axis=(2, 4))
    return squares.reshape(len(chosen), side * side)


def windows(regions: Regions, pixels: Ints, image_of: Ints, width: Floats, side: int) -> Floats:
    """Samples pixels around the centres of regions: each channel, then whether pixels are in the region.

    The border is repeated; places beyond it are in no region.

    Args:
        regions: The regions.
        pixels: ``[num_images, C, H, W]`` in 0…255.
        image_of: ``[num_regions]``, the image of each in the stack.
        width: ``[num_regions]``, width of each window in pixels.
        side: Number of places along each side of a window, positive.

    Returns:
        ``[num_regions, (C + 1) · side²]``, in [0, 1].
    """
    at = (np.arange(side) + 0.5) / side - 0.5
    places = np.floor(regions.centre[:, :, None] + at * width[:, None, None]).astype(np.int64)
    limits = np.array([regions.width, regions.height])[:, None]
    inside = (places >= 0) & (places < limits)
    x, y = places.clip(0, limits - 1).swapaxes(0, 1)
    rows, columns, image = y[:, :, None], x[:, None, :], image_of[:, None, None]
    own = regions.labels[image, rows, columns] == np.arange(regions.num_regions)[:, None, None]
    own &= inside[:, 1, :, None] & inside[:, 0, None, :]
    drawn = [channel[image, rows, columns] / 255 for channel in pixels.swapaxes(0, 1)]
    return np.stack([*drawn, own], axis=1).reshape(regions.num_regions, -1)
