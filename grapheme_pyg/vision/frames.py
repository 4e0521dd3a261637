"""Frames around drawings: strokes along the four sides of a quadrilateral."""

import numpy as np

from grapheme_pyg.vision.arrays import Bools

# Smallest share of a frame that is on its sides, and of each side that it covers; smallest share of its box enclosed,
# and largest share of that inked.
ON_SIDES, FILLED, SOLID = 0.95, 0.4, 0.8
# Structuring element of the eight neighbours.
EIGHT = np.ones((3, 3), dtype=bool)


def find_frames(inked: Bools, least: int) -> Bools:
    """Finds the pixels of frames of at least so many pixels a side among inked pixels."""
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


def corners_of(region: Bools) -> list[tuple[int, int]]:
    """Returns the corners of a region as (x, y): upper left, upper right, lower right, lower left."""
    y, x = np.nonzero(region)
    outermost = [int(np.argmax(a * x + b * y)) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    return [(int(x[i]), int(y[i])) for i in outermost]


def _frame(part: Bools, width: float) -> Bools | None:
    """Returns the band along the sides of a part's quadrilateral if the part, of this stroke width, is a frame."""
    corners = corners_of(part)
    rows, columns = np.ogrid[: part.shape[0], : part.shape[1]]
    depth = np.full(part.shape, np.inf)
    covered, area = [], 0.0
    for (x, y), (next_x, next_y) in zip(corners, corners[1:] + corners[:1], strict=True):
        dx, dy = next_x - x, next_y - y
        length = float(np.hypot(dx, dy))
        if length < 4 * width:
            return None
        area += (x * next_y - next_x * y) / 2
        inwards = (dx * (rows - y) - dy * (columns - x)) / length
        depth = np.minimum(depth, inwards)
        along = (dx * (columns - x) + dy * (rows - y)) / length
        near = part & (inwards > -0.5 * width - 1) & (inwards < 1.5 * width + 1) & (along >= 0) & (along < length)
        covered.append(len(np.unique(along[near].astype(int))) / length)
    band = (depth > -0.5 * width - 1) & (depth < 1.5 * width + 1)
    enclosing = area > FILLED * part.size and part.sum() < SOLID * area
    return band if enclosing and min(band[part].mean(), *covered) > ON_SIDES else None


def stroke_width(part: Bools) -> float:
    """Estimates the width of a stroke as four times the mean distance of its pixels from the edge."""
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(np.pad(part, 1))
    return 4 * float(depth[depth > 0].mean())
