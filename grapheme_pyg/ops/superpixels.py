"""Superpixels: images cut into compact regions of similar pixels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grapheme_pyg.ops.definition import define

# Of the k-means clustering.
ITERATIONS = 10
# Regions of less than so much of the mean are too small.
LEAST = 0.25
# Computed at once.
DISTANCES = 2**20
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def superpixels(values: Tensor, active: Tensor, num_regions: Tensor, compactness: float) -> Tensor:
    r"""Cuts images into regions by k-means over colour and place, each pixel among the centres that are near it.

    SLIC (R. Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", TPAMI 2012) within a
    mask. With :math:`S` the side of a square of a region's mean area, the distance of a pixel from a centre is

    .. math:: D^2 = \lVert v - v_k \rVert^2 + (m / S)^2 \lVert p - p_k \rVert^2

    The centres start as the means of runs of pixels of equal length within bands of height :math:`S`. In each of ten
    iterations a pixel goes to the nearest centre, the first of several, of those that are at most :math:`2 S` away
    along each axis. In the end regions are taken apart into what is connected along rows and columns. The smallest
    parts join what they have the longest border with, until all have :math:`S^2 / 4` pixels and there are no more
    regions than asked for; what is smaller and has nothing beside it is left out.

    Args:
        values: ``[B, C, H, W]`` float32.
        active: ``[B, H, W]`` bool, the pixels to cut.
        num_regions: ``[B]`` int64, how many regions to make at most, but for what is apart; at least 1.
        compactness: :math:`m`, positive: the larger, the squarer.

    Returns:
        ``[B, H, W]`` int64, for each image from 0 on in the order of first pixels, −1 where there is none. It does not
        depend on the batch.
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
        # In blocks, as each takes the distances of all its pixels from all centres.
        for block in np.array_split(np.arange(count), -(-count * len(size) // DISTANCES)):
            dy, dx, *dv = (one[block, None] - centre for one, centre in zip((y, x, *v), centres, strict=True))
            distance = sum((one * one for one in dv), np.zeros(())) + weight * (dy * dy + dx * dx)
            distance[(abs(dy) > 2 * side) | (abs(dx) > 2 * side)] = np.inf
            best = distance.argmin(axis=1)
            near = np.isfinite(distance[np.arange(len(block)), best])
            labels[block[near]] = best[near]
    return _connected(labels, y, x, shape, number)


def _runs(y: Ints, x: Ints, side: float, area: float) -> Ints:
    """Numbers of runs of about equal length within bands of pixels, along the bands."""
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
    part = _by_first_pixel(part)
    borders = part[pairs]
    borders = borders[:, borders[0] != borders[1]]
    borders = np.concatenate([borders, borders[::-1]], axis=1)
    size, root = np.bincount(part), np.arange(part.max() + 1)
    order, left, before = size.argsort(kind="stable"), len(size), None
    # A part whose neighbours have all joined it finds none, though they have others: hence another round.
    while before is None or before > left > number:
        before = left
        for small in order:
            own = root[small]
            if size[own] >= least and left <= number:  # as others may have joined it
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
    root[kept] = _by_first_pixel(root[kept])
    return root[part]


def _by_first_pixel(part: Ints) -> Ints:
    _, first, numbers = np.unique(part, return_index=True, return_inverse=True)
    rank = np.empty_like(first)
    rank[first.argsort()] = np.arange(first.size)
    return rank[numbers]


_superpixels = define(
    "superpixels(Tensor values, Tensor active, Tensor num_regions, float compactness) -> Tensor",
    _plain,
    lambda _, active, *__: torch.empty_like(active, dtype=torch.int64),
)
