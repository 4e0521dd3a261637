import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.explain import Explainer, GNNExplainer
from typed_graphs import METADATA, NODE_TYPES, node_by_node, random_dag, states_of

from grapheme_pyg import VisionBrain
from grapheme_pyg.dag import CycleError, topological_levels
from grapheme_pyg.nn import DagNN


def make(**kwargs: object) -> DagNN:
    """A DagNN in float64 whose norms and biases are not the identity."""
    defaults = {"in_channels": [5, 0, 2], "hidden_channels": [4, 3, 6], "edge_dim": 3}
    model = DagNN(METADATA, **(defaults | kwargs)).double()
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.startswith(("norm", "bias")):
                value.copy_(0.5 + torch.rand_like(value))
    return model


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("norm", ["batch", "layer", None])
@pytest.mark.parametrize(("num_nodes", "num_edges"), [(1, 0), (6, 0), (7, 9), (40, 30), (30, 200)])
def test_equals_the_loop_over_nodes(fused: bool, norm: str | None, num_nodes: int, num_edges: int) -> None:
    for seed in range(3):
        graph = random_dag(num_nodes, num_edges, seed)
        model = make(norm=norm, fused=fused).eval()
        torch.testing.assert_close(states_of(model, **graph), node_by_node(model, graph), rtol=0, atol=1e-12)


def test_a_graph_worked_out_by_hand() -> None:
    # 0 and 1 send to 2 along "plus" (their mean counts), 0 sends along "minus", 2 sends to 3, which skips nothing.
    #   h0 = relu(1) = 1, h1 = relu(3) = 3
    #   h2 = relu(x2 + 10 mean(h0, h1) - 2 h0) = relu(-5 + 20 - 2) = 13
    #   h3 = relu(0.5 + 10 h2) = 130.5;  h4 is alone: relu(-1) = 0
    model = DagNN((["n"], [("n", "plus", "n"), ("n", "minus", "n")]), 1, 1, norm=None)
    with torch.no_grad():
        model.input_weight["n"].fill_(1)
        model.weight["n__n"].copy_(torch.tensor([[[10.0]], [[-2.0]]]))
    x = torch.tensor([[1.0], [3.0], [-5.0], [0.5], [-1.0]])
    edge_index, edge_type = torch.tensor([[0, 1, 0, 2], [2, 2, 2, 3]]), torch.tensor([0, 0, 1, 0])
    expected = torch.tensor([[1.0], [3.0], [13.0], [130.5], [0.0]])
    assert torch.equal(states_of(model, x, edge_index, edge_type), expected)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("itself", "expected"),
    [
        # h3 = relu(-h0) + h0, h4 = relu(-h1 + 10 h0) + h1, h5 = relu(x5) and nothing to keep
        ([(0, 3), (1, 4)], [1.0, 10.0, 0.0]),
        # Each reads the row of its own number: h5 = relu(-h2 + x5) + h2
        ([(0, 3), (1, 4), (2, 5)], [1.0, 10.0, 3.0]),
        # h3 = relu(-mean(h0, h1)) + mean(h0, h1)
        ([(0, 3), (1, 3), (1, 4)], [1.5, 10.0, 0.0]),
    ],
)
def test_residual_states_worked_out_by_hand(itself: list[tuple[int, int]], expected: list[float], fused: bool) -> None:
    metadata = ["a", "b"], [("a", "to", "b"), ("a", "self", "b")]
    model = DagNN(metadata, 1, 1, norm=None, residual=True, fused=fused).double()
    with torch.no_grad():
        for weight in model.input_weight.values():
            weight.fill_(1)
        model.weight["a__b"].copy_(torch.tensor([[[10.0]], [[-1.0]]]))
    x = torch.tensor([[1.0], [2.0], [3.0], [0.0], [0.0], [-7.0]], dtype=torch.float64, requires_grad=True)
    edge_index = torch.tensor([(0, 4), *itself]).t()
    edge_type, node_type = torch.tensor([0] + [1] * len(itself)), torch.tensor([0, 0, 0, 1, 1, 1])
    states = states_of(model, x, edge_index, edge_type, node_type)
    assert states.flatten().tolist() == [1.0, 2.0, 3.0, *expected]
    assert torch.autograd.gradcheck(lambda x: states_of(model, x, edge_index, edge_type, node_type), x)


def test_states_are_kept_only_where_they_are_as_wide() -> None:
    metadata = ["a", "b", "c"], [("a", "self", "b"), ("b", "self", "c")]
    graph = torch.tensor([[0, 1], [1, 2]]), torch.tensor([0, 1]), torch.tensor([0, 1, 2])
    torch.manual_seed(0)
    kept, plain = (DagNN(metadata, 1, [2, 2, 3], norm=None, residual=yes) for yes in (True, False))
    plain.load_state_dict(kept.state_dict())
    x = torch.ones(3, 1)
    (a, b, c), (_, plain_b, _) = (model(x, model.plan(*graph)) for model in (kept, plain))
    assert torch.equal(b, plain_b + a)
    torch.testing.assert_close(c, torch.relu(b @ kept.weight["b__c"][0] + x[:1] @ kept.input_weight["c"]))


@pytest.mark.parametrize("fused", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_gradients(fused: bool) -> None:
    graph = random_dag(7, 14, seed=1)
    # Narrow: each weight is moved to and fro.
    model = make(norm="layer", fused=fused, hidden_channels=[2, 3, 2])
    plan = model.plan(graph["edge_index"], graph["edge_type"], graph["node_type"])
    names = [name for name, _ in model.named_parameters()]

    def run(x: Tensor, edge_attr: Tensor, *weights: Tensor) -> Tensor:
        states = torch.func.functional_call(model, dict(zip(names, weights, strict=True)), (x, plan, edge_attr))
        return plan.by_node(states)

    inputs = [graph["x"], graph["edge_attr"], *(p.detach() for p in model.parameters())]
    assert torch.autograd.gradcheck(run, [tensor.clone().requires_grad_() for tensor in inputs])


def test_gradients_where_a_source_has_several_targets_of_one_relation() -> None:
    # The gathers of the fused path do not apply in the backward direction here: two targets for node 0.
    model = DagNN((["n"], [("n", "to", "n"), ("n", "too", "n")]), 2, 3, norm=None).double()
    edge_index, edge_type = torch.tensor([[0, 0, 1, 1], [2, 3, 3, 2]]), torch.tensor([0, 0, 1, 1])
    x = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: states_of(model, x, edge_index, edge_type), [x])


def test_fused_and_message_passing_agree_in_training_mode() -> None:
    graph = random_dag(60, 150, seed=5)
    fused, plain = make(), make(fused=False)
    plain.load_state_dict(fused.state_dict())
    outputs = [states_of(model, **graph) for model in (fused, plain)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-10)
    for output in outputs:
        output.square().sum().backward()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-8)
    for one, other in zip(fused.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_lattices_are_computed_as_by_message_passing() -> None:
    brain = VisionBrain()
    images = torch.zeros(2, 20, 20, dtype=torch.uint8)
    images[0, 2:9, 5], images[1, 4, 1:] = 255, 200
    batch = brain.batch(images)
    fields = (batch.x.double(), batch.edge_index, batch.edge_type, batch.node_type, batch.level)
    widths = [[3, 4, 5][level] for level in brain.node_levels]
    fused, plain = (DagNN(brain.metadata, brain.node_features, widths, fused=path).double() for path in (True, False))
    plain.load_state_dict(fused.state_dict())
    outputs = [states_of(model, *fields) for model in (fused, plain)]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-10)
    for output in outputs:
        output.square().sum().backward()
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        if one.grad is not None or other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-8)
    assert sum(float(weight.grad.abs().sum()) > 0 for weight in fused.weight.values() if weight.grad is not None) == 6


def test_order_of_nodes_and_edges_does_not_matter() -> None:
    graph, model = random_dag(30, 80, seed=2), make().eval()
    expected = states_of(model, **graph)
    nodes, edges = torch.randperm(30), torch.randperm(graph["edge_type"].numel())
    place = nodes.argsort()
    shuffled = {
        "x": graph["x"][nodes],
        "node_type": graph["node_type"][nodes],
        "edge_index": place[graph["edge_index"][:, edges]],
        "edge_type": graph["edge_type"][edges],
        "edge_attr": graph["edge_attr"][edges],
    }
    torch.testing.assert_close(states_of(model, **shuffled), expected[nodes], rtol=0, atol=1e-12)


def test_level_may_be_any_topological_rank() -> None:
    graph, model = random_dag(20, 40, seed=3), make().eval()
    level = topological_levels(graph["edge_index"], 20)
    torch.testing.assert_close(
        states_of(model, **graph, level=3 * level + 7), states_of(model, **graph), rtol=0, atol=1e-12
    )


def test_a_full_grid_is_a_convolution() -> None:
    # Every cell present: a lateral round is a 3×3 convolution, a part-of step one at stride 2.
    images = torch.randint(256, (2, 28, 28), dtype=torch.uint8)
    images[:, ::2, ::2] = 0
    images[:, 1::2, 1::2] = 255
    brain = VisionBrain(rounds=(3, 2, 1), relative=False)
    widths = [[3, 4, 5][level] for level in brain.node_levels]
    model = DagNN(brain.metadata, brain.node_features, widths, norm=None).double()
    with torch.no_grad():
        for bias in model.bias.values():
            bias.normal_()
    batch = brain.batch(images)
    assert (batch.node_type == 0).sum() == 2 * 14 * 14
    fields = (batch.edge_index, batch.edge_type, batch.node_type, batch.level)
    out = states_of(model, batch.x.double(), *fields)
    top = out[batch.node_type == 5].view(2, 4, 4, 5).permute(0, 3, 1, 2)

    names = brain.metadata[0]

    def project(kind: int, side: int) -> Tensor:
        weight = model.input_weight[names[kind]]
        x = batch.x.double()[batch.node_type == kind][:, : len(weight)] @ weight + model.bias[names[kind]]
        return x.view(2, side, side, -1).permute(0, 3, 1, 2)

    def conv(x: Tensor, source: int, target: int, stride: int) -> Tensor:
        weight = model.weight[f"{names[source]}__{names[target]}"]
        kernel = weight.unflatten(0, (3, 3)).permute(3, 2, 0, 1)
        return torch.nn.functional.conv2d(x, kernel, stride=stride, padding=1)

    h = project(0, 14).relu()
    for kind, side, stride in ((1, 14, 1), (2, 14, 1), (3, 7, 2), (4, 7, 1), (5, 4, 2)):
        h = (conv(h, kind - 1, kind, stride) + project(kind, side)).relu()
    torch.testing.assert_close(top, h, rtol=0, atol=1e-12)


def test_bounded_at_high_degree() -> None:
    # A thousand equal messages of one relation weigh as much as one.
    model = DagNN((["n"], [("n", "to", "n")]), 1, 2, norm=None)
    x = torch.ones(1001, 1)
    many = torch.stack([torch.arange(1, 1001), torch.zeros(1000, dtype=torch.int64)])
    one = many[:, :1]
    out = [states_of(model, x, edges, torch.zeros(edges.shape[1], dtype=torch.int64))[0] for edges in (many, one)]
    torch.testing.assert_close(out[0], out[1])


def test_no_nodes() -> None:
    model, empty = DagNN((["n"], [("n", "to", "n")]), 1, 2), torch.zeros(2, 0, dtype=torch.int64)
    assert model.plan(empty, empty[0], num_nodes=0).generations == ()
    assert model(torch.zeros(0, 1), model.plan(empty, empty[0], num_nodes=0)) == []


class TestBatchStatistics:
    def test_forget_a_forward_that_failed(self) -> None:
        model = DagNN((["a", "b"], [("a", "to", "b")]), 1, [1, 2])
        weight = model.weight["a__b"]
        graph = (torch.rand(4, 1), torch.tensor([[0, 1], [2, 3]]), torch.tensor([0, 0]), torch.tensor([0, 0, 1, 1]))
        model.weight["a__b"] = torch.nn.Parameter(torch.zeros(1, 7, 2))
        with pytest.raises((RuntimeError, ValueError)):
            states_of(model, *graph)
        model.weight["a__b"] = weight
        before = model.norm["a"].running_mean.clone()
        states_of(model, *graph)
        h = graph[0][:2] @ model.input_weight["a"]
        torch.testing.assert_close(model.norm["a"].running_mean, 0.9 * before + 0.1 * h.mean(0))
        torch.testing.assert_close(model.norm["a"].running_var, 0.9 + 0.1 * h.var(0))

    def test_are_taken_for_each_type_and_level(self) -> None:
        # Nodes of one type in two levels: each level is normalised on its own.
        model = DagNN((["n"], [("n", "to", "n")]), 1, 1)
        with torch.no_grad():
            model.input_weight["n"].fill_(1)
            model.weight["n__n"].zero_()
        x = torch.tensor([[0.0], [2.0], [100.0], [300.0]])
        out = states_of(model, x, torch.tensor([[0, 1], [2, 3]]), torch.tensor([0, 0]))
        # Both levels have the normalised values −1 and 1, of which relu leaves 0 and 1.
        torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 1.0, 0.0, 1.0]), rtol=0, atol=1e-4)

    def test_running_ones_move_once_for_a_forward(self) -> None:
        model = DagNN((["n"], [("n", "to", "n")]), 1, 1)
        with torch.no_grad():
            model.input_weight["n"].fill_(1)
            model.weight["n__n"].zero_()
        x = torch.tensor([[0.0], [2.0], [100.0], [302.0]])
        states_of(model, x, torch.tensor([[0, 1], [2, 3]]), torch.tensor([0, 0]))
        norm = model.norm["n"]
        # Over all four values: mean 101, unbiased variance as of one batch.
        torch.testing.assert_close(norm.running_mean, 0.1 * x.mean(0))
        torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.var(0))

    def test_a_single_row_uses_the_running_ones(self) -> None:
        model = DagNN((["n"], []), 1, 1)
        with torch.no_grad():
            model.input_weight["n"].fill_(1)
            model.norm["n"].running_mean.fill_(1)
            model.norm["n"].running_var.fill_(4)
        empty = torch.zeros(2, 0, dtype=torch.int64)
        out = states_of(model, torch.tensor([[5.0]]), empty, empty[0])
        torch.testing.assert_close(out, torch.tensor([[2.0]]), rtol=0, atol=1e-4)
        assert model.norm["n"].running_mean.item() == 1


class TestRefuses:
    def setup_method(self) -> None:
        self.graph = random_dag(8, 12, seed=0)
        self.model = make()

    def refuse(self, match: str, **change: Tensor | None) -> None:
        with pytest.raises(ValueError, match=match):
            states_of(self.model, **(self.graph | change))

    def test_a_cycle_naming_its_nodes(self) -> None:
        model = DagNN((["n"], [("n", "to", "n")]), 1, 1)
        edge_index = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 1]])
        with pytest.raises(CycleError, match=r"cycle (1 → 2 → 3 → 1|2 → 3 → 1 → 2|3 → 1 → 2 → 3) at edge"):
            states_of(model, torch.zeros(4, 1), edge_index, torch.zeros(4, dtype=torch.int64))

    def test_edge_types_out_of_range(self) -> None:
        edge_type = self.graph["edge_type"].clone()
        edge_type[3] = 8
        self.refuse(r"edge_type: expected values in \[0, 8\), got 8 at edge 3", edge_type=edge_type)

    def test_edge_types_between_other_node_types(self) -> None:
        edge_type = (self.graph["edge_type"] + 1) % 8
        self.refuse(r"edge_type: expected edge \d+ of type \d+ to join node types \[\d, \d\], got", edge_type=edge_type)

    def test_wrong_dtypes(self) -> None:
        self.refuse("x: expected dtype torch.float64, like the weights, got torch.float32", x=self.graph["x"].float())
        self.refuse("edge_type: expected dtype torch.int64", edge_type=self.graph["edge_type"].int())
        self.refuse("node_type: expected dtype torch.int64", node_type=self.graph["node_type"].float())
        self.refuse("edge_index: expected dtype torch.int64", edge_index=self.graph["edge_index"].int())

    def test_wrong_shapes(self) -> None:
        self.refuse(
            r"x: expected shape \[8, at least 5\], one row for each node of the plan, got \[8, 4\]",
            x=self.graph["x"][:, :4],
        )
        self.refuse("edge_attr: expected torch.float64 of shape", edge_attr=None)
        self.refuse("edge_attr: expected torch.float64 of shape", edge_attr=self.graph["edge_attr"][:, :2])
        self.refuse(r"node_type: expected shape \[8\], got \[7\]", node_type=self.graph["node_type"][:7])
        self.refuse("node_type: expected one of 3 types for each node, got None", node_type=None)

    def test_dangling_edges(self) -> None:
        edge_index = self.graph["edge_index"].clone()
        edge_index[1, 2] = 8
        self.refuse(r"edge_index: expected values in \[0, 8\), got 8 at edge 2", edge_index=edge_index)

    def test_levels_that_do_not_rise(self) -> None:
        self.refuse("level: expected level", level=torch.zeros(8, dtype=torch.int64))

    @pytest.mark.parametrize(
        ("metadata", "match"),
        [
            ((["a"], [("a", "to", "b")]), r"between \['a'\], got also \['b'\]"),
            ((["a", "a"], []), "got one twice"),
            (([], []), "at least one node type"),
            ((["a.b"], []), r"names in \[a-z0-9_\]\+, got 'a.b'"),
            ((["a"], [("a", "To", "a")]), r"names in \[a-z0-9_\]\+, got 'To'"),
            ((["a", "a__b"], []), "names without '__'"),
            ((["keys"], []), "no attribute of torch modules as node type, got 'keys'"),
            ((["a"], [("a", "to", "a")] * 2), "got one twice"),
        ],
    )
    def test_metadata(self, metadata: tuple, match: str) -> None:
        with pytest.raises(ValueError, match=match):
            DagNN(metadata, 1, 1)

    def test_plans_of_other_graphs(self) -> None:
        plan = self.model.plan(self.graph["edge_index"], self.graph["edge_type"], self.graph["node_type"])
        with pytest.raises(ValueError, match=r"x: expected shape \[8, at least 5\].* got \[7, 5\]"):
            self.model(self.graph["x"][:7], plan, self.graph["edge_attr"])
        with pytest.raises(ValueError, match=r"edge_attr: expected torch.float64 of shape .* got .* \[1, 3\]"):
            self.model(self.graph["x"], plan, self.graph["edge_attr"][:1])

    def test_settings(self) -> None:
        with pytest.raises(ValueError, match="edge_dim: expected a non-negative integer"):
            make(edge_dim=-1)
        with pytest.raises(ValueError, match="norm: expected one of"):
            make(norm="group")
        with pytest.raises(ValueError, match="hidden_channels: expected one number, or 3"):
            make(hidden_channels=[1, 2])


class TestLoadsByName:
    def test_relations_in_another_order(self) -> None:
        model = make()
        other = DagNN((NODE_TYPES, METADATA[1][::-1]), model.in_channels, model.hidden_channels, edge_dim=3).double()
        other.load_state_dict(model.state_dict())
        graph = random_dag(20, 50, seed=4)
        renumbered = graph | {"edge_type": 7 - graph["edge_type"]}
        torch.testing.assert_close(
            states_of(other.eval(), **renumbered), states_of(model.eval(), **graph), rtol=0, atol=1e-12
        )

    def test_relations_that_only_one_side_has(self) -> None:
        model = make()
        renamed = [(s, "beside" if r == "left_of" else r, d) for s, r, d in METADATA[1]]
        other = DagNN((NODE_TYPES, renamed), model.in_channels, model.hidden_channels, edge_dim=3).double()
        before = other.weight["a__a"].detach().clone()
        with pytest.raises(RuntimeError, match=r"weight.a__a\[beside\][\s\S]*weight.a__a\[left_of\]"):
            other.load_state_dict(model.state_dict())
        outcome = other.load_state_dict(model.state_dict(), strict=False)
        assert "weight.a__a[beside]" in outcome.missing_keys
        assert "weight.a__a[left_of]" in outcome.unexpected_keys
        # a__a has the relations (beside | left_of, right_of): the first is kept, the second is loaded.
        assert torch.equal(other.weight["a__a"][0], before[0])
        assert torch.equal(other.weight["a__a"][1], model.weight["a__a"][1])

    def test_readable_keys(self) -> None:
        keys = set(make().state_dict())
        assert {"weight.a__b", "edge_weight.a__a", "input_weight.c", "norm.b.running_mean"} <= keys
        assert "input_weight.b" not in keys


class ByFields(nn.Module):
    """A network that plans what it computes, as explainers call it: with the fields of a graph."""

    def __init__(self, dag: DagNN) -> None:
        super().__init__()
        self.dag = dag

    def forward(self, x: Tensor, edge_index: Tensor, **fields: Tensor) -> Tensor:
        return states_of(self.dag, x, edge_index, **fields)


def test_explainers_reach_every_edge() -> None:
    graph = random_dag(12, 30, seed=6)
    explainer = Explainer(
        ByFields(make(norm="layer")),
        GNNExplainer(epochs=3),
        explanation_type="model",
        edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )
    explanation = explainer(**graph)
    assert explanation.edge_mask.shape == graph["edge_type"].shape
    assert explanation.edge_mask.count_nonzero() > 0


def test_an_explainers_mask_weighs_edges() -> None:
    # Closed edges compute what removed edges compute, because what remains is averaged with zeros only within
    # its own slot: here no slot has two edges.
    model = DagNN((["n"], [("n", "to", "n"), ("n", "too", "n")]), 1, 2, norm=None)
    x, edge_index, edge_type = torch.rand(3, 1), torch.tensor([[0, 1, 0], [1, 2, 2]]), torch.tensor([0, 0, 1])
    model.explain, model._apply_sigmoid = True, False
    model._edge_mask = torch.tensor([1.0, 1.0, 0.0])
    masked = states_of(model, x, edge_index, edge_type)
    model.explain, model._edge_mask = None, None
    torch.testing.assert_close(masked, states_of(model, x, edge_index[:, :2], edge_type[:2]))


def test_no_file_is_left_in_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Another(DagNN):
        """PyG would write a module for it."""

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    Another(METADATA, in_channels=1, hidden_channels=2)
    assert list(tmp_path.iterdir()) == []
