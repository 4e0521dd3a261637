"""What is refused of a graph of four nodes and three edges, in two graphs, with kernels and without."""

import pytest
import torch

from grapheme_pyg import native
from grapheme_pyg.dag import CycleError
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.graph_checks import check_finite, check_labels, count_graphs
from grapheme_pyg.nn.graph_input import GraphFields

# Two graphs: 0 → 1 twice, 2 → 3.
GOOD = {
    "x": torch.ones(4, 2),
    "edge_index": torch.tensor([[0, 0, 2], [1, 1, 3]]),
    "edge_type": torch.tensor([0, 1, 0]),
    "node_type": torch.tensor([0, 1, 0, 1]),
    "level": torch.tensor([0, 5, 1, 2]),
    "edge_attr": torch.zeros(3, 1),
    "batch": torch.tensor([0, 0, 1, 1]),
    "num_graphs": 2,
}


def dag():
    return DagNN((["a", "b"], [("a", "near", "b"), ("a", "far", "b"), ("b", "near", "a")]), 2, 3, edge_dim=1).input


def check(network, *fields, **named):
    return network.check(GraphFields(*fields, **named), torch.float32)


@pytest.fixture(params=[True, False], ids=["kernels", "operators"], autouse=True)
def way(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(native, "compiled", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, r"x: expected a tensor, got NoneType"),
        ({"x": torch.ones(4, 2).to_sparse()}, r"x: expected a dense tensor, got one of layout torch.sparse_coo"),
        ({"edge_type": [0, 1, 0]}, r"edge_type: expected a tensor, got list"),
        ({"level": torch.zeros(4, dtype=torch.int64, device="meta")}, r"level: expected device cpu, as of x, got meta"),
        ({"edge_index": torch.zeros(3, 2, dtype=torch.int64)}, r"edge_index: expected shape \[2, 3\], got \[3, 2\]"),
        ({"edge_type": torch.tensor([0, 1])}, r"edge_type: expected shape \[3\], got \[2\]"),
        ({"batch": torch.tensor([0, 1, 0, 1])}, r"batch: expected ascending .* got 0 at node 2, after 1"),
        ({"batch": torch.tensor([0, 0, 1])}, r"batch: expected shape \[4\], got \[3\]"),
        ({"batch": torch.tensor([0, 0, 1, 2])}, r"batch: expected values in \[0, 2\), got 2 at node 3"),
        ({"batch": None}, r"batch: expected the graph of each node, of 2 graphs, got None"),
        ({"batch": torch.tensor([0, 1, 1, 1])}, r"edge_index: .* got graphs 0 and 1 at edge 0 \(0 → 1\)"),
        (
            {"edge_type": torch.tensor([0, 2, 0])},
            r"edge_type: edge 1 of type 2 joins node types \[1, 0\], got \[0, 1\]",
        ),
        ({"level": torch.tensor([0, 5, 1, 1])}, r"level: .* got 1 and 1 at edge 2 \(2 → 3\)"),
        ({"level": torch.tensor([0, 5, 1, 2**31])}, r"level: expected values in \[0, 2147483648\), got 2147483648"),
        # The first edge with a wrong end, though it lies in the second row.
        (
            {"edge_index": torch.tensor([[0, 0, 9], [1, 4, 3]])},
            r"edge_index: expected values in \[0, 4\), got 4 at edge 1",
        ),
        ({"x": torch.tensor([[1, 1], [1, torch.nan], [1, 1], [1, 1]])}, r"x: .* got nan at node 1, column 1"),
        ({"edge_attr": torch.tensor([[0.0], [-torch.inf], [0]])}, r"edge_attr: .* got -inf at edge 1, column 0"),
        ({"edge_attr": None}, r"edge_attr: expected torch.float32 of shape \[3, 1\], got None"),
    ],
)
def test_errors_name_field_place_value_and_range(changes, message):
    check(dag(), **GOOD)
    with pytest.raises(GraphError, match=f"^{message}"):
        check(dag(), **(GOOD | changes))


def test_cycles_are_named_with_an_edge():
    model = DagNN((["a"], [("a", "to", "a")]), 1, 1).input
    fields = {
        "x": torch.ones(3, 1),
        "edge_index": torch.tensor([[0, 2, 1], [1, 1, 2]]),
        "edge_type": torch.zeros(3).long(),
    }
    for level in (None, torch.tensor([0, 1, 2])):
        with pytest.raises(CycleError, match=r"at edge (1 the cycle 2 → 1 → 2|2 the cycle 1 → 2 → 1)$"):
            check(model, **fields, level=level)


def test_long_cycles_are_cut_short():
    model = DagNN((["a"], [("a", "to", "a")]), 1, 1).input
    ends = torch.arange(1000)
    with pytest.raises(CycleError) as caught:
        check(model, torch.ones(1000, 1), torch.stack([ends, (ends + 1) % 1000]), torch.zeros(1000).long())
    assert "→ … →" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_is_missing_is_made():
    model = DagNN((["a"], [("a", "to", "a")]), 1, 1).input
    graph = check(model, torch.ones(3, 1), torch.tensor([[2], [0]]), torch.tensor([0]))
    assert (graph.node_type.tolist(), graph.level.tolist(), graph.num_graphs) == ([0, 0, 0], [1, 0, 0], 1)


def test_large_finite_features_are_finite():
    # The difference of the two is not.
    check_finite("x", "node", torch.tensor([[3e38, -3e38]]))
    check_finite("x", "node", torch.zeros(0, 3))


@pytest.mark.parametrize(("batch", "number"), [(None, 1), ([0, 0, 1], 2), ([1, 1, 2], 3), ([], 0)])
def test_graphs_are_counted(batch, number):
    shape = (3 if batch is None else len(batch), 2)
    assert count_graphs(None if batch is None else torch.tensor(batch, dtype=torch.int64), shape) == number


def test_a_graph_number_does_not_claim_memory():
    with pytest.raises(GraphError, match=r"batch: expected values in \[0, 2\), got 1099511627776 at node 1"):
        count_graphs(torch.tensor([0, 2**40]), (2, 5))


def test_labels():
    check_labels(torch.tensor([0, 9]), 2, 10)
    with pytest.raises(GraphError, match=r"y: expected values in \[0, 10\), got 10 at graph 1"):
        check_labels(torch.tensor([0, 10]), 2, 10)
    with pytest.raises(GraphError, match=r"y: expected a tensor, got NoneType"):
        check_labels(None, 2, 10)
