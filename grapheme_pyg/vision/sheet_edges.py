"""The edges of a sheet of paper on a table: four straight steps with plain paper within them."""

import numpy as np

from grapheme_pyg.vision.arrays import Bools, Floats

# Slopes of edges, and half the largest width of the changes of light that are subtracted from steps.
SLOPES, REACH = np.tan(np.radians(np.arange(-22, 23))), 6
# Smallest difference of levels that counts as a full step, and number of pixels of plain paper beside an edge.
STEP, PLAIN = 4, 9
# The edge is the outermost line with NEAR_BEST of the largest score.
NEAR_BEST = 0.65
# Smallest mean step along each third of an edge; smallest share of the picture that the sheet covers.
COVERED, ENCLOSED = 0.45, 0.3


def find_sheet(picture: Floats) -> Bools | None:
    """Finds the pixels of a sheet on a smooth picture of about 128 pixels a side.

    Every clear step counts the same, and what changes slowly does not, so that shadows across an edge do not hide it.

    Returns:
        The quadrilateral within four edges, without the pixels beside them; None if there are no such edges.
    """
    inside = np.ones(picture.shape, bool)
    edges = []
    for turns in range(4):  # each edge in turn becomes the left one
        steps = _steps(np.rot90(picture, turns))
        edge = _left_edge(steps)
        inside &= np.rot90(np.arange(steps.shape[1]) + 0.5 > edge[:, None] + 1, -turns)
        edges.append((steps, edge))
    if inside.mean() < ENCLOSED:
        return None
    for turns, (steps, edge) in enumerate(edges):
        turned = np.rot90(inside, turns)
        rows = np.flatnonzero(turned.any(axis=1))
        column, beside = np.round(edge[rows]).astype(int), turned.argmax(axis=1)[rows]
        rows, column = rows[beside <= column + 2], column[beside <= column + 2]  # without those of adjacent edges
        at = steps[rows, np.clip(column + np.arange(-1, 2)[:, None], 0, steps.shape[1] - 1)]
        largest = np.where(at.max(axis=0) > -at.min(axis=0), at.max(axis=0), at.min(axis=0))
        # A stroke covers a part of an edge at most.
        if len(rows) < 3 or min(abs(part.mean()) for part in np.array_split(largest, 3)) < COVERED:
            return None
    return inside


def _steps(picture: Floats) -> Floats:
    """Returns the steps from each pixel's left to its right side, in [-1, 1], without the slope of both sides."""
    padded = np.pad(picture, ((0, 0), (REACH, REACH)), mode="reflect", reflect_type="odd")
    width = picture.shape[1]

    def level(offset: int) -> Floats:
        return padded[:, REACH + offset : REACH + offset + width]

    left, right = (level(-2) - level(-6)) / 4, (level(5) - level(1)) / 4
    slope = np.where(left * right > 0, np.where(np.abs(left) < np.abs(right), left, right), 0)
    narrow, wide = level(0) - level(-1) - slope, level(1) - level(-2) - 3 * slope
    steps: Floats = (np.clip(narrow / STEP, -1, 1) + np.clip(wide / STEP, -1, 1)) / 2
    return steps


def _left_edge(steps: Floats) -> Floats:
    """Finds the column of the left edge in each row by a Hough transform that prefers plain paper on the right."""
    height, width = steps.shape
    rows, half = np.arange(height), width // 2
    reach = int(height / 2 * SLOPES[-1]) + 2
    padded = np.pad(steps, ((0, 0), (reach, reach)))
    offsets = np.round(SLOPES[:, None] * (rows - height / 2)).astype(int)
    starts = np.arange(half + PLAIN + 2)
    along = padded[rows[:, None], reach + offsets[:, :, None] + starts]
    rough = np.cumsum(np.abs(along).sum(axis=1), axis=1)
    beside = rough[:, PLAIN + 2 : PLAIN + 2 + half] - rough[:, 2 : 2 + half]
    scores = np.abs(along.sum(axis=1))[:, :half] - beside / 5
    best = scores.max(axis=0)
    start = int((best > NEAR_BEST * best.max()).argmax())
    start += int(best[start : start + 4].argmax())
    edge: Floats = start + SLOPES[scores[:, start].argmax()] * (rows - height / 2)
    return edge
