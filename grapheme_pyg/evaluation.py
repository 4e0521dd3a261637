"""Evaluation of predicted probabilities: loss, accuracy, calibration, confusions, and the hardest images."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg.checks import as_int
from grapheme_pyg.labels import to_labels

# Number of equal-width bins of the confidence, as in Guo et al. (2017).
BINS = 15
# The smallest normal float32, below which a softmax returns only subnormal numbers and 0.
SMALLEST_PROBABILITY = torch.finfo(torch.float32).tiny
# The largest distance from 1 of a row's sum, due to rounding.
SUM_TOLERANCE = 1e-3


# eq=False: tensors have no single truth value, so a generated == would raise.
@dataclass(frozen=True, eq=False)
class Evaluation:
    r"""The measures that :func:`evaluate` returns.

    The expected calibration error is that of Guo et al., "On Calibration of Modern Neural Networks" (2017): with
    the images binned by their confidence, :math:`B_m = \{i : (m - 1) / M < c_i \le m / M\}`,

    .. math:: \mathrm{ECE} = \sum_{m = 1}^M \frac{|B_m|}{N} \left|\mathrm{acc}(B_m) - \mathrm{conf}(B_m)\right|

    Attributes:
        loss: Mean negative log-likelihood of the true classes, in nats; see :func:`evaluate`.
        accuracy: Share of images whose most probable class is the true one, in [0, 1].
        calibration_error: Expected calibration error, in [0, 1].
        confusion: ``[C, C]`` int64, images by true class (rows) and predicted class (columns).
        bin_counts: ``[15]`` int64, images in each bin of confidence.
        bin_confidences: ``[15]`` float64, mean confidence in each bin; NaN in one without images.
        bin_accuracies: ``[15]`` float64, accuracy in each bin; NaN in one without images.
        hardest: ``[K]`` int64, indices of the images with the highest loss, hardest first; ties are in order of index.
    """

    loss: float
    accuracy: float
    calibration_error: float
    confusion: Tensor
    bin_counts: Tensor
    bin_confidences: Tensor
    bin_accuracies: Tensor
    hardest: Tensor

    @property
    def num_images(self) -> int:
        """Number of images."""
        return int(self.confusion.sum())

    @property
    def num_mistakes(self) -> int:
        """Number of images whose most probable class is not the true one."""
        return self.num_images - int(self.confusion.trace())

    def summary(self) -> dict[str, Any]:
        """Returns all measures in types that JSON has; confidence and accuracy of an empty bin are None."""
        edges = torch.linspace(0, 1, len(self.bin_counts) + 1, dtype=torch.float64).tolist()
        columns = (self.bin_counts, self.bin_confidences, self.bin_accuracies)
        bins = [
            {
                "above": low,
                "up_to": high,
                "images": count,
                "confidence": confidence if count else None,
                "accuracy": accuracy if count else None,
            }
            for low, high, count, confidence, accuracy in zip(
                edges[:-1], edges[1:], *(column.tolist() for column in columns), strict=True
            )
        ]
        return {
            "images": self.num_images,
            "mistakes": self.num_mistakes,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "calibration_error": self.calibration_error,
            "confusion": self.confusion.tolist(),
            "bins": bins,
            "hardest": self.hardest.tolist(),
        }


def evaluate(probabilities: Tensor | np.ndarray[Any, Any], labels: Any, *, hardest: int = 20) -> Evaluation:
    """Evaluates probabilities against true classes, in float64.

    An image's loss is −ln of the probability of its true class. Probabilities below the smallest normal float32,
    1.2e-38, are raised to it, so that no loss is infinite or exceeds 87.3 nats. If several classes are the most
    probable, the first is the predicted one.

    Args:
        probabilities: ``[N, C]`` floating point, in [0, 1], with rows that sum to 1 within 0.001 and at least two
            classes.
        labels: ``[N]``, true classes in [0, C), in any form that :func:`grapheme_pyg.labels.to_labels` accepts.
        hardest: Number of hardest images to return; all images if there are fewer.

    Returns:
        The measures, on the CPU.

    Raises:
        ValueError: An argument has another form, or there are no images.

    Example:
        >>> result = evaluate(torch.tensor([[0.8, 0.2], [0.6, 0.4]]), torch.tensor([0, 1]), hardest=1)
        >>> result.accuracy, result.confusion.tolist(), result.hardest.tolist()
        (0.5, [[1, 0], [1, 0]], [1])
    """
    hardest = as_int("hardest", hardest, 0)
    if not isinstance(probabilities, Tensor | np.ndarray):
        raise ValueError(f"probabilities: expected a tensor or an array, got {type(probabilities).__name__}")
    probabilities, labels = torch.as_tensor(probabilities), to_labels(labels)
    check_probabilities(probabilities, labels)
    probabilities, labels = probabilities.detach().cpu().double(), labels.cpu()
    confidences, predicted = probabilities.max(dim=1)
    hits, num_classes = predicted == labels, probabilities.shape[1]
    # ln(1 / p) rather than −ln(p), which is −0 for p = 1.
    losses = probabilities.gather(1, labels[:, None]).squeeze(1).clamp(SMALLEST_PROBABILITY, 1).reciprocal().log()
    counts, bin_confidences, bin_accuracies = _bins(confidences.clamp(max=1), hits)
    gaps = (bin_accuracies - bin_confidences).abs().nan_to_num()
    return Evaluation(
        loss=losses.mean().item(),
        accuracy=hits.double().mean().item(),
        calibration_error=(gaps * counts).sum().item() / len(labels),
        confusion=torch.bincount(labels * num_classes + predicted, minlength=num_classes**2).view(num_classes, -1),
        bin_counts=counts,
        bin_confidences=bin_confidences,
        bin_accuracies=bin_accuracies,
        hardest=losses.argsort(descending=True, stable=True)[:hardest],
    )


def check_probabilities(probabilities: Tensor, labels: Tensor) -> None:
    """Refuses probabilities and labels that :func:`evaluate` does not accept.

    Raises:
        ValueError: They have another form.
    """
    if probabilities.dim() != 2 or not probabilities.is_floating_point():
        got = f"{probabilities.dtype} of shape {list(probabilities.shape)}"
        raise ValueError(f"probabilities: expected a floating-point tensor of shape [N, C], got {got}")
    num_images, num_classes = probabilities.shape
    if num_images == 0 or num_classes < 2:
        expected = "at least one image and two classes"
        raise ValueError(f"probabilities: expected {expected}, got shape {list(probabilities.shape)}")
    sums = probabilities.detach().double().sum(dim=1)
    # NaN fails every comparison, and so is refused, too.
    wrong = ~((probabilities >= 0).all(dim=1) & ((sums - 1).abs() <= SUM_TOLERANCE))
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        got = f"a minimum of {probabilities[row].min().item():.4g} and a sum of {sums[row].item():.6g}"
        raise ValueError(f"probabilities[{row}]: expected numbers in [0, 1] that sum to 1, got {got}")
    if labels.dtype != torch.int64 or labels.shape != (num_images,):
        got = f"{labels.dtype} of shape {list(labels.shape)}"
        raise ValueError(f"labels: expected an int64 tensor of shape [{num_images}], got {got}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"labels: expected classes in [0, {num_classes}), got {low}…{high}")


def _bins(confidences: Tensor, hits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns counts, mean confidences and accuracies by bin.

    torchmetrics computes the error, but not the bins of a reliability diagram. Its bins are open above, so that
    confidences of exactly 1, to which float32 rounds, are in a sixteenth bin, which can raise the error.
    """
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)
    index = torch.bucketize(confidences, edges[1:-1])
    counts = torch.bincount(index, minlength=BINS)
    sums = [torch.bincount(index, weights=values, minlength=BINS) for values in (confidences, hits.double())]
    return counts, sums[0] / counts, sums[1] / counts
