"""Relations between nearby points. Knows no pixels and no graphs."""

import numpy as np

from grapheme_pyg.vision.arrays import Bools, Floats, Ints

NEAREST = 8
SPACINGS = 2
SIDES = ("above", "below", "left_of", "right_of")


def nearest(group: Ints, point: Floats, number: int = NEAREST) -> tuple[Ints, Ints, Floats]:
    """Finds, for each point, the nearest others of its group.

    Args:
        group: ``[num_points]``, ascending.
        point: ``[num_points, 2]``.
        number: Largest number for each point; of equally distant ones the first are chosen.

    Returns:
        Sources (the near points), targets and distances, sorted by target, then distance.
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
    kept = rank_in_run(target) < number
    return source[kept], target[kept], distance[kept]


def rank_in_run(values: Ints) -> Ints:
    """Returns the rank of each element of an ascending array among the elements of equal value."""
    return np.arange(values.size) - values.searchsorted(values)


def within_spacing(group: Ints, target: Ints, distance: Floats) -> Bools:
    """Returns which neighbours are within twice the mean spacing of their group.

    The mean spacing is the mean distance between a point and the nearest other one (Clark and Evans, 1954).

    Args:
        group: ``[num_points]``.
        target: ``[num_pairs]``, from :func:`nearest`.
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
    """Returns the side of the target on which the source lies, index into ``SIDES``, by the axis of larger offset.

    Args:
        source: ``[num_pairs, 2]``, (x right, y down).
        target: ``[num_pairs, 2]``.
    """
    dx, dy = (source - target).T
    vertical = np.where(dy < 0, 0, 1)
    horizontal = np.where(dx < 0, 2, 3)
    return np.where(np.abs(dy) >= np.abs(dx), vertical, horizontal)
