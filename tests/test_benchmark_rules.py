"""Oja's rule and pruned relations: what `benchmarks/learning_rules.py` and `prune_relations.py` rest on."""

from argparse import Namespace

import pytest
import torch
from learning_rules import Decay, OjaDagNN, Rule, chosen_rules, learn, oja_update, standardise
from plain_training import mean_loss_and_accuracy, spread, train
from prune_relations import Row, last_above, step_times
from pruning import PrunedBrain, count_and_rms, norms, prune, rank, shuffle
from torch import Tensor
from typed_graphs import states_of

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import Split
from grapheme_pyg.datasets.labelled_images import ImageDataset
from grapheme_pyg.nn import DagNN
from grapheme_pyg.testing import check_graph

METADATA = (["a", "b"], [("a", "r", "b"), ("a", "s", "b")])


@pytest.fixture
def split() -> Split:
    images = torch.randint(256, (6, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[4] = 0
    return Split(images, torch.arange(6))


@pytest.fixture
def model() -> ImageClassificationModel:
    return ImageClassificationModel(
        VisionBrain(rounds=(3, 2, 1), edge_attr=True), hidden_channels=(4, 5, 6), dropout=0
    ).eval()


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("diagonal", [[-2.0, 0.0], [-0.5, 0.0]]),
        ("subspace", [[-2.0, -2.0], [-2.5, -2.0]]),
        ("sanger", [[-2.0, -2.0], [-0.5, -2.0]]),
    ],
)
def test_oja_by_hand(decay: Decay, expected: list[list[float]]) -> None:
    # y = [[1, 0], [2, 2]], mean x yᵀ = [[0.5, 0], [2, 2]], mean y yᵀ = [[2.5, 2], [2, 2]].
    x, weight = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert oja_update(x, weight, decay).tolist() == expected


def principal_components(decay: Decay, num_units: int) -> tuple[Tensor, Tensor]:
    """Weights that Oja's rule comes to on an oblique Gaussian, and the true components, the largest first."""
    axes = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    x = torch.randn(2000, 2, dtype=torch.float64) * torch.tensor([3.0, 1.0]) @ axes.t() + torch.tensor([5.0, -1.0])
    weight = torch.randn(2, num_units, dtype=torch.float64)
    x = standardise(x)
    for _ in range(500):
        weight += 0.3 * oja_update(x, weight, decay)
    return weight, torch.linalg.eigh(x.t() @ x)[1].flip(1)


@pytest.mark.parametrize("decay", ["diagonal", "subspace", "sanger"])
def test_one_unit_finds_the_first_component(decay: Decay) -> None:
    weight, components = principal_components(decay, 1)
    torch.testing.assert_close(weight.abs(), components[:, :1].abs(), rtol=0, atol=1e-6)


def test_several_units() -> None:
    # Sanger's rule sorts the components, Oja's subspace rule spans them, units by themselves all find the first.
    weight, components = principal_components("sanger", 2)
    torch.testing.assert_close(weight.abs(), components.abs(), rtol=0, atol=1e-6)
    weight, _ = principal_components("subspace", 2)
    torch.testing.assert_close(weight.t() @ weight, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-6)
    weight, components = principal_components("diagonal", 2)
    torch.testing.assert_close(weight.abs(), components[:, [0, 0]].abs(), rtol=0, atol=1e-6)


def test_standardise() -> None:
    x = standardise(torch.tensor([[1.0, 5.0], [5.0, 2.0]]))
    torch.testing.assert_close(x, torch.tensor([[-2.0, 1.5], [2.0, -1.5]]) / 2.5)
    assert standardise(torch.ones(1, 3)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("fused", [True, False])
def test_what_a_dag_notes(fused: bool) -> None:
    dag = OjaDagNN(METADATA, [1, 0], [1, 2], norm=None, fused=fused)
    plain = DagNN(METADATA, [1, 0], [1, 2], norm=None, fused=fused)
    plain.load_state_dict(dag.state_dict())
    with torch.no_grad():
        dag.input_weight["a"].fill_(1)
        plain.input_weight["a"].fill_(1)
    # Nodes 0 to 2 send their number + 1; node 3 hears the mean of 1 and 2 along r, 3 along s; node 4 hears 2 along s.
    x, node_type = torch.tensor([[1.0], [2.0], [3.0], [0.0], [0.0]]), torch.tensor([0, 0, 0, 1, 1])
    edge_index, edge_type = torch.tensor([[0, 1, 2, 1], [3, 3, 3, 4]]), torch.tensor([0, 0, 1, 1])
    graph = edge_index, edge_type, node_type
    before = dag.weight["a__b"].clone()
    cases: list[tuple[Decay | None, bool]] = [(None, True), ("subspace", False), ("subspace", True)]
    for decay, training in cases:
        dag.decay = decay
        states = states_of(dag.train(training), x, *graph)
        assert torch.equal(states, states_of(plain, x, *graph))
        dag.learn(0.5)
        if decay is None or not training:
            assert torch.equal(dag.weight["a__b"], before)
    weight = before.flatten(0, 1)
    expected = weight + 0.5 * oja_update(standardise(torch.tensor([[1.5, 3.0], [0.0, 2.0]])), weight)
    torch.testing.assert_close(dag.weight["a__b"].flatten(0, 1), expected)
    after = dag.weight["a__b"].clone()
    dag.learn(0.5)
    assert torch.equal(dag.weight["a__b"], after)


def test_rules() -> None:
    names = [(rule.name, rule.rate) for rule in chosen_rules(["gradient", "hybrid", "oja", "frozen"], [0.1])]
    assert [rate for _, rate in names] == [None, None, 0.1, 0.1, None]


def test_rules_move_what_they_say(split: Split) -> None:
    arguments = Namespace(batch_size=6, epochs=1, decay="subspace")
    torch.manual_seed(3)
    start = ImageClassificationModel(VisionBrain()).state_dict()
    moved = {}
    for rule in (Rule("gradient", 1.0), Rule("oja", 0.0, 1.0, 1.0), Rule("frozen", 0.0)):
        unlabelled = split if rule.rate else None
        trained = learn(rule, split, unlabelled, 3, arguments).state_dict()
        tensors = {
            name: value for name, value in trained.items() if isinstance(value, Tensor) and "running" not in name
        }
        changed = {name for name, value in tensors.items() if not torch.equal(value, start[name])}
        assert {name for name in changed if name.startswith("classifier")}
        moved[rule.name] = {name for name in changed if name.startswith("dag")}
    assert moved["frozen"] == set()
    assert moved["oja"] == {name for name in moved["gradient"] if name.startswith("dag.weight.")}
    assert any(name.startswith("dag.norm.") for name in moved["gradient"])


def test_edge_share_scales_the_step(model: ImageClassificationModel, split: Split) -> None:
    start = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    steps = []
    for share in (1.0, 0.7):
        model.load_state_dict(start, strict=False)
        calls: list[float] = []
        digits = ImageDataset(*split)
        train(model, digits, epochs=1, batch_size=6, seed=0, edge_share=share, after_step=calls.append)
        assert len(calls) == 1
        assert 0 < calls[0] <= 1
        steps.append({name: value - start[name] for name, value in model.state_dict().items() if name in start})
    torch.testing.assert_close(
        steps[1]["dag.weight.cell0_round0__cell0_round1"],
        0.7 * steps[0]["dag.weight.cell0_round0__cell0_round1"],
        rtol=1e-2,
        atol=1e-6,
    )
    torch.testing.assert_close(steps[1]["classifier.templates"], steps[0]["classifier.templates"])


def test_pruned_graphs_lack_the_removed_edges_alone(split: Split) -> None:
    vision = VisionBrain(edge_attr=True)
    removed = [0, 7, 20]
    kept = [i for i in range(len(vision.metadata[1])) if i not in removed]
    full = vision.batch(*split)
    stays = ~torch.isin(full.edge_type, torch.tensor(removed))
    assert 0 < int(stays.sum()) < len(stays)
    for renumber in (True, False):
        brain = PrunedBrain(removed, renumber=renumber, **vision.config)
        batch = brain.batch(*split)
        numbers = torch.tensor(kept)[batch.edge_type] if renumber else batch.edge_type
        assert torch.equal(batch.edge_index, full.edge_index[:, stays])
        assert torch.equal(numbers, full.edge_type[stays])
        assert torch.equal(batch.edge_attr, full.edge_attr[stays])
        for name in ("x", "pos", "node_type", "level", "batch", "y"):
            assert torch.equal(batch[name], full[name])
        assert [vision.metadata[1][i] for i in kept] == PrunedBrain(removed, **vision.config).metadata[1]
        for graph, image in zip(batch.to_data_list(), split.images, strict=True):
            check_graph(graph, brain.metadata)
            assert torch.equal(graph.edge_index, brain(image).edge_index)


def test_pruned_models(model: ImageClassificationModel, split: Split) -> None:
    with torch.no_grad():
        full = model(model.vision.batch(split.images))
        whole = prune(model, [])
        torch.testing.assert_close(whole(whole.vision.batch(split.images)), full, rtol=0, atol=0)
        # A self edge, so that some nodes lose their way up, and all relations of one pair.
        for removed in ([4, 11], [*range(9, 18)]):
            pruned, masked = prune(model, removed), prune(model, removed, renumber=False)
            logits = pruned(pruned.vision.batch(split.images))
            torch.testing.assert_close(logits, masked(masked.vision.batch(split.images)), rtol=0, atol=1e-5)
            assert not torch.allclose(logits, full)
    pair = "cell0_round0__cell0_round1"
    assert "cell0_round1__cell0_round2" not in pruned.dag.weight
    weight = prune(model, [4, 11]).dag.weight[pair]
    assert torch.equal(weight, model.dag.weight[pair][[0, 1, 2, 3, 5, 6, 7, 8]])


def test_nobody_listens_to_nodes_that_lost_their_way_up(split: Split) -> None:
    model = ImageClassificationModel(VisionBrain(rounds=(3, 2, 1)), hidden_channels=(4, 5, 6), readout="sinks").eval()
    part_of = [i for i, edge_type in enumerate(model.vision.metadata[1]) if edge_type[0] == "cell0_round2"]
    pruned = prune(model, part_of)
    batch = pruned.vision.batch(split.images)
    with torch.no_grad():
        before = pruned(batch)
        for name, weight in pruned.dag.weight.items():
            if name.endswith("cell0_round2"):
                weight.mul_(-1)
        assert torch.equal(pruned(batch), before)
    assert len(part_of) == 9


def test_step_times(model: ImageClassificationModel, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prune_relations.TURNS", 2)
    many = Split(split.images.repeat(64, 1, 1), split.labels.repeat(64))
    times = step_times({"full": model, "pruned": prune(model, [0])}, many)
    assert list(times) == ["full", "pruned"]
    assert min(times.values()) > 0


def test_scores(model: ImageClassificationModel, split: Split) -> None:
    batch = model.vision.batch(split.images)
    count, rms = count_and_rms(model, split)
    assert count.tolist() == batch.edge_type.bincount(minlength=54).tolist()
    assert int((count > 0).sum()) == 45  # nothing is part of a cell above the third level
    plan = model.plan(batch)
    states = plan.by_node(model.dag(batch.x, plan, batch.edge_attr))
    sent = states[batch.edge_index[0, batch.edge_type == 3]][:, :4]
    torch.testing.assert_close(rms[3].float(), sent.square().mean().sqrt())
    with torch.no_grad():
        model.dag.weight["cell0_round0__cell0_round1"][2] = 0.01
    assert norms(model)[2].item() == pytest.approx(0.04)
    used = [0, 2, 5]
    for score in ("norm", "norm_rms"):
        assert rank(model, score, split, used, rms)[0] == 2
    assert sorted(rank(model, "loss", split, used, rms)) == used
    losses = [mean_loss_and_accuracy(prune(model, [i]), split)[0] for i in used]
    assert rank(model, "loss", split, used, rms)[0] == used[losses.index(min(losses))]
    assert sorted(shuffle(used, 1)) == used


def test_last_above() -> None:
    def row(removed: int, before: float, after: list[float]) -> Row:
        return Row("norm", removed, [], [], [before] * len(after), after)

    rows = [row(4, 0.5, [0.996, 0.995]), row(0, 0.997, [0.997]), row(6, 0.999, [0.9949]), row(8, 0.4, [0.999])]
    for finetuned, expected in ((False, 0), (True, 4)):
        last = last_above(0.995, rows, finetuned)
        assert last is not None
        assert last.removed == expected
    assert last_above(0.998, rows, True) is None


def test_spread() -> None:
    assert spread([0.99]) == "99.00 %"
    assert spread([0.99, 0.97]) == "98.00 ± 1.41 %"
