"""Pictures of sheets of paper, which are replaced by the drawings on them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.drawings import FORM, Box, find_drawings
from grapheme_pyg.vision.ground import relative_to_ground
from grapheme_pyg.vision.pixels import resized, to_channels, to_pixels

# A picture may be a sheet if it has more than this many times the pixels a side of training images.
TIMES = 2
# The form of MNIST's images, as shares of the side: the range of the drawing's longer side, the greatest distance of
# its centre of mass from the middle, and the least level of ink. 99.9 % of MNIST's images have it, in any size.
BOX, OFF, INK = (18 / 28, 21 / 28), 1 / 28, 64


def may_be_sheet(shape: Sequence[int], vision: VisionBrain) -> bool:
    """Tells whether a picture of this shape is large enough for a sheet."""
    return max(shape) > TIMES * (vision.longer_side or FORM)


def is_sheet(pixels: Tensor, vision: VisionBrain) -> bool:
    """Tells whether a picture, uint8 ``[C, H, W]``, is taken for a sheet: it is large and not in MNIST's form."""
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
    """Returns the drawings on a sheet, uint8 ``[C, H, W]``, in the form of training images, each with its box."""
    found = find_drawings(pixels, vision.longer_side or FORM)
    return [(to_channels(drawing.pixels[None], vision.in_channels), drawing.box) for drawing in found]


class Sheets(Sequence[Tensor]):
    """A sequence of images in which sheets are replaced by the drawings on them when they are indexed.

    Args:
        images: The images.
        vision: The brain for which they are.
        always: Whether to take every image for a sheet.

    Attributes:
        boxes: The box of each drawing that was found; None for other images.
        reasons: Why a sheet has no single drawing; None for other images. The sheet is replaced by a black image.
    """

    def __init__(self, images: Any, vision: VisionBrain, *, always: bool) -> None:
        self._images, self._vision, self._always = images, vision, always
        self.boxes: list[Box | None] = [None] * len(images)
        self.reasons: list[str | None] = [None] * len(images)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, i: int) -> Tensor:  # type: ignore[override] # slices are not supported
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
