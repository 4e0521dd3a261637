"""Prediction: the result of classifying images."""

from typing import NamedTuple

import torch
from torch import Tensor

from grapheme_pyg.errors import GraphemeError
from grapheme_pyg.vision.drawings import Box


class Prediction(NamedTuple):
    """The predictions for N images.

    Shapes:
        - **labels**: N names of the predicted classes; None for an image that is refused, is blank, or has several
          drawings on it
        - **confidences**: ``[N]`` float32, the probability of the predicted class
        - **similarities**: ``[N, num_classes]`` float32, the cosine with the nearest template of each class; for a
          taught class, the largest of these plus the class's claim
        - **probabilities**: ``[N, num_classes]`` float32
        - **familiarity**: ``[N]`` float32 in [−1, 1], the cosine with the nearest remembered example (the
          nearest-neighbour score of out-of-distribution detection); None if the model has no memory
        - **boxes**: for each image, the place of the drawing that was classified, as left, top, right and bottom in
          pixels; None if the whole image was classified, or nothing
        - **reasons**: for each image, ``"blank"`` or ``"several drawings"`` if it therefore has no label and equal
          probabilities of all classes; else None
    """

    labels: list[str | None]
    confidences: Tensor
    similarities: Tensor
    probabilities: Tensor
    familiarity: Tensor | None
    boxes: list[Box | None]
    reasons: list[str | None]


def require_finite(name: str, values: Tensor) -> Tensor:
    """Returns values that a model has computed.

    Raises:
        GraphemeError: They contain NaN or infinity.
    """
    if not bool(torch.isfinite(values).all()):
        raise GraphemeError(f"model: expected finite {name}, got NaN or infinity; its weights are too large")
    return values
