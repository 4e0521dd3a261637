"""Strokes as entities of their own, below the blobs that they are part of. Knows no PyG."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg.vision.arrays import Floats, Ints
from grapheme_pyg.vision.hierarchy import (
    EntityType,
    Hierarchy,
    RelationType,
    Schema,
    in_image_order,
    join,
    shifted,
    to_relations,
)
from grapheme_pyg.vision.neighbours import nearest, rank_in_run
from grapheme_pyg.vision.pixels import to_grey
from grapheme_pyg.vision.region_graph import OCTANTS, octant
from grapheme_pyg.vision.shapes import Regions, ellipse, rasters
from grapheme_pyg.vision.skeletons import Strokes, find_strokes

NUM_SHAPE_FEATURES = 9
# Pieces of a straight line as long as a blob.
PIECES = 4
# A stroke is related to so many of the nearest ones, if it is not joined to them.
NEAREST = 4
LATERAL = ("self", *(f"{name}_of_{how}" for how in ("joined", "near") for name in OCTANTS))
PLACES = ("centre", *OCTANTS)


def with_strokes(schema: Schema, in_channels: int, raster: int, rounds: int) -> Schema:
    """Puts the type of strokes below the types of blobs.

    Args:
        schema: Types of blobs, and their relations.
        in_channels: Channels of the image.
        raster: Side of the raster of a stroke's shape.
        rounds: Number of nodes of each stroke.
    """
    stroke = EntityType("stroke", 0, NUM_SHAPE_FEATURES + 2 * in_channels + raster**2, rounds)
    blobs = (replace(kind, level=kind.level + 1) for kind in schema.entity_types)
    lateral, part_of = (
        tuple(RelationType(kind.source + 1, kind.name, kind.target + 1) for kind in relations)
        for relations in (schema.lateral, schema.part_of)
    )
    of_strokes = tuple(RelationType(0, name, 0) for name in LATERAL)
    wholes = range(1, len(schema.entity_types) + 1)
    into = tuple(RelationType(0, f"{place}_part_of", whole) for whole in wholes for place in PLACES)
    return Schema((stroke, *blobs), of_strokes + lateral, into + part_of)


def add_strokes(
    hierarchy: Hierarchy,
    features: Tensor,
    pixels: Tensor,
    figure: Ints,
    extent: Ints,
    schema: Schema,
    raster: int,
    most: int,
) -> tuple[Hierarchy, Tensor]:
    """Adds strokes to a hierarchy of blobs, related to one another and to their blobs.

    Args:
        hierarchy: The blobs of the images.
        features: ``[num_blobs, num_features]`` float32, their features.
        pixels: uint8 ``[B, C, H, W]``, inverted where the figure is dark.
        figure: ``[B, H, W]``, the blob of each pixel of the figure, −1 for none.
        extent: ``[num_blobs]``, the longer sides of the blobs' boxes in pixels.
        schema: The schema that :func:`with_strokes` returned.
        raster: Side of the raster of a stroke's shape.
        most: Number of largest strokes that are kept for each image.

    Returns:
        The hierarchy with the strokes, and the features of all entities.
    """
    strokes = _largest(find_strokes(figure, -(-extent // PIECES)), hierarchy.image.numpy(), most)
    whole, total = strokes.region, strokes.region.size
    image = hierarchy.image.numpy()[whole]
    regions = Regions(strokes.labels, total)
    centre = regions.centre
    source, target = strokes.joined
    lateral = [(source, target, 1 + octant(centre[source] - centre[target]))]
    close, to, _ = nearest(image, centre, NEAREST)
    apart = ~np.isin(close * total + to, source * total + target)
    close, to = close[apart], to[apart]
    lateral.append((close, to, 1 + len(OCTANTS) + octant(centre[close] - centre[to])))

    offset = centre - hierarchy.centre.numpy()[whole]
    # The middle one of three by three places in the box.
    central = 36 * (offset * offset).sum(axis=1) < extent[whole] ** 2
    place = np.where(central, 0, 1 + octant(offset))
    types = hierarchy.type.numpy()[whole]
    part_of = [(np.arange(total), whole + total, len(PLACES) * types + place)]
    first_part_of = len(PLACES) * (len(schema.entity_types) - 1)
    of_pixel, of_blobs = strokes.labels.reshape(hierarchy.finest_of_pixel.shape), hierarchy.finest_of_pixel.numpy()
    below = torch.zeros(total, dtype=torch.int64)
    joined = replace(
        hierarchy,
        image=torch.cat([torch.from_numpy(image), hierarchy.image]),
        level=torch.cat([below, hierarchy.level + 1]),
        type=torch.cat([below, hierarchy.type + 1]),
        centre=torch.cat([torch.from_numpy(centre), hierarchy.centre]),
        lateral=join([to_relations(lateral), shifted(hierarchy.lateral, total, len(LATERAL))]),
        part_of=join([to_relations(part_of), shifted(hierarchy.part_of, total, first_part_of)]),
        finest_of_pixel=torch.from_numpy(
            np.where(of_pixel >= 0, of_pixel, np.where(of_blobs >= 0, of_blobs + total, -1))
        ),
    )
    measured = _features(regions, strokes, pixels, image, raster)
    return in_image_order(joined, [torch.from_numpy(measured.astype(np.float32)), features])


def _largest(strokes: Strokes, image_of_region: Ints, most: int) -> Strokes:
    """Keeps the largest strokes of each image."""
    total = strokes.region.size
    image = image_of_region[strokes.region]
    area = np.bincount(strokes.labels.ravel() + 1, minlength=total + 1)[1:]
    order = np.lexsort((-area, image))
    kept = np.zeros(total + 1, bool)
    kept[order] = rank_in_run(image[order]) < most
    if kept[:-1].all():
        return strokes
    number = np.where(kept, kept.cumsum() - 1, -1)
    joined = number[strokes.joined]
    return Strokes(
        labels=number[strokes.labels],
        region=strokes.region[kept[:-1]],
        ends=strokes.ends[kept[:-1]],
        arms=strokes.arms[kept[:-1]],
        joined=joined[:, (joined >= 0).all(axis=0)],
    )


def _features(regions: Regions, strokes: Strokes, pixels: Tensor, image: Ints, raster: int) -> Floats:
    size = regions.width, regions.height
    top, left, bottom, right = regions.box.T
    extent = np.stack([right - left + 1, bottom - top + 1], axis=1)
    area = regions.area[:, None]
    channels = list(pixels.numpy().swapaxes(0, 1).astype(np.int64))
    return np.concatenate(
        [
            np.sqrt(area / (regions.width * regions.height)),
            extent / size,
            area / extent.prod(axis=1, keepdims=True),
            ellipse(regions.moments),
            np.stack([strokes.ends / 2, strokes.arms / 4], axis=1),
            regions.mean_and_spread(channels) / 255,
            rasters(regions, to_grey(pixels).numpy() / 255, np.arange(regions.num_regions), image, raster),
        ],
        axis=1,
    )
