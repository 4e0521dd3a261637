import pytest
import torch

from grapheme_pyg.nn.planning import make_plan
from grapheme_pyg.nn.readout import Readout
from grapheme_pyg.nn.vocabulary import EdgeVocabulary

# Two levels, the first of two rounds: node types 0 and 1 are of level 0, node type 2 of level 1.
LEVELS, ROUNDS = [0, 0, 1], [0, 1, 0]
VOCABULARY = EdgeVocabulary((["a", "b", "c"], [("a", "to", "b"), ("b", "up", "c")]))
# 0 → 1 → 2 and 3 → 4, where node 4 has lost its way up; 5 stands alone.
EDGES, EDGE_TYPES = torch.tensor([[0, 1, 3], [1, 2, 4]]), torch.tensor([0, 1, 0])
TYPES = torch.tensor([0, 1, 2, 0, 1, 0])


def chosen(edge_index, edge_type, node_type, method="levels"):
    """The nodes that are pooled, kind by kind."""
    readout = Readout(LEVELS, ROUNDS, method).tables
    plan = make_plan(VOCABULARY, edge_index, edge_type, node_type, readout=readout)
    nodes = plan.pooled([generation.nodes - 1 for generation in plan.generations], node_type[:, None])
    return [rows[some.rows].flatten().tolist() for rows, some in zip(nodes, plan.chosen, strict=True)]


def test_levels_are_last_rounds_and_sinks() -> None:
    assert chosen(EDGES, EDGE_TYPES, TYPES) == [[1, 4, 5], [2]]


def test_sinks_are_all_together() -> None:
    assert chosen(EDGES, EDGE_TYPES, TYPES, "sinks") == [[2, 4, 5]]


def test_a_level_without_nodes_is_empty() -> None:
    assert chosen(EDGES[:, :0], EDGE_TYPES[:0], torch.tensor([2])) == [[], [0]]


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"readout: expected one of \('levels', 'sinks'\), got 'all'"):
        Readout(LEVELS, ROUNDS, "all")
