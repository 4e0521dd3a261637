import re
from itertools import pairwise

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grapheme_pyg.dag import CycleError, sinks, topological_levels
from grapheme_pyg.nn.planning import make_plan
from grapheme_pyg.nn.vocabulary import EdgeVocabulary


def edge_index(edges):
    return torch.tensor(edges, dtype=torch.int64).view(-1, 2).t().contiguous()


@pytest.mark.parametrize(
    ("edges", "num_nodes", "levels"),
    [
        pytest.param([(0, 1), (0, 2), (1, 3), (2, 3)], 4, [0, 1, 1, 2], id="diamond"),
        # 0 → 3 is short, 0 → 1 → 2 → 3 is long: the long one counts.
        pytest.param([(0, 3), (0, 1), (1, 2), (2, 3)], 4, [0, 1, 2, 3], id="skip edge"),
        pytest.param([(3, 1)], 5, [0, 1, 0, 0, 0], id="isolated nodes"),
        pytest.param([(2, 1), (1, 0)], 3, [2, 1, 0], id="against the numbering"),
        pytest.param([(0, 1), (0, 1), (0, 1), (1, 2), (1, 2)], 3, [0, 1, 2], id="parallel edges"),
        pytest.param([(0, 1), (2, 3), (3, 4)], 5, [0, 1, 0, 1, 2], id="two components"),
        pytest.param([], 3, [0, 0, 0], id="no edges"),
        pytest.param([], 0, [], id="no nodes"),
    ],
)
def test_levels_of_literal_graphs(edges, num_nodes, levels):
    result = topological_levels(edge_index(edges), num_nodes)
    assert result.dtype == torch.int64
    assert result.tolist() == levels


@st.composite
def dags(draw):
    """Edges that go forward in a random numbering of the nodes, some of them twice."""
    number = draw(st.permutations(range(draw(st.integers(1, 12)))))
    pairs = st.tuples(st.integers(0, len(number) - 1), st.integers(0, len(number) - 1))
    edges = [(min(pair), max(pair)) for pair in draw(st.lists(pairs, max_size=30)) if pair[0] != pair[1]]
    return [(number[source], number[target]) for source, target in edges], len(number)


@given(dags())
@settings(deadline=None, max_examples=60, derandomize=True, database=None)
def test_levels_are_longest_paths_and_generations(dag):
    edges, num_nodes = dag
    graph = nx.MultiDiGraph(edges)
    graph.add_nodes_from(range(num_nodes))
    levels = topological_levels(edge_index(edges), num_nodes).tolist()
    for generation, nodes in enumerate(nx.topological_generations(graph)):
        assert {node for node, level in enumerate(levels) if level == generation} == set(nodes)
    for node in range(num_nodes):
        ancestors = graph.subgraph(nx.ancestors(graph, node) | {node})
        assert levels[node] == nx.dag_longest_path_length(nx.DiGraph(ancestors.edges()))
    assert sinks(edge_index(edges), num_nodes).tolist() == [n for n in range(num_nodes) if not graph.out_degree(n)]


def named_cycle(edges, num_nodes):
    with pytest.raises(CycleError, match=r"^edge_index: expected a directed acyclic graph, got") as caught:
        topological_levels(edge_index(edges), num_nodes)
    assert isinstance(caught.value, ValueError)
    return [int(node) for node in re.search(r"cycle (.*) at edge", str(caught.value)).group(1).split(" → ")]


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        pytest.param([(0, 1), (1, 1), (1, 2)], {1}, id="self loop"),
        pytest.param([(0, 1), (1, 2), (2, 1)], {1, 2}, id="there and back"),
        # 0 → 1 leads into the cycle and 4 → 5 out of it; 5 waits in vain too, but is not of the cycle.
        pytest.param([(0, 1), (1, 2), (2, 3), (3, 4), (4, 2), (4, 5)], {2, 3, 4}, id="tails"),
        pytest.param([(4, 5), (5, 6), (0, 4), (3, 0), (0, 2), (2, 3), (6, 1)], {0, 2, 3}, id="long way out"),
        pytest.param([(0, 1), (1, 0), (0, 1)], {0, 1}, id="parallel edges"),
    ],
)
def test_cycle_is_named(edges, cycle):
    named = named_cycle(edges, 7)
    assert named[0] == named[-1]
    assert set(named) == cycle
    assert len(named) == len(cycle) + 1
    assert set(pairwise(named)) <= set(edges)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=14))
@settings(deadline=None, max_examples=60, derandomize=True, database=None)
def test_every_named_cycle_exists(edges):
    if nx.is_directed_acyclic_graph(nx.DiGraph(edges)):
        levels = topological_levels(edge_index(edges), 7).tolist()
        assert all(levels[source] < levels[target] for source, target in edges)
    else:
        named = named_cycle(edges, 7)
        assert named[0] == named[-1]
        assert len(set(named)) == len(named) - 1
        assert set(pairwise(named)) <= set(edges)


@pytest.mark.parametrize(
    ("edges", "num_nodes", "expected"),
    [
        ([(0, 1), (0, 2), (1, 3), (2, 3)], 4, [3]),
        ([(3, 1)], 5, [0, 1, 2, 4]),
        ([(0, 1), (1, 0)], 2, []),
        ([], 2, [0, 1]),
        ([], 0, []),
    ],
)
def test_sinks(edges, num_nodes, expected):
    assert sinks(edge_index(edges), num_nodes).tolist() == expected


THREE = EdgeVocabulary((["a", "b", "c"], [("a", "to", "b"), ("b", "to", "c"), ("a", "to", "c")]))
ONE = EdgeVocabulary((["a"], [("a", "to", "a")]))


def check(vocabulary=THREE, **changes):
    """Plans 0 → 2, 1 → 2, 2 → 3, 0 → 3, of node types 0, 0, 1, 2 and one edge type for each pair."""
    graph = {
        "edge_index": edge_index([(0, 2), (1, 2), (2, 3), (0, 3)]),
        "edge_type": torch.tensor([0, 0, 1, 2]),
        "node_type": torch.tensor([0, 0, 1, 2]),
        "level": torch.tensor([0, 0, 1, 2]),
        "num_nodes": 4,
    }
    make_plan(vocabulary, **(graph | changes))


NO_EDGES = {"edge_index": edge_index([]), "edge_type": torch.tensor([], dtype=torch.int64)}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"level": None},
        {"level": torch.tensor([3, 0, 7, 9])},
        NO_EDGES,
        NO_EDGES | {"level": None},
        NO_EDGES
        | {
            "num_nodes": 0,
            "node_type": torch.tensor([], dtype=torch.int64),
            "level": torch.tensor([], dtype=torch.int64),
        },
    ],
    ids=["graph", "no levels", "levels with gaps", "no edges", "no edges, no levels", "nothing"],
)
def test_valid_graphs_pass(changes):
    check(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_index": torch.zeros(2, 4)}, r"edge_index: expected dtype torch.int64, got torch.float32"),
        ({"edge_type": torch.zeros(4).int()}, r"edge_type: expected dtype torch.int64, got torch.int32"),
        ({"node_type": torch.zeros(4).bool()}, r"node_type: expected dtype torch.int64, got torch.bool"),
        ({"level": torch.zeros(4)}, r"level: expected dtype torch.int64, got torch.float32"),
        ({"edge_index": edge_index([(0, 2)])}, r"edge_type: expected shape \[1\], got \[4\]"),
        ({"edge_index": edge_index([(0, 2)] * 4).t()}, r"edge_index: expected shape \[2, 4\], got \[4, 2\]"),
        ({"edge_type": torch.tensor([[0, 0, 1, 2]])}, r"edge_.*: expected shape"),
        ({"edge_type": torch.tensor(0)}, r"edge_.*: expected shape"),
        ({"node_type": torch.tensor([0, 0, 1])}, r"node_type: expected shape \[4\], got \[3\]"),
        ({"level": torch.tensor([0, 0, 1, 2, 2])}, r"level: expected shape \[4\], got \[5\]"),
        (
            {"edge_index": edge_index([(0, 2), (1, 2), (2, 4), (0, 3)])},
            r"edge_index: expected values in \[0, 4\), got 4 at edge 2",
        ),
        (
            {"edge_index": edge_index([(0, 2), (-1, 2), (2, 3), (0, 3)])},
            r"edge_index: expected values in \[0, 4\), got -1 at edge 1",
        ),
        (
            {"edge_type": torch.tensor([0, 0, 1, 3])},
            r"edge_type: expected values in \[0, 3\), got 3 at edge 3",
        ),
        (
            {"edge_type": torch.tensor([-2, 0, 1, 2])},
            r"edge_type: expected values in \[0, 3\), got -2 at edge 0",
        ),
        (
            {"node_type": torch.tensor([0, 0, 5, 2])},
            r"node_type: expected values in \[0, 3\), got 5 at node 2",
        ),
        (
            {"node_type": torch.tensor([0, -1, 1, 2])},
            r"node_type: expected values in \[0, 3\), got -1 at node 1",
        ),
        ({"num_nodes": 0, "node_type": NO_EDGES["edge_type"], "level": None}, r"edge_index: .* \[0, 0\), got"),
        ({"level": torch.tensor([0, -3, 1, 2])}, r"level: expected values in \[0, 2147483648\), got -3 at node 1"),
        (NO_EDGES | {"level": torch.tensor([0, 0, 0, -1])}, r"level: expected values in .*, got -1 at node 3"),
        # Edge 3 is 0 → 3, of node types 0 and 2, but type 1 goes from node type 1 to node type 2.
        (
            {"edge_type": torch.tensor([0, 0, 1, 1])},
            r"edge_type: expected edge 3 of type 1 to join node types \[1, 2\], got \[0, 2\]",
        ),
        # The right node types the wrong way round.
        (
            {"edge_index": edge_index([(2, 0), (1, 2), (2, 3), (0, 3)])},
            r"edge_type: expected edge 0 of type 0 to join node types \[0, 1\], got \[1, 0\]",
        ),
        (
            {"level": torch.tensor([0, 1, 1, 2])},
            r"level: expected level\[source\] < level\[target\], got 1 and 1 at edge 1 \(1 → 2\)",
        ),
        (
            {"level": torch.tensor([0, 0, 3, 2])},
            r"level: expected level\[source\] < level\[target\], got 3 and 2 at edge 2 \(2 → 3\)",
        ),
    ],
)
def test_errors_name_argument_place_value_and_range(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        check(**changes)


def test_cycle_is_named_rather_than_the_level_that_it_spoils():
    types = {"edge_type": torch.tensor([0, 0, 0]), "node_type": torch.tensor([0, 0, 0, 0])}
    cycle = edge_index([(0, 1), (1, 2), (2, 1)])
    with pytest.raises(CycleError, match=r"got the cycle (1 → 2 → 1 at edge 1|2 → 1 → 2 at edge 2)$"):
        check(ONE, **types, edge_index=cycle)
