import math

import pytest
import torch
from torch import nn

from grapheme_pyg.errors import GraphError
from grapheme_pyg.nn import ClassificationBrain
from grapheme_pyg.nn.plan import Chosen


def by_hand() -> ClassificationBrain:
    """Two classes with two templates each in the plane, temperature 2, pooling passed through."""
    brain = ClassificationBrain(1, ["left", "right"], embedding_channels=2, templates_per_class=2)
    with torch.no_grad():
        brain.project.weight.copy_(torch.eye(2))
        brain.templates.copy_(torch.tensor([[[-3.0, 0.0], [0.0, 5.0]], [[2.0, 0.0], [3.0, -4.0]]]))
        brain.log_temperature.fill_(math.log(2))
    return brain


def test_pools_mean_and_maximum_of_each_graph() -> None:
    states, graph = torch.tensor([[1.0], [3.0], [-2.0]]), torch.tensor([0, 0, 1])
    # Graph 0: mean 2, maximum 3. Graph 1: −2 and −2.
    assert by_hand().pool([states], [Chosen.of(graph, 2)]).tolist() == [[2, 3], [-2, -2]]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ([0, 1, 0], r"ascending values in \[0, 3\), got 0 at node 2, after 1"),
        ([0, 1, 3], r"values in \[0, 3\), got 3 at node 2"),
        ([-1, 0, 1], r"values in \[0, 3\), got -1 at node 0"),
        ([[0], [1], [2]], r"shape \[3\], got \[3, 1\]"),
        ([0.0, 1.0, 2.0], r"dtype torch.int64, got torch.float32"),
    ],
)
def test_refuses_graphs_out_of_order_or_range(graph: list, message: str) -> None:
    with pytest.raises(GraphError, match=f"^graph: expected {message}"):
        Chosen.of(torch.tensor(graph), 3)


def test_similarity_with_the_nearest_template() -> None:
    brain = by_hand()
    # (3, 4) has length 5: cosines −3/5 and 4/5 with "left", 3/5 and (9 − 16) / 25 with "right".
    cosines = brain.template_similarities(torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(cosines, torch.tensor([[[-0.6, 0.8], [0.6, -0.28]]]))
    torch.testing.assert_close(brain.similarities(torch.tensor([[3.0, 4.0]])), torch.tensor([[0.8, 0.6]]))
    torch.testing.assert_close(brain.logits(torch.tensor([[3.0, 4.0]])), torch.tensor([[1.6, 1.2]]))


def test_only_the_nearest_template_of_a_class_learns() -> None:
    brain = by_hand()
    brain.logits(torch.tensor([[3.0, 4.0]]))[0, 0].backward()
    moved = brain.templates.grad.abs().sum(-1) > 0
    assert moved.tolist() == [[False, True], [False, False]]


def test_length_of_an_embedding_does_not_matter() -> None:
    brain, embedding = by_hand(), torch.randn(5, 2)
    torch.testing.assert_close(brain.logits(embedding), brain.logits(embedding * 1000))


def test_a_zero_embedding_is_finite() -> None:
    assert by_hand().logits(torch.zeros(1, 2)).isfinite().all()


def test_autocast_leaves_cosines_precise() -> None:
    brain = ClassificationBrain(8, 3)
    embedding = torch.randn(4, 64)
    with torch.autocast("cpu", torch.bfloat16):
        cosines = brain.template_similarities(embedding.bfloat16())
        assert cosines.dtype == torch.float32
        assert torch.equal(cosines, brain.template_similarities(embedding.bfloat16().float()))


def test_learns() -> None:
    brain = ClassificationBrain(4, 3)
    states, classes = torch.eye(4)[:3].repeat(5, 1), torch.arange(3).repeat(5)
    each = Chosen.of(torch.arange(15), 15)
    optimizer = torch.optim.Adam(brain.parameters(), lr=0.05)
    for _ in range(30):
        loss = nn.functional.cross_entropy(brain([states], [each]), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_names_of_classes() -> None:
    assert ClassificationBrain(1, 3).classes == ["0", "1", "2"]
    assert ClassificationBrain(1, ["cat", "dog"]).num_classes == 2


def test_no_classes_yet() -> None:
    brain = ClassificationBrain(2, [])
    assert brain.classes == []
    assert brain.similarities(torch.rand(3, 4)).shape == (3, 0)


@pytest.mark.parametrize("classes", [0, ["cat", "cat"], 3.0, "abc"])
def test_refuses_bad_numbers_and_equal_names(classes: object) -> None:
    with pytest.raises(ValueError, match="classes: expected a positive integer or distinct names"):
        ClassificationBrain(1, classes)


def test_refuses_other_updates() -> None:
    with pytest.raises(ValueError, match=r"template_update: expected one of \('gradient', 'momentum'\), got 'hebb'"):
        ClassificationBrain(1, 2, template_update="hebb")
    with pytest.raises(ValueError, match=r"template_momentum: expected a number in \[0, 1\), got 1"):
        ClassificationBrain(1, 2, template_momentum=1)


@pytest.mark.parametrize("name", ["embedding_channels", "templates_per_class"])
def test_refuses_widths_of_nothing(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a positive integer, got 0"):
        ClassificationBrain(1, 2, **{name: 0})
