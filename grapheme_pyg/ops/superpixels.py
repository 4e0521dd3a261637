"""Superpixels: segmentation of images into compact regions of similar pixels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grapheme_pyg.ops.definition import define

# Iterations of k-means.
ITERATIONS = 10
# Smallest area of a region, as a share of the mean.
LEAST = 0.25
# Distances computed at once.
DISTANCES = 2**20
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def superpixels(values: Tensor, active: Tensor, num_regions: Tensor, compactness: float) -> Tensor:
    r"""Segments images into regions by k-means over colour and position, with nearby centres only.

    SLIC (R. Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", TPAMI 2012) within a
    mask. With :math:`S` the side of a square of a region's mean area, the distance of a pixel from a centre is

    .. math:: D^2 = \lVert v - v_k \rVert^2 + (m / S)^2 \lVert p - p_k \rVert^2

    The initial centres are the means of runs of pixels of equal length within bands of height :math:`S`. In each of ten
    iterations, a pixel is assigned to the nearest centre that is at most :math:`2 S` away along each axis, the first of
    several. Finally regions are split into parts that are connected along rows and columns. The smallest parts join the
    neighbour with the longest common border, until all have :math:`S^2 / 4` pixels and their number is at most
    ``num_regions``. Smaller parts without neighbours are dropped.

    Args:
        values: ``[B, C, H, W]`` float32.
        active: ``[B, H, W]`` bool, the pixels to segment.
        num_regions: ``[B]`` int64, largest number of regions, at least 1; isolated parts can exceed it.
        compactness: :math:`m`, positive; larger values make squarer regions.

    Returns:
        ``[B, H, W]`` int64, the region of each pixel, numbered for each image from 0 in the order of their first
        pixels; −1 for no region. It does not depend on the batch.
    """
    out: Tensor = _superpixels(values, active, num_regions, compactness)
    return out


def _plain(values: Tensor, active: Tensor, num_regions: Tensor, compactness: float) -> Tensor:
    pictures, masks = values.double().cpu().numpy(), active.cpu().numpy()
    out = np.full(masks.shape, -1)
    for i, number in enumerate(num_regions.tolist()):
        y, x = masks[i].nonzero()
        if len(y):
            out[i, y, x] = _of_image(pictures[i][:, y, x], y, x, masks[i].shape, number, compactness)
    return torch.from_numpy(out).to(values.device)


def _of_image(v: Floats, y: Ints, x: Ints, shape: tuple[int, ...], number: int, compactness: float) -> Ints:
    count = len(y)
    number = min(number, count)
    side = np.sqrt(count / number)
    ratio = compactness / side
    weight = ratio * ratio
    labels = _runs(y, x, side, count / number)
    for _ in range(ITERATIONS):
        size = np.bincount(labels)
        kept = size > 0
        labels, size = (np.cumsum(kept) - 1)[labels], size[kept]
        centres = [np.bincount(labels, one) / size for one in (y, x, *v)]
        # In blocks, because distances between all pixels and all centres take much memory.
        for block in np.array_split(np.arange(count), -(-count * len(size) // DISTANCES)):
            dy, dx, *dv = (one[block, None] - centre for one, centre in zip((y, x, *v), centres, strict=True))
            distance = sum((one * one for one in dv), np.zeros(())) + weight * (dy * dy + dx * dx)
            distance[(abs(dy) > 2 * side) | (abs(dx) > 2 * side)] = np.inf
            best = distance.argmin(axis=1)
            near = np.isfinite(distance[np.arange(len(block)), best])
            labels[block[near]] = best[near]
    return _connected(labels, y, x, shape, number)


def _runs(y: Ints, x: Ints, side: float, area: float) -> Ints:
    """Numbers runs of pixels of about equal length along horizontal bands."""
    band = ((y - y.min()) / side).astype(np.int64)
    labels, first = np.empty_like(y), 0
    for number in range(band.max() + 1):
        here = np.flatnonzero(band == number)
        here = here[np.lexsort((y[here], x[here]))]
        runs = max(1, int(len(here) / area + 0.5))
        labels[here] = first + np.arange(len(here)) * runs // max(1, len(here))
        first += runs
    return labels


def _connected(labels: Ints, y: Ints, x: Ints, shape: tuple[int, ...], number: int) -> Ints:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, least = len(labels), LEAST * len(labels) / number
    place = np.full(shape, -1)
    place[y, x] = np.arange(count)
    across = np.stack([place[:, :-1].ravel(), place[:, 1:].ravel()])
    down = np.stack([place[:-1].ravel(), place[1:].ravel()])
    pairs = np.concatenate([across, down], axis=1)
    pairs = pairs[:, (pairs >= 0).all(axis=0)]
    same = pairs[:, labels[pairs[0]] == labels[pairs[1]]]
    _, part = connected_components(coo_array((np.ones(same.shape[1]), same), (count, count)), directed=False)
    part = number_by_first(part)
    borders = part[pairs]
    borders = borders[:, borders[0] != borders[1]]
    borders = np.concatenate([borders, borders[::-1]], axis=1)
    size, root = np.bincount(part), np.arange(part.max() + 1)
    order, left, before = size.argsort(kind="stable"), len(size), None
    # In one round, a part whose neighbours have all joined it finds no others; another round joins it.
    while before is None or before > left > number:
        before = left
        for small in order:
            own = root[small]
            if size[own] >= least and left <= number:
                continue
            beside = np.bincount(borders[1][borders[0] == small], minlength=len(size))
            beside[root == own] = 0
            if beside.any():
                other = root[beside.argmax()]
                size[other] += size[own]
                root[root == own] = other
                left -= 1
    root[size[root] < least] = -1
    kept = root >= 0
    root[kept] = number_by_first(root[kept])
    return root[part]


def number_by_first(labels: Ints) -> Ints:
    """Renumbers labels ``[n]`` from 0, without gaps, in the order of their first occurrence."""
    _, first, numbers = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[first.argsort()] = np.arange(first.size)
    return rank[numbers]


_superpixels = define(
    "superpixels(Tensor values, Tensor active, Tensor num_regions, float compactness) -> Tensor",
    _plain,
    lambda _, active, *__: torch.empty_like(active, dtype=torch.int64),
)
