"""The form in which image sets are handed to the rest of the library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Split(NamedTuple):
    """Images and their labels.

    Attributes:
        images: uint8, shape [N, H, W]; 0 is background.
        labels: int64, shape [N]; indices into the classes.
    """

    images: Tensor
    labels: Tensor


# eq=False: tensors have no single truth value, so a generated == would raise.
@dataclass(frozen=True, eq=False)
class ImageData:
    """An image-classification set with its split.

    Attributes:
        name: Short name, such as "mnist".
        train: The images to learn from.
        test: The held-out images; a folder may have none.
        classes: The name of every class, in the order of the labels.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
