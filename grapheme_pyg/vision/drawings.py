"""Drawings on sheets of paper, found by signal processing and brought into MNIST's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grapheme_pyg.vision.pixels import to_pixels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image

Box: TypeAlias = tuple[int, int, int, int]
Floats: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]
# Where a part of a picture is, and what ink is there, 1 where it is full.
Group: TypeAlias = tuple[tuple[slice, slice], Floats]

# Pixels are neighbours across corners, too.
EIGHT = np.ones((3, 3), dtype=bool)
# MNIST's: the drawing fits into a box of BOX², its centre of mass is at the centre of FORM², and strokes are about so
# wide, of the longer side of the drawing.
FORM, BOX, STROKE = 28, 20, 0.12
# Drawings have at least so many pixels a side when they are made black and white.
FINE = 120
# Pixels a side in which strokes, the edges of sheets, and levels of the ground are looked for.
LARGEST, COARSE, COARSEST = 700, 128, 64
# The edge of a sheet is a step of so many levels, and encloses so much of the picture.
STEP, ENCLOSED = 7, 0.3
# What the corners of a region span, of the region, if it is a quadrilateral: of an ellipse it is 0.64.
SPANNED = 0.85
# Of the longer side of the sheet: strokes are less wide, printed lines less than this, drawings at least so large.
WIDEST, THINNEST, LEAST = 0.25, 0.012, 0.045
# Ink is darker than paper by at least so much, and by so many deviations of noise; near full ink, by so much of it.
FAINTEST, DEVIATIONS, NEAR_FULL = 0.04, 5, 0.4
# Of the outline of a stroke, so much has a gradient of so much of its strength, or of this over its width, whichever is
# less. Light and shadow come and go slowly.
OUTLINED, RISE, RAMP = 0.55, 0.15, 0.6
# It is larger than so much of the sheet's longer side, and so many times as dark as printed lines are.
SPECKS, DARKER = 0.012, 1.1
# Parts are of one ink, and of one drawing if they are apart by less than twice so much of the largest part.
OF_ONE_INK, APART = 0.5, 0.1
# Groups of parts that are smaller than so much of the largest, or have less than so much of its ink, are dirt.
DIRT, SPECK = 0.3, 0.15
# Printed lines: at least so long, of the width of the sheet, and with so few gaps; so many, or none are taken for such.
SHORTEST, UNBROKEN, FEWEST, MOST = 0.12, 0.7, 3, 300


class Drawing(NamedTuple):
    """A drawing that was found.

    Attributes:
        pixels: In MNIST's form, uint8 ``[side, side]``: light ink on black.
        box: Its place in the picture: left, top, right and bottom, in pixels.
    """

    pixels: Tensor
    box: Box


def find_drawings(image: Image, side: int = FORM) -> list[Drawing]:
    """Finds the drawings on a sheet of paper, and brings each into the form of MNIST's digits.

    "The original black and white images were size normalized to fit in a 20×20 pixel box while preserving their aspect
    ratio. The resulting images contain grey levels as a result of the anti-aliasing technique. The images were centered
    in a 28×28 image by computing the center of mass of the pixels, and translating the image so as to position this
    point at the center" (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"). Thin strokes are made
    as wide as those of MNIST before that.

    In this order: the table around the sheet becomes paper, if the sheet's edges enclose a quadrilateral. Paper is the
    morphological closing of the picture, which keeps the edges of shadows; ink is what is darker than it, or lighter,
    whichever differs more from the median around it. Thin lines from one edge of the sheet to the other, found by a
    Hough transform, are taken away where nothing stronger crosses them. What remains and has edges as strokes have is
    drawn, but for frames and what the border cuts. Parts that are near one another are one drawing.

    Args:
        image: As :class:`grapheme_pyg.VisionBrain` takes it.
        side: Of the drawings' pixels; the box grows with it.

    Returns:
        The drawings, the largest first; none if the sheet is blank.

    Raises:
        ImageError: It is no image, or one of a broken file.
    """
    grey = to_pixels(image, 1)[0].cpu().numpy()
    small, beyond, (left, top), factor = _on_sheet(grey)
    found = []
    for (rows, columns), ink in _drawn(small, beyond):
        x0, x1 = (round(left + factor * n) for n in (columns.start, columns.stop))
        y0, y1 = (round(top + factor * n) for n in (rows.start, rows.stop))
        found.append(Drawing(_in_form(ink, side), (x0, y0, x1, y1)))
    return found


def _resized(picture: Floats, shape: tuple[int, ...], *, smooth: bool = True) -> Floats:
    """Interpolated, or made of the means of areas."""
    from PIL.Image import Resampling, fromarray

    resampling = Resampling.BILINEAR if smooth else Resampling.BOX
    return np.asarray(fromarray(picture).resize((shape[1], shape[0]), resampling)).astype(np.float32)


def _reduced(grey: Floats, most: int) -> Floats:
    """In at most so many pixels a side."""
    scale = min(1, most / max(grey.shape))
    return _resized(grey, tuple(max(1, round(scale * length)) for length in grey.shape), smooth=False)


def _span(inside: Mask) -> tuple[slice, slice]:
    """The rows and columns in which there is something."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _on_sheet(grey: Floats) -> tuple[Floats, Mask, tuple[float, float], float]:
    """Cuts the sheet out of a picture, reduced; what is beyond its edge; its left and top, and the size of pixels."""
    from scipy import ndimage

    coarse = ndimage.median_filter(_reduced(grey, COARSE), 5, mode="nearest")
    flat = ndimage.maximum_filter(coarse, 3) - ndimage.minimum_filter(coarse, 3) <= STEP
    regions, _ = ndimage.label(flat)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    # Steps within the sheet are edges of shadows.
    enclosed = ndimage.binary_closing(flat & ~np.isin(regions, border), EIGHT, iterations=3)
    regions, _ = ndimage.label(ndimage.binary_fill_holes(enclosed))
    sizes = np.bincount(regions.ravel())[1:]
    inside = regions == 1 + sizes.argmax() if len(sizes) else np.zeros(coarse.shape, bool)
    sheet = _quadrilateral(inside) if inside.sum() > ENCLOSED * inside.size else None
    if sheet is None:
        small = _reduced(grey, LARGEST)
        return small, np.zeros(small.shape, bool), (0, 0), max(grey.shape) / max(small.shape)
    factor = max(grey.shape) / max(coarse.shape)
    cut = _span(sheet)
    outside = ~ndimage.binary_erosion(sheet, EIGHT)[cut]
    nearest = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
    paper = ndimage.median_filter(coarse[cut], 25, mode="nearest")[tuple(nearest)]
    top, bottom, left, right = (round(factor * n) for part in cut for n in (part.start, part.stop))
    small = _reduced(grey[top:bottom, left:right], LARGEST)
    beyond = _resized(outside.astype(np.float32), small.shape) > 0.3
    size = max(bottom - top, right - left) / max(small.shape)
    return np.where(beyond, _resized(paper, small.shape), small), beyond, (left, top), size


def _quadrilateral(region: Mask) -> Mask | None:
    """The quadrilateral between the corners of a region, if it is nearly the region."""
    y, x = np.nonzero(region)
    corners = [np.argmax(a * x + b * y) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    inside = np.ones(region.shape, bool)
    rows, columns = np.ogrid[: region.shape[0], : region.shape[1]]
    for i, j in zip(corners, np.roll(corners, -1), strict=True):
        inside &= (x[j] - x[i]) * (rows - y[i]) >= (y[j] - y[i]) * (columns - x[i])
    return inside if (inside & region).sum() > SPANNED * (inside | region).sum() else None


def _drawn(grey: Floats, beyond: Mask) -> list[Group]:
    """The drawings in dark ink or in light ink, whichever there is more of."""
    from scipy import ndimage

    side = max(grey.shape)
    smooth = ndimage.gaussian_filter(grey, min(1.0, side / 500), mode="nearest")
    coarse = _reduced(smooth, COARSEST)
    around = ndimage.median_filter(coarse, max(3, round(max(coarse.shape) / 3) | 1), mode="nearest")
    middle = _resized(around, grey.shape)
    window = max(3, round(WIDEST * side) | 1)
    both = []
    for levels, ground in ((smooth, middle), (255 - smooth, 255 - middle)):
        paper = ndimage.grey_closing(levels, (window, window), mode="nearest")
        score = (np.clip(ground - levels, 0, paper - levels)[~beyond].astype(np.float64) ** 3).sum()
        light = np.maximum(paper, 32)  # the noise of what is nearly black is not ink
        both.append((score, (paper - levels) / light, levels / light))
    for _, ink, levels in sorted(both, key=lambda one: -one[0]):
        strokes, framed = _strokes(ink, levels, beyond)
        if strokes.any() or framed:
            return _groups(strokes)
    return []


def _strokes(ink: Floats, levels: Floats, beyond: Mask) -> tuple[Floats, bool]:
    """Ink where there are strokes, else 0, and whether there are frames.

    Printed lines, frames, and what the border cuts are no strokes.
    """
    from scipy import ndimage

    side = max(ink.shape)
    erased = np.zeros(ink.shape, bool)
    printed: list[float] = []
    for _ in range(2):  # what was taken for noise may be lines, too
        low, middle = np.percentile(ink[~erased], (16, 50))
        noise = middle - low
        ink = np.where(erased, 0, ink - middle)
        lines = _lines(ink, beyond, noise), _lines(ink.T, beyond.T, noise)
        lined = np.zeros_like(ink)
        if sum(map(len, lines)) >= FEWEST:
            for way, these, strength in zip((ink, ink.T), lines, (lined, lined.T), strict=True):
                printed += [_add_line(way, line, strength) for line in these]
        lined = ndimage.maximum_filter(lined, 3)
        erased |= (lined > 0) & (ink <= 1.15 * lined + 2 * noise)
        ink[erased] = 0
    near = ndimage.maximum_filter(ink, round(0.08 * side) | 1)
    inked = ink > np.maximum(max(DEVIATIONS * noise, FAINTEST), NEAR_FULL * near)
    # Strokes go on across the lines that were taken away.
    bridged = ndimage.binary_closing(inked, EIGHT, iterations=max(1, round(0.004 * side))) & erased
    ink[bridged] = near[bridged]
    parts, number = ndimage.label(inked | bridged, EIGHT)
    framed = False
    rise = ndimage.gaussian_gradient_magnitude(levels, 0.7)
    at_edge = set(parts[ndimage.binary_dilation(beyond, EIGHT, iterations=2)].tolist())
    strengths, masses, is_cut = np.zeros(number + 1), np.zeros(number + 1), np.ones(number + 1, bool)
    for i, where in enumerate(ndimage.find_objects(parts), 1):
        cut = any(part.start == 0 or part.stop == length for part, length in zip(where, ink.shape, strict=True))
        extent = max(part.stop - part.start for part in where)
        if i in at_edge or extent < (0.5 if cut else SPECKS) * side:
            continue
        rows, columns = (slice(max(part.start - 1, 0), part.stop + 1) for part in where)
        part = parts[rows, columns] == i
        strength = np.percentile(ink[rows, columns][part], 75)
        outline = ndimage.binary_dilation(part, EIGHT) & ~ndimage.binary_erosion(part, EIGHT)
        # The mean distance from the edge within a stroke is a quarter of its width.
        width = 4 * ndimage.distance_transform_edt(part)[part].mean()
        has_edges = (rise[rows, columns][outline] > min(RISE, RAMP / width) * strength).mean() > OUTLINED
        is_frame = has_edges and _is_frame(part)
        framed |= is_frame
        if has_edges and not is_frame:
            strengths[i], masses[i], is_cut[i] = strength, strength * part.sum(), cut
    if printed or not is_cut.all():
        masses[is_cut] = strengths[is_cut] = 0
    lines_are = DARKER * float(np.median(printed or [0]))
    kept = strengths > max(OF_ONE_INK * strengths[masses.argmax()], FAINTEST, lines_are)
    return np.where(kept[parts], ink, 0), framed


def _is_frame(part: Mask) -> bool:
    """Whether a part encloses a quadrilateral of nearly its own size."""
    from scipy import ndimage

    holes, _ = ndimage.label(ndimage.binary_fill_holes(part) & ~part)
    sizes = np.bincount(holes.ravel())[1:]
    if not len(sizes) or sizes.max() < 0.35 * part.size:
        return False
    return _quadrilateral(holes == 1 + sizes.argmax()) is not None


def _lines(ink: Floats, beyond: Mask, noise: float) -> list[tuple[Floats, slice]]:
    """Thin lines from the left to the right edge of the sheet: coefficients of y(x), and from where to where.

    The line with most votes is fitted to its pixels, which then vote no more.
    """
    from scipy import ndimage

    height, width = ink.shape
    side = max(ink.shape)
    thin = ink - ndimage.grey_opening(ink, (max(3, round(THINNEST * side) | 1), 1))
    mask = thin > max(2.5 * noise, 0.015)
    step = max(1, side // 400)
    rows, columns = np.nonzero(ndimage.maximum_filter1d(mask, step, axis=0)[::step, ::step])
    slopes = np.tan(np.radians(np.arange(-22, 22.01, 0.25)))
    reach = int(width // step * slopes[-1]) + 2
    size = height // step + 1 + 2 * reach
    # Where on the left edge a line through each pixel begins, of each slope.
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
        on_page[on_page] = ~beyond[y[on_page], x[on_page]]
        met = at[on_page]
        if len(met) and met.mean() > UNBROKEN and met[:gap].any() and met[-gap:].any():
            found.append((line, _span(on_page[None])[1]))
        for number, positions in enumerate(starts[:, voters]):
            votes[number] -= np.bincount(positions, minlength=size)
        may_vote[voters] = False
    return found


def _add_line(ink: Floats, line: tuple[Floats, slice], lined: Floats) -> float:
    """Adds how strong a line is, at each distance from its middle, to those that cross it; returns the most of it."""
    height, width = ink.shape
    side = max(ink.shape)
    coefficients, where = line
    margin, half = round(0.02 * side), max(1, round(THINNEST * side / 2))
    x = np.arange(max(0, where.start - margin), min(width, where.stop + margin))
    near = np.round(np.polyval(coefficients, x)).astype(int) + np.arange(-half, half + 1)[:, None]
    inside = (near >= 0) & (near < height)
    near = np.clip(near, 0, height - 1)
    profile = np.median(ink[near, x], axis=1)
    profile[profile < 0.2 * profile.max()] = 0
    added = np.broadcast_to(profile[:, None], near.shape)[inside]
    lined[near[inside], np.broadcast_to(x, near.shape)[inside]] += added
    return float(profile.max())


def _groups(ink: Floats) -> list[Group]:
    """Ink in groups of parts that are near one another, the largest first."""
    from scipy import ndimage

    inked = ink > 0
    extents = [max(part.stop - part.start for part in where) for where in _objects(inked)]
    if not extents:
        return []
    near = ndimage.distance_transform_edt(~inked) <= APART * max(extents)
    labels, _ = ndimage.label(near, EIGHT)
    found = []
    for i in range(1, labels.max() + 1):
        group = (labels == i) & inked
        where = _span(group)
        cut = np.where(group, ink, 0)[where]
        found.append((where, cut / np.percentile(cut[cut > 0], 75)))
    found.sort(key=lambda one: -max(one[1].shape))
    least = max(DIRT * max(found[0][1].shape), LEAST * max(ink.shape), 4)
    most = max(ink.sum() for _, ink in found)
    return [one for one in found if max(one[1].shape) > least and one[1].sum() > SPECK * most]


def _objects(mask: Mask) -> list[tuple[slice, slice]]:
    from scipy import ndimage

    found: list[tuple[slice, slice]] = ndimage.find_objects(ndimage.label(mask, EIGHT)[0])
    return found


def _in_form(ink: Floats, side: int) -> Tensor:
    """A drawing in MNIST's form."""
    from scipy import ndimage

    scale = max(1, FINE / max(ink.shape))
    inked = _resized(ink, tuple(round(scale * length) for length in ink.shape)) >= 0.5
    depth = ndimage.distance_transform_edt(np.pad(inked, 1))
    lack = max(0.0, (STROKE * max(inked.shape) - 4 * float(depth[depth > 0].mean())) / 2)
    inked = ndimage.distance_transform_edt(np.pad(~inked, int(lack) + 1, constant_values=True)) <= lack
    inked = inked[_span(inked)]
    scale = round(side * BOX / FORM) / max(inked.shape)
    height, width = (max(1, round(scale * length)) for length in inked.shape)
    digit = _resized(inked.astype(np.float32), (height, width), smooth=scale > 1)
    # Of MNIST's own 60,000 the mean centre of mass is at pixel (14, 14), not on the border between 13 and 14.
    y, x = (round(side // 2 - centre) for centre in ndimage.center_of_mass(digit))
    # The centre of mass lies in the box, but a long tail may reach beyond the border.
    y, x = min(max(y, 0), side - height), min(max(x, 0), side - width)
    page = np.zeros((side, side))
    page[y : y + height, x : x + width] = digit
    return torch.from_numpy((255 * page).round().astype(np.uint8))
