"""Relations between entities that the same contour crosses. Knows no PyG."""

from dataclasses import replace

import numpy as np
from torch import Tensor

from grapheme_pyg.vision.hierarchy import Hierarchy, RelationType, Schema, join, to_relations
from grapheme_pyg.vision.pixels import to_grey
from grapheme_pyg.vision.region_graph import beside

NAME = "same_contour"


def with_contours(schema: Schema) -> Schema:
    """Adds the relation between entities of the finest level that one contour crosses."""
    finest = [i for i, kind in enumerate(schema.entity_types) if kind.level == 0]
    return replace(schema, lateral=schema.lateral + tuple(RelationType(i, NAME, i) for i in finest))


def add_contours(hierarchy: Hierarchy, pixels: Tensor, schema: Schema) -> Hierarchy:
    """Adds relations in both directions between finest entities of one type that a contour enters consecutively.

    A contour separates pixels whose luma is above and below the middle of the image's range. Its pixels are the light
    ones that share a side with a dark one. Two entities are related if a contour pixel of one is a neighbour, also
    diagonally, of a contour pixel of the other.

    Args:
        hierarchy: The hierarchy of the images.
        pixels: uint8 ``[B, C, H, W]``.
        schema: The schema that :func:`with_contours` returned.
    """
    grey = to_grey(pixels).numpy().astype(np.int64)
    low, high = grey.min(axis=(1, 2), keepdims=True), grey.max(axis=(1, 2), keepdims=True)
    light = 2 * grey > low + high
    edge = np.zeros_like(light)
    edge[:, :-1] |= ~light[:, 1:]
    edge[:, 1:] |= ~light[:, :-1]
    edge[:, :, :-1] |= ~light[:, :, 1:]
    edge[:, :, 1:] |= ~light[:, :, :-1]
    on_contour = light & edge
    entity = np.where(on_contour, hierarchy.finest_of_pixel.numpy().reshape(grey.shape), -1)

    kind, level = hierarchy.type.numpy(), hierarchy.level.numpy()
    across = ((entity[:, 1:, 1:], entity[:, :-1, :-1]), (entity[:, 1:, :-1], entity[:, :-1, 1:]))
    total = max(1, level.size)
    keys = []
    for one, other in (*beside(entity), *across):
        both = (one >= 0) & (other >= 0) & (one != other)
        a, b = one[both], other[both]
        alike = (kind[a] == kind[b]) & (level[a] == 0)
        a, b = a[alike], b[alike]
        keys += [a * total + b, b * total + a]
    source, target = np.divmod(np.unique(np.concatenate(keys)), total)
    number = {relation.source: i for i, relation in enumerate(schema.lateral) if relation.name == NAME}
    of_type = np.array([number.get(i, -1) for i in range(len(schema.entity_types))])
    found = to_relations([(source, target, of_type[kind[source]])])
    return replace(hierarchy, lateral=join([hierarchy.lateral, found]))
