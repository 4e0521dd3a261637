"""Digits and blank papers as a camera or a scanner sees them, for the tests of ``mnist_style``."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.special import expit

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
PAPERS = ("noise", "vignette", "soft shadow", "hard shadow", "grain")


def elsewhere(digit: Bytes, generator: np.random.Generator) -> Bytes:
    """On a black page of twice the side, at a random place."""
    return _on_page(digit, (2 * digit.shape[0], 2 * digit.shape[1]), generator)


def enlarged(digit: Bytes, generator: np.random.Generator) -> Bytes:
    height, width = digit.shape
    return np.asarray(Image.fromarray(digit).resize((5 * width, 5 * height), Image.Resampling.BICUBIC))


def inverted(digit: Bytes, generator: np.random.Generator) -> Bytes:
    return 255 - digit


def on_grey(digit: Bytes, generator: np.random.Generator) -> Bytes:
    """Dark ink on grey paper whose light falls from a random side, with noise as of a camera."""
    noisy = (90 + 140 * _slope(digit.shape, generator)) * (1 - 0.75 * digit / 255) + generator.normal(0, 3, digit.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def everything(digit: Bytes, generator: np.random.Generator) -> Bytes:
    """Elsewhere, enlarged, on grey paper; half of them inverted, as chalk on a board."""
    page = on_grey(enlarged(elsewhere(digit, generator), generator), generator)
    return inverted(page, generator) if generator.random() < 0.5 else page


def small(digit: Bytes, generator: np.random.Generator) -> Bytes:
    """On a large page."""
    side = int(generator.integers(3, 7)) * max(digit.shape)
    return _photographed_or_not(_on_page(digit, (side, side), generator), generator)


def cut_out(digit: Bytes, generator: np.random.Generator) -> Bytes:
    """Without a margin."""
    rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
    return _photographed_or_not(digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], generator)


CHANGES: dict[str, Callable[[Bytes, np.random.Generator], Bytes]] = {
    "none": lambda digit, _: digit,
    "elsewhere": elsewhere,
    "enlarged": enlarged,
    "inverted": inverted,
    "on grey paper": on_grey,
    "all of these": everything,
}
PLACES = CHANGES | {"small on a large page": small, "without a margin": cut_out}


def blank_paper(kind: str, generator: np.random.Generator) -> Bytes:
    """A photograph of nothing, 40 to 399 pixels a side, on one of `PAPERS`."""
    height, width = generator.integers(40, 400, 2)
    return _photographed(generator.uniform(100, 245) * _light(kind, (height, width), generator), generator)


def on_paper(digit: Bytes, kind: str, generator: np.random.Generator) -> Bytes:
    """A digit in dark ink on paper of a kind, 140 or 280 pixels a side."""
    page = enlarged(elsewhere(digit, generator) if generator.random() < 0.5 else digit, generator)
    paper = generator.uniform(100, 245) * _light(kind, page.shape, generator)
    return _photographed(paper * (1 - generator.uniform(0.4, 0.85) * page / 255), generator)


def _on_page(digit: Bytes, size: tuple[int, int], generator: np.random.Generator) -> Bytes:
    page = np.zeros(size, np.uint8)
    y, x = (generator.integers(0, side - length + 1) for side, length in zip(size, digit.shape, strict=True))
    page[y : y + digit.shape[0], x : x + digit.shape[1]] = digit
    return page


def _photographed_or_not(page: Bytes, generator: np.random.Generator) -> Bytes:
    if generator.random() < 0.5:
        page = enlarged(page, generator)
    return on_grey(page, generator) if generator.random() < 0.5 else page


def _slope(size: tuple[int, ...], generator: np.random.Generator) -> Floats:
    """From 0 to 1 in a random direction."""
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    angle = generator.uniform(0, 2 * np.pi)
    along = y * np.sin(angle) + x * np.cos(angle)
    return (along - along.min()) / np.ptp(along)


def _light(kind: str, size: tuple[int, ...], generator: np.random.Generator) -> Floats:
    """How much of the light each pixel of a paper gives back, in [0, 1]."""
    paper = 1 - generator.uniform(0, 0.5) * _slope(size, generator)
    if kind == "vignette":
        y, x = np.mgrid[: size[0], : size[1]] / max(size)
        middle = [side / 2 / max(size) + generator.normal(0, 0.05) for side in size]
        radius = np.hypot(y - middle[0], x - middle[1])
        paper *= 1 - generator.uniform(0.1, 0.6) * (radius / radius.max()) ** generator.uniform(1.5, 4)
    elif kind == "grain":
        grain = ndimage.gaussian_filter(generator.normal(size=size), generator.uniform(0.5, 3))
        paper *= 1 + generator.uniform(0.01, 0.04) * grain / grain.std()
    elif kind != "noise":
        width = generator.uniform(0.05, 0.3) if kind == "soft shadow" else generator.uniform(0.002, 0.01)
        edge = expit(4 * (_slope(size, generator) - generator.uniform(0.1, 0.9)) / width)
        paper *= 1 - generator.uniform(0.1, 0.5) * edge
    return paper


def _photographed(page: Floats, generator: np.random.Generator) -> Bytes:
    """With a camera's noise, in three of ten with one that is smooth, as files of photographs have it."""
    noise = generator.normal(size=page.shape)
    if generator.random() < 0.3:
        noise = ndimage.gaussian_filter(noise, 0.7)
    return (page + generator.uniform(0.5, 8) * noise / noise.std()).round().clip(0, 255).astype(np.uint8)
