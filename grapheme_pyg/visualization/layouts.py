"""Places and sizes of the nodes of a drawn graph."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# Factor by which markers grow from one scale to the next, and the most such steps, lest markers cover each other.
GROWTH, STEPS = 1.4, 4


def places_and_scales(pos: Array, level: Array) -> tuple[Array, Array]:
    """Numbers the distinct positions, and counts how often the entities change up to the level of each node.

    Args:
        pos: ``[num_nodes, 2]``.
        level: ``[num_nodes]`` integers.

    Returns:
        The number of each node's position, and its scale, both ``[num_nodes]`` integers.
    """
    place = np.unique(pos, axis=0, return_inverse=True)[1].reshape(-1)
    scale, current, before = np.zeros_like(level), -1, np.empty(0)
    for stage in np.unique(level):
        here = np.unique(place[level == stage])
        current += not np.array_equal(here, before)
        scale[level == stage], before = current, here
    return place, scale


def growth(scale: Array) -> Array:
    """Returns the relative size of markers: a factor of ``GROWTH`` for each scale, up to ``STEPS``."""
    larger: Array = GROWTH ** np.minimum(scale, STEPS)
    return larger


def columns(pos: Array, level: Array, scale: Array, height: float) -> tuple[Array, Array]:
    """Places nodes in columns: x is the level and y the centred rank in image order.

    Args:
        pos: ``[num_nodes, 2]``.
        level: ``[num_nodes]`` integers.
        scale: ``[num_nodes]`` integers, the coarseness of each node.
        height: Height of the axes in points.

    Returns:
        Places ``[num_nodes, 2]`` with y in [−0.5, 0.5], and diameters of markers in points, ``[num_nodes]``.
    """
    xy, diameter = np.zeros((len(pos), 2)), np.zeros(len(pos))
    most = np.bincount(level).max()
    for stage in np.unique(level):
        column = np.flatnonzero(level == stage)
        column = column[np.lexsort(pos[column].T)]
        # The height of a column shrinks more slowly than its number of nodes, so that edges stay apart.
        gap = (len(column) / most) ** 0.35 / len(column)
        xy[column, 0] = stage
        xy[column, 1] = (np.arange(len(column)) - (len(column) - 1) / 2) * gap
        diameter[column] = np.clip(0.8 * gap * height, 1, 4 * growth(scale[column]))
    return xy, diameter
