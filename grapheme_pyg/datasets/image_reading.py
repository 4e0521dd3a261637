"""A picture in a file → pixels, guarded against what files of strangers may hold."""

from io import BytesIO
from pathlib import Path

from torch import Tensor

from grapheme_pyg.datasets.image_guards import check_content, check_tiles
from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.pil_images import MAX_PIXELS, check_num_pixels, decoding, from_pil
from grapheme_pyg.vision.pixels import to_pixels

# Pillow's names. Not among them: what runs other programs (EPS), and what nobody keeps pictures for learning in.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
# A file is read as a whole.
MAX_BYTES = 2**28


def read_image(path: str | Path, in_channels: int = 3, *, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Reads a picture in a file of the formats BMP, GIF, JPEG, PNG, PPM and its family, TIFF or WebP.

    - It is turned upright as its EXIF orientation says; one that cannot be read says nothing.
    - Transparent pixels show white paper behind them: drawings without a background are mostly dark.
    - 16-bit grey levels are divided by 257, so that 65,535 becomes 255.
    - Palettes, CMYK, YCbCr, LAB and HSV become RGB; bilevel images become 0 and 255.
    - Floats must be in [0, 1].
    - Of an animation it is the first frame.
    - With one channel, colour becomes ITU-R 601 luma; with three, grey is repeated.

    Files of strangers do no harm: what a header announces is compared with the limits before anything is decoded, and
    a broken file is refused, never half shown.

    Args:
        path: The file, of at most 2²⁸ bytes.
        in_channels: 1 or 3.
        max_pixels: The largest number of pixels; Pillow itself refuses more than 178,956,970.

    Returns:
        uint8 ``[in_channels, H, W]``.

    Raises:
        OSError: There is no such file, or it may not be read.
        ImageError: It is broken, too large, or no image of these formats; the message names it.
    """
    from PIL import Image, UnidentifiedImageError

    if in_channels not in (1, 3):
        raise ValueError(f"in_channels: expected 1 or 3, got {in_channels!r}")
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise ValueError(f"max_pixels: expected a positive integer, got {max_pixels!r}")
    name = str(path)
    # Apart from decoding, so that what the file system says stays what it is.
    content = _read(Path(path))
    with decoding(name):
        check_content(content, name)
        try:
            opened = Image.open(BytesIO(content), formats=FORMATS)
        except UnidentifiedImageError as error:
            formats = ", ".join(FORMATS)
            raise ImageError(f"{name}: expected an image, got {len(content)} bytes of none of {formats}") from error
        with opened:
            check_num_pixels(opened, name, max_pixels)
            check_tiles(opened, name)
            pixels = from_pil(opened, name, max_pixels)
    return to_pixels(pixels, in_channels, name=name)


def _read(path: Path) -> bytes:
    # Reading from a pipe or a device may never end.
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ImageError(f"{path}: expected an image, got no regular file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ImageError(f"{path}: expected at most {MAX_BYTES:,} bytes, got more")
    return content
