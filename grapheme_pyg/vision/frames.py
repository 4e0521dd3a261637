"""Frames around drawings: strokes along the four sides of a quadrilateral."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]

# Of a frame, so much is on the sides, so much of each side is covered, and so much of its box is enclosed.
ON_SIDES, FILLED = 0.95, 0.4
# Pixels are neighbours across corners, too.
EIGHT = np.ones((3, 3), dtype=bool)


def find_frames(inked: Mask, least: int) -> Mask:
    """Where frames of at least so many pixels a side are, among what is inked."""
    from scipy import ndimage

    parts, _ = ndimage.label(inked, EIGHT)
    frames = np.zeros(inked.shape, bool)
    for i, where in enumerate(ndimage.find_objects(parts), 1):
        if min(part.stop - part.start for part in where) < least:
            continue
        part = parts[where] == i
        frame = _frame(part, stroke_width(part))
        if frame is not None:
            frames[where] |= frame & part
    return frames


def _frame(part: Mask, width: float) -> Mask | None:
    """The band along the sides of a quadrilateral, if a part of that stroke width is there, and covers all four."""
    y, x = np.nonzero(part)
    corners = [int(np.argmax(a * x + b * y)) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    depth = np.full(part.shape, np.inf)
    covered, area = [], 0.0
    for i, j in zip(corners, np.roll(corners, -1), strict=True):
        dx, dy = int(x[j]) - int(x[i]), int(y[j]) - int(y[i])
        length = float(np.hypot(dx, dy))
        if length < 4 * width:
            return None
        area += (int(x[i]) * int(y[j]) - int(x[j]) * int(y[i])) / 2
        inwards = (dx * (rows - y[i]) - dy * (columns - x[i])) / length
        depth = np.minimum(depth, inwards)
        along = (dx * (columns - x[i]) + dy * (rows - y[i])) / length
        near = part & (inwards > -0.5 * width - 1) & (inwards < 1.5 * width + 1) & (along >= 0) & (along < length)
        covered.append(len(np.unique(along[near].astype(int))) / length)
    band = (depth > -0.5 * width - 1) & (depth < 1.5 * width + 1)
    return band if area > FILLED * part.size and min(band[part].mean(), *covered) > ON_SIDES else None


def stroke_width(part: Mask) -> float:
    """The width of a stroke: the mean distance from the edge within one is a quarter of it."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(part, 1))
    return 4 * float(depth[depth > 0].mean())
