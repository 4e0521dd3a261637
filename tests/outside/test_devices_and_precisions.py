"""Weights and graphs on different devices, weights of other precisions, and gradients without kept activations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from grapheme_pyg import ImageClassificationModel, VisionBrain, explain, ops
from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn.messages import messages
from grapheme_pyg.testing import plain_operators

CLASSES = ["a", "b", "c"]
# Images that a class is taught by are of other classes, too.
pytestmark = pytest.mark.filterwarnings("ignore::grapheme_pyg.errors.TrainingWarning")


@pytest.fixture
def images() -> Tensor:
    """Random ones, which differ in every pixel."""
    return torch.randint(256, (6, 16, 16), dtype=torch.uint8)


@pytest.fixture
def double_by_default() -> Iterator[None]:
    """New tensors are of double precision."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_operators_refuse_tensors_of_several_devices() -> None:
    """pyg#5028."""
    x, rows = torch.zeros(2, 3), torch.ones(2, 1, dtype=torch.int32)
    with pytest.raises(ValueError, match="typed_conv: rows: expected a tensor on cpu, as x is, got one on meta"):
        ops.typed_conv(x, rows.to("meta"), torch.zeros(1, 3, 4), None)
    with pytest.raises(ValueError, match="mean_max_pool: first: expected a tensor on meta, as x is, got one on cpu"):
        ops.mean_max_pool(x.to("meta"), None, torch.tensor([0, 2]))


@pytest.mark.parametrize("part", ["", "dag", "dag.norm", "classifier", "classifier.project"])
@pytest.mark.parametrize("readout", ["levels", "sinks"])
def test_graph_and_weights_on_different_devices(images: Tensor, part: str, readout: str) -> None:
    """pyg#5028."""
    model = ImageClassificationModel.from_preset("tiny", CLASSES, readout=readout).eval()
    batch = model.vision.batch(images)
    model.get_submodule(part).to("meta")
    for compute in (model, model.embed, model.pool):
        with pytest.raises(GraphError, match="expected device meta, like the weights, got cpu"):
            compute(batch)
    # A graph that is to be moved to the weights later on may be looked at where it is.
    model.check(batch)


def test_messages_on_another_device(images: Tensor) -> None:
    """pyg#5028."""
    model = ImageClassificationModel.from_preset("tiny", CLASSES)
    model.dag.to("meta")
    with pytest.raises(GraphError, match="x: expected device meta, like the weights, got cpu"):
        messages(model.dag, model.vision(images[0]))


@pytest.mark.parametrize("norm", ["batch", "layer", None])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision_answers_as_single(
    images: Tensor, dtype: torch.dtype, atol: float, norm: str | None, tmp_path: Path
) -> None:
    """TabPFN#284, pyg#6739."""
    labels = torch.arange(6) % 3
    model = ImageClassificationModel.from_preset("tiny", CLASSES, norm=norm).eval()
    batch = model.vision.batch(images)
    fields = batch.x, batch.edge_index, batch.edge_type, batch.node_type, batch.level, None, batch.batch

    def answers() -> list[Tensor]:
        with torch.no_grad():
            logits = model(batch)
            torch.testing.assert_close(model.forward_graph(*fields), logits, rtol=0, atol=0)
        found = model.predict(images, views=2)
        embeddings = F.normalize(model.embed_images(images).float(), dim=-1)
        torch.testing.assert_close(F.normalize(model.embed(batch).float(), dim=-1), embeddings)
        # Logits are cosines times ten.
        return [logits.float() / 10, embeddings, found.similarities, found.probabilities]

    expected = answers()
    model.to(dtype)
    for mine, theirs in zip(answers(), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=atol)
    model.remember(images, labels)
    model.calibrate(images, labels)
    cosines, positions = model.nearest(images, 1)
    assert positions.squeeze(1).tolist() == list(range(6))
    assert cosines.min() > 0.99
    model.add_class("d", images[:2])
    model.save_pretrained(tmp_path)
    loaded = ImageClassificationModel.from_pretrained(tmp_path)
    assert loaded.classifier.templates.dtype == dtype
    assert torch.equal(loaded.predict(images).similarities, model.predict(images).similarities)


@pytest.mark.parametrize("norm", ["batch", "layer", None])
def test_gradients_in_half_precision(images: Tensor, norm: str | None) -> None:
    """TabPFN#284, pyg#6739."""
    model = ImageClassificationModel.from_preset("tiny", CLASSES, norm=norm).bfloat16()
    F.cross_entropy(model(model.vision.batch(images)), torch.arange(6) % 3).backward()
    # Types that no image of this size has get none.
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert all(model.dag.input_weight[name].grad.abs().max() > 0 for name in ("cell0_round0", "cell1_round0"))
    assert model.classifier.project.weight.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_than_states(dtype: torch.dtype) -> None:
    """pyg#6739."""
    single, other, apart = torch.rand(3), torch.rand(3).to(dtype), torch.rand(6)[::2]
    for x in (torch.randn(5, 3), torch.randn(5, 3).bfloat16()):
        for weight, bias in ((single, other), (other, single), (other, other), (apart, single)):
            found = ops.norm_relu(x, weight, bias, 1e-5)
            with plain_operators():
                expected = ops.norm_relu(x, weight, bias, 1e-5)
            for mine, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(mine, theirs)


def test_choice_of_nodes_keeps_its_integers(images: Tensor) -> None:
    """pyg#6739."""
    model = ImageClassificationModel.from_preset("tiny", CLASSES).eval()
    expected = model.predict(images).labels
    # Unlike model.half(), this converts integers as well.
    model.type(torch.float64)
    assert [table.dtype for table in model.readout.tables[:2]] == [torch.int64, torch.bool]
    assert model.predict(images).labels == expected


def test_pooling_keeps_single_precision_whatever_the_default(double_by_default: None) -> None:
    """A kernel sees an address alone."""
    out = ops.mean_max_pool(torch.ones(3, 2, dtype=torch.float32), None, torch.tensor([0, 3]))
    assert torch.equal(out, torch.ones(1, 4, dtype=torch.float32))


def test_augmentation_does_not_depend_on_the_default_precision(images: Tensor) -> None:
    """The same maps and the same pixels, bit for bit."""
    warp = RandomWarp(flip=0.5, points=5)

    def augmented() -> tuple[Tensor, Tensor]:
        maps = warp.draw(6, torch.Generator().manual_seed(1))
        return maps, warp(images, maps)

    maps, expected = augmented()
    torch.set_default_dtype(torch.float64)
    try:
        others, came = augmented()
    finally:
        torch.set_default_dtype(torch.float32)
    assert others.dtype == torch.float32
    assert torch.equal(others, maps)
    assert torch.equal(came, expected)


@pytest.mark.parametrize("mode", ["grid", pytest.param("hybrid", marks=pytest.mark.slow)])
def test_prediction_does_not_depend_on_the_default_precision(images: Tensor, mode: str) -> None:
    """A model made before the default is changed answers as before, to the last bit; one made after it, closely."""
    labels = torch.arange(6) % 3

    def answers(model: ImageClassificationModel) -> list[Tensor]:
        model.forget()
        model.remember(images, labels)
        model.calibrate(images, labels)
        model.add_class("d", images[:2])
        found = model.predict(images, views=2)
        return [found.similarities, found.probabilities, found.familiarity, model.nearest(images, 2)[0]]

    def make() -> ImageClassificationModel:
        return ImageClassificationModel(VisionBrain(mode, edge_attr=True), CLASSES).eval()

    model = make()
    expected = answers(model)
    torch.set_default_dtype(torch.float64)
    try:
        again = answers(model)
        double = make()
        double.load_state_dict(model.state_dict(), strict=False)
        close = answers(double)
    finally:
        torch.set_default_dtype(torch.float32)
    for mine, after, theirs in zip(again, close, expected, strict=True):
        assert torch.equal(mine, theirs)
        torch.testing.assert_close(after.float(), theirs, rtol=0, atol=2e-3)


@pytest.mark.parametrize("norm", ["batch", "layer", None])
@pytest.mark.parametrize("num_images", [1, 4])
def test_gradient_checkpointing(norm: str | None, num_images: int) -> None:
    """mamba#1020, stk#7, pytorch#78752.

    The one node for the whole of one image is normalised by running statistics, which move in between.
    """
    images, labels = torch.randint(256, (num_images, 16, 16), dtype=torch.uint8), torch.arange(num_images)

    def gradients(**how: Any) -> list[Tensor]:
        torch.manual_seed(1)
        vision = VisionBrain("hybrid", edge_attr=True)
        widths = [8] * (max(vision.node_levels) + 1)
        model = ImageClassificationModel(vision, 4, hidden_channels=widths, norm=norm).double()
        batch = model.vision.batch(images)
        out = checkpoint(model, batch, **how) if how else model(batch)
        F.cross_entropy(out, labels).backward()
        statistics = [values for name, values in model.named_buffers() if "running" in name]
        return [weight.grad for weight in model.parameters() if weight.grad is not None] + statistics

    expected = gradients()
    came = gradients(use_reentrant=False)
    for mine, theirs in zip(came, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_pooled_gradients_can_be_computed_again() -> None:
    """mamba#1020: the values by hand of a graph with two nodes, of which both hold the maximum of the second column."""
    states = torch.tensor([[1.0, 5.0], [3.0, 5.0]], dtype=torch.float64, requires_grad=True)
    out = checkpoint(ops.mean_max_pool, states, None, torch.tensor([0, 2]), use_reentrant=False)
    out.backward(torch.tensor([[2.0, 4.0, 10.0, 20.0]], dtype=torch.float64))
    assert states.grad.tolist() == [[1.0, 12.0], [11.0, 12.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_explanations_of_models_in_half_precision(dtype: torch.dtype) -> None:
    """TabPFN#284."""
    model = ImageClassificationModel.from_preset("tiny", 3).eval()
    image = torch.rand(28, 28)
    expected = explain(model, image)
    found = explain(model.to(dtype), image)
    assert found.edges.dtype == torch.float32
    torch.testing.assert_close(found.pixels, expected.pixels, rtol=0.2, atol=0.05)


def test_tensors_without_memory_are_refused() -> None:
    """pyg#5028: an address that is none is as bad as that of another device."""
    model = ImageClassificationModel.from_preset("tiny", 3).eval()
    batch = model.vision.batch(torch.rand(2, 28, 28))
    batch.x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="its data is not allocated yet"):
        model(batch)
