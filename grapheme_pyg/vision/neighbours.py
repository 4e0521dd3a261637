"""Who lies near whom, and where: relations between points. Knows no pixels and no graphs."""

import numpy as np

from grapheme_pyg.vision.arrays import Bools, Floats, Ints

NEAREST = 8
SPACINGS = 2
SIDES = ("above", "below", "left_of", "right_of")


def nearest(group: Ints, point: Floats, number: int = NEAREST) -> tuple[Ints, Ints, Floats]:
    """For each point, the nearest others of its group.

    Args:
        group: ``[num_points]``, ascending.
        point: ``[num_points, 2]``.
        number: How many for each, at most; of equally distant ones the first.

    Returns:
        Source (the near one), target and distance, by target, then distance.
    """
    if group.size == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    start = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    count = np.diff(start, append=group.size)
    which = np.arange(count.size).repeat(count)
    target = np.arange(group.size).repeat(count[which])
    within = np.arange(target.size) - (count[which].cumsum() - count[which])[target]
    source = start[which][target] + within
    other = source != target
    source, target = source[other], target[other]
    offset = point[source] - point[target]
    distance = np.sqrt((offset * offset).sum(axis=1))
    order = np.lexsort((source, distance, target))
    source, target, distance = source[order], target[order], distance[order]
    rank = np.arange(target.size) - (target.searchsorted(target))
    kept = rank < number
    return source[kept], target[kept], distance[kept]


def within_spacing(group: Ints, target: Ints, distance: Floats) -> Bools:
    """Which neighbours are within twice the mean spacing of their group.

    The spacing of a group is the mean distance of its points to the nearest other (Clark and Evans, 1954).

    Args:
        group: ``[num_points]``.
        target: ``[num_pairs]``, as :func:`nearest` returns it.
        distance: ``[num_pairs]``.
    """
    first = np.flatnonzero(np.diff(target, prepend=-1))
    groups = group[target[first]]
    size = int(group.max(initial=-1)) + 1
    count = np.bincount(groups, minlength=size).clip(min=1)
    spacing = np.bincount(groups, distance[first], size) / count
    near: Bools = distance <= SPACINGS * spacing[group[target]]
    return near


def side(source: Floats, target: Floats) -> Ints:
    """On which side of the target the source lies, index into ``SIDES``: of both axes, that of the larger offset.

    Args:
        source: ``[num_pairs, 2]``, (x right, y down).
        target: ``[num_pairs, 2]``.
    """
    dx, dy = (source - target).T
    vertical = np.where(dy < 0, 0, 1)
    horizontal = np.where(dx < 0, 2, 3)
    return np.where(np.abs(dy) >= np.abs(dx), vertical, horizontal)
