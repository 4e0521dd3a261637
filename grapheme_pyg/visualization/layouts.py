"""Where the nodes of a graph are drawn, and how big."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# Markers grow by so much from one scale to the next, in so many steps: in deep graphs they would cover each other.
GROWTH, STEPS = 1.4, 4


def places_and_scales(pos: Array, level: Array) -> tuple[Array, Array]:
    """Numbers each distinct position, and counts for each node how often the entities changed up to its level.

    Args:
        pos: ``[num_nodes, 2]``.
        level: ``[num_nodes]`` integers.

    Returns:
        Two arrays ``[num_nodes]`` of integers.
    """
    place = np.unique(pos, axis=0, return_inverse=True)[1].reshape(-1)
    scale, current, before = np.zeros_like(level), -1, np.empty(0)
    for stage in np.unique(level):
        here = np.unique(place[level == stage])
        current += not np.array_equal(here, before)
        scale[level == stage], before = current, here
    return place, scale


def growth(scale: Array) -> Array:
    """How much larger the markers of coarser nodes are: ``GROWTH`` for each scale, up to ``STEPS``."""
    larger: Array = GROWTH ** np.minimum(scale, STEPS)
    return larger


def columns(pos: Array, level: Array, scale: Array, height: float) -> tuple[Array, Array]:
    """Places in columns, x the level and y the centred rank in image order, and marker diameters in points.

    Args:
        pos: ``[num_nodes, 2]``.
        level: ``[num_nodes]`` integers.
        scale: ``[num_nodes]`` integers, how coarse a node is.
        height: Of the axes, in points.

    Returns:
        Arrays ``[num_nodes, 2]``, y in [−0.5, 0.5], and ``[num_nodes]``.
    """
    xy, diameter = np.zeros((len(pos), 2)), np.zeros(len(pos))
    most = np.bincount(level).max()
    for stage in np.unique(level):
        column = np.flatnonzero(level == stage)
        column = column[np.lexsort(pos[column].T)]
        # Columns shrink more slowly than their nodes get fewer: a network that narrows, but no tangle.
        gap = (len(column) / most) ** 0.35 / len(column)
        xy[column, 0] = stage
        xy[column, 1] = (np.arange(len(column)) - (len(column) - 1) / 2) * gap
        diameter[column] = np.clip(0.8 * gap * height, 1, 4 * growth(scale[column]))
    return xy, diameter
