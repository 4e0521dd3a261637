import math
import sys

import pytest
import torch
from torch import Tensor

from grapheme_pyg.nn import ClassificationBrain, memory
from grapheme_pyg.nn.memory import CLAIMED, DOUBT, SHRINKAGE, Memory

CHANNELS = 6


def gaussians(per_class: int = 300, classes: int = 4) -> tuple[Tensor, Tensor]:
    """Classes with different means and one covariance, far from a multiple of the identity."""
    labels = torch.arange(classes).repeat_interleave(per_class)
    mixing = torch.randn(CHANNELS, CHANNELS) * torch.logspace(-1, 0.5, CHANNELS)
    means = 3 * torch.randn(classes, CHANNELS)
    return 5 + means[labels] + torch.randn(len(labels), CHANNELS) @ mixing, labels


def within(values: Tensor, labels: Tensor) -> Tensor:
    """Covariance within classes, class by class."""
    values = values.double()
    total = torch.zeros(values.shape[1], values.shape[1], dtype=torch.float64)
    for label in labels.unique():
        of_class = values[labels == label]
        for row in of_class - of_class.mean(dim=0):
            total += torch.outer(row, row)
    return total / len(values)


def whitened(it: Memory, pooled: Tensor) -> Tensor:
    return (pooled - it.center) @ it.whitening


class TestWhitening:
    def test_classes_are_round(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pooled, labels = gaussians()
        monkeypatch.setattr(memory, "SHRINKAGE", 0.0)
        covariance = within(whitened(Memory.of(pooled, labels), pooled), labels)
        torch.testing.assert_close(covariance, torch.eye(CHANNELS).double(), rtol=0, atol=1e-3)

    def test_up_to_the_shrinkage(self) -> None:
        # Along an axis of variance v it is v / (v + λ), with λ a tenth of the mean variance.
        pooled, labels = gaussians()
        variances = torch.linalg.eigvalsh(within(pooled, labels))
        shrinkage = SHRINKAGE * variances.mean()
        covariance = within(whitened(Memory.of(pooled, labels), pooled), labels)
        torch.testing.assert_close(covariance, (variances / (variances + shrinkage)).diag(), rtol=0, atol=1e-3)
        assert covariance.diagonal().max() > 0.95

    def test_the_centre_is_the_mean_of_class_means(self) -> None:
        # Classes of two and one, and one class that does not occur.
        it = Memory.of(torch.tensor([[0.0, 0.0], [2.0, 0.0], [7.0, 4.0]]), torch.tensor([0, 0, 2]))
        torch.testing.assert_close(it.center, torch.tensor([4.0, 2.0]))

    def test_keys_by_hand(self) -> None:
        # Variances within classes 0 and 1.5: means 0.75, λ = 0.075. Centre (2, 0).
        pooled = torch.tensor([[-1.5, 3.0], [1.5, 3.0], [2.5, -3.0], [5.5, -3.0]])
        it = Memory.of(pooled, torch.tensor([0, 0, 1, 1]))
        torch.testing.assert_close(it.center, torch.tensor([2.0, 0.0]))
        # Cosines are those of (x / √(2.25 + 0.1125), y / √0.1125).
        scaled = (pooled - torch.tensor([2.0, 0.0])) / torch.tensor([2.3625, 0.1125]).sqrt()
        scaled /= scaled.norm(dim=1, keepdim=True)
        keys = it.keys_of(pooled)
        torch.testing.assert_close(keys @ keys.t(), scaled @ scaled.t())

    def test_units_do_not_matter(self) -> None:
        pooled, labels = gaussians()
        big, small = (Memory.of(scale * pooled, labels) for scale in (100.0, 0.01))
        other = gaussians()[0]
        torch.testing.assert_close(big.familiarity(100 * other), small.familiarity(0.01 * other), rtol=0, atol=2e-3)

    def test_one_example_of_each_class(self) -> None:
        # No variance within classes: keys are directions from the centre, up to a turn.
        pooled = torch.tensor([[20.0, 0.0], [0.0, 10.0], [-20.0, -10.0]])
        it = Memory.of(pooled, torch.arange(3))
        keys = it.keys.float()
        torch.testing.assert_close(keys.norm(dim=1), torch.ones(3), rtol=0, atol=1e-3)
        expected = torch.nn.functional.normalize(pooled, dim=1)
        torch.testing.assert_close(keys @ keys.t(), expected @ expected.t(), rtol=0, atol=2e-3)


class TestNearest:
    def test_brute_force(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pooled, labels = gaussians(per_class=20)
        it, queries = Memory.of(pooled, labels), gaussians(per_class=5)[0]
        monkeypatch.setattr(memory, "COSINES_AT_ONCE", 560)
        cosines, places = it.nearest(queries, 3)
        for query, values, found in zip(it.keys_of(queries), cosines, places, strict=True):
            all_of_them = sorted((-float(query @ key.float()), place) for place, key in enumerate(it.keys))
            assert values.tolist() == pytest.approx([-cosine for cosine, _ in all_of_them[:3]], abs=1e-6)
            assert found.tolist() == [place for _, place in all_of_them[:3]]

    def test_rows_at_once_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pooled, labels = gaussians(per_class=20)
        it, queries = Memory.of(pooled, labels), gaussians(per_class=5)[0]
        it.add(queries[:3])
        nearest, claims = it.nearest(queries, 2), it.claims(queries)
        monkeypatch.setattr(memory, "COSINES_AT_ONCE", 249)
        torch.testing.assert_close(it.nearest(queries, 2), nearest)
        torch.testing.assert_close(it.claims(queries), claims)

    def test_remembered_examples_are_familiar(self) -> None:
        pooled, labels = gaussians(per_class=200)
        it = Memory.of(pooled, labels)
        assert it.keys.dtype == torch.float16
        # float16 has three digits.
        torch.testing.assert_close(it.familiarity(pooled), torch.ones(len(pooled)), rtol=0, atol=2e-3)
        assert it.familiarity(pooled).max() <= 1
        assert (it.nearest(pooled)[1].squeeze(1) == torch.arange(len(pooled))).double().mean() > 0.95

    def test_what_is_elsewhere_is_less_familiar(self) -> None:
        pooled, labels = gaussians()
        it = Memory.of(pooled[::2], labels[::2])
        assert it.familiarity(10 - pooled).median() < it.familiarity(pooled[1::2]).quantile(0.05)

    def test_double_precision(self) -> None:
        pooled, labels = gaussians(per_class=20)
        it = Memory.of(pooled, labels)
        it.add(pooled[:2])
        expected = it.familiarity(pooled), it.claims(pooled)
        it.double()
        torch.testing.assert_close(it.familiarity(pooled.double()), expected[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(it.claims(pooled.double()).float(), expected[1], rtol=0, atol=1e-5)


def leave_one_out(it: Memory) -> list[float]:
    """For each example from training: cosine with the nearest other one."""
    keys = it.keys[it.added < 0].float()
    return (keys @ keys.T).fill_diagonal_(-math.inf).amax(dim=1).tolist()


class TestAddedClasses:
    def test_reference(self) -> None:
        pooled, labels = gaussians(per_class=15)
        it, queries = Memory.of(pooled, labels), gaussians(per_class=3)[0]
        it.add(pooled[:4] + 1)
        it.add(pooled[20:21] - 2)
        assert it.added.tolist() == [-1] * 60 + [0] * 4 + [1]
        claims = it.claims(queries)
        assert claims.shape == (12, 2)
        for query, row in zip(it.keys_of(queries), claims.tolist(), strict=True):
            best = {-1: -1.0, 0: -1.0, 1: -1.0}
            for key, owner in zip(it.keys, it.added.tolist(), strict=True):
                best[owner] = max(best[owner], float(query @ key.float()))
            expected = [best[i] + it.offsets[i].item() - best[-1] for i in range(2)]
            assert row == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("examples", [1, 5, 40])
    def test_claims_the_stated_share_of_what_is_remembered(self, examples: int) -> None:
        pooled, labels = gaussians(per_class=100)
        it = Memory.of(pooled, labels)
        it.add(gaussians()[0][:examples])
        keys, new = it.keys[it.added < 0].float(), it.keys[it.added == 0].float()
        # As if each remembered example came anew, and were not remembered itself.
        claimed = (keys @ new.T).amax(dim=1) + it.offsets > torch.tensor(leave_one_out(it)) + 1e-3
        assert claimed.sum() <= math.ceil(CLAIMED * len(pooled))
        # Those that are remembered are nearest to themselves.
        assert (it.claims(pooled) > 0).double().mean() <= 2 * CLAIMED

    def test_the_offset_is_a_quantile(self) -> None:
        pooled, labels = gaussians(per_class=25)
        it = Memory.of(pooled, labels)
        it.add(pooled[::30] + 0.5)
        keys, new = it.keys[:100].float(), it.keys[100:].float()
        gains = sorted(float((new @ key).max()) - nearest for key, nearest in zip(keys, leave_one_out(it), strict=True))
        # Of a hundred values, 0.995 lies at place 98.505.
        expected = -(gains[98] + 0.505 * (gains[99] - gains[98]))
        assert it.offsets.item() == pytest.approx(expected, abs=1e-5)

    def test_classes_are_added_one_after_another(self) -> None:
        pooled, labels = gaussians(per_class=50)
        it, alone = Memory.of(pooled, labels), Memory.of(pooled, labels)
        first, second = 10 - pooled[:3], 10 - pooled[60:62]
        it.add(first)
        it.add(second)
        alone.add(second)
        # What one class claims does not depend on the other.
        torch.testing.assert_close(it.offsets[1], alone.offsets[0])
        torch.testing.assert_close(it.claims(pooled)[:, 1], alone.claims(pooled)[:, 0])
        # Examples of a class are claimed by it, and count as familiar.
        assert (it.claims(first)[:, 0] > 0).all()
        assert (it.claims(second)[:, 1] > 0).all()
        torch.testing.assert_close(it.familiarity(first), torch.ones(3), rtol=0, atol=2e-3)

    def test_one_remembered_and_one_new_example(self) -> None:
        it = Memory.of(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        it.add(torch.tensor([[3.0, 4.0]]))
        assert it.offsets.isfinite().all()
        assert it.claims(torch.tensor([[0.0, 1.0]])).isfinite().all()

    def test_no_added_class(self) -> None:
        pooled, labels = gaussians(per_class=5)
        brain = ClassificationBrain(CHANNELS // 2, 4)
        expected = brain.similarities(pooled)
        brain.memory = Memory.of(pooled, labels)
        assert torch.equal(brain.similarities(pooled), expected)

    def test_similarities_of_a_brain(self) -> None:
        # An added class is as similar as the best of the others plus what it claims.
        pooled, labels = gaussians(per_class=30)
        brain = ClassificationBrain(CHANNELS // 2, ["a", "b", "c", "d"])
        before = brain.similarities(pooled)
        brain.memory = Memory.of(pooled, labels)
        brain.add_class("new", 10 - pooled[:2])
        assert brain.classes == ["a", "b", "c", "d", "new"]
        assert brain.num_classes == 5
        queries = torch.cat([pooled, 10 - pooled])
        similarities, claims = brain.similarities(queries), brain.memory.claims(queries)
        assert torch.equal(similarities[:120, :4], before)
        torch.testing.assert_close(similarities[:, 4], similarities[:, :4].amax(dim=1) + claims[:, 0])
        assert torch.equal(similarities.argmax(dim=1) == 4, claims[:, 0] > 0)
        assert (similarities.argmax(dim=1) == 4).any()

    def test_more_examples_of_a_class(self) -> None:
        pooled, labels = gaussians(per_class=30)
        it, at_once = Memory.of(pooled, labels), Memory.of(pooled, labels)
        for rows, number in ((10 - pooled[:2], None), (10 - pooled[40:41], None), (10 - pooled[2:4], 0)):
            it.add(rows, number)
        at_once.add(10 - pooled[:4])
        assert it.examples() == [4, 1]
        assert it.positions[-5:].tolist() == [120, 121, 122, 123, 124]
        torch.testing.assert_close(it.offsets[0], at_once.offsets[0])
        torch.testing.assert_close(it.allowances[0], at_once.allowances[0])
        assert torch.equal(it.claims(pooled)[:, 0], at_once.claims(pooled)[:, 0])

    def test_likeness_by_hand(self) -> None:
        it = Memory(2)
        it.add(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        it.add(torch.tensor([[-1.0, 0.0]]))
        it.allowances[:] = torch.tensor([0.0, 0.1])
        # Of (0.6, 0.8): the nearest key of the first class has 0.8, its mean 1.4 / √2.
        expected = torch.tensor([[(0.8 + 1.4 / math.sqrt(2)) / 2, (-0.6 + 0.1 - 0.6) / 2]])
        torch.testing.assert_close(it.likeness(torch.tensor([[0.6, 0.8]])), expected, rtol=0, atol=2e-3)

    def test_copies_of_examples_count_in_the_mean_alone(self) -> None:
        it = Memory(2)
        it.add(torch.tensor([[[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]]))
        it.add(torch.tensor([[3.0, 4.0]]), 0)
        assert it.examples() == [2]
        torch.testing.assert_close(it.keys.float(), torch.tensor([[1, 0], [0.6, 0.8]]), rtol=0, atol=1e-3)
        # ((1/3, 2/3) + (0.6, 0.8)) / 2
        torch.testing.assert_close(it.means.float(), torch.tensor([[7 / 15, 11 / 15]]), rtol=0, atol=1e-3)

    def test_a_removed_class_leaves_nothing(self) -> None:
        pooled, labels = gaussians(per_class=30)
        it, without = Memory.of(pooled, labels), Memory.of(pooled, labels)
        for memory_, numbers in ((it, (0, 1, 2)), (without, (0, 2))):
            for number in numbers:
                memory_.add(10 - pooled[30 * number : 30 * number + 2])
        it.remove(1)
        it.check()
        queries = gaussians(per_class=5)[0]
        assert it.examples() == [2, 2]
        assert torch.equal(it.claims(queries), without.claims(queries))
        assert torch.equal(it.familiarity(queries), without.familiarity(queries))

    def test_many_keys_are_compared_some_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pooled, labels = gaussians(per_class=30)
        it, queries = Memory.of(pooled, labels), gaussians(per_class=30)[0]
        it.add(10 - pooled[:3])
        whole = it.similarities(queries), it.likeness(queries)
        # Its function has the same name.
        monkeypatch.setattr(sys.modules["grapheme_pyg.ops.half_products"], "AT_ONCE", 7)
        torch.testing.assert_close((it.similarities(queries), it.likeness(queries)), whole, rtol=0, atol=1e-6)


class TestFewKeysOfManyImages:
    def test_clusters(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Two classes of two directions each: a key for each direction is all that there is to say.
        monkeypatch.setattr(memory, "NUM_KEYS", 4)
        directions = 10 * torch.eye(4)[torch.arange(40) % 4]
        it = Memory.of(directions + 0.01 * torch.randn(40, 4), torch.arange(40) % 2)
        assert it.keys.shape == (4, 4)
        assert sorted((it.positions % 4).tolist()) == [0, 1, 2, 3]
        assert it.familiarity(directions).min() > 0.99
        assert int(it.total) == 40

    def test_of_each_class_its_share(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "NUM_KEYS", 30)
        pooled, labels = gaussians(per_class=100, classes=3)
        rare = torch.cat([torch.arange(200), torch.arange(200, 204)])
        it = Memory.of(pooled[rare], labels[rare])
        assert torch.bincount(labels[it.positions]).tolist() == [10, 10, 4]
        known, other = it.familiarity(pooled[:200]), it.familiarity(10 - pooled[:200])
        assert known.median() > other.quantile(0.95)

    def test_narrow_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pooled, labels = gaussians()
        wide = Memory.of(pooled, labels)
        monkeypatch.setattr(memory, "WIDTH", 4)
        narrow = Memory.of(pooled, labels)
        assert narrow.keys.shape[1] == 4
        # The widest directions say most of it.
        queries = gaussians(per_class=50)[0]
        both = torch.stack([wide.familiarity(queries), narrow.familiarity(queries)])
        assert torch.corrcoef(both)[0, 1] > 0.6


class TestFamiliarityOfFewExamples:
    def test_by_hand(self) -> None:
        # One direction for each class, and examples around it: any other of the class is as similar as the angle says.
        it = Memory(2, num_keys=1)
        it.keys[0, 0] = 1
        it.shots[:] = torch.tensor([0.3, 0.4, 0.5, 0.55, 0.6])
        it.quantiles[:] = 0.7
        it.add(torch.tensor([[0.0, 1.0]]))
        # One example: 0.7 is what is known, 0.3 what is expected.
        assert it.allowances.item() == pytest.approx(0.4)
        # Two, of cosine 0.8, where 0.3 was expected: all classes are believed 0.5 · 1 / 6 of that, as one example is
        # left over, and the class itself (0.5 + 5 · 0.5 / 6) / 6. For two, what is known is 0.7 − 0.4 above.
        it.add(torch.tensor([[0.6, 0.8]]), 0)
        expected = 0.3 - (0.5 + 5 * 0.5 / 6) / 6
        assert it.allowances.item() == pytest.approx(expected, abs=1e-3)
        # Another class, of one example, has no say of its own.
        it.add(torch.tensor([[0.0, -1.0]]))
        assert it.allowances.tolist() == pytest.approx([expected, 0.4 - 0.5 / 6], abs=1e-3)
        it.remove(0)
        assert it.allowances.tolist() == pytest.approx([0.4], abs=1e-3)

    def test_between_the_numbers_that_are_measured(self) -> None:
        it = Memory(8, num_keys=1)
        it.shots[:] = torch.tensor([0.1, 0.2, 0.4, 0.5, 0.6])
        numbers = torch.tensor([0, 1, 2, 3, 5, 20, 1000])
        third = 0.2 + 0.2 * math.log(3 / 2) / math.log(5 / 2)
        assert it._expected(0, numbers).tolist() == pytest.approx([0.1, 0.1, 0.2, third, 0.4, 0.6, 0.6])

    def test_the_same_example_twice_says_nothing(self) -> None:
        pooled, labels = gaussians(per_class=50)
        once, twice = Memory.of(pooled, labels), Memory.of(pooled, labels)
        new = 10 - pooled[:3]
        for it, examples in ((once, new), (twice, torch.cat([new, new[:2]]))):
            it.calibrate(pooled)
            it.add(examples)
        torch.testing.assert_close(twice.allowances, once.allowances)
        assert twice.examples() == [5]

    def test_classes_of_different_numbers_of_examples(self) -> None:
        pooled, labels = gaussians(per_class=50)
        it = Memory.of(pooled, labels)
        it.calibrate(pooled)
        sizes, missing = (3, 1, 5, 3), []
        for number, size in enumerate(sizes):
            it.add(10 - pooled[10 * number : 10 * number + size])
            own = it.keys[it.added == number].float()
            for i in range(size if size > 1 else 0):
                nearest = max(float(own[i] @ own[j]) for j in range(size) if j != i)
                missing.append((number, float(it._expected(1, torch.tensor(size - 1))) - nearest))
        told = sum(sizes) - len(sizes)
        shared = sorted(gap for _, gap in missing)[(len(missing) - 1) // 2] * told / (told + DOUBT)
        for number, size in enumerate(sizes):
            gaps = sorted(gap for owner, gap in missing if owner == number)
            own_gap = gaps[(len(gaps) - 1) // 2] if gaps else 0.0
            further = ((size - 1) * own_gap + DOUBT * shared) / (size - 1 + DOUBT)
            allowance = float(it.threshold(0.05) - it._expected(0, torch.tensor(size))) + further
            assert it.allowances[number].item() == pytest.approx(min(max(allowance, 0), 1), abs=1e-5)

    @pytest.mark.parametrize("examples", [1, 5, 20])
    def test_about_as_many_of_a_taught_class_are_refused(self, examples: int) -> None:
        pooled, labels = gaussians(per_class=200, classes=8)
        known = labels < 7
        it = Memory.of(pooled[known], labels[known])
        it.calibrate(pooled[known])
        new = pooled[~known]
        before = (it.familiarity(new) < it.threshold(0.05)).double().mean()
        it.add(new[:examples])
        refused = (it.familiarity(new[examples:]) < it.threshold(0.05)).double().mean()
        assert refused <= min(float(before), 0.35)


class TestQuantiles:
    @staticmethod
    def by_hand(*cosines: float) -> tuple[Memory, Tensor]:
        """A memory of one key, and states that are as familiar as said."""
        it = Memory(2, num_keys=1)
        it.keys[0, 0] = 1
        return it, torch.tensor([[cosine, math.sqrt(1 - cosine**2)] for cosine in cosines])

    def test_by_hand(self) -> None:
        it, pooled = self.by_hand(0.75, 0.0, 1.0, 0.5, 0.25)
        torch.testing.assert_close(it.familiarity(pooled), torch.tensor([0.75, 0, 1, 0.5, 0.25]))
        it.calibrate(pooled)
        for reject in (0, 0.1, 0.25, 0.5, 0.9, 0.9995):
            assert it.threshold(reject).item() == pytest.approx(reject, abs=1e-6)

    def test_between_quantiles(self) -> None:
        # Two states: the quantile p is 0.2 + 0.6 p.
        it, pooled = self.by_hand(0.8, 0.2)
        it.calibrate(pooled)
        for reject in (0.0, 0.3333, 0.77777, 0.99999):
            assert it.threshold(reject).item() == pytest.approx(0.2 + 0.6 * reject, abs=1e-5)

    def test_one_state(self) -> None:
        it, pooled = self.by_hand(0.5)
        it.calibrate(pooled)
        assert it.threshold(0.3).item() == pytest.approx(0.5)

    def test_not_calibrated(self) -> None:
        assert self.by_hand()[0].quantiles.isnan().all()

    def test_thresholds_rise(self) -> None:
        pooled, labels = gaussians()
        it = Memory.of(pooled[::2], labels[::2])
        it.calibrate(pooled[1::2])
        thresholds = torch.stack([it.threshold(i / 777) for i in range(777)])
        assert (thresholds.diff() >= 0).all()

    @pytest.mark.parametrize("reject", [0.0, 0.01, 0.1, 0.5, 0.9])
    def test_share(self, reject: float) -> None:
        pooled, labels = gaussians()
        it, known = Memory.of(pooled[::2], labels[::2]), pooled[1::2]
        it.calibrate(known)
        refused = (it.familiarity(known) < it.threshold(reject)).double().mean().item()
        assert refused == pytest.approx(reject, abs=1 / len(known))


def test_state_dict() -> None:
    pooled, labels = gaussians(per_class=30)
    it = Memory.of(pooled, labels)
    it.add(pooled[:2] + 3)
    it.add(pooled[5:6] - 3)
    it.calibrate(pooled)
    again = Memory(CHANNELS, num_keys=len(it.keys), num_added=2)
    again.load_state_dict(it.state_dict())
    for name, value in it.state_dict().items():
        assert again.state_dict()[name].dtype == value.dtype
        assert torch.equal(again.state_dict()[name], value)
    queries = gaussians(per_class=5)[0]
    assert torch.equal(again.nearest(queries, 4)[1], it.nearest(queries, 4)[1])
    assert torch.equal(again.claims(queries), it.claims(queries))
    assert torch.equal(again.threshold(0.1), it.threshold(0.1))
    with pytest.raises(RuntimeError, match="size mismatch"):
        Memory(CHANNELS).load_state_dict(it.state_dict())


def test_gradients_are_those_of_what_it_computes() -> None:
    """By them images are explained."""
    pooled, labels = gaussians(per_class=20)
    for own, answer in ((True, "claims"), (True, "likeness"), (False, "likeness")):
        it = Memory.of(pooled, labels)
        it = it if own else it.without_keys()
        it.add(pooled[:3] + 4)
        it.add(pooled[-3:] - 4)
        at = pooled[5:9].clone().requires_grad_()
        ones = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
        direction = torch.randn(at.shape, generator=torch.Generator().manual_seed(1))
        (slope,) = torch.autograd.grad((getattr(it, answer)(at) * ones).sum(), at)
        step = 1e-2
        up, down = (float((getattr(it, answer)(pooled[5:9] + by * direction) * ones).sum()) for by in (step, -step))
        assert float((slope * direction).sum()) == pytest.approx((up - down) / (2 * step), rel=2e-2)
        assert slope.abs().sum() > 1e-3


def test_nothing_of_it_learns() -> None:
    pooled, labels = gaussians(per_class=5)
    it = Memory.of(pooled.requires_grad_(), labels)
    assert not list(it.parameters())
    assert not it.familiarity(pooled).requires_grad
    assert not any(value.requires_grad for value in it.state_dict(keep_vars=True).values())
