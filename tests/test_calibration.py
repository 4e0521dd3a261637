import math

import pytest
import torch
import torch.nn.functional as F

from grapheme_pyg.calibration import best_log_temperature


def test_the_temperature_by_hand() -> None:
    # Cosines 1 and 0, right 3,000 times of 4,000: odds of 3 at the factor ln 3. Softened targets hardly matter.
    similarities = torch.tensor([[1.0, 0.0]]).expand(4000, 2)
    labels = (torch.arange(4000) >= 3000).long()
    assert math.exp(best_log_temperature(similarities, labels)) == pytest.approx(math.log(3), abs=2e-3)


def test_softened_targets_keep_it_finite() -> None:
    # Always right, 8 times: softened by 1/10, the likeliest probability is 0.95, odds of 19.
    similarities, labels = torch.eye(2)[[0, 1] * 4], torch.tensor([0, 1] * 4)
    assert math.exp(best_log_temperature(similarities, labels)) == pytest.approx(math.log(19), abs=1e-4)


def test_no_other_temperature_has_less_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (300,), generator=generator)
    similarities = torch.randn(300, 5, generator=generator) / 5 + 0.5 * F.one_hot(labels, 5)

    def loss(log_temperature: float) -> float:
        logits = math.exp(log_temperature) * similarities.double()
        return F.cross_entropy(logits, labels, label_smoothing=1 / 302).item()

    best = best_log_temperature(similarities, labels)
    for other in torch.linspace(math.log(0.1), math.log(1000), 200).tolist():
        assert loss(best) <= loss(other) + 1e-12


def test_mostly_wrong_is_as_unsure_as_it_gets() -> None:
    similarities = torch.eye(2)[[0, 1] * 50]
    assert math.exp(best_log_temperature(similarities, torch.tensor([1, 0] * 50))) == pytest.approx(0.1, rel=1e-3)
