"""What the shape and the intensities of regions say, as numbers. Knows pixels and no graphs."""

from functools import cached_property

import numpy as np

from grapheme_pyg.vision.arrays import Floats, Ints

# Side of the grid of samples in each square of a raster.
SAMPLES = 2


class Regions:
    """Regions of a stack of images, given by a map of labels, and sums over their pixels.

    Sums are of integers, over pixels in their order, and so do not depend on the other images of the stack.

    Args:
        labels: ``[num_images, H, W]`` int64, the region of each pixel, −1 for none; every number below ``num_regions``
            occurs.
        num_regions: How many there are.
    """

    def __init__(self, labels: Ints, num_regions: int) -> None:
        self.labels, self.num_regions = labels, num_regions
        _, self.height, self.width = labels.shape
        # What is in no region is counted first, and dropped.
        self._flat = labels.ravel() + 1
        self._x, self._y = np.arange(self.width)[None, :], np.arange(self.height)[:, None]

    def sum(self, values: Ints | None = None) -> Floats:
        """Sum of a value for each pixel (of a shape that broadcasts), or the number of pixels, ``[num_regions]``."""
        weights = None
        if values is not None:
            weights = np.broadcast_to(np.asarray(values, np.float64), self.labels.shape).ravel()
        return np.bincount(self._flat, weights, self.num_regions + 1)[1:].astype(np.float64)

    def mean(self, values: Ints) -> Floats:
        """Mean of a value for each pixel, ``[num_regions]``."""
        return self.sum(values) / self.area

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
        # Of several assignments to one place the last one stays.
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

        The second ones are of unit squares, not of points, so that those of one pixel are not zero.
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
        """Euler numbers of regions whose pixels have eight neighbours: 1 − the number of holes, if in one piece.

        Corners minus edges plus triangles minus tetrahedra of the complex of neighbours, which is local: see S. B.
        Gray, "Local properties of binary images in two dimensions", 1971.
        """
        labels = self.labels
        local = np.ones(labels.shape, np.int64)
        local[:, :, :-1] -= labels[:, :, :-1] == labels[:, :, 1:]
        local[:, :-1] -= labels[:, :-1] == labels[:, 1:]
        a, b, c, d = labels[:, :-1, :-1], labels[:, :-1, 1:], labels[:, 1:, :-1], labels[:, 1:, 1:]
        # In a square of four: all of one region add one, two across the diagonal take one away, three add nothing.
        falling, rising = a == d, b == c
        straight = (a == b) | (a == c)
        local[:, :-1, :-1] += falling & rising & (a == b)
        local[:, :-1, :-1] -= falling & ~straight
        local[:, :-1, 1:] -= rising & (b != a) & (b != d)
        return self.sum(local)


def hu_moments(moments: Floats) -> Floats:
    """The seven moments of Hu, which do not change under rotation, ``[num_regions, 7]``.

    Roots bring them to comparable size. M.-K. Hu, "Visual pattern recognition by moment invariants", 1962.

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
    """Square roots with the sign of the values."""
    return np.sign(values) * np.sqrt(np.abs(values))


def ellipse(moments: Floats) -> Floats:
    """Orientation and eccentricity of the ellipse of equal second moments, ``[num_regions, 3]``.

    Orientation is the cosine and the sine of twice the angle, times the anisotropy: it fades out as a shape becomes
    round, and does not jump.

    Args:
        moments: ``[num_regions, 7]``, as :attr:`Regions.moments`.
    """
    n20, n11, n02 = moments.T[:3]
    total, difference, both = n20 + n02, n20 - n02, 2 * n11
    root = np.sqrt(difference**2 + both**2)
    eccentricity = np.sqrt(2 * root / (total + root))
    return np.stack([difference / total, both / total, eccentricity], axis=1)


def rasters(regions: Regions, values: Floats, chosen: Ints, image_of: Ints, side: int) -> Floats:
    """Regions shrunk or grown to ``side × side``, keeping their proportions, ``[num_chosen, side²]``.

    Args:
        regions: Of whose stack.
        values: ``[num_images, H, W]``, what to draw within a region; 0 outside of it.
        chosen: ``[num_chosen]``, which regions to draw.
        image_of: ``[num_chosen]``, in which image of the stack each is.
        side: Of the rasters, positive.
    """
    top, left, bottom, right = regions.box[chosen].T[..., None]
    longer = np.maximum(bottom - top, right - left) + 1
    count = 2 * side * SAMPLES
    at = np.arange(1, count, 2)
    # Integers throughout: the middle of the box ± half a side, in steps of a sample.
    y = ((top + bottom + 1 - longer) * (count // 2) + at * longer) // count
    x = ((left + right + 1 - longer) * (count // 2) + at * longer) // count
    inside_y, inside_x = (y >= 0) & (y < regions.height), (x >= 0) & (x < regions.width)
    rows = image_of[:, None] * regions.height + y.clip(0, regions.height - 1)
    place = rows[:, :, None] * regions.width + x.clip(0, regions.width - 1)[:, None, :]
    here = (regions.labels.ravel()[place] == chosen[:, None, None]) & inside_y[:, :, None] & inside_x[:, None, :]
    drawn = np.where(here, values.ravel()[place], 0.0)
    squares: Floats = drawn.reshape(len(chosen), side, SAMPLES, side, SAMPLES).mean(axis=(2, 4))
    return squares.reshape(len(chosen), -1)


def windows(regions: Regions, pixels: Ints, image_of: Ints, width: Floats, side: int) -> Floats:
    """Pixels around the middles of regions: for each channel, then whether they are the region's own.

    Beyond the border its pixels are repeated, which are nobody's own.

    Args:
        regions: Of whose stack.
        pixels: ``[num_images, C, H, W]`` in 0…255.
        image_of: ``[num_regions]``, in which image of the stack each is.
        width: ``[num_regions]``, of its window, in pixels.
        side: Of the square of places in a window, positive.

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
