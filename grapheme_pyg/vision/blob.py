"""BlobFinder, the finder of ``mode="blob"``, finds nested blobs, and the strokes of drawings. Knows pixels, no PyG."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg.vision.arrays import Bools, Floats, Ints
from grapheme_pyg.vision.checks import check, is_int, set_int
from grapheme_pyg.vision.components import Components, find_components, stand_ins, touching, wholes
from grapheme_pyg.vision.finder import Finder
from grapheme_pyg.vision.hierarchy import EntityType, Hierarchy, Relations, RelationType, Schema, to_relations
from grapheme_pyg.vision.neighbours import SIDES, nearest, rank_in_run, side, within_spacing
from grapheme_pyg.vision.pixels import to_grey
from grapheme_pyg.vision.shapes import Regions, ellipse, hu_moments, rasters, signed_root
from grapheme_pyg.vision.strokes import add_strokes, with_strokes

POLARITIES = ("light", "dark")
LATERAL = ("self", *SIDES, "near")
# Relations of a blob to a blob of the other polarity that touches it.
TOUCHING = ("inside", "contains", "adjacent")
NUM_SHAPE_FEATURES = 23
# Largest number of holes that Euler numbers count.
HOLES = 8
# Default thresholds, and sides of rasters, by whether there are strokes.
BLOB_THRESHOLDS = {False: (32, 96, 160, 224), True: (96,)}
RASTERS = {False: 8, True: 5}


@dataclass(frozen=True)
class BlobFinder(Finder):
    """Finds connected components of light and of dark pixels at several thresholds, which are nested, and strokes.

    Strokes are the parts of the figure between the ends and junctions of its skeleton; see
    :func:`grapheme_pyg.vision.skeletons.find_strokes`. The figure of an image consists of the components at the middle
    threshold, the lower one of two, with the polarity that fewer pixels of the image's border have.

    Args:
        in_channels: Channels of the image, 1 or 3; blobs are found in its luma.
        thresholds: Ascending, in 0…254; a pixel is light if it exceeds the threshold. If None, 96, and 32, 96, 160 and
            224 without strokes.
        min_area: Smaller blobs, in pixels, are dropped, except the largest of an image, polarity and threshold.
        max_blobs: Number of largest blobs that are kept for each image, polarity and threshold; and of largest strokes
            for each image.
        blob_rounds: Number of nodes of each blob.
        raster: Side of the raster of a stroke's shape, or of a blob's without strokes; at most 8. If None, 5 and 8.
        stroke_rounds: Number of nodes of each stroke; 0 for no strokes, as in models of 0.1.

    Raises:
        ValueError: An argument is out of its range.
    """

    of_version_1: ClassVar[dict[str, Any]] = {"stroke_rounds": 0}
    in_channels: int = 1
    thresholds: tuple[int, ...] | None = None
    min_area: int = 3
    max_blobs: int = 64
    blob_rounds: int = 2
    raster: int | None = None
    stroke_rounds: int = 3

    def __post_init__(self) -> None:
        set_int(self, "stroke_rounds", 0)
        has_strokes = self.stroke_rounds > 0
        thresholds = BLOB_THRESHOLDS[has_strokes] if self.thresholds is None else self.thresholds
        rising = isinstance(thresholds, Sequence) and len(thresholds) > 0
        rising = rising and all(is_int(value, 0) and value < 255 for value in thresholds)
        rising = rising and all(low < high for low, high in pairwise(thresholds))
        check("thresholds", thresholds, rising, "rising integers in 0…254")
        object.__setattr__(self, "thresholds", tuple(thresholds))
        set_int(self, "raster", 1, 8, default=RASTERS[has_strokes])
        for name in ("min_area", "max_blobs", "blob_rounds"):
            set_int(self, name, 1)

    @property
    def num_levels(self) -> int:
        """Number of levels of blobs: one for each threshold."""
        assert self.thresholds is not None  # chosen when this was made
        return len(self.thresholds)

    @property
    def _blob_raster(self) -> int:
        """Side of the raster of a blob, 0 for none."""
        assert self.raster is not None  # chosen when this was made
        return 0 if self.stroke_rounds else self.raster

    @property
    def num_features(self) -> int:
        """Number of features of a blob."""
        return NUM_SHAPE_FEATURES + 2 * self.in_channels + self._blob_raster**2

    def schema(self) -> Schema:
        """Returns the type of strokes, and a type of blobs for each polarity and level, the smallest first."""
        blobs = self._blob_schema()
        if not self.stroke_rounds:
            return blobs
        assert self.raster is not None  # chosen when this was made
        return with_strokes(blobs, self.in_channels, self.raster, self.stroke_rounds)

    def _blob_schema(self) -> Schema:
        names = [f"{polarity}{level}" for level in range(self.num_levels) for polarity in POLARITIES]
        types = [EntityType(name, i // 2, self.num_features, self.blob_rounds) for i, name in enumerate(names)]
        lateral = [RelationType(i, name, i) for i in range(len(types)) for name in LATERAL]
        pairs = [(i, j) for i in range(len(types)) for j in range(len(types)) if (i - j) % 2]
        lateral += [RelationType(i, name, j) for i, j in pairs if i // 2 == j // 2 for name in TOUCHING]
        part_of = [RelationType(i, "part_of", j) for i in range(len(types)) for j in range(i + 2, len(types), 2)]
        part_of += [RelationType(i, name, j) for i, j in pairs if i // 2 < j // 2 for name in TOUCHING]
        return Schema(tuple(types), tuple(lateral), tuple(part_of))

    def find(self, pixels: Tensor) -> tuple[Hierarchy, Tensor]:
        """Finds the blobs and strokes of images, and how they are nested, arranged, touching and joined.

        Args:
            pixels: uint8 ``[B, C, H, W]``.

        Returns:
            Strokes and blobs, and their features, float32 ``[num_entities, num_features]``.
        """
        assert self.thresholds is not None  # chosen when this was made
        grey = to_grey(pixels).numpy()
        num_images, height, width = grey.shape
        components = find_components(grey, self.thresholds)
        image = components.first // (height * width)
        stand_in = stand_ins(components, self._kept(components, image))
        # Sorted by image, level, first pixel and polarity.
        chosen = np.flatnonzero(stand_in == np.arange(stand_in.size))
        kind = ~components.light + 2 * components.step
        chosen = chosen[np.lexsort((kind[chosen], components.first[chosen], components.step[chosen], image[chosen]))]
        # The number of the blob that stands for each component; the last entry is for none.
        number = np.full(stand_in.size + 1, -1)
        number[chosen] = np.arange(chosen.size)
        number[:-1] = number[stand_in]
        whole = number[wholes(components, stand_in)[chosen]]

        stack = Regions(components.labels.reshape(-1, height, width), stand_in.size)
        blobs = _Blobs(image[chosen], components.step[chosen], kind[chosen], stack.centre[chosen], stack.box[chosen])
        lateral, part_of = self._relations(blobs, whole, number[touching(components, grey.shape)])
        smallest = _smallest(components, number, components.area[chosen])
        hierarchy = Hierarchy(
            num_images=num_images,
            image=torch.from_numpy(blobs.image),
            level=torch.from_numpy(blobs.level),
            type=torch.from_numpy(blobs.kind),
            centre=torch.from_numpy(blobs.centre),
            lateral=lateral,
            part_of=part_of,
            finest_of_pixel=torch.from_numpy(smallest.reshape(num_images, -1)),
            size=(height, width),
        )
        features = torch.from_numpy(self._features(pixels, grey, components, stack, chosen).astype(np.float32))
        if not self.stroke_rounds:
            return hierarchy, features
        middle = (self.num_levels - 1) // 2
        light = grey > self.thresholds[middle]
        is_light = _is_figure_light(light)
        figure = np.where(light == is_light, number[components.labels[middle]].reshape(grey.shape), -1)
        extent = (blobs.box[:, 2:] - blobs.box[:, :2]).max(axis=1) + 1
        drawn = torch.from_numpy(np.where(is_light[:, None], pixels.numpy(), 255 - pixels.numpy()))
        assert self.raster is not None  # chosen when this was made
        return add_strokes(hierarchy, features, drawn, figure, extent, self.schema(), self.raster, self.max_blobs)

    def _kept(self, components: Components, image: Ints) -> Bools:
        """Chooses the largest components of each image, polarity and threshold, at least one."""
        group = (image * self.num_levels + components.threshold) * 2 + components.light
        order = np.lexsort((components.first, -components.area, group))
        rank = np.empty_like(order)
        rank[order] = rank_in_run(group[order])
        kept: Bools = (rank < self.max_blobs) & ((components.area >= self.min_area) | (rank == 0))
        return kept

    def _relations(self, blobs: "_Blobs", whole: Ints, touching: Ints) -> tuple[Relations, Relations]:
        """Finds lateral and part-of relations.

        Args:
            blobs: All blobs.
            whole: ``[num_blobs]``, the next larger blob of the same polarity, −1 for none.
            touching: ``[2, num_pairs]``, light and dark blobs that touch, −1 for components that are not kept.
        """
        schema = self._blob_schema()
        num_types = len(schema.entity_types)
        group = (blobs.image * self.num_levels + blobs.level) * num_types + blobs.kind
        order = group.argsort(stable=True)
        source, target, distance = nearest(group[order], blobs.centre[order])
        near = within_spacing(group[order], target, distance)
        source, target = order[source], order[target]
        first = blobs.kind[target] * len(LATERAL) + 1
        lateral = [(source, target, first + side(blobs.centre[source], blobs.centre[target]))]
        lateral.append((source[near], target[near], first[near] + len(SIDES)))

        part = np.flatnonzero(whole >= 0)
        up = [
            (part, whole[part], _table(schema.part_of, "part_of", num_types)[blobs.kind[part], blobs.kind[whole[part]]])
        ]

        kept = touching[:, (touching >= 0).all(axis=0)]
        # Encoded as numbers, because np.unique of rows can turn an exception of a signal handler into another one.
        kept = np.stack(np.divmod(np.unique(kept[0] * whole.size + kept[1]), max(1, whole.size)))
        source, target = np.concatenate([kept, kept[::-1]], axis=1)
        level = blobs.level
        for relations, found, pairs in (
            (schema.lateral, lateral, level[source] == level[target]),
            (schema.part_of, up, level[source] < level[target]),
        ):
            a, b = source[pairs], target[pairs]
            tables = np.stack([_table(relations, name, num_types) for name in TOUCHING])
            how = np.where(blobs.encloses(b, a), 0, np.where(blobs.encloses(a, b), 1, 2))
            found.append((a, b, tables[how, blobs.kind[a], blobs.kind[b]]))
        return to_relations(lateral), to_relations(up)

    def _features(self, pixels: Tensor, grey: Ints, components: Components, stack: Regions, chosen: Ints) -> Floats:
        """Measures the chosen components; dark ones in the inverted image."""
        num_images, height, width = grey.shape
        top, left, bottom, right = stack.box[chosen].T
        extent = np.stack([right - left + 1, bottom - top + 1], axis=1)
        area = stack.area[chosen, None]
        moments = stack.moments[chosen]
        light = components.light[components.labels].reshape(stack.labels.shape)
        seen = [_seen(channel, light) for channel in pixels.numpy().swapaxes(0, 1)]
        columns = [
            np.sqrt(area / (height * width)),
            components.step[chosen, None] / self.num_levels,
            extent / (width, height),
            area / extent.prod(axis=1, keepdims=True),
            signed_root(moments[:, :3]),
            moments[:, 3:],
            ellipse(moments),
            stack.euler[chosen, None].clip(-HOLES, 1) / HOLES,
            hu_moments(moments),
            stack.mean_and_spread(seen)[chosen] / 255,
        ]
        if self._blob_raster:
            drawn = _seen(grey, light) if len(seen) > 1 else seen[0]
            place = components.threshold[chosen] * num_images + components.first[chosen] // (height * width)
            columns.append(rasters(stack, drawn / 255, chosen, place, self._blob_raster))
        return np.concatenate(columns, axis=1)


@dataclass(frozen=True)
class _Blobs:
    """Image, level, entity type, centroid and bounding box of each component that is kept."""

    image: Ints
    level: Ints
    kind: Ints
    centre: Floats
    box: Ints

    def encloses(self, one: Ints, other: Ints) -> Bools:
        """Returns whether the bounding box of ``other`` is strictly inside that of ``one``."""
        a, b = self.box[one], self.box[other]
        return np.logical_and((a[:, :2] < b[:, :2]).all(axis=1), (a[:, 2:] > b[:, 2:]).all(axis=1))


def _is_figure_light(light: Bools) -> Bools:
    """Returns whether most pixels of the borders of images ``[B, H, W]`` are dark, ``[B, 1, 1]``."""
    border = np.concatenate([light[:, 0], light[:, -1], light[:, :, 0], light[:, :, -1]], axis=1)
    most: Bools = 2 * border.sum(axis=1) <= border.shape[1]
    return most[:, None, None]


def _seen(values: Ints, light: Ints) -> Ints:
    """Repeats a channel ``[B, H, W]`` for every threshold, inverted where pixels are dark, ``[T · B, H, W]``."""
    repeated = np.tile(values.astype(np.int64), (light.shape[0] // values.shape[0], 1, 1))
    return np.where(light, repeated, 255 - repeated)


def _smallest(components: Components, number: Ints, area: Ints) -> Ints:
    """Finds the smallest blob at each pixel, ``[num_pixels]``, the first of several; −1 for none."""
    blob = number[components.labels]
    size = np.where(blob >= 0, area[blob], np.iinfo(np.int64).max)
    smallest: Ints = np.take_along_axis(blob, size.argmin(axis=0)[None], axis=0)[0]
    return smallest


def _table(relations: Sequence[RelationType], name: str, num_types: int) -> Ints:
    """Returns the number of the relation of a name between types, ``[source, target]``, −1 for none."""
    table = np.full((num_types, num_types), -1)
    for i, kind in enumerate(relations):
        if kind.name == name:
            table[kind.source, kind.target] = i
    return table
