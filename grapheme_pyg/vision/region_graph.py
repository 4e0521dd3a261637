"""Regions of label images: who touches whom, where, and who merges with whom. Knows no PyG."""

import numpy as np

from grapheme_pyg.vision.arrays import Floats, Ints

# Clockwise from the east, y pointing down.
OCTANTS = ("east", "south_east", "south", "south_west", "west", "north_west", "north", "north_east")


def adjacent(labels: Ints) -> tuple[Ints, Ints]:
    """Ordered pairs of regions that share a side of a pixel: sources and targets, by target, then source.

    Args:
        labels: ``[num_images, H, W]``, regions of their own in each image, −1 for none.
    """
    total = max(1, int(labels.max()) + 1)
    keys = []
    for one, other in ((labels[:, 1:], labels[:, :-1]), (labels[:, :, 1:], labels[:, :, :-1])):
        differ = (one != other) & (one >= 0) & (other >= 0)
        keys += [one[differ] * total + other[differ], other[differ] * total + one[differ]]
    # Sorted and compared, which takes a quarter of the time of np.unique's hashes.
    found = np.sort(np.concatenate(keys))
    target, source = np.divmod(found[np.flatnonzero(np.diff(found, prepend=-1))], total)
    return source, target


def octant(offset: Floats) -> Ints:
    """The direction of offsets ``[n, 2]`` (x right, y down), index into ``OCTANTS``; of no offset, the east.

    By comparisons alone, so that nothing depends on how an arc tangent is rounded.
    """
    x, y = offset.T
    # The tangent of an eighth of a half turn.
    slope = np.sqrt(2.0) - 1
    horizontal, vertical = np.abs(y) <= slope * np.abs(x), np.abs(x) < slope * np.abs(y)
    diagonal = np.where(y > 0, np.where(x > 0, 1, 3), np.where(x > 0, 7, 5))
    return np.where(horizontal, np.where(x >= 0, 0, 4), np.where(vertical, np.where(y > 0, 2, 6), diagonal))


def merge(source: Ints, target: Ints, area: Floats, colour: Floats, centre: Floats, spacing: Floats) -> Ints:
    """One round of merging: each region joins the neighbour that is most like it, and so on along the chain.

    Borůvka's step, as in X. Wei et al., "Superpixel hierarchy", TIP 2018. The cost of a pair is that of Ward, what
    their union adds to the squared error, for colours; plus the squared distance, which decides where colours agree.

    Args:
        source: ``[num_pairs]``, neighbours, both ways.
        target: ``[num_pairs]``, theirs; pairs are sorted by target, then source.
        area: ``[num_regions]`` in pixels.
        colour: ``[num_regions, channels]`` in [0, 1].
        centre: ``[num_regions, 2]`` in pixels.
        spacing: ``[num_pairs]``, the usual distance of neighbours, in pixels.

    Returns:
        ``[num_regions]``, the number of the union that each is part of, in the order of their first regions.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    offset, contrast = centre[source] - centre[target], colour[source] - colour[target]
    ward = area[source] * area[target] / (area[source] + area[target]) * (contrast * contrast).sum(axis=1)
    cost = ward + (offset * offset).sum(axis=1) / (spacing * spacing)
    # Of each target the first of its cheapest sources.
    starts = np.flatnonzero(np.diff(target, prepend=-1))
    least = np.minimum.reduceat(cost, starts) if starts.size else cost
    cheapest = np.flatnonzero(cost == least.repeat(np.diff(starts, append=target.size)))
    best = cheapest[np.flatnonzero(np.diff(target[cheapest], prepend=-1))]
    joins = coo_array((np.ones(best.size), (target[best], source[best])), shape=(area.size, area.size))
    _, union = connected_components(joins, directed=False)
    _, first, numbers = np.unique(union, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[first.argsort()] = np.arange(first.size)
    return rank[numbers].astype(np.int64)
