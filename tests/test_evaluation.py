import dataclasses
import json
import math

import pytest
import torch

from grapheme_pyg.evaluation import BINS, SMALLEST_PROBABILITY, evaluate

# Confidences 0.5, 0.7, 0.9, 0.9; the second and the last are wrong.
PROBABILITIES = torch.tensor([[0.5, 0.25, 0.25], [0.7, 0.2, 0.1], [0.0, 0.1, 0.9], [0.9, 0.1, 0.0]])
LABELS = torch.tensor([0, 1, 2, 1])


def reference_calibration_error(probabilities, labels):
    """Guo et al.'s sum, image by image, bins (m − 1)/15 < confidence ≤ m/15."""
    error = 0.0
    for m in range(1, BINS + 1):
        confidences, hits = [], []
        for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
            if (m - 1) / BINS < max(row) <= m / BINS:
                confidences.append(max(row))
                hits.append(row.index(max(row)) == label)
        if hits:
            error += len(hits) / len(labels) * abs(sum(hits) / len(hits) - sum(confidences) / len(hits))
    return error


def test_by_hand():
    result = evaluate(PROBABILITIES, LABELS)
    assert result.loss == pytest.approx(-(math.log(0.5) + math.log(0.2) + math.log(0.9) + math.log(0.1)) / 4)
    assert result.accuracy == 0.5
    assert result.confusion.dtype == torch.int64
    assert result.confusion.tolist() == [[1, 0, 0], [2, 0, 0], [0, 0, 1]]
    assert (result.num_images, result.num_mistakes) == (4, 2)
    # Fifteenths: 0.5 is in the bin up to 8, 0.7 in that up to 11, both of 0.9 in that up to 14.
    assert result.bin_counts.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 2, 0]
    assert result.bin_confidences[[7, 10, 13]].tolist() == pytest.approx([0.5, 0.7, 0.9])
    assert result.bin_accuracies[[7, 10, 13]].tolist() == [1, 0, 0.5]
    assert result.bin_confidences.isnan().sum() == result.bin_accuracies.isnan().sum() == BINS - 3
    assert result.calibration_error == pytest.approx((0.5 + 0.7 + 2 * 0.4) / 4)
    assert result.hardest.tolist() == [3, 1, 0, 2]


def test_rows_of_the_confusions_are_the_truth():
    certain = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert evaluate(certain, torch.tensor([0, 0, 1])).confusion.tolist() == [[0, 2], [0, 1]]


def test_a_class_without_images_has_its_row_and_column():
    assert evaluate(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0])).confusion.shape == (3, 3)


def test_zeros_cost_only_where_the_truth_is():
    assert str(evaluate(torch.tensor([[1.0, 0.0]]), torch.tensor([0])).loss) == "0.0"
    wrong = evaluate(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert wrong.loss == pytest.approx(-math.log(SMALLEST_PROBABILITY))
    assert wrong.loss == pytest.approx(87.336545, abs=1e-5)
    # The smallest that is told apart is that probability itself.
    tiny = torch.tensor([[1.0, 2e-38]])
    assert evaluate(tiny, torch.tensor([1])).loss == pytest.approx(-math.log(2e-38))


def test_equals_keep_their_order():
    uniform = torch.full((40, 4), 0.25)
    result = evaluate(uniform, torch.arange(40) % 4, hardest=40)
    assert result.hardest.tolist() == list(range(40))
    assert result.accuracy == 0.25  # the first of equal classes is predicted


@pytest.mark.parametrize(("asked", "expected"), [(0, []), (1, [3]), (2, [3, 1]), (99, [3, 1, 0, 2])])
def test_as_many_of_the_hardest_as_asked(asked, expected):
    assert evaluate(PROBABILITIES, LABELS, hardest=asked).hardest.tolist() == expected


@pytest.mark.parametrize("sharpness", [0.3, 2.0, 4.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_calibration_error_agrees_with_a_slow_reference_and_with_torchmetrics(sharpness, dtype):
    probabilities = (sharpness * torch.randn(500, 6, dtype=dtype)).softmax(dim=1)
    labels = torch.where(torch.rand(500) < 0.6, probabilities.argmax(dim=1), torch.randint(6, (500,)))
    result = evaluate(probabilities, labels)
    assert result.calibration_error == pytest.approx(reference_calibration_error(probabilities, labels), abs=1e-12)
    assert not (probabilities.float() == 1).any()  # torchmetrics counts those apart
    from torchmetrics.functional.classification import multiclass_calibration_error

    expected = multiclass_calibration_error(probabilities, labels, num_classes=6, n_bins=BINS).item()
    assert result.calibration_error == pytest.approx(expected, abs=1e-6)
    assert result.bin_counts.sum() == 500
    assert result.loss == pytest.approx(-probabilities[range(500), labels].double().log().mean().item())
    assert result.confusion.sum(dim=1).tolist() == labels.bincount(minlength=6).tolist()


def test_the_upper_edge_of_a_bin_belongs_to_it():
    edge = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[9]
    for confidence, place in ((edge - 1e-9, 8), (edge, 8), (edge + 1e-9, 9)):
        result = evaluate(torch.stack([confidence, 1 - confidence])[None], torch.tensor([0]))
        assert result.bin_counts.argmax() == place


def test_certainty_shares_the_last_bin():
    # Five images of confidence 1, one of them wrong, and five of 0.95, all right: 0.975 − 0.9 and not 0.1 + 0.025.
    probabilities = torch.tensor([[1.0, 0.0]] * 5 + [[0.95, 0.05]] * 5)
    result = evaluate(probabilities, torch.tensor([1] + [0] * 9))
    assert result.bin_counts.tolist() == [0] * 14 + [10]
    assert result.calibration_error == pytest.approx(0.075)


def test_rounding_is_forgiven_and_nothing_is_changed():
    probabilities = torch.tensor([[1.0000001, 0.0], [0.5004, 0.5]])
    before = probabilities.clone()
    result = evaluate(probabilities, torch.tensor([0, 0]))
    assert torch.equal(probabilities, before)
    assert result.bin_confidences[-1] == 1
    assert result.loss == pytest.approx(-math.log(0.5004) / 2)


def test_takes_what_a_model_gives():
    probabilities = torch.randn(8, 3, requires_grad=True).softmax(dim=1)
    assert not evaluate(probabilities, torch.zeros(8, dtype=torch.int64)).bin_confidences.requires_grad
    half = probabilities.detach().half()
    assert evaluate(half, half.argmax(dim=1)).accuracy == 1


def test_summary_is_json():
    result = evaluate(PROBABILITIES, LABELS, hardest=2)
    summary = result.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["images"] == 4
    assert summary["mistakes"] == 2
    assert {key: summary[key] for key in ("loss", "accuracy", "calibration_error")} == {
        "loss": result.loss,
        "accuracy": 0.5,
        "calibration_error": result.calibration_error,
    }
    assert summary["confusion"] == [[1, 0, 0], [2, 0, 0], [0, 0, 1]]
    assert summary["hardest"] == [3, 1]
    assert len(summary["bins"]) == BINS
    assert summary["bins"][0] == {
        "above": 0,
        "up_to": pytest.approx(1 / 15),
        "images": 0,
        "confidence": None,
        "accuracy": None,
    }
    assert summary["bins"][13] == {
        "above": pytest.approx(13 / 15),
        "up_to": pytest.approx(14 / 15),
        "images": 2,
        "confidence": pytest.approx(0.9),
        "accuracy": 0.5,
    }


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        evaluate(PROBABILITIES, LABELS).loss = 0


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (torch.ones(4), LABELS, r"probabilities: expected a floating-point tensor of shape \[N, C\], got .* \[4\]"),
        (torch.eye(3).long(), LABELS[:3], r"probabilities: expected a floating-point tensor .*, got torch.int64"),
        (torch.zeros(0, 3), LABELS[:0], r"probabilities: expected at least one image and two .* \[0, 3\]"),
        (torch.ones(4, 1), LABELS * 0, r"probabilities: expected at least one image and two .* \[4, 1\]"),
        (
            torch.tensor([[0.5, 0.5], [1.5, -0.5]]),
            LABELS[:2],
            r"probabilities\[1\]: expected numbers in \[0, 1\] that sum to 1, got a minimum of -0.5 and a sum of 1",
        ),
        (torch.tensor([[0.5, 0.502]]), LABELS[:1], r"probabilities\[0\]: .* a sum of 1.002"),
        (torch.tensor([[0.5, 0.498]]), LABELS[:1], r"probabilities\[0\]: .* a sum of 0.998"),
        (torch.tensor([[1.0, math.nan]]), LABELS[:1], r"probabilities\[0\]: .* a sum of nan"),
        (torch.tensor([[math.inf, 0.0]]), LABELS[:1], r"probabilities\[0\]: .* a sum of inf"),
        (PROBABILITIES, LABELS[:3], r"labels: expected an int64 tensor of shape \[4\], got torch.int64 .* \[3\]"),
        (PROBABILITIES, LABELS + 0.5, "labels: expected integers of shape \\[N\\], got 0.5 at position 0"),
        (PROBABILITIES, LABELS + 1, r"labels: expected classes in \[0, 3\), got 1…3"),
        (PROBABILITIES, LABELS - 1, r"labels: expected classes in \[0, 3\), got -1…1"),
    ],
)
def test_wrong_arguments(probabilities, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate(probabilities, labels)


def test_a_negative_number_of_the_hardest():
    with pytest.raises(ValueError, match="hardest: expected a non-negative integer, got -1"):
        evaluate(PROBABILITIES, LABELS, hardest=-1)
