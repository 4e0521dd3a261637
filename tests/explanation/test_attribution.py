"""Attributions of edges and features, on literal graphs and by properties."""

import sys

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from typed_graphs import METADATA, random_dag, states_of

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.explanation import explain
from grapheme_pyg.explanation.attribution import METHODS, attribute, frozen_copy, gradient, log_odds
from grapheme_pyg.nn import DagNN


class Score(nn.Module):
    """The sum of the states of some nodes."""

    def __init__(self, dag: DagNN, nodes: list[int]) -> None:
        super().__init__()
        self.dag, self.nodes = dag, nodes

    def forward(self, x: Tensor, edge_index: Tensor, **fields: Tensor | None) -> Tensor:
        return states_of(self.dag, x, edge_index, **fields)[self.nodes].sum()[None]


def test_by_hand() -> None:
    # h2 = 2 m0 x0 + 3 m1 x1 = 8 and h3 = 2 m2 h2 = 16; node 4 hears of node 0 and is not asked.
    dag = DagNN((["n"], [("n", "a", "n"), ("n", "b", "n")]), 1, 1, norm=None).double()
    with torch.no_grad():
        dag.weight["n__n"].copy_(torch.tensor([2.0, 3.0]).view(2, 1, 1))
        dag.input_weight["n"].fill_(1)
    graph = Data(
        x=torch.tensor([[1.0], [2.0], [0.0], [0.0], [0.0]]).double(),
        edge_index=torch.tensor([[0, 1, 2, 0], [2, 2, 3, 4]]),
        edge_type=torch.tensor([0, 1, 0, 0]),
    )
    edges, features = gradient(Score(dag, [3]), graph)
    assert edges.tolist() == [4, 12, 16, 0]
    assert features.flatten().tolist() == [4, 12, 0, 0, 0]


def test_gradient_is_what_a_little_less_of_a_message_changes() -> None:
    graph = Data(**random_dag(14, 30, seed=1))
    dag = DagNN(METADATA, [5, 3, 0], [4, 5, 6], edge_dim=3, norm="layer").double().eval()
    score = Score(dag, list(range(14)))
    edges, features = gradient(score, graph)
    fields = {name: graph[name] for name in ("edge_type", "node_type", "edge_attr")}

    def at(mask: Tensor, x: Tensor) -> float:
        dag.explain, dag._apply_sigmoid, dag._edge_mask = True, False, mask
        return float(score(x, graph.edge_index, **fields))

    step, ones = 1e-6, torch.ones(graph.num_edges, dtype=torch.float64)
    with torch.no_grad():
        for i in range(graph.num_edges):
            little = step * torch.eye(graph.num_edges, dtype=torch.float64)[i]
            slope = (at(ones + little, graph.x) - at(ones - little, graph.x)) / (2 * step)
            assert edges[i] == pytest.approx(slope, rel=1e-5, abs=1e-7)
        for node in range(14):
            change = torch.zeros_like(graph.x)
            change[node] = step * graph.x[node]
            slope = (at(ones, graph.x + change) - at(ones, graph.x - change)) / (2 * step)
            assert features[node].sum() == pytest.approx(slope, rel=1e-5, abs=1e-7)
    assert edges.abs().max() > 0.01


def test_log_odds() -> None:
    shares = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64)
    # Adding to all logits changes nothing.
    found = log_odds(shares.log() + 5, 0)
    torch.testing.assert_close(found, torch.tensor([0.7 / 0.3], dtype=torch.float64).log())
    assert log_odds(torch.tensor([[3.0]]), 0).tolist() == [3.0]


@pytest.fixture(scope="module")
def model() -> ImageClassificationModel:
    torch.manual_seed(3)
    model = ImageClassificationModel.from_preset("tiny", ["ring", "bar", "dot"], readout="levels")
    # States that are not all 0 without an image: their direction, which is what templates compare, would jump there.
    for norm in model.dag.norm.values():
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(20, 15, generator=torch.Generator().manual_seed(0))


def test_integrated_gradients_add_up(model: ImageClassificationModel, image: Tensor) -> None:
    graph = model.vision(image)
    empty = graph.clone()
    empty.x = torch.zeros_like(graph.x)
    lonely = frozen_copy(model)
    lonely.dag.explain, lonely.dag._apply_sigmoid = True, False
    lonely.dag._edge_mask = torch.zeros(graph.num_edges)
    with torch.no_grad():
        rise = float(log_odds(model(graph), 1) - log_odds(lonely(empty), 1))
    explanation = explain(model, image, "integrated", 1)
    assert abs(rise) > 0.1
    assert float(explanation.edges.sum() + explanation.nodes.sum()) == pytest.approx(rise, rel=0.02)


@pytest.mark.parametrize("method", METHODS)
def test_edges_without_influence_get_nothing(method: str, model: ImageClassificationModel, image: Tensor) -> None:
    # All that cells of the last level hear of comes to nothing.
    mute = frozen_copy(model)
    last = model.vision.metadata[0][-1]
    for name, weight in mute.dag.weight.items():
        if name.endswith(f"__{last}"):
            weight.data = torch.zeros_like(weight)
    graph = model.vision(image)
    edges, features = attribute(mute, graph, 0, method, seed=0)
    into_last = graph.node_type[graph.edge_index[1]] == len(model.vision.metadata[0]) - 1
    assert into_last.any()
    assert edges[into_last].abs().max() == 0
    assert edges[~into_last].abs().max() > 0
    # Features are read in the first round.
    later = torch.tensor(model.vision.node_rounds)[graph.node_type] > 0
    assert features[later].abs().max() == 0


def test_without_captum(model: ImageClassificationModel, image: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "captum"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ImportError, match=r'captum is needed for method="integrated": .* -m pip install captum$'):
        explain(model, image, "integrated")


def test_a_copy_shares_what_it_does_not_change(model: ImageClassificationModel) -> None:
    copy = frozen_copy(model)
    assert copy.vision is model.vision
    ours, theirs = dict(model.named_parameters()), dict(copy.named_parameters())
    assert list(ours) == list(theirs)
    assert all(theirs[name].data_ptr() == weight.data_ptr() for name, weight in ours.items())
    assert not any(weight.requires_grad for weight in theirs.values())
