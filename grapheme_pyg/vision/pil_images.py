"""Conversion of PIL images of all modes to arrays of grey levels or RGB."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from grapheme_pyg.errors import ImageError, ImageWarning
from grapheme_pyg.vision.orientation import orientation

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

# Default limit for pictures in files; cameras of phones have a little more than 48 megapixels.
MAX_PIXELS = 50_000_000
# Level behind transparent pixels; drawings with a transparent background mostly have dark ink.
PAPER = 255
# Pillow's names of the operations that undo EXIF orientations 1 to 8.
TURNS = (None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
GREY_MODES = ("1", "L", "LA", "La")
# TIFF tags.
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281


def from_pil(
    image: "PILImage", name: str = "image", max_pixels: int = MAX_PIXELS, *, white: int | None = None
) -> "np.ndarray[Any, Any]":
    """Converts a PIL image of any mode to an array; it reads the file if Pillow has only opened it.

    - The EXIF orientation is applied if it can be read.
    - Transparent pixels show white paper.
    - 16-bit grey levels, modes ``I`` and ``I;16…``, are scaled so that white becomes 255. White is the level that a
      TIFF or PGM file states, else ``white``, else 65,535; but if fewer than 15 bits are used, as by cameras and
      microscopes of 10, 12 or 14 bits, it is the largest level of that many bits, and a warning is issued. Pillow's own
      conversion would make all levels above 255 white.
    - Palettes, CMYK, YCbCr, LAB and HSV become RGB; bilevel images become 0 and 255.
    - Floats, mode ``F``, do not change.
    - An animation is represented by its current frame.

    Args:
        image: The image.
        name: Name of the image, for errors.
        max_pixels: Largest number of pixels of images from files, checked before decoding.
        white: The 16-bit level of white, in 1…65535; determined for each image if None.

    Returns:
        uint8 or float32, ``[H, W]`` or ``[H, W, 3]``.

    Raises:
        ImageError: The image has no pixels, too many, or levels outside 0…65535; or its file is broken.
    """
    from PIL.ImageFile import ImageFile

    width, height = image.size
    if width == 0 or height == 0:
        raise ImageError(f"{name}: expected at least one pixel, got shape {(height, width)}")
    if isinstance(image, ImageFile):
        check_num_pixels(image.size, name, max_pixels)
    with decoding(name):
        white = declared_white(image) or white
        upright = _upright(image)
        if not upright.mode.startswith("I"):
            return _levels(upright)
        values = np.asarray(upright)
        low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65_535:
        raise ImageError(f"{name}: expected grey levels in 0…65535, got {low}…{high}")
    if white is None:
        white = used_white(high)
        if white < 65_535:
            message = f"images: grey levels of 16 bits use {white.bit_length()} bits only: {white:,} is taken for white"
            warnings.warn(message, ImageWarning, stacklevel=2)
    levels: np.ndarray[Any, Any] = np.minimum((values.astype(np.uint32) * 510 + white) // (2 * white), 255)
    levels = levels.astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # a PNG file declares this level transparent
        levels[values == transparent] = PAPER
    return levels


def check_num_pixels(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuses an image whose width and height, as in its header, are too large.

    Raises:
        ImageError: It has more pixels than ``max_pixels``.
    """
    width, height = size
    if width * height > max_pixels:
        raise ImageError(f"{name}: expected at most {max_pixels:,} pixels (max_pixels), got {width} by {height}")


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turns any exception from Pillow into an :class:`ImageError` with this name, and hides Pillow's warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    # For broken files Pillow's decoders raise OSError, SyntaxError, ValueError, IndexError, struct.error, MemoryError
    # and others, whose only common base is Exception.
    except Exception as error:
        raise ImageError(f"{name}: expected an image, got {type(error).__name__}: {error}") from error


def _upright(image: "PILImage") -> "PILImage":
    from PIL.Image import Transpose

    image.load()
    turn = TURNS[orientation(image) - 1]
    return image if turn is None else image.transpose(Transpose[turn])


def _levels(image: "PILImage") -> "np.ndarray[Any, Any]":
    from PIL import Image as PILImage

    mode = image.mode
    if mode == "F":
        return np.asarray(image)
    if mode == "La":  # which Pillow converts only to LA
        image = image.convert("LA")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        paper = PILImage.new("RGBA", pixels.size, (PAPER, PAPER, PAPER, 255))
        image = PILImage.alpha_composite(paper, pixels).convert("RGB")
    shown = "L" if mode in GREY_MODES else "RGB"
    return np.asarray(image if image.mode == shown else image.convert(shown))


def declared_white(image: "PILImage") -> int | None:
    """Returns the level of white that a file states; None if it states none, or 16 bits."""
    if image.format == "PPM":  # Pillow scales levels by the header's maximum
        return 65_535
    tags = getattr(image, "tag_v2", {})
    largest, bits = tags.get(MAX_SAMPLE_VALUE), tags.get(BITS_PER_SAMPLE)
    if isinstance(largest, tuple):
        largest = largest[0]
    if isinstance(largest, int) and 0 < largest < 65_535:
        return largest
    return 2 ** bits[0] - 1 if isinstance(bits, tuple) and 8 <= bits[0] < 16 else None


def used_white(highest: int) -> int:
    """Returns the largest level of as many bits as ``highest`` needs, at least 8; of 16 bits if it needs 15 or more."""
    bits = max(8, highest.bit_length())
    return 2**bits - 1 if highest > 0 and bits < 15 else 65_535
