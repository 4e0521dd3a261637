"""Printed lines of ruled and squared paper, found by a Hough transform."""

from typing import NamedTuple

import numpy as np

from grapheme_pyg.vision.arrays import Bools, Floats, Ints

# Largest thickness of printed lines, as a share of the longer side of the sheet.
THINNEST = 0.012
# Smallest difference between ink and paper, relative to paper, and in standard deviations of noise.
FAINTEST, DEVIATIONS = 0.04, 5
# Smallest votes for a line, as a share of the width of the sheet; smallest share of it without gaps; most lines tried.
SHORTEST, UNBROKEN, MOST = 0.12, 0.7, 300


class Line(NamedTuple):
    """A printed line: the coefficients of y(x), the range of x, and the columns in which nothing hides the line."""

    coefficients: Floats
    range: slice
    columns: Ints


def find_lines(ink: Floats, beyond: Bools, noise: float) -> list[Line]:
    """Finds thin lines from the left to the right edge of the sheet.

    The line with most votes is fitted to its pixels, whose votes are then removed.
    """
    from scipy import ndimage

    height, width = ink.shape
    side = max(ink.shape)
    thick = ndimage.grey_opening(ink, (max(3, round(THINNEST * side) | 1), 1))
    mask = ink - thick > max(2.5 * noise, 0.015)
    hidden = beyond | (thick > max(DEVIATIONS * noise, FAINTEST))  # lines continue below a drawing
    step = max(1, side // 250)
    rows, columns = np.nonzero(ndimage.maximum_filter1d(mask, step, axis=0)[::step, ::step])
    slopes = np.tan(np.radians(np.arange(-22, 22.01, 0.5)))
    reach = int(width // step * slopes[-1]) + 2
    size = height // step + 1 + 2 * reach
    # The row on the left edge at which the line of each slope through each pixel starts.
    starts = np.stack([np.round(rows - slope * columns).astype(np.int16) + reach for slope in slopes])
    votes = np.stack([np.bincount(start, minlength=size) for start in starts])
    may_vote = np.ones(len(rows), bool)
    x, gap = np.arange(width), max(1, round(0.05 * side))
    found = []
    for _ in range(MOST):
        slope, start = np.unravel_index(votes.argmax(), votes.shape)
        if votes[slope, start] < SHORTEST * width / step:
            break
        voters = np.flatnonzero(may_vote & (np.abs(starts[slope] - start) <= 1))
        line = np.array([0, slopes[slope], (int(start) - reach) * step])
        for band in (2 * step, step + 1, step + 1):
            near = np.round(np.polyval(line, x)).astype(int) + np.arange(-band, band + 1)[:, None]
            hits = mask[np.clip(near, 0, height - 1), x] & (near >= 0) & (near < height)
            at = hits.any(axis=0)
            if at.sum() < max(10, 0.5 * SHORTEST * width):
                break
            line = np.polyfit(x[at], (near * hits).sum(axis=0)[at] / hits.sum(axis=0)[at], 2)
        y = np.round(np.polyval(line, x)).astype(int)
        on_page = (y >= 0) & (y < height)
        on_page[on_page] = ~hidden[y[on_page], x[on_page]]
        met = at[on_page]
        if len(met) and met.mean() > UNBROKEN and met[:gap].any() and met[-gap:].any():
            columns = np.flatnonzero(on_page)
            found.append(Line(line, slice(int(columns[0]), int(columns[-1]) + 1), columns))
        for number, positions in enumerate(starts[:, voters]):
            votes[number] -= np.bincount(positions, minlength=size)
        may_vote[voters] = False
    return found


def add_line(ink: Floats, line: Line, lined: Floats) -> float:
    """Adds the median profile across a line to ``lined`` along the line, and returns the profile's maximum."""
    height, width = ink.shape
    side = max(ink.shape)
    margin, half = round(0.02 * side), max(1, round(THINNEST * side / 2))
    start = max(0, line.range.start - margin)
    x = np.arange(start, min(width, line.range.stop + margin))
    near = np.round(np.polyval(line.coefficients, x)).astype(int) + np.arange(-half, half + 1)[:, None]
    inside = (near >= 0) & (near < height)
    near = np.clip(near, 0, height - 1)
    seen = line.columns - start
    profile = np.median(ink[near[:, seen], x[seen]], axis=1)
    profile[profile < 0.2 * profile.max()] = 0
    added = np.broadcast_to(profile[:, None], near.shape)[inside]
    lined[near[inside], np.broadcast_to(x, near.shape)[inside]] += added
    return float(profile.max())
