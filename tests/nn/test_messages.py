import math

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from typed_graphs import METADATA, node_by_node, random_dag

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.nn import DagNN
from grapheme_pyg.nn.messages import messages


def edge_by_edge(model: DagNN, graph: dict[str, Tensor], states: Tensor) -> list[float]:
    """The formula, one edge at a time."""
    edges = list(zip(*graph["edge_index"].tolist(), graph["edge_type"].tolist(), strict=True))
    strengths = []
    for i, (u, v, kind) in enumerate(edges):
        source, name, target = model.vocabulary.edge_types[kind]
        pair = f"{source}__{target}"
        row = model.vocabulary.relations[pair].index(name)
        weight = model.weight[pair][row]
        message = weight.t() @ states[u][: weight.shape[0]]
        if model.edge_dim:
            message = message + model.edge_weight[pair][row].t() @ graph["edge_attr"][i]
        strengths.append(math.sqrt(sum(message.square().tolist())) / edges_of(edges, v, kind))
    return strengths


def edges_of(edges: list[tuple[int, int, int]], node: int, kind: int) -> int:
    return sum((target, edge_type) == (node, kind) for _, target, edge_type in edges)


def test_worked_out_by_hand() -> None:
    # States of width 1 below, of width 2 above: h0 = 1, h1 = 3, and three edges of one relation into node 2.
    #   W = [3, 4]: the edges bring [3, 4], [9, 12] and [3, 4], of length 5, 15 and 5, each divided by 3.
    #   Along "other" comes 3 · [0, −2] from 1, so that h2 = relu([15, 20] / 3 + [0, −6]) = [5, 2/3].
    #   W' = [[0, 1], [3, 0]]: 2 sends [2, 5] to 3, of length √29, alone in its relation.
    edge_types = [("low", "one", "high"), ("low", "other", "high"), ("high", "up", "top")]
    model = DagNN((["low", "high", "top"], edge_types), [1, 0, 0], [1, 2, 2], norm=None)
    with torch.no_grad():
        model.input_weight["low"].fill_(1)
        model.weight["low__high"].copy_(torch.tensor([[[3.0, 4.0]], [[0.0, -2.0]]]))
        model.weight["high__top"].copy_(torch.tensor([[[0.0, 1.0], [3.0, 0.0]]]))
    graph = Data(
        x=torch.tensor([[1.0], [3.0], [0.0], [0.0], [1.0]]),
        node_type=torch.tensor([0, 0, 1, 2, 0]),
        edge_index=torch.tensor([[0, 1, 4, 1, 2], [2, 2, 2, 2, 3]]),
        edge_type=torch.tensor([0, 0, 0, 1, 2]),
    )
    states, strengths = messages(model, graph)
    expected = torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 2 / 3], [2.0, 5.0], [1.0, 0.0]])
    torch.testing.assert_close(states, expected)
    torch.testing.assert_close(strengths, torch.tensor([5 / 3, 5.0, 5 / 3, 6.0, math.sqrt(29)]))


@pytest.mark.parametrize("edge_dim", [0, 3])
@pytest.mark.parametrize(("num_nodes", "num_edges"), [(1, 0), (7, 9), (30, 200)])
def test_equals_the_loop_over_edges(edge_dim: int, num_nodes: int, num_edges: int) -> None:
    for seed in range(3):
        graph = random_dag(num_nodes, num_edges, seed)
        model = DagNN(METADATA, [5, 0, 2], [4, 3, 6], edge_dim=edge_dim).double().eval()
        expected = node_by_node(model, graph)
        states, strengths = messages(model, Data(**graph))
        torch.testing.assert_close(states, expected, rtol=0, atol=1e-12)
        slow = torch.tensor(edge_by_edge(model, graph, expected), dtype=torch.float64)
        torch.testing.assert_close(strengths, slow, rtol=0, atol=1e-12)


def test_parallel_edges_are_tried() -> None:
    graph = random_dag(30, 200, seed=0)
    edges = list(zip(*graph["edge_index"].tolist(), graph["edge_type"].tolist(), strict=True))
    assert max(edges_of(edges, target, kind) for _, target, kind in edges) > 2


@pytest.mark.parametrize("mode", ["grid", "blob"])
def test_of_a_batch_are_those_of_its_graphs(mode: str) -> None:
    model = ImageClassificationModel(VisionBrain(mode, edge_attr=True))
    images = torch.randint(256, (2, 12, 16), dtype=torch.uint8)
    graphs = [model.vision(image) for image in images]
    each = [messages(model.dag, graph) for graph in graphs]
    together = messages(model.dag, Batch.from_data_list(graphs))
    for field in ("states", "strengths"):
        single = torch.cat([getattr(one, field) for one in each])
        torch.testing.assert_close(getattr(together, field), single)
    assert together.strengths.min() >= 0
    assert together.strengths.max() > 0


def test_changes_nothing() -> None:
    model = ImageClassificationModel(VisionBrain(), 3).train()
    before = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    states, strengths = messages(model.dag, model.vision(torch.eye(12)))
    assert all(part.training for part in model.modules())
    assert not states.requires_grad
    assert not strengths.requires_grad
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_refuses_what_the_network_refuses() -> None:
    model = ImageClassificationModel(VisionBrain(), 3)
    graph = model.vision(torch.eye(12))
    graph.edge_type = graph.edge_type + 100
    with pytest.raises(ValueError, match="edge_type"):
        messages(model.dag, graph)
