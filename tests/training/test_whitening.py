import math

import pytest
import torch
from torch_geometric.data import Batch, Data

from grapheme_pyg.nn import DagNN
from grapheme_pyg.training.whitening import NOISE, whitening_matrices


def graph(x: list[list[float]], node_type: list[int]) -> Batch:
    return Batch.from_data_list([Data(x=torch.tensor(x), node_type=torch.tensor(node_type))])


def test_by_hand() -> None:
    # Type a has four nodes with deviations √(16 / 3) and √(4 / 3) that do not correlate; type b has one node only.
    dag = DagNN((["a", "b"], []), in_channels=2, hidden_channels=3)
    batches = [graph([[5, 1], [1, -1], [9, 9]], [0, 0, 1]), graph([[5, -1], [1, 1]], [0, 0])]
    found = whitening_matrices(dag, batches)
    assert list(found) == ["a"]
    expected = torch.tensor([math.sqrt(3 / 16), math.sqrt(3 / 4)]).diag() / math.sqrt(1 + NOISE)
    torch.testing.assert_close(found["a"].float(), expected)


def test_whitened_features_do_not_correlate() -> None:
    torch.manual_seed(0)
    dag = DagNN((["a"], []), in_channels=5, hidden_channels=3)
    x = torch.randn(1000, 5, dtype=torch.float64) @ torch.randn(5, 5, dtype=torch.float64) * 10 + 3
    [whitening] = whitening_matrices(dag, [Batch(x=x, node_type=torch.zeros(1000, dtype=torch.long))]).values()
    # Up to the noise, which shrinks directions of small variance.
    values = torch.linalg.eigvalsh((x @ whitening).t().cov())
    assert values.max() < 1
    assert values.min() > 0.5


@pytest.mark.parametrize("x", [[[1.0, 2.0]] * 3, [[0.0, 0.0]] * 2, [[1.0, 1.0], [2.0, 2.0]]])
def test_constant_and_equal_features(x: list[list[float]]) -> None:
    dag = DagNN((["a"], []), in_channels=2, hidden_channels=3)
    [whitening] = whitening_matrices(dag, [graph(x, [0] * len(x))]).values()
    assert whitening.isfinite().all()
    assert whitening.abs().max() <= 1000.001
