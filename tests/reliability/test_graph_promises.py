"""Graphs from strangers: malformed ones are refused whatever they are given to, odd ones are computed."""

import random
from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from cases import SEEDS, cases
from hypothesis import given
from made_graphs import MODES, NORMS, make_model, random_graph, random_image
from malformations import MALFORMATIONS, Fields, Malformation, edge_between_graphs, feature_not_finite
from torch import Generator, Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from grapheme_pyg.errors import GraphError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn import graph_checks, planning
from grapheme_pyg.ops import plan_sweep
from grapheme_pyg.testing import check_batching, check_order_invariance, plain_operators
from grapheme_pyg.vision import ImageGraph

NAMES = ("x", "edge_index", "edge_type", "node_type", "level", "edge_attr", "batch")
# Of logits, when graphs are numbered in another order and in batches of others.
TOLERANCES = {torch.float32: (1e-5, 1e-5), torch.float64: (1e-9, 1e-12)}


@pytest.mark.parametrize("spoil", MALFORMATIONS, ids=lambda spoil: spoil.__name__)
@cases(1)
@given(seed=SEEDS)
def test_malformed_graphs_are_refused(spoil: Malformation, seed: int) -> None:
    check_refused(spoil, seed)


def check_refused(spoil: Malformation, seed: int) -> None:
    """All ways into the model name what is wrong, with kernels and without, and nothing of the model changes."""
    rng, generator = random.Random(seed), Generator().manual_seed(seed)
    model = make_model(MODES[seed % 4])
    fields = fields_of(model, [model.vision(random_image(generator)) for _ in range(rng.randint(2, 4))])
    model.check(batch_of(fields))
    start, *parts = spoil(fields, rng)
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    batch, named = batch_of(fields), {name: fields[name] for name in NAMES}
    ways: list[Callable[[], object]] = [
        lambda: model.check(batch),
        lambda: model(batch),
        lambda: model.train()(batch),
        lambda: model.forward_graph(**named, batch_size=fields["num_graphs"]),
    ]
    for context in (nullcontext, plain_operators):
        for way in ways:
            with context():
                try:
                    refused(way, start, parts)
                finally:
                    model.eval()
    after = model.state_dict()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []


def refused(way: Callable[[], object], start: str, parts: list[str]) -> None:
    """Raises AssertionError unless a call raises a GraphError that names a field, and all that else it must."""
    try:
        way()
    except GraphError as error:
        message = str(error)
        assert message.startswith(start), f"expected an error that names {start}, got {message!r}"
        assert all(part in message for part in parts), f"expected an error that names {parts}, got {message!r}"
    else:
        raise AssertionError(f"{start}: expected an error that names {parts}, got none")


@cases(6)
@given(seed=SEEDS)
def test_odd_graphs_are_computed(seed: int) -> None:
    """Graphs that no image has, some empty, alone and in a batch, in training and in evaluation."""
    rng, generator = random.Random(seed), Generator().manual_seed(seed)
    model = make_model(MODES[seed % 4], NORMS[seed // 4 % 3])
    graphs = []
    for _ in range(rng.choice([1, 2, 5])):
        num_nodes = rng.choice([0, 1, 2, 10, 40])
        graphs.append(random_graph(model, num_nodes, rng.choice([0, 1, 3 * num_nodes]), generator))
    batch = next(iter(DataLoader(graphs, batch_size=len(graphs))))
    logits = model(batch)
    torch.testing.assert_close(logits, torch.cat([model(graph) for graph in graphs]), rtol=0, atol=1e-5)
    named = {name: batch[name] for name in NAMES}
    torch.testing.assert_close(model.forward_graph(**named, batch_size=batch.num_graphs), logits)
    kept = {name: value.clone() for name, value in model.named_buffers()}
    for training in (False, True):
        batch.x = batch.x.detach().requires_grad_()
        model.train(training).zero_grad()
        came = model(batch)
        came.square().sum().backward()
        gradients = [weight.grad for weight in (*model.parameters(), batch.x) if weight.grad is not None]
        assert all(tensor.isfinite().all() for tensor in [came, *model.buffers(), *gradients])
    model.eval().zero_grad()
    for name, value in model.named_buffers():
        value.copy_(kept[name])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@cases(2)
@given(seed=SEEDS)
@torch.no_grad()
def test_order_and_company_do_not_matter(dtype: torch.dtype, seed: int) -> None:
    generator, (in_order, in_batches) = Generator().manual_seed(seed), TOLERANCES[dtype]
    model = make_model(MODES[seed % 4], NORMS[seed // 4 % 3], dtype)
    graphs = [model.vision(random_image(generator)) for _ in range(8)]
    check_batching(model, graphs, atol=in_batches)
    check_order_invariance(model, graphs[0], atol=in_order, seed=seed)


def fields_of(model: ImageClassificationModel, graphs: list[ImageGraph]) -> Fields:
    """The fields of the graphs together, in memory of their own, and what they are to fit."""
    batch = Batch.from_data_list(graphs)
    described = {
        "num_graphs": batch.num_graphs,
        "num_node_types": len(model.dag.vocabulary.node_types),
        "num_features": max(model.dag.in_channels),
        "endpoints": model.dag.vocabulary.endpoints,
    }
    return {name: batch[name].clone() for name in NAMES} | described


def batch_of(fields: Fields) -> Batch:
    batch = Batch(_base_cls=Data, **{name: fields[name] for name in NAMES if fields[name] is not None})
    batch._num_graphs = fields["num_graphs"]
    return batch


class TestWhatIsWrongIsNoticed:
    @pytest.mark.parametrize("spoil", [feature_not_finite, edge_between_graphs])
    def test_a_check_that_is_not_made(self, spoil: Malformation, monkeypatch: pytest.MonkeyPatch) -> None:
        def plan_across_graphs(*fields: object, **options: object) -> object:
            sweep = plan_sweep(*fields, **options)
            return plan_sweep(*fields[:4], None, *fields[5:], **options) if int(sweep.wrong[1]) >= 0 else sweep

        monkeypatch.setattr(graph_checks, "check_finite", lambda *arguments: None)
        monkeypatch.setattr(planning, "plan_sweep", plan_across_graphs)
        with pytest.raises(AssertionError, match="got none"):
            check_refused(spoil, 0)

    def test_errors_of_others_and_wrong_places(self) -> None:
        def at_another_edge() -> None:
            raise GraphError("edge_index: expected values in [0, 3), got 3 at edge 1")

        with pytest.raises(IndexError):
            refused(lambda: [][0], "edge_index", [])
        refused(at_another_edge, "edge_index", ["edge 1"])
        with pytest.raises(AssertionError, match="expected an error that names"):
            refused(at_another_edge, "edge_index", ["edge 2"])

    def test_a_model_that_looks_at_the_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pool = ImageClassificationModel.pool
        monkeypatch.setattr(
            ImageClassificationModel, "pool", lambda self, batch, plan=None: pool(self, batch, plan) + batch.x[0, 0]
        )
        model, generator = make_model("grid"), Generator().manual_seed(0)
        graphs = [model.vision(random_image(generator)) for _ in range(8)]
        for check in (lambda: check_batching(model, graphs), lambda: check_order_invariance(model, graphs[0])):
            with pytest.raises(AssertionError, match="not close"):
                check()

    def test_odd_graphs_are_odd(self) -> None:
        seen = set()
        for number, mode in enumerate(4 * MODES):
            graph = random_graph(make_model(mode), 30, 60, Generator().manual_seed(number))
            source, target = graph.edge_index
            ranks = torch.searchsorted(graph.level.unique(), graph.level)
            edges = torch.cat([graph.edge_index, graph.edge_type[None]])
            seen |= {"isolated"} if len(set(graph.edge_index.flatten().tolist())) < 30 else set()
            seen |= {"twice"} if edges.unique(dim=1).shape[1] < 60 else set()
            seen |= {"skips"} if bool((ranks[target] - ranks[source] > 1).any()) else set()
        assert seen == {"isolated", "twice", "skips"}
