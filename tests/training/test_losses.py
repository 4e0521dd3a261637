import math

import pytest
import torch
from torch import Tensor

from grapheme_pyg.nn import ClassificationBrain
from grapheme_pyg.training.losses import structural_losses


def reference(similarities: Tensor, labels: Tensor) -> list[float]:
    losses = []
    for row, label in zip(similarities.tolist(), labels.tolist(), strict=True):
        own = 1 - row[label]
        others = min(1 - value for c, value in enumerate(row) if c != label)
        losses.append(math.log(1 + math.exp(10 * (own - others) / (own + others))))
    return losses


def test_by_hand() -> None:
    # Distances 0.2, 0.4 and 2.
    similarities = torch.tensor([[0.8, 0.6, -1.0]]).repeat(3, 1)
    # μ = −0.2 / 0.6, 0.2 / 0.6 and 1.8 / 2.2.
    expected = [0.035053, 3.368386, 8.182098]
    assert structural_losses(similarities, torch.arange(3)).tolist() == pytest.approx(expected, abs=1e-5)


def test_undecided() -> None:
    assert structural_losses(torch.tensor([[0.3, 0.3]]), torch.tensor([1])).item() == pytest.approx(math.log(2))


def test_reference() -> None:
    similarities, labels = torch.rand(200, 7, dtype=torch.float64) * 2 - 1, torch.randint(7, (200,))
    assert structural_losses(similarities, labels).tolist() == pytest.approx(reference(similarities, labels))


def test_below_log_2_if_and_only_if_right() -> None:
    similarities, labels = torch.rand(500, 4) * 2 - 1, torch.randint(4, (500,))
    right = similarities.argmax(dim=1) == labels
    assert 50 < right.sum() < 450
    assert torch.equal(structural_losses(similarities, labels) < math.log(2), right)


def test_bounds() -> None:
    # μ is in [−1, 1], whatever the cosines.
    similarities, labels = torch.rand(500, 3) * 2 - 1, torch.randint(3, (500,))
    losses = structural_losses(similarities, labels)
    assert 0 < losses.min() < losses.max() <= math.log(1 + math.exp(10))
    extremes = structural_losses(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.tensor([0, 0]))
    assert extremes.tolist() == pytest.approx([math.log(1 + math.exp(-10)), math.log(1 + math.exp(10))])


def test_only_the_relation_of_distances_matters() -> None:
    similarities, labels = torch.rand(50, 4, dtype=torch.float64), torch.randint(4, (50,))
    nearer = 1 - (1 - similarities) / 3
    torch.testing.assert_close(structural_losses(nearer, labels), structural_losses(similarities, labels))


def test_own_class_and_nearest_other_alone_learn() -> None:
    similarities = torch.tensor([[0.5, 0.7, 0.6, -0.2]], requires_grad=True)
    structural_losses(similarities, torch.tensor([2])).sum().backward()
    # Downhill is nearer to the own class, 2, and further from the nearest other, 1.
    assert similarities.grad.sign().tolist() == [[0, 1, -1, 0]]


def test_a_step_pulls_the_own_template_nearer() -> None:
    brain = ClassificationBrain(1, 3, embedding_channels=2, templates_per_class=2)
    pooled, labels = torch.randn(1, 2), torch.tensor([0])
    before = brain.template_similarities(brain.embed(pooled)).detach()
    structural_losses(brain.similarities(pooled), labels).sum().backward()
    nearest = before.argmax(dim=-1)[0].tolist()
    with torch.no_grad():
        brain.templates -= 0.01 * brain.templates.grad
    after = brain.template_similarities(brain.embed(pooled)).detach()
    other = max((1, 2), key=lambda c: before[0, c].max().item())
    for c in range(3):
        for k in range(2):
            change = (after - before)[0, c, k].item()
            if k == nearest[c] and c == 0:
                assert change > 1e-4
            elif k == nearest[c] and c == other:
                assert change < -1e-4
            else:
                assert change == pytest.approx(0, abs=1e-6)


def test_gradients() -> None:
    similarities = (torch.rand(20, 5, dtype=torch.float64) * 2 - 1).requires_grad_()
    labels = torch.arange(20) % 5
    assert torch.autograd.gradcheck(lambda s: structural_losses(s, labels), similarities)


def test_copies_of_the_own_template_are_finite() -> None:
    # Both distances are 0.
    similarities = torch.ones(1, 3, requires_grad=True)
    loss = structural_losses(similarities, torch.tensor([0]))
    loss.sum().backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert similarities.grad.isfinite().all()
