"""Temperature scaling, which calibrates the probabilities of a model."""

import math

import torch
from torch import Tensor

# Beyond these limits, softmax probabilities of cosines are practically uniform or certain.
LEAST, MOST = math.log(0.1), math.log(1000.0)
GOLDEN = (math.sqrt(5) - 1) / 2
STEPS = 40


@torch.no_grad()
def best_log_temperature(similarities: Tensor, labels: Tensor) -> float:
    r"""Finds the logarithm of the factor of similarities for which softmax has the lowest cross-entropy.

    This is temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", 2017) by golden-section search.
    Targets are smoothed as if there were two more images, one classified correctly and one not (Platt, "Probabilistic
    Outputs for Support Vector Machines", 1999); otherwise the factor would be infinite if all images are correct.

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
