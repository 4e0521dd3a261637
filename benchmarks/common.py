"""Helpers that several benchmarks use: MNIST's training and validation images, and a mean with its deviation."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from grapheme_pyg.datasets import Split, load_idx_data

VALIDATION = 5000
RESULTS = Path(__file__).parent / "results"


def split_mnist() -> tuple[Split, Split]:
    """MNIST's training images without the last 5,000, and these."""
    images, labels = load_idx_data("mnist").train
    return Split(images[:-VALIDATION], labels[:-VALIDATION]), Split(images[-VALIDATION:], labels[-VALIDATION:])


def spread(values: Sequence[float]) -> str:
    """Mean and, of several values, standard deviation, in per cent."""
    mean = f"{100 * statistics.mean(values):.2f}"
    return f"{mean} ± {100 * statistics.stdev(values):.2f} %" if len(values) > 1 else f"{mean} %"
