"""Detection of drawings on sheets of paper, and their conversion to MNIST's form."""

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg.vision.arrays import Bools, Floats, Ints
from grapheme_pyg.vision.frames import EIGHT, find_frames, stroke_width
from grapheme_pyg.vision.pixels import to_pixels
from grapheme_pyg.vision.printed_lines import DEVIATIONS, FAINTEST, THINNEST, Line, add_line, find_lines
from grapheme_pyg.vision.sheet_edges import find_sheet

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image

Box: TypeAlias = tuple[int, int, int, int]
# The place of a part of a picture, and its ink, where 1 is full ink.
Group: TypeAlias = tuple[tuple[slice, slice], Floats]

# MNIST's form: a drawing fits into BOX², its centre of mass is the centre of FORM², and STROKE is the typical width of
# strokes as a share of the longer side of the drawing.
FORM, BOX, STROKE = 28, 20, 0.12
# Smallest longer side of a drawing when it is thresholded.
FINE = 120
# Longer side of pictures in which strokes, and the edges of sheets, are found.
LARGEST, COARSE = 700, 128
# Largest width of strokes and smallest size of drawings, as shares of the longer side of the sheet.
WIDEST, LEAST = 0.25, 0.045
# Smallest strength of ink relative to the strongest ink nearby.
NEAR_FULL = 0.4
# Smallest difference between drawings and paper, relative to paper; and of ink in levels, as less may be JPEG noise.
FAINT, LEVELS = 0.08, 5
# OUTLINED of the outline of a stroke is a step of at least RISE of its strength, between means over AROUND pixels a
# side. Light and shadow change more slowly.
OUTLINED, RISE, AROUND = 0.7, 0.4, 9
# Slow changes are measured on a grid of GRID points a side, as the percentile PAPER, because ink is darker.
GRID, PAPER = 32, 30
# Largest number of parts and enclosed areas of a drawing, not counting those below a share of its ink.
HATCHED, SPECK_OF_GROUP = 16, 0.002
# Distance from the edge of the sheet within which most of a drawing does not lie, as a share of the longer side.
AT_EDGE = 0.02
# Smallest size of a part, as a share of the longer side of the sheet; smallest darkness relative to printed lines, and
# for a part along a line, which is narrower than ALONG of its length.
SPECKS, DARKER, DARKER_ALONG, ALONG = 0.012, 1.0, 1.75, 0.12
# Smallest strength of a part relative to the strongest. The largest gap between parts of a drawing is APART of the
# largest part, and DETACHED of the difference in size: several drawings are more alike in size than parts of one.
OF_ONE_INK, APART, DETACHED = 0.5, 0.2, 0.35
# Groups of parts are dirt if their size, or their ink, is below these shares of the largest.
DIRT, SPECK = 0.3, 0.15
# Smallest number of printed lines on a sheet that has any.
FEWEST = 3


class Drawing(NamedTuple):
    """A drawing that was found.

    Attributes:
        pixels: The drawing in MNIST's form, uint8 ``[side, side]``: light ink on black.
        box: Its place in the picture: left, top, right and bottom, in pixels.
    """

    pixels: Tensor
    box: Box


def find_drawings(image: "Image", side: int = FORM) -> list[Drawing]:
    """Finds the drawings on a sheet of paper, and converts each to the form of MNIST's digits.

    "The original black and white images were size normalized to fit in a 20×20 pixel box while preserving their aspect
    ratio. The resulting images contain grey levels as a result of the anti-aliasing technique. The images were centered
    in a 28×28 image by computing the center of mass of the pixels, and translating the image so as to position this
    point at the center" (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"). Before that, thin
    strokes are widened to the width of MNIST's.

    The steps are: If the picture shows the four straight edges of a sheet, the area around it is replaced by paper. The
    paper is estimated by the morphological closing of the picture, which preserves the edges of shadows; ink is darker
    or lighter than the paper, as printed lines and frames are, else whichever differs more from the local median.
    Frames, parts that cover the four sides of a quadrilateral, are removed. Thin lines from one edge of the sheet to
    the other, found by a Hough transform, are removed except where stronger ink crosses them. A remaining part belongs
    to a drawing if the picture's levels rise steeply around it, as around strokes, the border does not cut it, and most
    of it is not at the edge of the sheet. Parts that are near one another form one drawing.

    Args:
        image: An image, as in :class:`grapheme_pyg.VisionBrain`.
        side: Side of the drawings in pixels; the box grows in proportion.

    Returns:
        The drawings, the largest first; none if the sheet is blank.

    Raises:
        ImageError: It is not an image, or its file is broken.
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
    """Resizes a picture by interpolation, or by means of areas."""
    from PIL.Image import Resampling, fromarray

    resampling = Resampling.BILINEAR if smooth else Resampling.BOX
    return np.asarray(fromarray(picture).resize((shape[1], shape[0]), resampling)).astype(np.float32)


def _reduced(grey: Floats, most: int) -> Floats:
    """Reduces a picture to at most so many pixels a side."""
    scale = min(1, most / max(grey.shape))
    return _resized(grey, tuple(max(1, round(scale * length)) for length in grey.shape), smooth=False)


def _span(inside: Bools) -> tuple[slice, slice]:
    """Returns the range of rows and columns that contain any True."""
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _on_sheet(grey: Floats) -> tuple[Floats, Bools, tuple[float, float], float]:
    """Crops a picture to the sheet and reduces it.

    Returns:
        The reduced sheet; where the picture is beyond its edge; its left and top; and the factor of reduction.
    """
    from scipy import ndimage

    coarse = ndimage.median_filter(_reduced(grey, COARSE), 5, mode="nearest")
    sheet = find_sheet(coarse)
    if sheet is None:
        small = _reduced(grey, LARGEST)
        return small, np.zeros(small.shape, bool), (0, 0), max(grey.shape) / max(small.shape)
    factor = max(grey.shape) / max(coarse.shape)
    cut = _span(sheet)
    outside = ~sheet[cut]
    nearest = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
    paper = ndimage.median_filter(coarse[cut][::2, ::2], 13, mode="nearest")
    paper = paper[tuple(place // 2 for place in nearest)]
    top, bottom, left, right = (round(factor * n) for part in cut for n in (part.start, part.stop))
    small = _reduced(grey[top:bottom, left:right], LARGEST)
    beyond = _resized(outside.astype(np.float32), small.shape) > 0.5
    size = max(bottom - top, right - left) / max(small.shape)
    return np.where(beyond, _resized(paper, small.shape), small), beyond, (left, top), size


def _drawn(grey: Floats, beyond: Bools) -> list[Group]:
    """Finds the drawings in dark or in light ink, whichever there is more of."""
    from scipy import ndimage

    side = max(grey.shape)
    smooth = ndimage.gaussian_filter(grey, min(1.0, side / 500), mode="nearest")
    window = max(3, round(WIDEST * side) | 1)
    both = []
    for levels in (smooth, 255 - smooth):
        # Every other pixel is enough to compare them.
        fewer, half = levels[::2, ::2], max(3, round(WIDEST * side / 2) | 1)
        coarse = _reduced(fewer, GRID)
        around = ndimage.median_filter(coarse, max(3, round(max(coarse.shape) / 3) | 1), mode="nearest")
        paper = ndimage.grey_closing(fewer, (half, half), mode="nearest")
        darker = np.clip(_resized(around, fewer.shape) - fewer, 0, paper - fewer)[~beyond[::2, ::2]]
        both.append(((darker.astype(np.float64) ** 3).sum(), levels))
    drawn: list[Floats] = []
    for _, levels in sorted(both, key=lambda one: -one[0]):
        paper = ndimage.grey_closing(levels, (window, window), mode="nearest")
        # On nearly black paper, noise would count as ink.
        strokes, printed = _strokes(levels, np.maximum(paper, 32), beyond)
        if printed:  # lines and frames are darker than paper if ink is
            return _groups(strokes)
        drawn.append(strokes)
    return _groups(drawn[0]) or _groups(drawn[1])


def _even(ink: Floats) -> Floats:
    """Subtracts slow changes of light that closings leave in ink, measured on a coarse grid."""
    from scipy import ndimage

    step = max(1, round(max(ink.shape) / GRID))
    coarse = ndimage.percentile_filter(ink[::step, ::step], PAPER, 2 * round(GRID / 6) + 1, mode="nearest")
    return ink - _resized(coarse, ink.shape)


def _steps(levels: Floats, inked: Bools, of: Bools) -> Floats:
    """Returns the difference between the local means of paper and ink; pixels outside ``of`` are neither."""
    from scipy import ndimage

    def mean(mask: Bools) -> Floats:
        share = ndimage.uniform_filter(mask.astype(np.float32), AROUND)
        total = ndimage.uniform_filter(np.where(mask, levels, 0).astype(np.float32), AROUND)
        return np.where(share > 1e-3, total / np.maximum(share, 1e-3), np.nan)

    return mean(~inked & of) - mean(inked & of)


def _strokes(levels: Floats, paper: Floats, beyond: Bools) -> tuple[Floats, bool]:
    """Returns the ink of strokes, else 0, and whether there are printed lines or frames.

    Printed lines, frames, and parts that the border cuts are not strokes.
    """
    from scipy import ndimage

    side = max(levels.shape)
    ink = _even((paper - levels) / paper)
    printed: list[float] = []
    all_lines: tuple[list[Line], list[Line]] = [], []
    # Frames that are darker than printed lines are found before lines are removed from them.
    near = ndimage.maximum_filter(ink, round(0.08 * side) | 1)
    frames = find_frames(ink > np.maximum(NEAR_FULL * near, FAINT), round(LEAST * side))
    frames = ndimage.binary_dilation(frames, EIGHT, iterations=5) if frames.any() else frames
    framed, erased = bool(frames.any()), frames.copy()
    for _ in range(2):  # lines can increase the first estimate of noise
        low, middle = np.percentile(ink[~erased], (PAPER / 3, PAPER))
        # These percentiles of a normal distribution differ by 0.76 deviations; rounding and JPEG add 0.8 levels.
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
    inked &= ~beyond
    # Separates thick strokes from remains of lines that lead to the border.
    parts, _ = ndimage.label(inked, EIGHT)
    thick = ndimage.grey_opening(inked.astype(np.uint8), (round(THINNEST * side) | 1,) * 2) > 0
    inked &= thick | ~np.isin(parts, list(_at_border(parts, beyond)))
    # Strokes continue across removed lines.
    bridged = ndimage.binary_closing(inked, EIGHT, iterations=max(3, round(0.006 * side))) & erased & ~frames
    ink[bridged] = near[bridged]
    steps = _steps(levels, inked | bridged, ~erased | bridged) / paper
    inked |= bridged
    # Frames as faint as printed lines are separate from them only now.
    late = find_frames(inked, round(LEAST * side))
    framed |= bool(late.any())
    inked &= ~late
    outline = inked & ~ndimage.binary_erosion(inked, EIGHT)
    parts, number = ndimage.label(inked, EIGHT)
    cut = _at_border(parts, np.zeros_like(beyond))
    # Lies at the edge of the sheet, which is not quite straight.
    at_edge = ndimage.binary_dilation(beyond, EIGHT, iterations=max(1, round(AT_EDGE * side)))
    lines_are = float(np.percentile(printed or [0], 90))
    found = []
    for i, where in enumerate(ndimage.find_objects(parts), 1):
        part = parts[where] == i
        if i in cut or max(part.shape) < SPECKS * side or at_edge[where][part].mean() > 0.5:
            continue
        strength = np.percentile(ink[where][part], 75)
        width = stroke_width(part)
        at = steps[where][part & outline[where]]
        at = at[~np.isnan(at)]
        if not len(at) or (at > RISE * strength).mean() < OUTLINED:
            continue
        # Only thin strokes can be remains of printed lines.
        darker = (DARKER_ALONG if _lies_along(part, all_lines) else DARKER) if width < 2 * THINNEST * side else 0
        # Near the edge of a shadow, the step around a part is less than its ink.
        if strength < FAINT or min(strength, np.percentile(at, 75)) < darker * lines_are:
            continue
        found.append((i, strength, strength * part.sum()))
    kept = np.zeros(number + 1, bool)
    if found:
        _, strongest, _ = max(found, key=lambda one: one[2])
        for i, strength, _ in found:
            kept[i] = strength > max(OF_ONE_INK * strongest, FAINTEST)
    return np.where(kept[parts], ink, 0), framed or bool(printed)


def _lies_along(part: Bools, printed: tuple[list[Line], list[Line]]) -> bool:
    """Returns whether a part is long and lies along the printed lines of one of the two directions."""
    y, x = np.nonzero(part)
    for along, across, these in ((x, y, printed[0]), (y, x, printed[1])):
        if these:
            slope = np.median([np.polyval(np.polyder(line.coefficients), line.columns.mean()) for line in these])
            if (across - slope * along).std() < ALONG * along.std():
                return True
    return False


def _at_border(parts: Ints, beyond: Bools) -> set[int]:
    """Returns the parts that the border of the picture or of the sheet cuts."""
    from scipy import ndimage

    lines = parts[0], parts[-1], parts[:, 0], parts[:, -1], parts[ndimage.binary_dilation(beyond, EIGHT, iterations=2)]
    return set(np.unique(np.concatenate(lines)).tolist()) - {0}


def _groups(ink: Floats) -> list[Group]:
    """Groups parts of ink that are near one another, the largest group first."""
    from scipy import ndimage

    inked = ink > 0
    if not inked.any():
        return []
    labels = _joined(ndimage.label(inked, EIGHT)[0])
    found = []
    for i in range(1, labels.max() + 1):
        group = labels == i
        where = _span(group)
        # Groups of many parts or enclosed areas are remains of printed lines, or the grain of a table.
        areas = [
            np.bincount(ndimage.label(*of)[0].flat)[1:] for of in ((group[where], EIGHT), (np.pad(~group[where], 1),))
        ]
        if (np.concatenate(areas) > SPECK_OF_GROUP * group.sum()).sum() > HATCHED:
            continue
        cut = np.where(group, ink, 0)[where]
        found.append((where, cut / np.percentile(cut[cut > 0], 75)))
    if not found:
        return []
    found.sort(key=lambda one: -max(one[1].shape))
    least = max(DIRT * max(found[0][1].shape), LEAST * max(ink.shape), 4)
    most = max(ink.sum() for _, ink in found)
    return [one for one in found if max(one[1].shape) > least and one[1].sum() > SPECK * most]


def _joined(parts: Ints) -> Ints:
    """Returns the number of the group of each pixel; a part that is smaller than another joins it over a larger gap."""
    from scipy import ndimage
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    boxes = ndimage.find_objects(parts)
    low, high = (np.array([[getattr(part, end) for part in where] for where in boxes]) for end in ("start", "stop"))
    extents = (high - low).max(axis=1)
    reach = APART * extents.max() + DETACHED * np.abs(extents[:, None] - extents)
    gaps = np.hypot(*np.maximum(low[:, None] - high, low - high[:, None]).clip(0).transpose(2, 0, 1))
    points = [np.argwhere(parts[where] == i) + low[i - 1] for i, where in enumerate(boxes, 1)]
    trees = [cKDTree(one) for one in points]
    joined = np.eye(len(boxes), dtype=bool)
    for i, j in np.argwhere(np.triu(gaps <= reach, 1)):
        joined[i, j] = trees[i].query(points[j])[0].min() <= reach[i, j]
    _, group = connected_components(joined, directed=False)
    return np.concatenate([[0], group + 1])[parts]


def _in_form(ink: Floats, side: int) -> Tensor:
    """Converts a drawing to MNIST's form."""
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
    # The mean centre of mass of MNIST's 60,000 digits is pixel (14, 14), not the border between 13 and 14.
    y, x = (round(side // 2 - centre) for centre in ndimage.center_of_mass(digit))
    # A long tail must not reach beyond the border.
    y, x = min(max(y, 0), side - height), min(max(x, 0), side - width)
    page = np.zeros((side, side))
    page[y : y + height, x : x + width] = digit
    return torch.from_numpy((255 * page).round().astype(np.uint8))
