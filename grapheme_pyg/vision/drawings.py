"""Drawings on sheets of paper, found by signal processing and brought into MNIST's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grapheme_pyg.vision.frames import EIGHT, find_frames, stroke_width
from grapheme_pyg.vision.pixels import to_pixels
from grapheme_pyg.vision.printed_lines import DEVIATIONS, FAINTEST, THINNEST, Line, add_line, find_lines

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image

Box: TypeAlias = tuple[int, int, int, int]
Floats: TypeAlias = NDArray[Any]
Mask: TypeAlias = NDArray[np.bool_]
# Where a part of a picture is, and what ink is there, 1 where it is full.
Group: TypeAlias = tuple[tuple[slice, slice], Floats]

# MNIST's: the drawing fits into a box of BOX², its centre of mass is at the centre of FORM², and strokes are about so
# wide, of the longer side of the drawing.
FORM, BOX, STROKE = 28, 20, 0.12
# Drawings have at least so many pixels a side when they are made black and white.
FINE = 120
# Pixels a side in which strokes and the edges of sheets are looked for.
LARGEST, COARSE = 700, 128
# The edge of a sheet is a step of so many levels, and encloses so much of the picture.
STEP, ENCLOSED = 7, 0.3
# What the corners of a region span, of the region, if it is a quadrilateral: of an ellipse it is 0.64.
SPANNED = 0.85
# Of the longer side of the sheet: strokes are less wide, and drawings at least so large.
WIDEST, LEAST = 0.25, 0.045
# Near full ink, ink is so much of it.
NEAR_FULL = 0.4
# Drawings are darker than paper by so much, and ink by so many levels, or it may be noise of JPEG.
FAINT, LEVELS = 0.08, 5
# Of the outline of a stroke, so much is a step of so much of its strength, between means over so many pixels a side.
# Light and shadow come and go slowly.
OUTLINED, RISE, AROUND = 0.7, 0.4, 9
# Slow changes are measured on so many points a side, of which, in per cent, those are paper: lines and ink are on the
# darker ones.
GRID, PAPER = 32, 30
# More parts and enclosed areas than drawings have.
HATCHED = 16
# It is larger than so much of the sheet's longer side, and so many times as dark as printed lines are; or as what lies
# along them, less wide than so much of its length.
SPECKS, DARKER, DARKER_ALONG, ALONG = 0.012, 1.25, 1.75, 0.12
# Parts are of one ink, and of one drawing if they are apart by less than twice so much of the largest part.
OF_ONE_INK, APART = 0.5, 0.1
# Groups of parts that are smaller than so much of the largest, or have less than so much of its ink, are dirt.
DIRT, SPECK = 0.3, 0.15
# So many printed lines, or none are taken for such.
FEWEST = 3


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
    whichever differs more from the median around it. Parts that cover the four sides of a quadrilateral are frames, and
    are taken away. So are thin lines from one edge of the sheet to the other, found by a Hough transform, where nothing
    stronger crosses them. What remains and has the picture's levels rise around it, as around strokes, is drawn, but
    for what the border cuts. Parts that are near one another are one drawing.

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
    enclosed = np.pad(flat & ~np.isin(regions, border), 4)  # a closing takes away what is near the border
    enclosed = ndimage.binary_closing(enclosed, EIGHT, iterations=3)[4:-4, 4:-4]
    regions, _ = ndimage.label(ndimage.binary_fill_holes(enclosed))
    sizes = np.bincount(regions.ravel())[1:]
    inside = regions == 1 + sizes.argmax() if len(sizes) else np.zeros(coarse.shape, bool)
    sheet = _quadrilateral(inside) if inside.sum() > ENCLOSED * inside.size else None
    if sheet is None:
        small = _reduced(grey, LARGEST)
        return small, np.zeros(small.shape, bool), (0, 0), max(grey.shape) / max(small.shape)
    factor = max(grey.shape) / max(coarse.shape)
    sheet = ndimage.binary_dilation(sheet, EIGHT)  # what is next to a step is not flat
    cut = _span(sheet)
    outside = ~sheet[cut]
    nearest = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
    paper = ndimage.median_filter(coarse[cut][::2, ::2], 13, mode="nearest")
    paper = paper[tuple(place // 2 for place in nearest)]
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
    window = max(3, round(WIDEST * side) | 1)
    both = []
    for levels in (smooth, 255 - smooth):
        # Every other pixel says which there is more of.
        fewer, half = levels[::2, ::2], max(3, round(WIDEST * side / 2) | 1)
        coarse = _reduced(fewer, GRID)
        around = ndimage.median_filter(coarse, max(3, round(max(coarse.shape) / 3) | 1), mode="nearest")
        paper = ndimage.grey_closing(fewer, (half, half), mode="nearest")
        darker = np.clip(_resized(around, fewer.shape) - fewer, 0, paper - fewer)[~beyond[::2, ::2]]
        both.append(((darker.astype(np.float64) ** 3).sum(), levels))
    for _, levels in sorted(both, key=lambda one: -one[0]):
        paper = ndimage.grey_closing(levels, (window, window), mode="nearest")
        # The noise of what is nearly black is not ink.
        strokes, framed = _strokes(levels, np.maximum(paper, 32), beyond)
        if strokes.any() or framed:
            return _groups(strokes)
    return []


def _even(ink: Floats) -> Floats:
    """Ink without what closings leave of slow changes of light, measured around on the points of a coarse grid."""
    from scipy import ndimage

    step = max(1, round(max(ink.shape) / GRID))
    coarse = ndimage.percentile_filter(ink[::step, ::step], PAPER, 2 * round(GRID / 6) + 1, mode="nearest")
    return ink - _resized(coarse, ink.shape)


def _steps(levels: Floats, inked: Mask, of: Mask) -> Floats:
    """How much darker ink is than paper, around each pixel, by the means of what is near; erased pixels are neither."""
    from scipy import ndimage

    def mean(mask: Mask) -> Floats:
        share = ndimage.uniform_filter(mask.astype(np.float32), AROUND)
        total = ndimage.uniform_filter(np.where(mask, levels, 0).astype(np.float32), AROUND)
        return np.where(share > 1e-3, total / np.maximum(share, 1e-3), np.nan)

    return mean(~inked & of) - mean(inked & of)


def _strokes(levels: Floats, paper: Floats, beyond: Mask) -> tuple[Floats, bool]:
    """Ink where there are strokes, else 0, and whether there are frames.

    Printed lines, frames, and what the border cuts are no strokes.
    """
    from scipy import ndimage

    side = max(levels.shape)
    ink = _even((paper - levels) / paper)
    printed: list[float] = []
    all_lines: tuple[list[Line], list[Line]] = [], []
    # Where they are darker than printed lines, frames are found before lines are taken out of them.
    near = ndimage.maximum_filter(ink, round(0.08 * side) | 1)
    frames = find_frames(ink > np.maximum(NEAR_FULL * near, FAINT), round(LEAST * side))
    frames = ndimage.binary_dilation(frames, EIGHT, iterations=5) if frames.any() else frames
    framed, erased = bool(frames.any()), frames.copy()
    for _ in range(2):  # what was taken for noise may be lines, too
        low, middle = np.percentile(ink[~erased], (PAPER / 3, PAPER))
        # Between these percentiles of a normal distribution are 0.76 deviations; rounding and JPEG make 0.8 levels.
        noise = max((middle - low) / 0.76, 0.8 / float(np.median(paper)))
        ink = np.where(erased, 0, ink - middle)
        hidden = beyond | frames
        lines = find_lines(ink, hidden, noise), find_lines(ink.T, hidden.T, noise)
        if sum(map(len, lines)) < FEWEST:
            break
        lined = np.zeros_like(ink)
        for way, these, strength, all_these in zip((ink, ink.T), lines, (lined, lined.T), all_lines, strict=True):
            printed += [add_line(way, line, strength) for line in these]
            all_these += these
        lined = ndimage.maximum_filter(lined, 3)
        erased |= (lined > 0) & (ink <= 1.15 * lined + 2 * noise)
        ink[erased] = 0
    near = ndimage.maximum_filter(ink, round(0.08 * side) | 1)
    inked = ink > np.maximum(max(DEVIATIONS * noise, FAINTEST), np.maximum(NEAR_FULL * near, LEVELS / paper))
    # Thick strokes are cut from what is left of the lines that lead to the border.
    parts, _ = ndimage.label(inked, EIGHT)
    thick = ndimage.grey_opening(inked.astype(np.uint8), (round(THINNEST * side) | 1,) * 2) > 0
    inked &= thick | ~np.isin(parts, list(_at_border(parts, beyond)))
    # Strokes go on across the lines that were taken away.
    bridged = ndimage.binary_closing(inked, EIGHT, iterations=max(1, round(0.004 * side))) & erased & ~frames
    ink[bridged] = near[bridged]
    steps = _steps(levels, inked | bridged, ~erased | bridged) / paper
    inked |= bridged
    # Frames as faint as printed lines are apart from them only now.
    late = find_frames(inked, round(LEAST * side))
    framed |= bool(late.any())
    inked &= ~late
    outline = inked & ~ndimage.binary_erosion(inked, EIGHT)
    parts, number = ndimage.label(inked, EIGHT)
    at_edge = _at_border(parts, beyond)
    lines_are = float(np.percentile(printed or [0], 90))
    found = []
    for i, where in enumerate(ndimage.find_objects(parts), 1):
        if i in at_edge or max(part.stop - part.start for part in where) < SPECKS * side:
            continue
        part = parts[where] == i
        strength = np.percentile(ink[where][part], 75)
        width = stroke_width(part)
        at = steps[where][part & outline[where]]
        at = at[~np.isnan(at)]
        if not len(at) or (at > RISE * strength).mean() < OUTLINED:
            continue
        # Only thin strokes may be left of printed lines.
        darker = (DARKER_ALONG if _lies_along(part, all_lines) else DARKER) if width < 2 * THINNEST * side else 0
        if strength < max(FAINT, darker * lines_are):
            continue
        found.append((i, strength, strength * part.sum()))
    kept = np.zeros(number + 1, bool)
    if found:
        _, strongest, _ = max(found, key=lambda one: one[2])
        for i, strength, _ in found:
            kept[i] = strength > max(OF_ONE_INK * strongest, FAINTEST)
    return np.where(kept[parts], ink, 0), framed


def _lies_along(part: Mask, printed: tuple[list[Line], list[Line]]) -> bool:
    """Whether a part is long and lies along the printed lines of one of the two ways."""
    y, x = np.nonzero(part)
    for along, across, these in ((x, y, printed[0]), (y, x, printed[1])):
        if these:
            slope = np.median([np.polyval(np.polyder(line), (where.start + where.stop) / 2) for line, where in these])
            if (across - slope * along).std() < ALONG * along.std():
                return True
    return False


def _at_border(parts: NDArray[Any], beyond: Mask) -> set[int]:
    """The parts that the border of the picture or of the sheet cuts."""
    from scipy import ndimage

    lines = parts[0], parts[-1], parts[:, 0], parts[:, -1], parts[ndimage.binary_dilation(beyond, EIGHT, iterations=2)]
    return set(np.unique(np.concatenate(lines)).tolist()) - {0}


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
        # What is of many parts, or encloses many areas, is left of printed lines, or the grain of a table.
        if ndimage.label(group[where], EIGHT)[1] + ndimage.label(np.pad(~group[where], 1))[1] > HATCHED:
            continue
        cut = np.where(group, ink, 0)[where]
        found.append((where, cut / np.percentile(cut[cut > 0], 75)))
    if not found:
        return []
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
