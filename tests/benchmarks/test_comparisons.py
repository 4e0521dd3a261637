"""Both sides of the comparisons compute the same, and what is reported is what was measured."""

import copy
import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import export
import pytest
import torch
from dense_twin import DenseTwin, lattice_maps
from relational_twin import RelationalTwin
from speed import summary
from speed_scaling import digits, fit_line
from speed_steps import WithoutKernels, useful_flops
from timing import in_turn
from torch.nn import functional as F
from torch_geometric.nn import FastRGCNConv, RGCNConv

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.testing import plain_operators

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model() -> ImageClassificationModel:
    torch.manual_seed(0)
    return ImageClassificationModel(VisionBrain(relative=False), classes=3, hidden_channels=[4, 6, 8], dropout=0.0)


def noise(count: int) -> torch.Tensor:
    # Every cell has contrast.
    images = torch.randint(256, (count, 28, 28), dtype=torch.uint8)
    images[:, ::2, ::2] = 0
    images[:, 1::2, 1::2] = 255
    return images


class TestTwins:
    def test_the_dense_one_gives_the_same_logits_and_gradients(self, model: ImageClassificationModel) -> None:
        images, labels = noise(5), torch.tensor([0, 1, 2, 0, 1])
        twin = DenseTwin(copy.deepcopy(model))
        ours = model(model.vision.batch(images))
        theirs = twin(lattice_maps(model.vision, images))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-4)
        for logits in (ours, theirs):
            F.cross_entropy(logits, labels).backward()
        for number, name in enumerate(model.dag.vocabulary.node_types[1:7], start=1):
            pair = f"{model.dag.vocabulary.node_types[number - 1]}__{name}"
            mine = model.dag.weight[pair].grad.view(3, 3, *model.dag.weight[pair].shape[1:]).permute(3, 2, 0, 1)
            torch.testing.assert_close(mine, twin.convs[str(number)].weight.grad, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("conv", [RGCNConv, FastRGCNConv])
    @pytest.mark.parametrize("mode", ["grid", "blob", "superpixel"])
    def test_the_relational_one_gives_the_same_states(self, conv: type[RGCNConv], mode: str) -> None:
        torch.manual_seed(0)
        vision = VisionBrain(mode, edge_attr=False)
        model = ImageClassificationModel(vision, classes=3, hidden_channels=[4] * (max(vision.node_levels) + 1)).eval()
        twin = copy.deepcopy(model)
        twin.register_module("dag", RelationalTwin(twin.dag, conv))
        batch = vision.batch(digits(28, 4)[0] if mode == "grid" else noise(2) // 2)
        torch.testing.assert_close(twin.eval()(batch), model(batch), rtol=0, atol=1e-4)
        model(batch).sum().backward()
        twin(batch).sum().backward()
        for name, weight in model.dag.weight.items():
            if weight.grad is not None:
                torch.testing.assert_close(twin.dag.weight[name].grad, weight.grad, rtol=1e-3, atol=1e-3)


def test_useful_operations_by_hand(model: ImageClassificationModel) -> None:
    # A single pixel in a 4×4 image: graphs of few nodes, counted one by one.
    image = torch.zeros(1, 4, 4, dtype=torch.uint8)
    image[0, 0, 0] = 255
    batch = model.vision.batch(image)
    widths = model.dag.hidden_channels
    expected = 0
    for edge_type in batch.edge_type.tolist():
        source, target = (row[edge_type] for row in model.dag.vocabulary.endpoints)
        expected += 6 * widths[source] * widths[target]
    for node_type in batch.node_type.tolist():
        expected += 4 * model.dag.in_channels[node_type] * widths[node_type]
    assert useful_flops(model, batch) == expected


def test_a_line_is_found() -> None:
    rows = [{"nodes": n, "ms": 2.0 + 1e-3 * n} for n in (100, 1000, 20_000, 1_000_000)]
    line = fit_line(rows)
    assert line["a_ms"] == pytest.approx(2.0)
    assert line["b_ns"] == pytest.approx(1000.0)
    assert (line["least_b"], line["most_b"]) == (pytest.approx(1.0), pytest.approx(1.0))


def test_images_of_digits_side_by_side() -> None:
    one, _ = digits(28, 4)
    two, _ = digits(56, 1)
    assert torch.equal(two[0, :28, :28], one[0])
    assert torch.equal(two[0, 28:, :28], one[2])
    assert digits(30, 2)[0].shape == (2, 30, 30)


def test_kernels_come_back(model: ImageClassificationModel) -> None:
    batches, labels = [model.vision.batch(noise(2))] * 2, [torch.tensor([0, 1])] * 2
    task = WithoutKernels(model, batches, labels, torch.float32)
    expected = model.eval()(batches[0])
    seen: list[torch.Tensor] = []
    task.model.register_forward_hook(lambda _, inputs, logits: seen.append(logits))
    task.infer()
    with plain_operators():
        assert torch.equal(seen[0], model(batches[0]))
    assert torch.equal(model(batches[0]), expected)


def test_ways_take_turns() -> None:
    calls: list[str] = []
    seconds = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=2, warm_up=1)
    assert calls == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}
    calls.clear()
    # Several in a row, after one that is not timed.
    in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=1, warm_up=0, calls=2)
    assert calls == ["a", "a", "a", "b", "b", "b"]


def test_what_is_quoted_was_measured() -> None:
    figures = json.loads((ROOT / "benchmarks/results/latest.json").read_text())
    assert summary(figures) in (ROOT / "README.md").read_text()
    step, inference = figures["step_vs_conv2d_f32"], figures["inference_vs_conv2d_f32"]
    page = " ".join((ROOT / "docs/comparison.md").read_text().split())
    assert f"takes {step:.2f} of the time of the same arithmetic as dense `Conv2d`, inference {inference:.2f}" in page


def test_what_is_quoted_of_exports_was_measured() -> None:
    figures = json.loads((ROOT / "benchmarks/results/export.json").read_text())
    printed = StringIO()
    with redirect_stdout(printed):
        export.report(figures)
    assert printed.getvalue().strip() in (ROOT / "docs/export.md").read_text()
    assert max(figures["onnx_difference"], figures["program_difference"]) < 1e-4
