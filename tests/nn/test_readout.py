import pytest
import torch

from grapheme_pyg.nn.readout import Readout

# Two levels, the first of two rounds: node types 0 and 1 are of level 0, node type 2 of level 1.
LEVELS, ROUNDS = [0, 0, 1], [0, 1, 0]
# 0 → 1 → 2 and 3 → 4, where node 4 has lost its way up; 5 stands alone.
EDGES = torch.tensor([[0, 1, 3], [1, 2, 4]])
TYPES = torch.tensor([0, 1, 2, 0, 1, 0])


def test_levels_are_last_rounds_and_sinks() -> None:
    chosen = Readout(LEVELS, ROUNDS)(EDGES, TYPES, 6)
    assert [nodes.tolist() for nodes in chosen] == [[1, 4, 5], [2]]


def test_sinks_are_all_together() -> None:
    assert [nodes.tolist() for nodes in Readout(LEVELS, ROUNDS, "sinks")(EDGES, TYPES, 6)] == [[2, 4, 5]]


def test_a_level_without_nodes_is_empty() -> None:
    chosen = Readout(LEVELS, ROUNDS)(torch.zeros(2, 0, dtype=torch.int64), torch.tensor([2]), 1)
    assert [nodes.tolist() for nodes in chosen] == [[], [0]]


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"readout: expected one of \('levels', 'sinks'\), got 'all'"):
        Readout(LEVELS, ROUNDS, "all")
    with pytest.raises(ValueError, match=r"node_type: expected values in \[0, 3\), got 7 at node 5"):
        Readout(LEVELS, ROUNDS)(EDGES, torch.tensor([0, 1, 2, 0, 1, 7]), 6)
    with pytest.raises(ValueError, match=r"node_type: expected shape \[6\], got \[5\]"):
        Readout(LEVELS, ROUNDS)(EDGES, TYPES[:5], 6)
    with pytest.raises(ValueError, match=r"node_type: expected dtype torch.int64, got torch.float32"):
        Readout(LEVELS, ROUNDS)(EDGES, TYPES.float(), 6)
