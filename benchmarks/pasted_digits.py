"""Digits as they come from elsewhere, brought back by `mnist_style`: does the model still read them?

    python examples/train_mnist.py --run-dir runs/mnist
    python benchmarks/pasted_digits.py --model runs/mnist/model

Test digits of MNIST are pasted at random places of larger pages, enlarged, inverted, put on grey paper that is lit from
one side. All are classified after `mnist_style`; the first line is of the digits as they are.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.datasets import load_mnist
from grapheme_pyg.datasets.mnist_style import mnist_style

Bytes = NDArray[np.uint8]
Change = Callable[[Bytes, np.random.Generator], Bytes]
FACTOR = 5
# Brightness at both ends of the paper, and how much of it is left under full ink.
PAPER, INK = (90, 230), 0.25


def elsewhere(digit: Bytes, generator: np.random.Generator) -> Bytes:
    """On a black page of twice the side, at a random place."""
    height, width = digit.shape
    page = np.zeros((2 * height, 2 * width), np.uint8)
    y, x = generator.integers(0, height + 1), generator.integers(0, width + 1)
    page[y : y + height, x : x + width] = digit
    return page


def enlarged(digit: Bytes, generator: np.random.Generator) -> Bytes:  # noqa: ARG001
    """By `FACTOR`, with cubic interpolation."""
    height, width = digit.shape
    return np.asarray(Image.fromarray(digit).resize((FACTOR * width, FACTOR * height), Image.Resampling.BICUBIC))


def inverted(digit: Bytes, generator: np.random.Generator) -> Bytes:  # noqa: ARG001
    """Dark ink on light."""
    return 255 - digit


def on_grey(digit: Bytes, generator: np.random.Generator) -> Bytes:
    """Dark ink on grey paper whose light falls from a random side, with noise as of a camera."""
    angle = generator.uniform(0, 2 * np.pi)
    y, x = np.mgrid[: digit.shape[0], : digit.shape[1]] / max(digit.shape)
    slope = y * np.sin(angle) + x * np.cos(angle)
    slope = (slope - slope.min()) / (slope.max() - slope.min())
    paper = PAPER[0] + (PAPER[1] - PAPER[0]) * slope
    noisy = paper * (1 - (1 - INK) * digit / 255) + generator.normal(0, 3, digit.shape)
    page: Bytes = noisy.round().clip(0, 255).astype(np.uint8)
    return page


def everything(digit: Bytes, generator: np.random.Generator) -> Bytes:
    """Elsewhere, enlarged, on grey paper; half of them inverted, as chalk on a board."""
    page = on_grey(enlarged(elsewhere(digit, generator), generator), generator)
    return inverted(page, generator) if generator.random() < 0.5 else page


CHANGES: dict[str, Change] = {
    "none": lambda digit, _: digit,
    "elsewhere": elsewhere,
    f"enlarged {FACTOR} times": enlarged,
    "inverted": inverted,
    "on grey paper": on_grey,
    "all of these": everything,
}


def changed(digits: Tensor, change: Change, seed: int = 0) -> list[Bytes]:
    """Changes each digit.

    Args:
        digits: uint8 ``[N, H, W]``, light ink on 0.
        change: One of ``CHANGES``.
        seed: Of what is random in it.
    """
    generator = np.random.default_rng(seed)
    return [change(digit, generator) for digit in digits.numpy()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of a trained model")
    parser.add_argument("--number", type=int, default=1000, help="how many digits")
    parser.add_argument("--split", choices=("train", "test"), default="test")
    arguments = parser.parse_args()
    model = ImageClassificationModel.from_pretrained(arguments.model)
    data = load_mnist()
    images, labels = (part[: arguments.number] for part in (data.test if arguments.split == "test" else data.train))
    expected = [model.classes[label] for label in labels.tolist()]

    def accuracy(pictures: Tensor) -> float:
        found = model.predict(pictures).labels
        hits: int = sum(one == other for one, other in zip(found, expected, strict=True))
        return 100 * hits / len(expected)

    print(f"{'as they are':22}{accuracy(images):6.1f} %")
    for name, change in CHANGES.items():
        pictures = torch.stack([mnist_style(picture) for picture in changed(images, change)])
        print(f"{name:22}{accuracy(pictures):6.1f} %", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"pasted_digits.py: {error}")
