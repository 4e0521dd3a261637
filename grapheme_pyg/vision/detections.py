"""Edges and corners of images as point entities. Knows no PyG."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.vision.arrays import Bools, Floats, Ints
from grapheme_pyg.vision.hierarchy import (
    EntityType,
    Hierarchy,
    RelationType,
    Schema,
    in_image_order,
    join,
    to_relations,
)
from grapheme_pyg.vision.neighbours import nearest, rank_in_run, within_spacing
from grapheme_pyg.vision.pixels import gradients, to_grey

KINDS = ("edge", "corner")
NUM_FEATURES = 5
# Smallest root mean square slope along an axis, in 0…1: the greater slope of an edge, the lesser one of a corner.
STRENGTH = 0.1
# Smallest ratio of the lesser to the greater slope of a corner.
ROUNDNESS = 0.4
# Distance along an axis, in pixels, within which a detection is the strongest of its kind.
REACH = 2
# Largest number of detections of each kind in an image; the strongest are kept.
MOST = 32


def with_detections(schema: Schema) -> Schema:
    """Adds the types of edges and corners, which are on the finest level."""
    finest = [i for i, kind in enumerate(schema.entity_types) if kind.level == 0]
    rounds = schema.entity_types[finest[0]].rounds
    first = len(schema.entity_types)
    points = range(first, first + len(KINDS))
    types = tuple(EntityType(name, 0, NUM_FEATURES, rounds) for name in KINDS)
    lateral = [RelationType(i, "self", i) for i in points]
    lateral += [RelationType(i, "near", j) for i in points for j in points]
    lateral += [RelationType(i, "inside", j) for i in points for j in finest]
    lateral += [RelationType(j, "contains", i) for i in points for j in finest]
    coarser = [i for i in range(first) if i not in finest]
    part_of = [RelationType(i, "inside", j) for i in points for j in coarser]
    return Schema(schema.entity_types + types, schema.lateral + tuple(lateral), schema.part_of + tuple(part_of))


def add_detections(hierarchy: Hierarchy, features: Tensor, pixels: Tensor, schema: Schema) -> tuple[Hierarchy, Tensor]:
    """Adds edges and corners to a hierarchy, related to one another and to the finest entity at their pixel.

    They are local maxima of eigenvalues of the structure tensor: edges of the greater one, corners of the lesser one
    (J. Shi and C. Tomasi, "Good features to track", 1994).

    Args:
        hierarchy: The hierarchy of the images.
        features: ``[num_entities, num_features]`` float32, features of its entities.
        pixels: uint8 ``[B, C, H, W]``.
        schema: The schema that :func:`with_detections` returned.

    Returns:
        The hierarchy with the new entities, and the features of all entities.
    """
    grey = to_grey(pixels).numpy().astype(np.int64)
    width = grey.shape[2]
    kind, image, y, x, found = _detect(grey)
    num_old, first = hierarchy.level.numel(), len(schema.entity_types) - len(KINDS)
    points = np.arange(kind.size) + num_old
    centre = np.stack([x, y], axis=1) + 0.5

    source, target, distance = nearest(image, centre)
    near = within_spacing(image, target, distance)
    source, target = source[near], target[near]
    numbers = {(r.source, r.name, r.target): i for i, r in enumerate(schema.lateral)}
    upward = {(r.source, r.name, r.target): i for i, r in enumerate(schema.part_of)}
    table = np.array([[numbers[first + a, "near", first + b] for b in range(len(KINDS))] for a in range(len(KINDS))])
    lateral = [(points[source], points[target], table[kind[source], kind[target]])]

    around = hierarchy.finest_of_pixel.numpy()[image, y * width + x]
    part_of = []
    types = hierarchy.type.numpy()
    within = around >= 0
    for i in range(len(KINDS)):
        for j in range(first):
            here = np.flatnonzero(within & (kind == i))
            here = here[types[around[here]] == j]
            inner, outer = points[here], around[here]
            if (first + i, "inside", j) in numbers:
                lateral.append((inner, outer, np.full(here.size, numbers[first + i, "inside", j])))
                lateral.append((outer, inner, np.full(here.size, numbers[j, "contains", first + i])))
            else:
                part_of.append((inner, outer, np.full(here.size, upward[first + i, "inside", j])))

    joined = replace(
        hierarchy,
        image=torch.cat([hierarchy.image, torch.from_numpy(image)]),
        level=torch.cat([hierarchy.level, torch.zeros(kind.size, dtype=torch.int64)]),
        type=torch.cat([hierarchy.type, torch.from_numpy(kind + first)]),
        centre=torch.cat([hierarchy.centre, torch.from_numpy(centre)]),
        lateral=join([hierarchy.lateral, to_relations(lateral)]),
        part_of=join([hierarchy.part_of, to_relations(part_of)]),
        alone=None if hierarchy.alone is None else F.pad(hierarchy.alone, (0, kind.size)),
    )
    return in_image_order(joined, [features, torch.from_numpy(found.astype(np.float32))])


def _detect(grey: Ints) -> tuple[Ints, Ints, Ints, Ints, Floats]:
    """Finds detections: kind, image, row, column and features, sorted by image, row, column and kind."""
    gx, gy = gradients(grey)
    xx, xy, yy = (_window_sum(product) for product in (gx * gx, gx * gy, gy * gy))
    # Sums over nine pixels of products of differences in −255…255.
    a, b, c = (values / (9 * 255**2) for values in (xx, xy, yy))
    root = np.sqrt((a - c) ** 2 + 4 * b**2)
    greater, lesser = (a + c + root) / 2, ((a + c - root) / 2).clip(min=0)
    is_corner = (lesser > STRENGTH**2) & (lesser > ROUNDNESS**2 * greater)
    is_edge = (greater > STRENGTH**2) & ~is_corner
    found: list[tuple[Ints, ...]] = []
    for number, (mask, strength) in enumerate(((is_edge, greater), (is_corner, lesser))):
        peak = mask & _is_maximum(np.where(mask, strength, 0.0))
        image, y, x = peak.nonzero()
        order = np.lexsort((x, y, -strength[image, y, x], image))
        order = order[rank_in_run(image[order]) < MOST]
        found.append((np.full(order.size, number), image[order], y[order], x[order]))
    kind, image, y, x = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((kind, x, y, image))
    kind, image, y, x = kind[order], image[order], y[order], x[order]
    at = image, y, x
    size = np.where(root[at] > 0, root[at], 1)
    direction = (a - c)[at] / size, 2 * b[at] / size
    mean = _window_sum(grey)[at] / (9 * 255)
    features = np.stack([np.sqrt(greater[at]), np.sqrt(lesser[at]), *direction, mean], axis=1)
    return kind, image, y, x, features


def _window_sum(values: Ints) -> Ints:
    """Sums over 3×3 pixels, with the border repeated."""
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total: Ints = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return total


def _is_maximum(strength: Floats) -> Bools:
    """Returns which pixels are the strongest within ``REACH``; of equally strong ones the first, row by row."""
    height, width = strength.shape[1:]
    padded = np.pad(strength, ((0, 0), (REACH, REACH), (REACH, REACH)), constant_values=-1.0)
    best = np.ones(strength.shape, bool)
    for dy in range(-REACH, REACH + 1):
        for dx in range(-REACH, REACH + 1):
            if (dy, dx) != (0, 0):
                other = padded[:, REACH + dy : REACH + dy + height, REACH + dx : REACH + dx + width]
                best &= strength > other if (dy, dx) < (0, 0) else strength >= other
    return best
