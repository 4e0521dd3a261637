"""Drawings on sheets of paper, found by signal processing and brought into the form of training images."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grapheme_pyg.vision.pixels import to_pixels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Image

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

EIGHT = np.ones((3, 3), dtype=bool)
# Pictures are looked at in at most so many pixels a side.
LARGEST = 700
# Shares of the picture's longer side: no stroke is as wide; the paper around is looked at in such windows.
WIDEST = 0.2
FORM, BOX = 28, 20
STROKE = 0.12
FINE = 120
THIN = 0.012
MOST_LINES = 300
LEAST = 0.045
STEEP = 7
SHORTEST = 0.12


class Drawing(NamedTuple):
    pixels: Tensor
    box: tuple[int, int, int, int]


def find_drawings(image: Image, side: int = FORM) -> list[Drawing]:
    grey = to_pixels(image, 1)[0].cpu().numpy().astype(np.float32)
    small, beyond, top, left, factor = _on_sheet(grey)
    found = []
    for (rows, columns), strength, cut in _drawn(small, beyond):
        edges = (left, columns.start), (top, rows.start), (left, columns.stop), (top, rows.stop)
        found.append(Drawing(_in_form(cut / strength, side), tuple(round(first + factor * n) for first, n in edges)))
    return found


def _on_sheet(grey: Floats) -> tuple[Floats, Mask, int, int, float]:
    """What is on the sheet: the picture cut and reduced, with paper around the sheet; its place and its pixels' size."""
    from PIL.Image import Resampling
    from scipy import ndimage

    top = left = 0
    coarse = ndimage.median_filter(_reduced(grey, 128), 5, mode="nearest")
    steep = ndimage.maximum_filter(coarse, 3) - ndimage.minimum_filter(coarse, 3) > STEEP
    labels, _ = ndimage.label(~steep)
    inside = ndimage.binary_closing(~steep & ~np.isin(labels, _border(labels)), EIGHT, iterations=3)
    labels, number = ndimage.label(ndimage.binary_fill_holes(inside))
    sizes = np.bincount(labels.ravel(), minlength=number + 1)
    sizes[0] = 0
    inside = labels == sizes.argmax()
    small = _reduced(grey, LARGEST)
    beyond = np.zeros(small.shape, bool)
    if sizes.max() >= 0.3 * inside.size and _is_quadrilateral(inside):
        factor = max(grey.shape) / max(coarse.shape)
        cut = tuple(slice(np.flatnonzero(x)[0], np.flatnonzero(x)[-1] + 1) for x in (inside.any(axis=1), inside.any(axis=0)))
        outside = ~ndimage.binary_erosion(inside, EIGHT)[cut]
        nearest = ndimage.distance_transform_edt(outside, return_distances=False, return_indices=True)
        paper = ndimage.median_filter(coarse[cut], 9, mode="nearest")[tuple(nearest)]
        top, left, bottom, right = (round(factor * n) for n in (cut[0].start, cut[1].start, cut[0].stop, cut[1].stop))
        grey = grey[top:bottom, left:right]
        small = _reduced(grey, LARGEST)
        outside, paper = (_resized(x.astype(np.float32), small.shape[::-1], Resampling.BILINEAR) for x in (outside, paper))
        beyond = outside > 0.3
        small = np.where(beyond, paper, small)
    return small, beyond, top, left, max(grey.shape) / max(small.shape)


def _border(picture):
    return np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])


def _is_quadrilateral(region: Mask) -> bool:
    """Whether the corners of a region span nearly all of it."""
    y, x = np.nonzero(region)
    corners = [np.argmax(a * x + b * y) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    x, y = x[corners].astype(float), y[corners].astype(float)
    return bool(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2 > 0.85 * region.sum())


def _drawn(grey: Floats, beyond: Mask):
    from scipy import ndimage
    from PIL.Image import Resampling

    side = max(grey.shape)
    smooth = ndimage.gaussian_filter(grey, min(1.0, side / 500), mode="nearest")
    coarse = _reduced(smooth, 64)
    width = max(3, round(max(coarse.shape) / 3) | 1)
    middle = _resized(ndimage.median_filter(coarse, width, mode="nearest"), grey.shape[::-1], Resampling.BILINEAR)
    both = []
    for levels, ground in ((smooth, middle), (255 - smooth, 255 - middle)):
        window = max(3, round(WIDEST * side) | 1)
        paper = ndimage.grey_closing(levels, (window, window), mode="nearest")
        relative = np.maximum(paper, 32)
        score = float((np.clip(ground - levels, 0, paper - levels).astype(np.float64) ** 3).sum())
        both.append((score, (paper - levels) / relative, levels / relative))
    for _, ink, levels in sorted(both, key=lambda one: -one[0]):
        if found := _groups(_parts(ink, levels, beyond), ink):
            return found
    return []


def _resized(picture: Floats, size, resampling) -> Floats:
    from PIL.Image import fromarray

    return np.asarray(fromarray(picture).resize(size, resampling))


def _reduced(grey: Floats, most: int) -> Floats:
    """By the means of areas, to at most so many pixels a side."""
    from PIL.Image import Resampling

    scale = most / max(grey.shape)
    if scale >= 1:
        return grey
    return _resized(grey, tuple(max(1, round(scale * n)) for n in grey.shape[::-1]), Resampling.BOX)


def _parts(ink: Floats, levels: Floats, beyond: Mask) -> Mask:
    from scipy import ndimage

    side = max(ink.shape)
    low, middle = np.percentile(ink, (16, 50))
    noise = middle - low
    ink -= middle
    lined = np.zeros_like(ink)
    lines = [_lines(ink, noise, beyond), _lines(ink.T, noise, beyond.T)]
    if sum(map(len, lines)) >= 3:
        for way, them, strengths in ((ink, lines[0], lined), (ink.T, lines[1], lined.T)):
            for line in them:
                _add_line(way, line, strengths)
    erased = (lined > 0) & (ink <= 1.15 * lined + 2 * noise)
    ink[erased] = 0
    threshold = max(4 * noise, 0.04)
    mask = ink > np.maximum(threshold, 0.4 * ndimage.maximum_filter(ink, round(0.08 * side) | 1))
    if erased.any():
        mask |= ndimage.binary_closing(mask, EIGHT, iterations=max(1, round(0.004 * side))) & erased
    labels, number = ndimage.label(mask, EIGHT)
    rise = ndimage.gaussian_gradient_magnitude(levels, 0.7)
    strengths = np.zeros(number + 1)
    masses = np.zeros(number + 1)
    for i, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        if rows.start == 0 or columns.start == 0 or rows.stop == ink.shape[0] or columns.stop == ink.shape[1]:
            continue
        around = slice(rows.start - 1, rows.stop + 1), slice(columns.start - 1, columns.stop + 1)
        part = labels[around] == i
        outline = ndimage.binary_dilation(part, EIGHT) & ~ndimage.binary_erosion(part, EIGHT)
        strength = np.percentile(ink[around][part], 75)
        if (rise[around][outline] > 0.15 * strength).mean() > 0.55 and not _is_frame(part):
            strengths[i], masses[i] = strength, strength * part.sum()
    # What is much fainter than most of the ink is no ink.
    kept = strengths > max(0.5 * strengths[masses.argmax()], 0.04)
    return kept[labels]


def _lines(ink: Floats, noise: float, beyond: Mask) -> list[tuple[NDArray[np.float64], int, int]]:
    """Thin lines that go from left to right: coefficients of y(x), and from where to where."""
    from scipy import ndimage

    height, width = ink.shape
    side = max(ink.shape)
    thin = ink - ndimage.grey_opening(ink, (max(3, round(THIN * side) | 1), 1))
    mask = thin > max(2.5 * noise, 0.015)
    step = max(1, side // 400)
    rows, columns = np.nonzero(ndimage.maximum_filter1d(mask, step, axis=0)[::step, ::step])
    slopes = np.tan(np.radians(np.arange(-22, 22.01, 0.25)))
    reach = int(width // step * slopes[-1]) + 2
    size = height // step + 1 + 2 * reach
    places = np.round(rows - slopes[:, None] * columns).astype(np.int32) + reach
    alive = np.ones(len(rows), bool)
    votes = np.stack([np.bincount(place, minlength=size) for place in places])
    x, gap = np.arange(width), max(1, round(0.05 * side))
    found = []
    for _ in range(MOST_LINES):
        best = votes.argmax()
        slope, place = np.unravel_index(best, votes.shape)
        if votes[slope, place] < SHORTEST * width / step:
            break
        on = np.flatnonzero(alive & (np.abs(places[slope] - place) <= 1))
        line = np.array([0, slopes[slope], (place - reach) * step])
        for band in (2 * step, step + 1, step + 1):
            y = np.round(np.polyval(line, x)).astype(int)
            near = y[None] + np.arange(-band, band + 1)[:, None]
            hits = mask[np.clip(near, 0, height - 1), x] & (near >= 0) & (near < height)
            at = hits.any(axis=0)
            if at.sum() < 0.5 * SHORTEST * width:
                break
            line = np.polyfit(x[at], (near * hits).sum(axis=0)[at] / hits.sum(axis=0)[at], 2)
        y = np.round(np.polyval(line, x)).astype(int)
        page = (y >= 0) & (y < height)
        page[page] &= ~beyond[y[page], x[page]]
        on_page = np.flatnonzero(page)
        if len(on_page) and at[page].mean() > 0.7 and at[on_page[: gap]].any() and at[on_page[-gap:]].any():
            found.append((line, int(on_page[0]), int(on_page[-1]) + 1))
        for number, positions in enumerate(places[:, on]):
            votes[number] -= np.bincount(positions, minlength=size)
        alive[on] = False
    return found


def _add_line(ink: Floats, line: tuple[NDArray[np.float64], int, int], lined: Floats) -> None:
    """Adds how strong a line is, where it is, to the strengths of the others."""
    height, width = ink.shape
    side = max(ink.shape)
    coefficients, start, stop = line
    margin = round(0.02 * side)
    x = np.arange(max(0, start - margin), min(width, stop + margin))
    half = max(1, round(THIN * side / 2))
    near = np.round(np.polyval(coefficients, x)).astype(int)[None] + np.arange(-half, half + 1)[:, None]
    inside = (near >= 0) & (near < height)
    near = np.clip(near, 0, height - 1)
    profile = np.median(ink[near, x], axis=1)
    profile[profile < 0.2 * profile.max()] = 0
    rows, columns = near[inside], np.broadcast_to(x, near.shape)[inside]
    lined[rows, columns] += np.broadcast_to(profile[:, None], near.shape)[inside]


def _is_frame(part: Mask) -> bool:
    """Whether a part is the outline of a quadrilateral."""
    from scipy import ndimage

    holes = ndimage.binary_fill_holes(part) & ~part
    if holes.sum() < 0.4 * part.size:
        return False
    return _is_quadrilateral(holes)


def _groups(mask: Mask, ink: Floats):
    from scipy import ndimage

    if not mask.any():
        return []
    extent = max(max(s.stop - s.start for s in where) for where in ndimage.find_objects(ndimage.label(mask, EIGHT)[0]))
    near = ndimage.distance_transform_edt(~mask) <= 0.1 * extent
    labels, number = ndimage.label(near, EIGHT)
    labels[~mask] = 0
    found = []
    for i, where in enumerate(ndimage.find_objects(labels), 1):
        group = labels[where] == i
        strength = float(np.percentile(ink[where][group], 75))
        found.append((where, strength, np.where(group, ink[where], 0)))
    largest = max(max(cut.shape) for *_, cut in found)
    return [one for one in found if max(one[2].shape) > max(0.3 * largest, LEAST * max(mask.shape))]


def _in_form(cut: Floats, side: int) -> Tensor:
    from PIL.Image import Resampling
    from scipy import ndimage

    scale = max(1, FINE / max(cut.shape))
    size = tuple(round(scale * n) for n in cut.shape[::-1])
    fine = _resized(cut, size, Resampling.BILINEAR) >= 0.5
    long = max(fine.shape)
    depth = ndimage.distance_transform_edt(np.pad(fine, 1))
    width = 4 * float(depth[depth > 0].mean())
    lack = max(0.0, (STROKE * long - width) / 2)
    fine = np.pad(fine, int(lack) + 1)
    fine = ndimage.distance_transform_edt(~fine) <= lack
    rows, columns = (np.flatnonzero(fine.any(axis=axis)) for axis in (1, 0))
    fine = fine[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    box = round(side * BOX / FORM)
    scale = box / max(fine.shape)
    width, height = (max(1, round(scale * n)) for n in fine.shape[::-1])
    digit = _resized(fine.astype(np.float32), (width, height), Resampling.BOX)
    y, x = (round(side // 2 - centre) for centre in ndimage.center_of_mass(digit))
    y, x = min(max(y, 0), side - height), min(max(x, 0), side - width)
    page = np.zeros((side, side), np.float32)
    page[y : y + height, x : x + width] = digit
    return torch.from_numpy((255 * page).round().astype(np.uint8))
