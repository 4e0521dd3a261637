"""What is refused of a graph of four nodes and three edges, in two graphs, with kernels and without."""

from contextlib import nullcontext

import pytest
import torch

from grapheme_pyg.dag import CycleError
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.graph_checks import check_device, check_finite, check_labels, to_features
from grapheme_pyg.testing import plain_operators

# Two graphs: 0 → 1 twice, 2 → 3.
GOOD = {
    "edge_index": torch.tensor([[0, 0, 2], [1, 1, 3]]),
    "edge_type": torch.tensor([0, 1, 0]),
    "node_type": torch.tensor([0, 1, 0, 1]),
    "level": torch.tensor([0, 5, 1, 2]),
    "batch": torch.tensor([0, 0, 1, 1]),
    "num_nodes": 4,
    "num_graphs": 2,
}


def dag():
    return DagNN((["a", "b"], [("a", "near", "b"), ("a", "far", "b"), ("b", "near", "a")]), 2, 3, edge_dim=1)


def chain():
    return DagNN((["a"], [("a", "to", "a")]), 1, 1)


@pytest.fixture(params=[True, False], ids=["kernels", "operators"], autouse=True)
def way(request):
    with nullcontext() if request.param else plain_operators():
        yield


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_type": [0, 1, 0]}, r"edge_type: expected a tensor, got list"),
        ({"edge_index": None}, r"edge_index: expected a tensor, got NoneType"),
        ({"level": GOOD["level"].to_sparse()}, r"level: expected a dense tensor, got one of layout torch.sparse_coo"),
        ({"level": GOOD["level"].to("meta")}, r"level: expected device cpu, like edge_index, got meta"),
        ({"batch": GOOD["batch"].to("meta")}, r"batch: expected device cpu, like edge_index, got meta"),
        ({"edge_index": GOOD["edge_index"].to("meta")}, r"edge_index: .* got one on the device meta"),
        ({"edge_index": torch.zeros(3, 2, dtype=torch.int64)}, r"edge_index: expected shape \[2, 3\], got \[3, 2\]"),
        ({"edge_index": torch.zeros(2, 3)}, r"edge_index: expected dtype torch.int64, got torch.float32"),
        ({"edge_type": torch.tensor([0, 1])}, r"edge_type: expected shape \[3\], got \[2\]"),
        ({"node_type": None}, r"node_type: expected one of 2 types for each node, got None"),
        ({"node_type": torch.tensor([0, 2, 0, 1])}, r"node_type: expected values in \[0, 2\), got 2 at node 1"),
        ({"node_type": torch.tensor([0, 1, 0])}, r"node_type: expected shape \[4\], got \[3\]"),
        ({"batch": torch.tensor([0, 1, 0, 1])}, r"batch: expected ascending .* got 0 at node 2, after 1"),
        ({"batch": torch.tensor([0, 0, 1])}, r"batch: expected shape \[4\], got \[3\]"),
        ({"batch": torch.tensor([0, 0, 1, 2])}, r"batch: expected values in \[0, 2\), got 2 at node 3"),
        ({"batch": None}, r"batch: expected the graph of each node, of 2 graphs, got None"),
        ({"batch": torch.tensor([0, 1, 1, 1])}, r"edge_index: .* got graphs 0 and 1 at edge 0 \(0 → 1\)"),
        (
            {"edge_type": torch.tensor([0, 2, 0])},
            r"edge_type: expected edge 1 of type 2 to join node types \[1, 0\], got \[0, 1\]",
        ),
        ({"level": torch.tensor([0, 5, 1, 1])}, r"level: .* got 1 and 1 at edge 2 \(2 → 3\)"),
        # Levels so high would wrap around.
        *(
            ({"level": torch.tensor([0, 5, 1, high])}, rf"level: expected values in \[0, 2147483648\), got {high} at")
            for high in (2**31, 2**62, 2**63 - 1)
        ),
        # The first edge with a wrong end, though it lies in the second row.
        (
            {"edge_index": torch.tensor([[0, 0, 9], [1, 4, 3]])},
            r"edge_index: expected values in \[0, 4\), got 4 at edge 1",
        ),
    ],
)
def test_errors_name_field_place_value_and_range(changes, message):
    dag().plan(**GOOD)
    with pytest.raises(GraphError, match=f"^{message}"):
        dag().plan(**(GOOD | changes))


def test_the_highest_level():
    plan = dag().plan(**(GOOD | {"level": torch.tensor([0, 5, 1, 2**31 - 1])}))
    assert [generation.level for generation in plan.generations] == [0, 1, 5, 2**31 - 1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, r"x: expected a tensor, got NoneType"),
        (torch.ones(4, 2).to_sparse(), r"x: expected a dense tensor, got one of layout torch.sparse_coo"),
        (torch.ones(4, 2).long(), r"x: expected a floating-point dtype, got torch.int64"),
        (torch.ones(3, 2), r"x: expected shape \[4, at least 2\], got \[3, 2\]"),
        (torch.ones(4, 1), r"x: expected shape \[4, at least 2\], got \[4, 1\]"),
        (torch.ones(4), r"x: expected shape \[4, at least 2\], got \[4\]"),
        (torch.tensor([[1, 1], [1, torch.nan], [1, 1], [1, 1]]), r"x: .* got nan at node 1, column 1"),
        (torch.tensor([[1, 1], [1, 1], [-torch.inf, 1], [1, 1]]), r"x: .* got -inf at node 2, column 0"),
        # Too large for the dtype that they are computed in.
        (torch.full((4, 2), 1e300, dtype=torch.float64), r"x: .* got inf at node 0, column 0"),
    ],
)
def test_errors_of_features_name_place_and_value(values, message):
    assert to_features("x", "node", torch.ones(4, 3).half(), (4, 2), torch.float32).dtype == torch.float32
    with pytest.raises(GraphError, match=f"^{message}"):
        to_features("x", "node", values, (4, 2), torch.float32)


def test_edges_have_attributes():
    with pytest.raises(GraphError, match=r"^edge_attr: .* got -inf at edge 1, column 0"):
        to_features("edge_attr", "edge", torch.tensor([[0.0], [-torch.inf], [0]]), (3, 1), torch.float32)
    x, plan = torch.ones(4, 2), dag().plan(**GOOD)
    with pytest.raises(GraphError, match=r"^edge_attr: expected torch.float32 of shape \[3, 1\], got None"):
        dag()(x, plan)


def test_where_weights_are_is_where_one_computes():
    check_device("x", torch.ones(1), dag())
    with pytest.raises(GraphError, match=r"^x: expected device meta, like the weights, got cpu"):
        check_device("x", torch.ones(1), dag().to("meta"))


def test_cycles_are_named_with_an_edge():
    fields = {"edge_index": torch.tensor([[0, 2, 1], [1, 1, 2]]), "edge_type": torch.zeros(3).long(), "num_nodes": 3}
    for level in (None, torch.tensor([0, 1, 2])):
        with pytest.raises(CycleError, match=r"got the cycle (2 → 1 → 2 at edge 1|1 → 2 → 1 at edge 2)$"):
            chain().plan(**fields, level=level)


def test_long_cycles_are_cut_short():
    ends = torch.arange(1000)
    with pytest.raises(CycleError) as caught:
        chain().plan(torch.stack([ends, (ends + 1) % 1000]), torch.zeros(1000).long(), num_nodes=1000)
    assert "→ … →" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_is_missing_is_made():
    edge_index, edge_type = torch.tensor([[2], [0]]), torch.tensor([0])
    plan = chain().plan(edge_index, edge_type, num_nodes=3)
    assert [(generation.level, generation.nodes.tolist()) for generation in plan.generations] == [
        (0, [[2], [3]]),
        (1, [[1]]),
    ]
    assert plan.num_graphs == 1
    with pytest.raises(GraphError, match="num_nodes: expected the number of nodes, got None and no field that determines"):
        chain().plan(edge_index, edge_type)


def test_large_finite_features_are_finite():
    # The difference of the two is not.
    check_finite("x", "node", torch.tensor([[3e38, -3e38]]))
    check_finite("x", "node", torch.zeros(0, 3))


@pytest.mark.parametrize(("batch", "number"), [(None, 1), ([0, 0, 1], 2), ([1, 1, 2], 3), ([], 0)])
def test_graphs_are_counted(batch, number):
    empty, num_nodes = torch.zeros(2, 0, dtype=torch.int64), 3 if batch is None else len(batch)
    graph = None if batch is None else torch.tensor(batch, dtype=torch.int64)
    plan = chain().plan(empty, empty[0], batch=graph, num_nodes=num_nodes)
    assert plan.num_graphs == number


def test_a_graph_number_does_not_claim_memory():
    empty = torch.zeros(2, 0, dtype=torch.int64)
    with pytest.raises(GraphError, match=r"batch: expected values in \[0, 2\), got 1099511627776 at node 1"):
        chain().plan(empty, empty[0], batch=torch.tensor([0, 2**40]))


def test_labels():
    check_labels(torch.tensor([0, 9]), 2, 10)
    with pytest.raises(GraphError, match=r"y: expected values in \[0, 10\), got 10 at graph 1"):
        check_labels(torch.tensor([0, 10]), 2, 10)
    with pytest.raises(GraphError, match=r"y: expected a tensor, got NoneType"):
        check_labels(None, 2, 10)
