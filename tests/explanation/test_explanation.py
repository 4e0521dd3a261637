"""Explanations of images, in every mode."""

from functools import partialmethod
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.explain import GNNExplainer

import grapheme_pyg
from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import Split
from grapheme_pyg.explanation import Explanation, attribution, explain
from grapheme_pyg.explanation.attribution import METHODS


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is promised here does not depend on how long the explainers go on; tests of attributions take all steps."""
    monkeypatch.setattr(attribution, "STEPS", 5)
    # Of the class that ours is derived from.
    monkeypatch.setattr(GNNExplainer, "__init__", partialmethod(GNNExplainer.__init__, epochs=5))


def picture(*shape: int) -> Tensor:
    """Noise in two rectangles on an even ground."""
    image = torch.full(shape, 0.2)
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    image[..., 2:9, 3:12], image[..., 11:15, 6:19] = noise[..., 2:9, 3:12], noise[..., 11:15, 6:19]
    return image


def untrained(**options: Any) -> ImageClassificationModel:
    torch.manual_seed(0)
    return ImageClassificationModel(VisionBrain(**options), ["a", "b", "c"])


MODES: list[tuple[dict[str, Any], tuple[int, ...]]] = [
    ({}, (17, 22)),
    ({"in_channels": 3, "patch_size": 3, "margin": 2}, (3, 17, 22)),
    ({"resize": 14}, (17, 22)),
    ({"rounds": (2, 1), "edge_attr": True}, (90, 41)),
    ({"contours": True, "detections": True}, (17, 22)),
    ({"mode": "blob"}, (17, 22)),
    ({"mode": "superpixel", "in_channels": 3}, (3, 17, 22)),
    ({"mode": "hybrid"}, (17, 22)),
    ({"mode": "hybrid", "detections": True, "resize": 30}, (17, 22)),
]


@pytest.mark.parametrize(
    ("options", "shape", "method"),
    [(*mode, "gradient") for mode in MODES] + [(*mode, method) for mode in MODES[3:7:3] for method in METHODS[1:]],
)
def test_every_mode(options: dict[str, Any], shape: tuple[int, ...], method: str) -> None:
    model, image = untrained(**options), picture(*shape)
    explanation = explain(model, image, method)
    assert explanation.label == model.predict(image[None]).labels[0]
    assert model.classes[explanation.target] == explanation.label
    graph = explanation.graph
    assert torch.equal(graph.x, model.vision(image).x)
    for values, size in (
        (explanation.edges, (graph.num_edges,)),
        (explanation.nodes, (graph.num_nodes,)),
        (explanation.pixels, shape[-2:]),
    ):
        assert (values.shape, values.dtype) == (size, torch.float32)
        assert values.isfinite().all()
        assert values.abs().max() > 0
    if method == "gnnexplainer":
        assert 0 <= explanation.edges.min() <= explanation.edges.max() <= 1
    if "resize" not in options:
        expected = explanation.nodes.sum().item()
        assert explanation.pixels.sum().item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_blank_images(method: str) -> None:
    explanation = explain(untrained(), torch.full((9, 12), 0.5), method)
    assert explanation.graph.num_nodes == 1
    assert explanation.edges.shape == (0,)
    # All pixels are alike.
    assert explanation.pixels.shape == (9, 12)
    torch.testing.assert_close(explanation.pixels, explanation.pixels[:1, :1].expand(9, 12))
    assert float(explanation.pixels.sum()) == pytest.approx(float(explanation.nodes.sum()), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_stays_as_it_is_and_so_do_random_numbers(method: str) -> None:
    model = untrained().train()
    model.classifier.eval()
    model.dag.bias.requires_grad_(False)
    state = {name: value.clone() for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    modes = [part.training for part in model.modules()]
    asked = [weight.requires_grad for weight in model.parameters()]
    random = torch.get_rng_state()
    first, second = (explain(model, picture(17, 22), method, seed=4) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), random)
    assert modes == [part.training for part in model.modules()]
    assert asked == [weight.requires_grad for weight in model.parameters()]
    assert all(weight.grad is None for weight in model.parameters())
    assert (model.dag.explain, model.dag._edge_mask) == (None, None)
    after = model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in state.items())
    # The same image and seed, the same explanation.
    for name in ("edges", "nodes", "pixels"):
        assert torch.equal(getattr(first, name), getattr(second, name))
    other = explain(model, picture(17, 22), method, seed=5)
    assert torch.equal(first.edges, other.edges) == (method != "gnnexplainer")


def test_classes_can_be_chosen() -> None:
    model, image = untrained(), picture(17, 22)
    # What speaks for one of two classes speaks as loudly against the other.
    two = ImageClassificationModel(VisionBrain(), 2)
    one, other = (explain(two, image, target=target) for target in (0, 1))
    torch.testing.assert_close(one.edges, -other.edges, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(one.pixels, -other.pixels, rtol=1e-3, atol=1e-6)
    with torch.no_grad():
        assert explain(model, image, target=2).target == 2


@pytest.mark.parametrize("method", METHODS)
def test_double_precision(method: str) -> None:
    model, image = untrained(), picture(17, 22)
    expected = explain(model, image, method)
    found = explain(model.double(), image, method)
    if method != "gnnexplainer":  # which goes its own way from the same start
        torch.testing.assert_close(found.edges, expected.edges, rtol=1e-2, atol=1e-4)
    assert found.edges.dtype == torch.float32


def test_what_was_learned_from_examples_can_be_explained(digits: tuple[Split, Split]) -> None:
    model, images = untrained(), digits[0].images[:12]
    model.remember(images[:6], torch.tensor([0, 1, 2, 0, 1, 2]))
    model.add_class("new", images[6:])
    explanation = explain(model, images[0], target=3)
    assert explanation.edges.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_models_that_were_only_taught(method: str, digits: tuple[Split, Split]) -> None:
    model, images = untrained(), digits[0].images[:12]
    model.remember(images[:6], torch.tensor([0, 1, 2, 0, 1, 2]))
    model = model.with_classes([])
    for name, some in (("one", images[:2]), ("two", images[2:4])):
        model.add_class(name, some)
    explanation = explain(model, images[5], method, target=1)
    assert explanation.edges.isfinite().all()
    assert explanation.edges.any()
    assert explanation.pixels.any()


def test_errors() -> None:
    model, image = untrained(), picture(17, 22)
    with pytest.raises(ValueError, match=r"method: expected one of .*, got 'magic'"):
        explain(model, image, "magic")
    for target in (3, -1, True, "a"):
        with pytest.raises(ValueError, match=rf"target: expected an integer in 0…2, got {target!r}"):
            explain(model, image, target=target)
    with pytest.raises(ValueError, match="image: expected"):
        explain(model, torch.zeros(2, 2, 2, 2))


def test_public_name() -> None:
    assert grapheme_pyg.explain is explain
    assert isinstance(grapheme_pyg.explain(untrained(), picture(17, 22)), Explanation)
