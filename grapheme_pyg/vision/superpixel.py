"""SuperpixelFinder, the finder of ``mode="superpixel"``, finds and merges superpixels. Knows pixels and no PyG."""

import os
import threading
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg import ops
from grapheme_pyg.checks import as_float
from grapheme_pyg.extras import missing
from grapheme_pyg.ops.superpixels import number_by_first
from grapheme_pyg.vision.arrays import Bools, Floats, Ints
from grapheme_pyg.vision.checks import THRESHOLDS, check, set_int, set_rounds
from grapheme_pyg.vision.finder import Finder
from grapheme_pyg.vision.hierarchy import EntityType, Hierarchy, RelationType, Schema, in_image_order, to_relations
from grapheme_pyg.vision.pixels import gradients, to_grey
from grapheme_pyg.vision.region_graph import OCTANTS, adjacent, merge, octant
from grapheme_pyg.vision.shapes import Regions, ellipse, windows

DISTANCES = ("near", "far")
# Size, position, extent, ellipse and gradients.
NUM_SHAPE_FEATURES = 12
# scikit-image keeps the distances of all pairs of regions, which would fill the memory if there were more.
MOST_REGIONS = 4096
# More regions than the first are requested only if each has so many pixels, as memory grows quadratically.
FREE_REGIONS, PIXELS_OF_REGION = 256, 8
# Lightness of white in CIELAB.
LIGHTNESS = 100
# sRGB: linear intensity of each level, conversion to CIE XYZ, and the white point.
_LEVELS = np.arange(256) / 255
LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4)
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
D65 = (0.95047, 1.0, 1.08883)
SLIC = ("grapheme", "scikit-image")
# Defaults by the number of channels: regions as in Dwivedi et al., "Benchmarking Graph Neural Networks", and windows.
REGIONS = {1: 75, 3: 150}
WINDOWS = {1: 0, 3: 5}
LARGEST_WINDOW = 16
# Width of a window, in sides of a region of the mean area.
WINDOW_WIDTH = 2

_filters = threading.Lock()


def _renew_lock() -> None:
    """Replaces the lock in a forked process, which lacks the thread that may have held it."""
    global _filters
    _filters = threading.Lock()


if hasattr(os, "register_at_fork"):  # where processes can be forked
    os.register_at_fork(after_in_child=_renew_lock)


@dataclass(frozen=True)
class SuperpixelFinder(Finder):
    """Finds SLIC regions where there is contrast, which regions touch, and how they merge from level to level.

    It uses SLIC within a mask, :func:`grapheme_pyg.ops.superpixels` (R. Achanta et al., "SLIC superpixels compared to
    state-of-the-art superpixel methods", TPAMI 2012). If there is no contrast, or contrast is so scattered that fewer
    than half of the regions result, the whole image is segmented.

    Args:
        in_channels: Channels of the image, 1 or 3.
        num_regions: Approximate and largest number of regions on the finest level, not counting isolated parts, in
            1…4096; more than 256 only if each has 8 pixels. If None, 75 for grey images and 150 for colour.
        compactness: Compactness of SLIC; larger values make squarer regions. In units of grey levels in [0, 1]; colours
            are compared in CIELAB, divided by 100.
        threshold: Regions consist of pixels around which max − min over 3×3 pixels exceeds this in a channel. In levels
            of 0…255; -1 for all pixels. If None, 32 for grey images and 8 for colour.
        rounds: Number of nodes of each region for each level; at least two levels.
        window: Finest regions have so many × so many pixels around their centres as features, and whether these are in
            the region; the window is as wide as two regions of the mean area. 0 for none. If None, 0 for grey images
            and 5 for colour.
        slic: Implementation of SLIC: the library's own, or ``"scikit-image"`` for version 1 of the features, as in
            models of 0.1. The latter starts from random centres and is much slower.

    Raises:
        ValueError: An argument is out of its range.
    """

    of_version_1: ClassVar[dict[str, Any]] = {"slic": "scikit-image", "window": 0}
    in_channels: int = 1
    num_regions: int | None = None
    compactness: float = 0.25
    threshold: int | None = None
    rounds: tuple[int, ...] = (3, 2, 1)
    window: int | None = None
    slic: str = SLIC[0]

    def __post_init__(self) -> None:
        set_int(self, "num_regions", 1, MOST_REGIONS, default=REGIONS[self.in_channels])
        as_float("compactness", self.compactness, lambda value: value > 0, "a positive number")
        set_int(self, "threshold", -1, 254, default=THRESHOLDS[self.in_channels])
        set_int(self, "window", 0, LARGEST_WINDOW, default=WINDOWS[self.in_channels])
        check("slic", self.slic, self.slic in SLIC, f"one of {SLIC}")
        set_rounds(self)

    def _num_features(self, level: int) -> int:
        assert self.window is not None  # chosen when this was made
        of_window = 0 if level else self.window**2 * (self.in_channels + 1)
        return 2 * self.in_channels + NUM_SHAPE_FEATURES + of_window

    def schema(self) -> Schema:
        """Returns relations of touching regions by direction and distance, and of parts by position in the whole."""
        types = [EntityType(f"region{i}", i, self._num_features(i), count) for i, count in enumerate(self.rounds)]
        names = ["self", *(f"{name}_of_{distance}" for distance in DISTANCES for name in OCTANTS)]
        lateral = [RelationType(i, name, i) for i in range(len(types)) for name in names]
        part_of = [
            RelationType(i, f"{name}_part_of", i + 1) for i in range(len(types) - 1) for name in ("centre", *OCTANTS)
        ]
        return Schema(tuple(types), tuple(lateral), tuple(part_of))

    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """Finds the regions of images.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            The regions, and their features, float32 ``[num_regions, num_features]``.
        """
        num_images, _, height, width = pixels.shape
        labels, count = self._segment(pixels)
        finest = labels
        slopes = gradients(to_grey(pixels).numpy().astype(np.int64))
        channels = list(pixels.numpy().swapaxes(0, 1).astype(np.int64))
        image, level, centre, features = [], [], [], []
        lateral, part_of = [], []
        first = 0
        last = len(self.rounds) - 1
        num_lateral = 1 + len(DISTANCES) * len(OCTANTS)
        for i in range(last + 1):
            regions = Regions(labels, count)
            of_image = np.empty(count + 1, np.int64)
            # The last entry is for pixels in no region.
            of_image[labels.reshape(num_images, -1)] = np.arange(num_images)[:, None]
            of_image = of_image[:-1]
            image.append(of_image)
            level.append(np.full(count, i))
            centre.append(regions.centre)
            colour = regions.mean_and_spread(channels) / 255
            # The side of a square of the mean area.
            filled = np.bincount(of_image, regions.area, num_images) / np.bincount(of_image, minlength=num_images)
            side = np.sqrt(filled)[of_image]
            features.append(self._features(regions, colour, slopes))
            if i == 0 and self.window:
                around = windows(regions, pixels.numpy(), of_image, WINDOW_WIDTH * side, self.window)
                features[0] = np.concatenate([features[0], around], axis=1)

            source, target = adjacent(labels)
            offset = regions.centre[source] - regions.centre[target]
            spacing = side[target]
            far = (offset * offset).sum(axis=1) > spacing * spacing
            kind = i * num_lateral + 1 + len(OCTANTS) * far + octant(offset)
            lateral.append((source + first, target + first, kind))
            if i < last:
                whole = merge(source, target, regions.area, colour[:, : self.in_channels], regions.centre, spacing)
                up = int(whole.max()) + 1
                labels = np.append(whole, -1)[labels]
                middle = np.stack([np.bincount(whole, regions.area * c) for c in regions.centre.T], axis=1)
                area = np.bincount(whole, regions.area)
                offset = regions.centre - (middle / area[:, None])[whole]
                central = (offset * offset).sum(axis=1) * 8 < area[whole]
                place = np.where(central, 0, 1 + octant(offset))
                part_of.append((np.arange(count) + first, whole + first + count, i * 9 + place))
                first, count = first + count, up
        levels = torch.from_numpy(np.concatenate(level))
        hierarchy = Hierarchy(
            num_images=num_images,
            image=torch.from_numpy(np.concatenate(image)),
            level=levels,
            type=levels,
            centre=torch.from_numpy(np.concatenate(centre)),
            lateral=to_relations(lateral),
            part_of=to_relations(part_of),
            finest_of_pixel=torch.from_numpy(finest.reshape(num_images, -1)),
            size=(height, width),
        )
        return in_image_order(hierarchy, [torch.from_numpy(rows.astype(np.float32)) for rows in features])

    def _segment(self, pixels: Tensor) -> tuple[Ints, int]:
        """Segments images into regions ``[B, H, W]``, numbered over all images, −1 for none; and counts them."""
        active = self._active(pixels.numpy())
        cut = self._by_scikit_image if self.slic == "scikit-image" else self._by_kernel
        labels = cut(pixels, active)
        number = labels.max(axis=(1, 2)) + 1
        first = (number.cumsum() - number)[:, None, None]
        return np.where(labels >= 0, labels + first, -1), int(number.sum())

    def _asked(self, mask: Bools) -> int:
        """Returns the number of regions to request for an image."""
        assert self.num_regions is not None  # chosen when this was made
        return min(self.num_regions, max(FREE_REGIONS, int(mask.sum()) // PIXELS_OF_REGION))

    def _by_kernel(self, pixels: Tensor, active: Bools) -> Ints:
        """Segments each image, numbering regions from 0; images with scattered contrast as a whole."""
        values = pixels.float() / 255 if self.in_channels == 1 else _lab(pixels.numpy()) / LIGHTNESS

        def cut(chosen: Bools | slice) -> Ints:
            masks = active[chosen]
            asked = torch.tensor([self._asked(mask) for mask in masks])
            found: Ints = ops.superpixels(values[chosen], torch.from_numpy(masks), asked, self.compactness).numpy()
            return found

        labels = cut(slice(None))
        # Small islands of contrast are dropped, because each is smaller than a region.
        found = zip(labels, active, strict=True)
        scattered = np.array(
            [2 * (int(one.max()) + 1) < min(self._asked(mask), int(mask.sum())) for one, mask in found]
        )
        if scattered.any():
            active[scattered] = True
            labels[scattered] = cut(scattered)
        return labels

    def _by_scikit_image(self, pixels: Tensor, active: Bools) -> Ints:
        """Does the same by scikit-image, as in version 1 of the features."""
        try:
            from skimage.segmentation import slic  # heavy, and optional
        except ImportError as error:
            raise missing("skimage", "for slic='scikit-image'", "superpixel") from error
        colour = self.in_channels == 3
        images = pixels.movedim(1, -1).numpy() if colour else pixels[:, 0].numpy()
        labels = np.full(active.shape, -1)

        def segment(picture: Ints, mask: Bools) -> Ints:
            found: Ints = slic(
                picture,
                n_segments=self._asked(mask),
                compactness=self.compactness * (LIGHTNESS if colour else 1),
                start_label=1,
                channel_axis=-1 if colour else None,
                # Without a mask, centres start on a lattice, which is faster.
                mask=None if mask.all() else mask,
            )
            return found

        for out, picture, mask in zip(labels, images, active, strict=True):
            # Warning filters are global: only one thread at a time changes and restores them.
            with _filters, warnings.catch_warnings():
                # There can be fewer pixels than regions.
                warnings.filterwarnings("ignore", message="One of the clusters is empty")
                found = segment(picture, mask)
            # As in `_by_kernel`.
            if 2 * int(found.max()) < min(self._asked(mask), int(mask.sum())):
                mask[:] = True
                found = segment(picture, mask)
            out[mask] = number_by_first(found[mask])
        return labels

    def _active(self, pixels: Ints) -> Bools:
        """Finds the pixels with contrast around them, ``[B, H, W]``; all pixels of an image without any."""
        from scipy import ndimage

        window = (1, 1, 3, 3)
        high = ndimage.maximum_filter(pixels, window, mode="nearest")
        low = ndimage.minimum_filter(pixels, window, mode="nearest")
        assert self.threshold is not None  # chosen when this was made
        active: Bools = (high - low > self.threshold).any(axis=1)
        active[~active.any(axis=(1, 2))] = True
        return active

    def _features(self, regions: Regions, colour: Floats, slopes: tuple[Ints, Ints]) -> Floats:
        height, width = regions.labels.shape[1:]
        top, left, bottom, right = regions.box.T
        extent = np.stack([right - left + 1, bottom - top + 1], axis=1) / (width, height)
        slope = [regions.mean(values) / 255 for values in slopes]
        strength = [np.sqrt(regions.mean(values * values)) / 255 for values in slopes]
        area = np.sqrt(regions.area / (height * width))
        columns = [area, *(regions.centre / (width, height)).T, *extent.T, *ellipse(regions.moments).T]
        return np.stack([*colour.T, *columns, *slope, *strength], axis=1)


def _lab(pixels: Ints) -> Tensor:
    """Converts sRGB (IEC 61966-2-1) to CIELAB under D65, float32 ``[B, 3, H, W]``, independently for each pixel."""
    red, green, blue = LINEAR[pixels].swapaxes(0, 1)
    xyz = [(r * red + g * green + b * blue) / white for (r, g, b), white in zip(TO_XYZ, D65, strict=True)]
    x, y, z = (np.where(one > (6 / 29) ** 3, np.cbrt(one), one * (29 / 6) ** 2 / 3 + 4 / 29) for one in xyz)
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    return torch.from_numpy(lab.astype(np.float32))
