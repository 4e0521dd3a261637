import graphs
import invariance
import malformations
import pytest
import pytorch_lightning as pl
import torch
from grapheme_pyg.training.module import ClassifierTraining
from harness import try_cases
from made_graphs import MODES, make_model, random_graph
from torch import Generator
from torch_geometric.loader import DataLoader

from grapheme_pyg.errors import GraphError
from grapheme_pyg.model import ImageClassificationModel
from grapheme_pyg.nn import graph_checks, planning
from grapheme_pyg.ops import plan_sweep
from grapheme_pyg.training.settings import TrainingSettings

CHECKS = {check.name: check for check in (*graphs.CHECKS, *invariance.CHECKS)}
KINDS = len(malformations.MALFORMATIONS)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("malformed_graphs", KINDS),
        ("malformed_labels", 5),
        ("odd_graphs", 6),
        ("renumbered_single", 3),
        ("renumbered_double", 3),
        ("batched_single", 3),
        ("batched_double", 3),
    ],
)
def test_the_promise_holds(name, count):
    outcome = try_cases(CHECKS[name], count)
    assert (outcome.done, outcome.broken, outcome.messages) == (count, 0, [])


def numbers_of(*kinds):
    return [number for number, kind in enumerate(malformations.MALFORMATIONS) if kind.__name__ in kinds]


def test_what_is_not_checked_is_noticed(monkeypatch):
    def plan_across_graphs(*fields, **options):
        sweep = plan_sweep(*fields, **options)
        return plan_sweep(*fields[:4], None, *fields[5:], **options) if int(sweep.wrong[1]) >= 0 else sweep

    monkeypatch.setattr(graph_checks, "check_finite", lambda *arguments: None)
    monkeypatch.setattr(planning, "plan_sweep", plan_across_graphs)
    expected = numbers_of("feature_not_finite", "edge_attr_not_finite", "edge_between_graphs")
    outcome = try_cases(CHECKS["malformed_graphs"], KINDS)
    assert [int(message.split(":")[0]) for message in outcome.messages] == expected
    assert all("got none" in message for message in outcome.messages)


def test_errors_of_others_and_wrong_places_are_noticed():
    def out_of_range():
        raise IndexError("index out of range")

    with pytest.raises(IndexError):
        graphs.refused(out_of_range, "edge_index", [])

    def at_another_edge():
        raise GraphError("edge_index: expected values in [0, 3), got 3 at edge 1")

    graphs.refused(at_another_edge, "edge_index", ["edge 1"])
    with pytest.raises(AssertionError, match="expected an error that names"):
        graphs.refused(at_another_edge, "edge_index", ["edge 2"])


def test_a_model_that_looks_at_the_order_is_noticed(monkeypatch):
    pool = ImageClassificationModel.pool

    def pool_and_first(self, batch, plan=None):
        return pool(self, batch, plan) + batch.x[0, 0]

    monkeypatch.setattr(ImageClassificationModel, "pool", pool_and_first)
    for name in ("renumbered_single", "renumbered_double", "batched_single", "batched_double"):
        assert try_cases(CHECKS[name], 3).broken >= 2, name


def test_odd_graphs_are_odd():
    seen = set()
    for number, mode in enumerate(4 * MODES):
        graph = random_graph(make_model(mode), 30, 60, Generator().manual_seed(number))
        source, target = graph.edge_index
        touched = set(source.tolist()) | set(target.tolist())
        levels = graph.level.unique()
        ranks = torch.searchsorted(levels, graph.level)
        seen |= {"isolated"} if len(touched) < 30 else set()
        seen |= {"twice"} if torch.cat([graph.edge_index, graph.edge_type[None]]).unique(dim=1).shape[1] < 60 else set()
        seen |= {"skips"} if bool((ranks[target] - ranks[source] > 1).any()) else set()
    assert seen == {"isolated", "twice", "skips"}


class Watched(ClassifierTraining):
    """Counts what moves."""

    moved = 0

    def transfer_batch_to_device(self, batch, device, dataloader_idx):
        self.moved += 1
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


# Lightning's own, which `fit` keeps from users.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning", "ignore:.*does not have many workers")
@pytest.mark.parametrize("field", ["edge_index", "y", None])
def test_training_refuses_graphs_before_they_move(field):
    model = ImageClassificationModel(make_model("grid").vision, hidden_channels=[4, 4, 4])
    graph = model.vision(torch.eye(8))
    graph.y = torch.tensor([3])
    if field is not None:
        graph[field][..., 0] = 10**6
    training = Watched(model, TrainingSettings(batch_size=2))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader([graph, graph], batch_size=2)
    if field is None:
        trainer.fit(training, loader, loader)
        assert training.moved == 2  # one to train on, one to validate
    else:
        with pytest.raises(GraphError, match=rf"{field}: expected values in \[0, \d+\), got 1000000 at"):
            trainer.fit(training, loader, loader)
        assert training.moved == 0
