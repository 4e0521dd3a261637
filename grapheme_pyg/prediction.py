"""What a model says of images."""

from typing import NamedTuple

import torch
from torch import Tensor

from grapheme_pyg.errors import GraphemeError
from grapheme_pyg.vision.drawings import Box


class Prediction(NamedTuple):
    """What a model says of N images.

    Shapes:
        - **labels**: names of the predicted classes, N; None for images that are refused, that are blank, or that have
          several drawings on them
        - **confidences**: ``[N]`` float32, probability of the predicted class
        - **similarities**: ``[N, num_classes]`` float32, cosine with the nearest template of each class; for a class
          that was added from examples, the best of those plus what it claims beyond it
        - **probabilities**: ``[N, num_classes]`` float32
        - **familiarity**: ``[N]`` float32 in [−1, 1], cosine with the nearest remembered example (the nearest-neighbour
          score of out-of-distribution detection); None for a model that remembers none
        - **boxes**: for each image the place of the drawing on it that was classified: left, top, right and bottom, in
          pixels; None where the image was taken as it is, or is not answered
        - **reasons**: for each image ``"blank"`` or ``"several drawings"`` if it is not answered for that, and all
          classes are equally probable; else None
    """

    labels: list[str | None]
    confidences: Tensor
    similarities: Tensor
    probabilities: Tensor
    familiarity: Tensor | None
    boxes: list[Box | None]
    reasons: list[str | None]


def require_finite(name: str, values: Tensor) -> Tensor:
    """Returns what a model computed.

    Raises:
        GraphemeError: There is NaN or infinity in it.
    """
    if not bool(torch.isfinite(values).all()):
        raise GraphemeError(f"model: expected finite {name}, got NaN or infinity; its weights are out of proportion")
    return values
