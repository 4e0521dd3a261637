"""Temperature scaling: how sure a model may be of what it says."""

import math

import torch
from torch import Tensor

# Beyond these, probabilities are as good as uniform, or as good as certain, for cosines.
LEAST, MOST = math.log(0.1), math.log(1000.0)
GOLDEN = (math.sqrt(5) - 1) / 2
STEPS = 40


@torch.no_grad()
def best_log_temperature(similarities: Tensor, labels: Tensor) -> float:
    r"""The logarithm of the factor of similarities whose softmax has the least cross-entropy.

    Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017), by golden-section search. The
    targets are softened as if two more images had been seen, one right and one wrong (Platt, "Probabilistic Outputs for
    Support Vector Machines", 1999): otherwise the best factor would be infinite where no image is wrong.

    Args:
        similarities: ``[num_images, num_classes]``.
        labels: ``[num_images]`` int64.
    """
    similarities, smoothing = similarities.double(), 1 / (len(labels) + 2)

    def loss(log_temperature: float) -> float:
        logits = math.exp(log_temperature) * similarities
        return torch.nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing).item()

    low, high = LEAST, MOST
    for _ in range(STEPS):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return (low + high) / 2
