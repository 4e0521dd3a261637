"""What a model says of images."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

# Shifts by one pixel: (down, right).
VIEWS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


class Prediction(NamedTuple):
    """What a model says of N images.

    Shapes:
        - **labels**: names of the predicted classes, N; None for images that are refused
        - **confidences**: ``[N]`` float32, probability of the predicted class
        - **similarities**: ``[N, num_classes]`` float32, cosine with the nearest template of each class; for a class
          that was added from examples, the best of those plus what it claims beyond it
        - **probabilities**: ``[N, num_classes]`` float32
        - **familiarity**: ``[N]`` float32 in [−1, 1], cosine with the nearest remembered example (the nearest-neighbour
          score of out-of-distribution detection); None for a model that remembers none
    """

    labels: list[str | None]
    confidences: Tensor
    similarities: Tensor
    probabilities: Tensor
    familiarity: Tensor | None


def shifted(pixels: Tensor, down: int, right: int) -> Tensor:
    """Images moved by a few pixels, their border repeated.

    Args:
        pixels: uint8 ``[N, C, H, W]``.
        down: By how many pixels, upwards if negative.
        right: By how many pixels, to the left if negative.
    """
    if down == right == 0:
        return pixels
    padding = (max(right, 0), max(-right, 0), max(down, 0), max(-down, 0))
    height, width = pixels.shape[-2:]
    padded = F.pad(pixels.float(), padding, mode="replicate").to(pixels.dtype)
    top, left = max(-down, 0), max(-right, 0)
    return padded[..., top : top + height, left : left + width]
