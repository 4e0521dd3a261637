"""Skeletons of regions, and the strokes between their ends and junctions. Knows pixels and no graphs."""

from dataclasses import dataclass

import numpy as np

from grapheme_pyg.ops.superpixels import number_by_first
from grapheme_pyg.vision.arrays import Bools, Ints

# The eight neighbours of a pixel, clockwise from the north: rows down, columns right.
NEIGHBOURS = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
# Lengths of steps to neighbours along an axis and along a diagonal, which are integers in a ratio of about √2.
STRAIGHT, DIAGONAL = 5, 7
# Shortest length of a piece in pixels.
SHORTEST = 3


@dataclass(frozen=True)
class Strokes:
    """Strokes of the regions of a stack of images, sorted by image and first pixel of their skeleton.

    Shapes:
        - **labels**: ``[num_images, H, W]``, the stroke of each pixel, −1 for none
        - **region**: ``[num_strokes]``, the region that a stroke is part of
        - **ends**: ``[num_strokes]``, number of ends of the skeleton in it
        - **arms**: ``[num_strokes]``, number of lines that meet in it if it is a junction, else 0
        - **joined**: ``[2, num_pairs]``, strokes that follow one another along the skeleton, in both directions
    """

    labels: Ints
    region: Ints
    ends: Ints
    arms: Ints
    joined: Ints


def _rules() -> tuple[tuple[Bools, Bools], Ints]:
    """Tabulates, for each set of neighbours, whether thinning removes a pixel, and how many lines meet there."""
    north, north_east, east, south_east, south, south_west, west, north_west = bits = (
        np.arange(256) >> np.arange(8)[:, None]
    ) & 1 > 0
    parts = sum(
        (~side & (corner | following)).astype(int)
        for side, corner, following in (
            (north, north_east, east),
            (east, south_east, south),
            (south, south_west, west),
            (west, north_west, north),
        )
    )
    pairs = [bits[i - 1] | bits[i] for i in range(8)]
    number = np.minimum(sum(pair.astype(int) for pair in pairs[::2]), sum(pair.astype(int) for pair in pairs[1::2]))
    thick = (parts == 1) & (number >= 2) & (number <= 3)
    first = thick & ~((south | south_west | ~north_west) & west)
    second = thick & ~((north | north_east | ~south_east) & east)
    lines = sum((~bits[i - 1] & bits[i]).astype(int) for i in range(8))
    return (first, second), lines


REMOVED, LINES = _rules()


def thin(on: Bools, steps: Ints) -> None:
    """Thins regions to lines of one pixel, in place.

    Z. Guo and R. W. Hall, "Parallel thinning with two-subiteration algorithms", 1989, algorithm A1. It preserves which
    pixels are connected.

    Args:
        on: Pixels of images with a margin, flat.
        steps: ``[8]``, steps to the neighbours.
    """
    stamp = np.empty(on.size, np.int64)
    candidates, before = np.flatnonzero(on), np.empty(0, np.int64)
    turn, idle = 0, 0
    while idle < 2:
        removed = candidates[REMOVED[turn % 2][_neighbours(on, candidates, steps)]]
        on[removed] = False
        # Only pixels whose neighbours have changed since the same subiteration can have become removable.
        if turn:
            candidates = (np.concatenate([before, removed])[:, None] + steps).ravel()
            candidates = candidates[on[candidates]]
            order = np.arange(candidates.size)
            stamp[candidates] = order
            candidates = candidates[stamp[candidates] == order]
        before, turn = removed, turn + 1
        idle = 0 if removed.size else idle + 1


def _neighbours(on: Bools, at: Ints, steps: Ints) -> Ints:
    """Encodes which neighbours are on, a bit for each."""
    code = np.zeros(at.size, np.uint8)
    for bit, step in enumerate(steps):
        code |= on[at + step].view(np.uint8) << np.uint8(bit)
    return code


def find_strokes(regions: Ints, longest: Ints) -> Strokes:
    """Divides regions into strokes.

    Each region is thinned to its skeleton. A skeleton pixel at which three lines or more meet is a junction, which is a
    stroke together with its neighbours. The lines between junctions are cut into pieces of equal length, closed lines
    at the first pixel. Every other pixel belongs to the stroke that is nearest within its region, counted in steps to
    any of eight neighbours.

    Args:
        regions: ``[num_images, H, W]``, the region of each pixel, −1 for none; regions do not touch.
        longest: ``[num_regions]``, length of the longest piece in pixels.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components, dijkstra

    count, height, width = regions.shape
    margin = ((0, 0), (1, 1), (1, 1))
    region = np.pad(regions, margin, constant_values=-1).ravel()
    steps = np.array([y * (width + 2) + x for y, x in NEIGHBOURS])
    on = region >= 0
    thin(on, steps)
    at = np.flatnonzero(on)
    lines = LINES[_neighbours(on, at, steps)]
    number = np.full(region.size, -1)
    number[at] = np.arange(at.size)
    beside = number[at[:, None] + steps]
    junction = np.append(lines >= 3, False)
    in_junction = junction[:-1] | junction[beside].any(axis=1)

    def parts(kept: Bools) -> Ints:
        """Numbers the parts of skeletons that the kept pairs of neighbours form."""
        ones = np.ones(int(kept.sum()), np.int8)
        graph = coo_array((ones, (one[kept], other[kept])), shape=(at.size, at.size))
        return number_by_first(connected_components(graph, directed=False)[1])

    one, direction = (beside[:, :4] >= 0).nonzero()
    other = beside[one, direction]
    same = in_junction[one] == in_junction[other]
    arm = parts(same)
    # Distances start at an end of each arm, or at the first pixel of a closed one.
    degree = np.bincount(np.concatenate([one[same], other[same]]), minlength=at.size)
    order = np.lexsort((degree > 1, arm))
    start = order[np.flatnonzero(np.diff(arm[order], prepend=-1))]
    length = np.where(direction[same] % 2, DIAGONAL, STRAIGHT)
    graph = coo_array((length, (one[same], other[same])), shape=(at.size, at.size)).tocsr()
    distance = dijkstra(graph, directed=False, indices=start, min_only=True) if at.size else np.empty(0)
    distance = distance.astype(np.int64)
    whole = np.zeros(start.size, np.int64)
    np.maximum.at(whole, arm, distance)
    pieces = -(-whole // (STRAIGHT * np.maximum(longest[region[at[start]]], SHORTEST)))
    pieces[in_junction[start]] = 1
    pieces, whole = np.maximum(pieces, 1)[arm], np.maximum(whole, 1)[arm]
    closed = ((degree[start] > 1) & ~in_junction[start])[arm]
    band = np.minimum((2 * distance * pieces + closed * whole) // (2 * whole), pieces - ~closed)
    piece = parts(same & (band[one] == band[other]))

    total = int(piece.max(initial=-1)) + 1
    between = piece[one] != piece[other]
    a, b = piece[one[between]], piece[other[between]]
    joined = np.unique(np.concatenate([a * total + b, b * total + a]))
    arms = np.zeros(total, np.int64)
    np.maximum.at(arms, piece, np.where(lines >= 3, lines, 0))
    of_piece = np.empty(total, np.int64)
    of_piece[piece] = region[at]
    labels = np.full(region.size, -1)
    labels[at] = piece
    _grow(labels, at, region >= 0, steps)
    return Strokes(
        labels=labels.reshape(count, height + 2, width + 2)[:, 1:-1, 1:-1],
        region=of_piece,
        ends=np.bincount(piece, lines <= 1, total).astype(np.int64),
        arms=arms,
        joined=np.stack(np.divmod(joined, max(1, total))),
    )


def _grow(labels: Ints, at: Ints, inside: Bools, steps: Ints) -> None:
    """Gives each pixel inside the label of the nearest ones at ``at``, in place: that beside it, else the smallest."""
    steps = np.concatenate([steps[1::2], steps[::2]])
    while at.size:
        there = at + steps[:, None]
        free = inside[there] & (labels[there] < 0)
        label = np.broadcast_to(labels[at], there.shape)[free]
        diagonal = np.broadcast_to(np.arange(8)[:, None] < 4, there.shape)[free]
        there = there[free]
        # The last of several assignments to a pixel wins.
        order = np.lexsort((-label, ~diagonal))
        labels[there[order]] = label[order]
        at = np.unique(there)
