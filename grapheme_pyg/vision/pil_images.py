"""PIL images of every mode → arrays of grey levels or RGB."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from grapheme_pyg.errors import ImageError, ImageWarning
from grapheme_pyg.vision.orientation import orientation

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

# Of pictures in files, unless another limit is asked for: cameras of phones go to 48 megapixels and a little more.
MAX_PIXELS = 50_000_000
# What transparent pixels show: drawings with a transparent background are mostly dark ink, which black would swallow.
PAPER = 255
# Pillow's names of what brings each EXIF orientation, from 1 on, upright.
TURNS = (None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
GREY_MODES = ("1", "L", "LA", "La")
# Tags of TIFF files: how many bits of a level are used, and which level is the largest.
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281


def from_pil(
    image: "PILImage", name: str = "image", max_pixels: int = MAX_PIXELS, *, white: int | None = None
) -> "np.ndarray[Any, Any]":
    """What a PIL image of any mode shows; a file that was opened but not yet read is read now.

    - It is turned upright as its EXIF orientation says; one that cannot be read says nothing.
    - Transparent pixels show white paper behind them.
    - 16-bit grey levels, of modes ``I`` and ``I;16…``, are scaled so that white becomes 255. White is what a TIFF
      or PGM file says, else ``white``, else 65,535; but where fewer than 15 bits are used, as by cameras and
      microscopes of 10, 12 or 14 bits, it is the largest level of so many bits, and a warning says so. Pillow's own
      conversion would turn all above 255 white.
    - Palettes, CMYK, YCbCr, LAB and HSV become RGB; bilevel images become 0 and 255.
    - Floats, mode ``F``, stay as they are.
    - Of an animation it is the frame that is shown.

    Args:
        image: The image.
        name: How errors call it.
        max_pixels: Of images from files, the largest number of pixels, compared before they are decoded.
        white: The 16-bit level that is white, in 1…65535; found out if None.

    Returns:
        uint8 or float32, ``[H, W]`` or ``[H, W, 3]``.

    Raises:
        ImageError: It has no pixels, too many, or levels outside of 0…65535; or its file is broken.
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
    if isinstance(transparent, int):  # of a PNG file: that level is no ink
        levels[values == transparent] = PAPER
    return levels


def check_num_pixels(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuses an image that is too large, by the width and height that its header says.

    Raises:
        ImageError: It has more pixels than ``max_pixels``.
    """
    width, height = size
    if width * height > max_pixels:
        raise ImageError(f"{name}: expected at most {max_pixels:,} pixels (max_pixels), got {width} by {height}")


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Whatever Pillow raises within becomes an :class:`ImageError` of that name; its warnings are not shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ImageError:
        raise
    # For broken files Pillow's decoders raise OSError, SyntaxError, ValueError, IndexError, struct.error, MemoryError
    # and others, which have no other base in common.
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
    if mode == "La":  # which Pillow turns into nothing else
        image = image.convert("LA")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        paper = PILImage.new("RGBA", pixels.size, (PAPER, PAPER, PAPER, 255))
        image = PILImage.alpha_composite(paper, pixels).convert("RGB")
    shown = "L" if mode in GREY_MODES else "RGB"
    return np.asarray(image if image.mode == shown else image.convert(shown))


def declared_white(image: "PILImage") -> int | None:
    """The level that is white by what a file says of itself; None if it says nothing, or 16 bits."""
    if image.format == "PPM":  # Pillow scales by what the header says
        return 65_535
    tags = getattr(image, "tag_v2", {})
    largest, bits = tags.get(MAX_SAMPLE_VALUE), tags.get(BITS_PER_SAMPLE)
    if isinstance(largest, tuple):
        largest = largest[0]
    if isinstance(largest, int) and 0 < largest < 65_535:
        return largest
    return 2 ** bits[0] - 1 if isinstance(bits, tuple) and 8 <= bits[0] < 16 else None


def used_white(highest: int) -> int:
    """The largest level of as many bits as the highest level of some images takes, at least 8; of 16 from 15 on."""
    bits = max(8, highest.bit_length())
    return 2**bits - 1 if highest > 0 and bits < 15 else 65_535
