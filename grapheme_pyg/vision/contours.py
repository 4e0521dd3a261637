"""Which entities are crossed by the same contour. Knows no PyG."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg.vision.hierarchy import Hierarchy, Relations, RelationType, Schema
from grapheme_pyg.vision.pixels import to_grey

NAME = "same_contour"


def with_contours(schema: Schema) -> Schema:
    """The words, and one for entities of the finest level that one contour crosses."""
    finest = [i for i, kind in enumerate(schema.entity_types) if kind.level == 0]
    return replace(schema, lateral=schema.lateral + tuple(RelationType(i, NAME, i) for i in finest))


def add_contours(hierarchy: Hierarchy, pixels: Tensor, schema: Schema) -> Hierarchy:
    """Relates finest entities of one type that a contour enters one after the other, both ways.

    A contour runs where luma passes the middle between the least and the greatest of its image. Its pixels are the
    light ones that share a side with a dark one. Two entities are on one contour if a pixel of the one is beside, or
    at the corner of, a pixel of the other, and both are on the contour.

    Args:
        hierarchy: Of the images.
        pixels: uint8 ``[B, C, H, W]``.
        schema: With the word, see :func:`with_contours`.
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
    beside = ((entity[:, 1:], entity[:, :-1]), (entity[:, :, 1:], entity[:, :, :-1]))
    across = ((entity[:, 1:, 1:], entity[:, :-1, :-1]), (entity[:, 1:, :-1], entity[:, :-1, 1:]))
    total = max(1, level.size)
    keys = []
    for one, other in (*beside, *across):
        both = (one >= 0) & (other >= 0) & (one != other)
        a, b = one[both], other[both]
        alike = (kind[a] == kind[b]) & (level[a] == 0)
        a, b = a[alike], b[alike]
        keys += [a * total + b, b * total + a]
    source, target = np.divmod(np.unique(np.concatenate(keys)), total)
    number = {relation.source: i for i, relation in enumerate(schema.lateral) if relation.name == NAME}
    of_type = np.array([number.get(i, -1) for i in range(len(schema.entity_types))])
    old = hierarchy.lateral
    lateral = Relations(
        torch.cat([old.source, torch.from_numpy(source)]),
        torch.cat([old.target, torch.from_numpy(target)]),
        torch.cat([old.type, torch.from_numpy(of_type[kind[source]])]),
    )
    return replace(hierarchy, lateral=lateral)
