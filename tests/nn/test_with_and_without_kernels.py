"""Whole networks and models with compiled kernels, which come in single precision, and without."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from typed_graphs import METADATA, node_by_node, random_dag, states_of

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.nn import DagNN
from grapheme_pyg.ops import compiled
from grapheme_pyg.testing import plain_operators


class TestDagNN:
    @pytest.mark.parametrize("norm", ["batch", None])
    @pytest.mark.parametrize(("num_nodes", "num_edges"), [(1, 0), (7, 9), (30, 200)])
    def test_in_single_precision_equals_the_loop_over_nodes(
        self, norm: str | None, num_nodes: int, num_edges: int
    ) -> None:
        for seed in range(3):
            graph = random_dag(num_nodes, num_edges, seed)
            model = DagNN(METADATA, [5, 0, 2], [4, 3, 6], edge_dim=3, norm=norm).double().eval()
            expected = node_by_node(model, graph)
            single = {key: value.float() if value.is_floating_point() else value for key, value in graph.items()}
            states = states_of(model.float(), **single)
            torch.testing.assert_close(states.double(), expected, rtol=0, atol=1e-5)

    def test_gradients_in_single_precision(self) -> None:
        # Several edges in a slot, several readers of a relation, edge attributes; against double precision.
        graph = random_dag(60, 300, seed=4)
        gradients = []
        for dtype in (torch.float64, torch.float32):
            torch.manual_seed(0)
            model = DagNN(METADATA, [5, 0, 2], [4, 3, 6], edge_dim=3).to(dtype)
            fields = {k: v.detach().to(dtype, copy=True) if v.is_floating_point() else v for k, v in graph.items()}
            fields["x"].requires_grad_()
            fields["edge_attr"].requires_grad_()
            states_of(model, **fields).square().sum().backward()
            leaves = [fields["x"], fields["edge_attr"], *model.parameters()]
            gradients.append([leaf.grad.double() for leaf in leaves])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


class TestModels:
    def model_and_images(self) -> tuple[ImageClassificationModel, Tensor, Tensor]:
        torch.manual_seed(0)
        images = torch.randint(256, (6, 24, 20), dtype=torch.uint8)
        images[:, :12] //= 8
        return ImageClassificationModel(VisionBrain(), classes=3), images, torch.tensor([0, 1, 2, 0, 1, 2])

    def step(self) -> list[Tensor]:
        model, images, labels = self.model_and_images()
        model.classifier.dropout = 0.0
        F.cross_entropy(model(model.vision.batch(images)), labels).backward()
        return [p.grad for p in model.parameters() if p.grad is not None] + [b.float() for b in model.buffers()]

    def test_a_step_is_the_same(self) -> None:
        with_kernels = self.step()
        with plain_operators():
            without = self.step()
        for one, other in zip(with_kernels, without, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    def test_graphs_are_the_same_bit_for_bit(self) -> None:
        _, images, labels = self.model_and_images()
        vision = VisionBrain(edge_attr=True, seg=True)
        expected = vision.batch(images, labels)
        with plain_operators():
            batch = vision.batch(images, labels)
        assert set(batch.keys()) == set(expected.keys())
        for key, value in expected.items():
            assert torch.equal(batch[key], value), key

    @pytest.mark.parametrize("mode", ["grid", "superpixel"])
    def test_plans_are_the_same(self, mode: str) -> None:
        _, images, _ = self.model_and_images()
        model = ImageClassificationModel(VisionBrain(mode))
        batch = model.vision.batch(images)
        tables = model.plan(batch).tables
        with plain_operators():
            others = model.plan(batch).tables
        assert (tables.generations, tables.blocks) == (others.generations, others.blocks)
        for one, other in zip([*tables.sweep, *tables.readout], [*others.sweep, *others.readout], strict=True):
            assert torch.equal(one, other)


@pytest.mark.skipif(not compiled(), reason="no compiled kernels here")
def test_results_do_not_depend_on_the_number_of_threads() -> None:
    vision, threads = VisionBrain(), torch.get_num_threads()
    batch = vision.batch(torch.randint(256, (40, 28, 28), dtype=torch.uint8))
    results = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            torch.manual_seed(0)
            dag = DagNN(vision.metadata, vision.node_features, 24)
            states = states_of(dag, batch.x, batch.edge_index, batch.edge_type, batch.node_type, batch.level)
            (states * torch.randn(24)).sum().backward()
            results.append([states, *(weight.grad for weight in dag.weight.values() if weight.grad is not None)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
