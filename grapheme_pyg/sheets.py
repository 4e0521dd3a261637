"""Pictures of sheets of paper in the place of which a model is shown the drawings on them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.drawings import FORM, Box, find_drawings
from grapheme_pyg.vision.pixels import to_channels, to_pixels

# Pictures are sheets if they have more than so many times the pixels a side that training images have.
TIMES = 2


def is_sheet(shape: Sequence[int], vision: VisionBrain) -> bool:
    """Whether a picture of that height and width, among its shape, is taken for a sheet."""
    return max(shape) > TIMES * (vision.longer_side or FORM)


class Sheets(Sequence[Tensor]):
    """Images that are made into the drawings on them when they are asked for, where they are sheets.

    Attributes:
        boxes: The place of each drawing that was found.
        reasons: Why there is none, or not one; the image is black then.
    """

    def __init__(self, images: Any, vision: VisionBrain, *, always: bool) -> None:
        self._images, self._vision, self._always = images, vision, always
        self.boxes: list[Box | None] = [None] * len(images)
        self.reasons: list[str | None] = [None] * len(images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> Tensor:  # type: ignore[override]
        vision = self._vision
        pixels = to_pixels(self._images[i], vision.in_channels, name=f"images[{i}]", white=vision.white)
        if not (self._always or is_sheet(pixels.shape, vision)):
            return pixels
        side = vision.longer_side or FORM
        found = find_drawings(pixels, side)
        if len(found) == 1:
            self.boxes[i] = found[0].box
            return to_channels(found[0].pixels[None], vision.in_channels)
        self.reasons[i] = "several drawings" if found else "blank"
        return torch.zeros(vision.in_channels, side, side, dtype=torch.uint8)
