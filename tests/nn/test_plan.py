"""Plans: values worked out by hand, what they refuse, and that they travel."""

import io
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import Batch
from typed_graphs import METADATA, random_dag

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.dag import topological_levels
from grapheme_pyg.datasets import Split
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.plan import Plan
from grapheme_pyg.nn.planning import make_plan
from grapheme_pyg.nn.vocabulary import EdgeVocabulary
from grapheme_pyg.testing import plain_operators

# Two node types; a graph of 0 → 2 and 1 → 2 along "near" and 2 → 3 along "up", 4 alone.
VOCABULARY = EdgeVocabulary((["a", "b"], [("a", "far", "a"), ("a", "near", "a"), ("a", "up", "b")]))
EDGES, TYPES = torch.tensor([[0, 1, 2], [2, 2, 3]]), torch.tensor([1, 1, 2])
NODES, LEVEL = torch.tensor([0, 0, 0, 1, 0]), torch.tensor([0, 0, 1, 2, 0])


def test_by_hand() -> None:
    readout = torch.tensor([0, 1]), torch.tensor([False, True]), 2
    plan = make_plan(VOCABULARY, EDGES, TYPES, NODES, LEVEL, number_edges=True, readout=readout)
    first, second, third = plan.generations
    assert [(one.level, one.node_type, one.nodes.flatten().tolist()) for one in plan.generations] == [
        (0, 0, [1, 2, 5]),
        (1, 0, [3]),
        (2, 1, [4]),
    ]
    assert first.sources == ()
    # Two edges of one type into node 2: their mean is the one row that is read.
    (near,) = second.sources
    assert (near.pair, near.generations, near.rows.tolist()) == ("a__a", (0,), [[0, 1]])
    assert near.segments is not None
    assert near.edges is not None
    assert [part.tolist() for part in (*near.segments, near.edges)] == [[0, 1], [0], [0, 0], [0, 1]]
    assert near.readers is not None
    assert near.readers.tolist() == [[0, 1]]
    (up,) = third.sources
    assert (up.pair, up.generations, up.rows.tolist(), up.segments) == ("a__b", (1,), [[1]], None)
    assert up.edges is not None
    assert up.edges.tolist() == [[3]]
    # Of the first kind the sink, node 4, which is the third row of its generation; of the second node 3.
    assert plan.pooled_generations == ((0,), (2,))
    assert [(one.rows.tolist(), one.first.tolist()) for one in plan.chosen if one.rows is not None] == [
        ([2], [0, 1]),
        ([0], [0, 1]),
    ]


def test_expected_generations_are_there_without_nodes() -> None:
    plan = make_plan(
        VOCABULARY, EDGES[:, :2], TYPES[:2], NODES[:3], LEVEL[:3], expected=[(0, 0), (1, 0), (2, 1), (3, 1)]
    )
    assert [(one.level, one.num_nodes) for one in plan.generations] == [(0, 2), (1, 1), (2, 0), (3, 0)]
    # Without edges, the last generation before is read.
    assert [(read.pair, read.generations, read.rows.shape) for read in plan.generations[3].sources] == [
        ("a__b", (1,), (0, 1))
    ]


@settings(deadline=None, max_examples=60)
@given(st.integers(12, 40), st.integers(0, 150), st.integers(0, 2**16), st.booleans(), st.booleans())
def test_kernels_plan_as_plain_operators_do(nodes: int, edges: int, seed: int, sparse: bool, expects: bool) -> None:
    graph = random_dag(nodes, edges, seed)
    level = topological_levels(graph["edge_index"], nodes) * (2**20 if sparse else 1)
    expected = [(at, kind) for at in range(8) for kind in range(3)] if expects else []
    readout = torch.tensor([0, 1, 0]), torch.tensor([True, False, False]), 2

    def planned() -> Plan:
        fields = graph["edge_index"], graph["edge_type"], graph["node_type"], level
        return make_plan(EdgeVocabulary(METADATA), *fields, expected=expected, number_edges=True, readout=readout)

    came = planned()
    with plain_operators():
        other = planned()
    for one, two in zip(came.tables.sweep, other.tables.sweep, strict=True):
        assert torch.equal(one, two)
    assert came.tables.readout is not None
    assert other.tables.readout is not None
    for one, two in zip(came.tables.readout, other.tables.readout, strict=True):
        assert torch.equal(one, two)


@pytest.fixture(scope="module")
def model() -> ImageClassificationModel:
    torch.manual_seed(0)
    return ImageClassificationModel.from_preset("tiny").eval()


def batch_of(model: ImageClassificationModel, digits: tuple[Split, Split], start: int = 0, number: int = 5) -> Batch:
    return model.vision.batch(digits[0].images[start : start + number])


def test_a_model_with_its_plan(model: ImageClassificationModel, digits: tuple[Split, Split]) -> None:
    batch = batch_of(model, digits)
    plan = model.plan(batch)
    with torch.no_grad():
        expected = model(batch)
        assert torch.equal(model(batch, plan), expected)
        # It goes into a file and comes back.
        file = io.BytesIO()
        pickle.dump(plan, file)
        assert torch.equal(model(batch, pickle.loads(file.getvalue())), expected)


class Planning:
    """What a loading process does: makes graphs, and plans them."""

    def __init__(self, model: ImageClassificationModel) -> None:
        self.model = model

    def __call__(self, images: list[Tensor]) -> tuple[Batch, Plan]:
        batch = self.model.vision.batch(torch.stack(images)[:, None])
        return batch, self.model.plan(batch)


@pytest.mark.slow
def test_loading_processes_plan(model: ImageClassificationModel, digits: tuple[Split, Split]) -> None:
    images = list(digits[0].images[:6])
    context = "forkserver"
    loader = DataLoader(
        images, batch_size=3, num_workers=1, collate_fn=Planning(model), multiprocessing_context=context
    )
    with torch.no_grad():
        came = torch.cat([model(batch, plan) for batch, plan in loader])
        assert torch.equal(
            came, torch.cat([model(model.vision.batch(torch.stack(images[i : i + 3])[:, None])) for i in (0, 3)])
        )


def test_plans_of_one_size_have_one_form(model: ImageClassificationModel, digits: tuple[Split, Split]) -> None:
    def form(plan: Plan) -> list[Any]:
        found: list[Any] = [(one.level, one.node_type) for one in plan.generations]
        found += [(read.pair, read.generations) for one in plan.generations for read in one.sources]
        return [*found, plan.pooled_generations]

    forms = [form(model.plan(batch_of(model, digits, start, number))) for start, number in ((0, 5), (5, 40), (45, 1))]
    assert forms[0] == forms[1] == forms[2]


@pytest.mark.parametrize("size", [torch.nan, torch.inf, 2**62, -5, None])
def test_a_size_that_is_none_changes_no_result(
    size: float | None, model: ImageClassificationModel, digits: tuple[Split, Split]
) -> None:
    batch = batch_of(model, digits)
    with torch.no_grad():
        expected = model(batch)
        batch.image_size = None if size is None else torch.full((5, 2), size)
        torch.testing.assert_close(model(batch), expected, rtol=0, atol=1e-5)


class TestRefuses:
    def test_features_of_another_graph(self, model: ImageClassificationModel, digits: tuple[Split, Split]) -> None:
        batch, other = batch_of(model, digits), batch_of(model, digits, 5)
        with pytest.raises(GraphError, match=rf"x: expected shape \[{other.num_nodes}, at least 16\], got"):
            model(batch, model.plan(other))

    def test_a_plan_without_readout(self, model: ImageClassificationModel, digits: tuple[Split, Split]) -> None:
        batch = batch_of(model, digits)
        plan = model.dag.plan(batch.edge_index, batch.edge_type, batch.node_type, batch.level)
        with pytest.raises(GraphError, match=r"plan: expected one that the model's plan\(\) made, with its readout"):
            model(batch, plan)

    def test_a_plan_without_numbers_of_edges(self) -> None:
        dag = DagNN((["n"], [("n", "to", "n")]), 1, 2, fused=False)
        plan = dag.plan(torch.tensor([[0], [1]]), torch.tensor([0]), num_nodes=2, number_edges=False)
        with pytest.raises(GraphError, match="plan: expected one whose edges are numbered"):
            dag(torch.ones(2, 1), plan)

    def test_a_plan_on_another_device(self) -> None:
        dag = DagNN((["n"], [("n", "to", "n")]), 1, 2)
        plan = dag.plan(torch.tensor([[0], [1]]), torch.tensor([0]), num_nodes=2)
        with pytest.raises(GraphError, match="plan: expected one on cpu, as x is, got one on meta"):
            dag(torch.ones(2, 1), replace(plan, tables=plan.tables.to("meta")))

    @pytest.mark.parametrize("field", ["rows", "sources", "nodes", "edges"])
    def test_a_plan_from_elsewhere_that_reads_what_is_not_there(self, field: str) -> None:
        plan = make_plan(VOCABULARY, EDGES, TYPES, NODES, LEVEL, number_edges=True)
        spoilt = getattr(plan.tables.sweep, field).clone()
        spoilt[0] = 1000
        sweep = plan.tables.sweep._replace(**{field: spoilt})
        wrong = replace(plan, tables=replace(plan.tables, sweep=sweep))
        with pytest.raises(ValueError, match=rf"{field}: expected values in \[0, \d+\), got 1000"):
            pickle.loads(pickle.dumps(wrong))

    @pytest.mark.parametrize("field", ["rows", "nodes"])
    def test_a_plan_from_elsewhere_that_is_cut_short(self, field: str) -> None:
        plan = make_plan(VOCABULARY, EDGES, TYPES, NODES, LEVEL)
        sweep = plan.tables.sweep._replace(**{field: getattr(plan.tables.sweep, field)[:1]})
        wrong = replace(plan, tables=replace(plan.tables, sweep=sweep))
        with pytest.raises(ValueError, match="plan: expected tables that fit together, got inconsistent ones"):
            pickle.loads(pickle.dumps(wrong))

    def test_what_is_no_graph(self, model: ImageClassificationModel, digits: tuple[Split, Split]) -> None:
        with pytest.raises(GraphError, match="batch: expected a Data or a Batch, got NoneType"):
            model(None, model.plan(batch_of(model, digits)))

    def test_a_batch_without_values(self, model: ImageClassificationModel, digits: tuple[Split, Split]) -> None:
        with pytest.raises(GraphError, match="edge_index: expected a tensor with values, got one on the device meta"):
            model(batch_of(model, digits).to("meta"))

    def test_graphs_whose_number_of_nodes_nothing_says(self) -> None:
        with pytest.raises(GraphError, match="num_nodes: expected the number of nodes, got None"):
            DagNN((["n"], [("n", "to", "n")]), 1, 1).plan(torch.tensor([[0], [1]]), torch.tensor([0]))


@pytest.mark.slow
def test_nothing_mixes_devices() -> None:
    # In a process of its own, which is told of a device that is not there.
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("fake_device.py"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about its own parts
def test_compiled_models_see_one_loop(digits: tuple[Split, Split]) -> None:
    model = ImageClassificationModel.from_preset("tiny")
    batches = [
        model.vision.batch(digits[0].images[i : i + 50], digits[0].labels[i : i + 50]) for i in range(0, 250, 50)
    ]
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model.compile(dynamic=True)
    for number, batch in enumerate(batches):
        torch.nn.functional.cross_entropy(model(batch), batch.y).backward()
        if number == 1:
            graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    # Planning, and looking at features, are left to Python.
    breaks = torch._dynamo.utils.counters["graph_break"]
    assert all("torch.compiler.disable" in reason for reason in breaks)
    assert len(breaks) == 2
