"""Pictures of sheets of paper in the place of which a model is shown the drawings on them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.drawings import FORM, Box, find_drawings
from grapheme_pyg.vision.ground import relative_to_ground
from grapheme_pyg.vision.pixels import resized, to_channels, to_pixels

# Pictures may be sheets if they have more than so many times the pixels a side that training images have.
TIMES = 2
# Of an image in MNIST's form, in parts of its side: the longer side of the drawing, and how far off its mass is;
# then the least level of ink. Of MNIST's own images 99.9 % are within, in any size.
BOX, OFF, INK = (18 / 28, 21 / 28), 1 / 28, 64


def may_be_sheet(shape: Sequence[int], vision: VisionBrain) -> bool:
    """Whether a picture of that height and width, among its shape, may be taken for a sheet."""
    return max(shape) > TIMES * (vision.longer_side or FORM)


def is_sheet(pixels: Tensor, vision: VisionBrain) -> bool:
    """Whether a picture, uint8 ``[C, H, W]``, is taken for a sheet: a large one that is not in MNIST's form already."""
    if not may_be_sheet(pixels.shape, vision):
        return False
    small = relative_to_ground(resized(to_channels(pixels[None], 1), FORM))[0, 0].double()
    inked = small > INK
    if not bool(inked.any()):
        return True
    extent, off = [], []
    for dim in (0, 1):
        place = inked.any(dim=dim).nonzero()
        extent.append(int(place[-1] - place[0]) + 1)
        mass = small.sum(dim=dim)
        at = torch.arange(len(mass)) + 0.5
        off.append(abs(float((mass * at).sum() / mass.sum()) - len(mass) / 2 - 0.5))
    return not (BOX[0] * FORM <= max(extent) <= BOX[1] * FORM and max(off) <= OFF * FORM)


def drawings_on(pixels: Tensor, vision: VisionBrain) -> list[tuple[Tensor, Box]]:
    """The drawings on a sheet, uint8 ``[C, H, W]``, as the model is shown them, each with its box."""
    found = find_drawings(pixels, vision.longer_side or FORM)
    return [(to_channels(drawing.pixels[None], vision.in_channels), drawing.box) for drawing in found]


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

    def __getitem__(self, i: int) -> Tensor:  # type: ignore[override] # no slices are asked for
        vision = self._vision
        pixels = to_pixels(self._images[i], vision.in_channels, name=f"images[{i}]", white=vision.white)
        if not (self._always or is_sheet(pixels, vision)):
            return pixels
        found = drawings_on(pixels, vision)
        if len(found) == 1:
            drawing, self.boxes[i] = found[0]
            return drawing
        self.reasons[i] = "several drawings" if found else "blank"
        side = vision.longer_side or FORM
        return torch.zeros(vision.in_channels, side, side, dtype=torch.uint8)
