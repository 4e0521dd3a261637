import math

import pytest
import torch
from torch import Tensor

from grapheme_pyg.nn import ClassificationBrain
from grapheme_pyg.nn.templates import move_templates

# Two classes of two templates each, in the plane.
CROSS = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.0, -1.0]]])


def random_case(seed: int, batch_size: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    templates = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    embedding = torch.randn(batch_size, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (batch_size,), generator=generator)
    return torch.nn.functional.normalize(templates, dim=-1), embedding, labels


def reference(templates: Tensor, embedding: Tensor, labels: Tensor, momentum: float) -> Tensor:
    """Template by template, sample by sample."""
    moved = templates.clone()
    for c in range(templates.shape[0]):
        for k in range(templates.shape[1]):
            mine = []
            for row, label in zip(embedding, labels.tolist(), strict=True):
                direction = row / row.norm()
                cosines = [float(direction @ other) for other in templates[label]]
                if label == c and cosines.index(max(cosines)) == k:
                    mine.append(direction)
            if mine:
                mean = sum(mine) / sum(mine).norm()
                keep = momentum ** len(mine)
                new = keep * templates[c, k] + (1 - keep) * mean
                moved[c, k] = new / new.norm()
    return moved


def angle(one: Tensor, other: Tensor) -> float:
    return math.acos(min(1.0, float(one @ other)))


def test_one_embedding_by_hand() -> None:
    # (3, 4) has the direction (0.6, 0.8), nearest to (0, 1): 3/4 of it and 1/4 of the direction are (0.15, 0.95).
    moved = move_templates(CROSS, torch.tensor([[3.0, 4.0]]), torch.tensor([0]), 0.75)
    length = math.sqrt(0.15**2 + 0.95**2)
    expected = CROSS.clone()
    expected[0, 1] = torch.tensor([0.15, 0.95]) / length
    torch.testing.assert_close(moved, expected)


def test_the_own_class_moves_though_another_is_nearer() -> None:
    # Of class 1, (−1, 0) is the nearest, with cosine −0.6: 3/4 of it and 1/4 of (0.6, 0.8) are (−0.6, 0.2).
    moved = move_templates(CROSS, torch.tensor([[0.6, 0.8]]), torch.tensor([1]), 0.75)
    expected = CROSS.clone()
    expected[1, 0] = torch.tensor([-0.6, 0.2]) / math.sqrt(0.4)
    torch.testing.assert_close(moved, expected)


def test_two_embeddings_by_hand() -> None:
    # Twice the same direction: 9/16 of (0, 1) and 7/16 of (0.6, 0.8) are (0.2625, 0.9125).
    moved = move_templates(CROSS, torch.tensor([[0.6, 0.8], [6.0, 8.0]]), torch.tensor([0, 0]), 0.75)
    expected = torch.tensor([0.2625, 0.9125])
    torch.testing.assert_close(moved[0, 1], expected / expected.norm())
    # From both sides: their sum points where the template does.
    moved = move_templates(CROSS, torch.tensor([[0.6, 0.8], [-0.6, 0.8]]), torch.tensor([0, 0]), 0.75)
    torch.testing.assert_close(moved, CROSS)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("seed", range(3))
def test_reference(seed: int, momentum: float) -> None:
    case = random_case(seed)
    torch.testing.assert_close(move_templates(*case, momentum), reference(*case, momentum), rtol=0, atol=1e-12)


def test_without_momentum_templates_are_means() -> None:
    moved = move_templates(CROSS, torch.tensor([[4.0, 3.0], [3.0, 0.0]]), torch.tensor([0, 0]), 0.0)
    # Of directions: (0.8, 0.6) and (1, 0).
    torch.testing.assert_close(moved[0, 0], torch.tensor([1.8, 0.6]) / math.sqrt(3.6))


def test_lengths_are_one() -> None:
    for batch_size in (1, 3, 100):
        moved = move_templates(*random_case(0, batch_size), 0.9)
        torch.testing.assert_close(moved.norm(dim=-1), torch.ones(3, 4, dtype=torch.float64), rtol=0, atol=1e-12)


def test_templates_that_nothing_was_nearest_to_keep_their_last_bit() -> None:
    templates, embedding, labels = (t.float() if t.is_floating_point() else t for t in random_case(0, batch_size=5))
    moved = move_templates(templates, embedding, labels, 0.9)
    same = (moved == templates).all(dim=-1)
    slots = {
        (label, int((templates[label] @ row).argmax())) for row, label in zip(embedding, labels.tolist(), strict=True)
    }
    assert {(c, k) for c in range(3) for k in range(4) if not same[c, k]} == slots
    assert 7 <= same.sum() < 12


def test_a_batch_moves_a_template_as_far_as_its_samples_one_by_one() -> None:
    templates = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    target = torch.tensor([[math.cos(0.3), math.sin(0.3)]], dtype=torch.float64)
    one_by_one = templates
    for n in range(1, 101):
        one_by_one = move_templates(one_by_one, target, torch.tensor([0]), 0.99)
        together = move_templates(templates, target.expand(n, 2), torch.zeros(n, dtype=torch.int64), 0.99)
        # Up to what making the length 1 in between changes.
        moves = [angle(moved[0, 0], templates[0, 0]) for moved in (together, one_by_one)]
        assert moves[0] == pytest.approx(moves[1], rel=0.02)
    # 0.99 to the power of 100 is 0.37.
    assert angle(together[0, 0], target[0]) == pytest.approx(0.37 * 0.3, rel=0.05)


def test_nearer_to_its_embeddings() -> None:
    templates, embedding, labels = random_case(1)
    moved = move_templates(templates, embedding, labels, 0.9)
    directions = torch.nn.functional.normalize(embedding, dim=-1)
    before, after = (torch.einsum("bc,bkc->bk", directions, t[labels]).amax(dim=1).mean() for t in (templates, moved))
    assert after > before + 0.01


def test_order_of_embeddings_does_not_matter() -> None:
    templates, embedding, labels = random_case(2)
    order = torch.randperm(len(labels))
    torch.testing.assert_close(
        move_templates(templates, embedding[order], labels[order], 0.9),
        move_templates(templates, embedding, labels, 0.9),
        rtol=0,
        atol=1e-12,
    )


def test_lengths_of_embeddings_do_not_matter() -> None:
    templates, embedding, labels = random_case(2)
    longer = embedding * torch.rand(len(labels), 1, dtype=torch.float64) * 100
    torch.testing.assert_close(
        move_templates(templates, longer, labels, 0.9),
        move_templates(templates, embedding, labels, 0.9),
        rtol=0,
        atol=1e-12,
    )


def test_arguments_are_left_alone() -> None:
    for templates in (random_case(0)[0], torch.zeros(3, 4, 5, dtype=torch.float64)):
        _, embedding, labels = random_case(0)
        before = templates.clone(), embedding.clone(), labels.clone()
        move_templates(templates, embedding, labels, 0.9)
        for one, other in zip((templates, embedding, labels), before, strict=True):
            assert torch.equal(one, other)


class TestUnsetTemplates:
    def test_take_the_first_embeddings_of_their_class(self) -> None:
        embedding = torch.tensor([[0.0, 2.0], [3.0, 0.0], [0.0, -5.0], [-1.0, 0.0], [1.0, 1.0]])
        labels = torch.tensor([1, 0, 1, 0, 1])
        moved = move_templates(torch.zeros(2, 2, 2), embedding, labels, 0.99)
        assert moved[0].tolist() == [[1, 0], [-1, 0]]
        # Class 1 has none left for the last one, which is nearest to (0, 1), as the one that filled it is: two moves.
        mean = torch.tensor([math.sqrt(0.5), 1 + math.sqrt(0.5)])
        step = 0.9801 * torch.tensor([0.0, 1.0]) + 0.0199 * mean / mean.norm()
        torch.testing.assert_close(moved[1, 0], step / step.norm())
        assert moved[1, 1].tolist() == [0, -1]

    def test_take_no_duplicates(self) -> None:
        # Equal embeddings fill one template; a third direction comes with a later batch.
        first = torch.tensor([[0.0, 2.0], [0.0, 2.0], [0.0, 7.0]])
        zero = torch.zeros(3, dtype=torch.int64)
        once = move_templates(torch.zeros(1, 3, 2), first, zero, 0.99)
        assert once.tolist() == [[[0, 1], [0, 0], [0, 0]]]
        twice = move_templates(once, torch.tensor([[0.0, 1.0], [5.0, 0.0], [0.0, 1.0]]), zero, 0.99)
        assert twice.tolist() == [[[0, 1], [1, 0], [0, 0]]]

    def test_of_classes_that_do_not_occur_stay_unset(self) -> None:
        moved = move_templates(torch.zeros(3, 2, 4), torch.randn(10, 4), torch.ones(10, dtype=torch.int64), 0.9)
        assert (moved[[0, 2]] == 0).all()
        assert (moved[1] != 0).all()

    def test_fill_beside_those_that_are_set(self) -> None:
        templates = CROSS.clone()
        templates[0, 1] = 0
        # Far from the set template of its class, and still not pulled by it: it fills the unset one.
        moved = move_templates(templates, torch.tensor([[-2.0, 0.0]]), torch.tensor([0]), 0.5)
        assert moved[0].tolist() == [[1, 0], [-1, 0]]
        assert torch.equal(moved[1], CROSS[1])

    def test_a_zero_embedding_fills_nothing(self) -> None:
        moved = move_templates(torch.zeros(1, 2, 2), torch.tensor([[0.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 0]), 0.9)
        assert moved.isfinite().all()
        assert moved[0].tolist() == [[0, 1], [0, 0]]


class TestClassificationBrain:
    @staticmethod
    def make() -> ClassificationBrain:
        return ClassificationBrain(1, 3, embedding_channels=5, template_update="momentum", template_momentum=0.9)

    def test_begins_without_templates(self) -> None:
        brain = self.make()
        assert (brain.templates == 0).all()
        assert not brain.templates.requires_grad
        assert (brain.similarities(torch.randn(4, 2)) == 0).all()

    def test_updates(self) -> None:
        brain = self.make()
        templates, embedding, labels = (t.float() if t.is_floating_point() else t for t in random_case(0))
        brain.templates.copy_(templates)
        brain.update_templates(embedding, labels)
        torch.testing.assert_close(brain.templates.data, move_templates(templates, embedding, labels, 0.9))
        assert not brain.templates.requires_grad

    def test_takes_bfloat16(self) -> None:
        brain = self.make()
        brain.update_templates(torch.randn(6, 5).bfloat16(), torch.arange(6) % 3)
        assert brain.templates.dtype == torch.float32
        lengths = brain.templates.norm(dim=-1)
        assert (lengths > 0).sum(dim=1).tolist() == [2, 2, 2]
        torch.testing.assert_close(lengths[lengths > 0], torch.ones(6))
