"""Photographs of paper without a digit, and digits on such paper: does `mnist_style` tell them apart?

    python benchmarks/blank_papers.py

Papers of random size, brightness, slope of light and noise of a camera; with a vignette, a soft or a hard shadow, or a
grain of their own. Digits are of the training set: as `benchmarks/pasted_digits.py` changes them, small on large pages,
cut out without a margin, and on each kind of paper. `--first` takes others than those that constants were chosen on.
"""

import argparse

import numpy as np
from numpy.typing import NDArray
from pasted_digits import CHANGES, elsewhere, enlarged, on_grey
from scipy import ndimage
from scipy.special import expit

from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.datasets.mnist_style import mnist_style

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
PAPERS = ("noise", "vignette", "soft shadow", "hard shadow", "grain")
PLACES = (*CHANGES, "small on a large page", "without a margin")


def light(kind: str, size: tuple[int, int], generator: np.random.Generator) -> Floats:
    """How much of the light each pixel of a paper gives back, `[H, W]` in [0, 1]."""
    y, x = np.mgrid[: size[0], : size[1]] / max(size)

    def slope() -> Floats:
        angle = generator.uniform(0, 2 * np.pi)
        along = y * np.sin(angle) + x * np.cos(angle)
        from_0_to_1: Floats = (along - along.min()) / np.ptp(along)
        return from_0_to_1

    paper = 1 - generator.uniform(0, 0.5) * slope()
    if kind == "vignette":
        middle = [side / 2 / max(size) + generator.normal(0, 0.05) for side in size]
        radius = np.hypot(y - middle[0], x - middle[1])
        paper *= 1 - generator.uniform(0.1, 0.6) * (radius / radius.max()) ** generator.uniform(1.5, 4)
    elif kind == "grain":
        grain = ndimage.gaussian_filter(generator.normal(size=size), generator.uniform(0.5, 3))
        paper *= 1 + generator.uniform(0.01, 0.04) * grain / grain.std()
    elif kind != "noise":
        # Of the page's width, from light to dark.
        width = generator.uniform(0.05, 0.3) if kind == "soft shadow" else generator.uniform(0.002, 0.01)
        paper *= 1 - generator.uniform(0.1, 0.5) * expit(4 * (slope() - generator.uniform(0.1, 0.9)) / width)
    return paper


def photographed(page: Floats, generator: np.random.Generator) -> Bytes:
    """With a camera's noise, in three of ten with one that is smooth, as files of photographs have it."""
    noise = generator.normal(size=page.shape)
    if generator.random() < 0.3:
        noise = ndimage.gaussian_filter(noise, 0.7)
    picture: Bytes = (page + generator.uniform(0.5, 8) * noise / noise.std()).round().clip(0, 255).astype(np.uint8)
    return picture


def blank_paper(kind: str, generator: np.random.Generator) -> Bytes:
    """A photograph of nothing, 40 to 399 pixels a side."""
    height, width = generator.integers(40, 400, 2)
    return photographed(generator.uniform(100, 245) * light(kind, (height, width), generator), generator)


def on_paper(digit: Bytes, kind: str, generator: np.random.Generator) -> Bytes:
    """A digit in dark ink on paper of a kind, 140 or 280 pixels a side."""
    page = enlarged(elsewhere(digit, generator) if generator.random() < 0.5 else digit, generator)
    paper = generator.uniform(100, 245) * light(kind, page.shape, generator)
    return photographed(paper * (1 - generator.uniform(0.4, 0.85) * page / 255), generator)


def placed(digit: Bytes, place: str, generator: np.random.Generator) -> Bytes:
    """A digit changed as one of `PLACES` says."""
    if place in CHANGES:
        return CHANGES[place](digit, generator)
    if place == "without a margin":
        rows, columns = (np.flatnonzero(digit.any(axis=axis)) for axis in (1, 0))
        page = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    else:
        side = int(generator.integers(3, 7)) * max(digit.shape)
        page = np.zeros((side, side), np.uint8)
        y, x = (generator.integers(0, side - length + 1) for length in digit.shape)
        page[y : y + digit.shape[0], x : x + digit.shape[1]] = digit
    if generator.random() < 0.5:
        page = enlarged(page, generator)
    return on_grey(page, generator) if generator.random() < 0.5 else page


def is_empty(picture: Bytes) -> bool:
    return not mnist_style(picture).any()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=1000, help="how many papers, and how many digits of each sort")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    arguments = parser.parse_args()
    numbers = range(arguments.first, arguments.first + arguments.number)
    digits = load_mnist().train.images.numpy()

    def report(title: str, kinds: tuple[str, ...], found: list[bool]) -> None:
        print(f"{title}: {sum(found)} of {len(found)} taken for empty")
        for i, kind in enumerate(kinds):
            own = found[i :: len(kinds)]
            print(f"    {kind:24}{sum(own):5} of {len(own)}")

    def generator(i: int) -> np.random.Generator:
        return np.random.default_rng(i)

    blank = [is_empty(blank_paper(PAPERS[i % len(PAPERS)], generator(i))) for i in numbers]
    report("blank papers", PAPERS, blank)
    lone = [is_empty(placed(digits[i], PLACES[i % len(PLACES)], generator(i))) for i in numbers]
    report("digits", PLACES, lone)
    lit = [is_empty(on_paper(digits[i], PAPERS[i % len(PAPERS)], generator(i))) for i in numbers]
    report("digits on such papers", PAPERS, lit)


if __name__ == "__main__":
    main()
