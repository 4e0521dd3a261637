"""A picture in a file → pixels; whatever else a file may hold is compared with limits before Pillow unpacks it."""

import os
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from torch import Tensor

from grapheme_pyg.checks import as_int, as_path
from grapheme_pyg.datasets.image_contents import END_OF_IMAGE, JPEG, PNG, without_notes
from grapheme_pyg.datasets.local_files import check_regular
from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.orientation import orientation
from grapheme_pyg.vision.pil_images import MAX_PIXELS, check_num_pixels, declared_white, decoding, from_pil
from grapheme_pyg.vision.pixels import resized, to_pixels

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

# Pillow's names. Not among them: what runs other programs (EPS), and what nobody keeps pictures for learning in.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# What Pillow reads only if it was built so, or if the package pillow-heif is there.
FORMATS_OF_BOXES = ("AVIF", "HEIF")
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
# A file is read as a whole; of its header, so much is looked at.
MAX_BYTES, HEADER = 2**28, 2**20
# Of the tiles of a TIFF file, which are unpacked whole, however small the picture.
MAX_TILE = 2**20
TILE_WIDTH, TILE_LENGTH = 322, 323


class Header(NamedTuple):
    """What is known of a picture before it is decoded.

    Attributes:
        height: In pixels, as it is shown.
        width: The same.
        highest: The highest of 16-bit grey levels whose white the file does not say, which is why those are decoded;
            None for all other pictures.
    """

    height: int
    width: int
    highest: int | None


def read_image(
    path: str | Path,
    in_channels: int = 3,
    *,
    max_pixels: int = MAX_PIXELS,
    size: int | None = None,
    white: int | None = None,
) -> Tensor:
    """Reads a picture in a file of the formats BMP, GIF, JPEG, PNG, PPM and its family, TIFF, WebP, AVIF or HEIC.

    - AVIF is read where Pillow was built with it, HEIC where the package ``pillow-heif`` is installed.
    - It is turned upright as its EXIF orientation says; one that cannot be read says nothing.
    - Transparent pixels show white paper behind them: drawings without a background are mostly dark.
    - 16-bit grey levels are scaled so that white becomes 255; see :func:`grapheme_pyg.vision.pil_images.from_pil`.
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
        size: To how many pixels the longer side is brought, in proportion; it stays as it is if None.
        white: The 16-bit grey level that is white, in 1…65535; found out if None.

    Returns:
        uint8 ``[in_channels, H, W]``.

    Raises:
        OSError: There is no such file, or it may not be read.
        ImageError: It is broken, too large, or no image of these formats; the message names it.
    """
    if in_channels not in (1, 3):
        raise ValueError(f"in_channels: expected 1 or 3, got {in_channels!r}")
    max_pixels = as_int("max_pixels", max_pixels, 1)
    if size is not None:
        size = as_int("size", size, 1)
    if white is not None:
        white = as_int("white", white, 1, 65_535)
    path = as_path("path", path)
    name = str(path)
    # Apart from decoding, so that what the file system says stays what it is.
    content = _read(path)
    with decoding(name):
        opened = open_image(content, name, max_pixels)
    with opened:
        pixels = from_pil(opened, name, max_pixels, white=white)
    image = to_pixels(pixels, in_channels, name=name)
    return image if size is None else resized(image[None], size)[0]


def read_header(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Looks whether a picture in a file can be read, mostly without decoding it.

    Of JPEG and PNG files that end as they must, only the header is read. Others are decoded: films that follow a
    motion photograph are as good as an end that is missing.

    Raises:
        OSError: As :func:`read_image`.
        ImageError: As :func:`read_image`; damage amid a JPEG or PNG file is not seen.
    """
    path, name = Path(path), str(path)
    first, last = _read_ends(path)
    if not looks_whole(first, last):
        first = _read(path)
    with decoding(name), open_image(first, name, max_pixels) as opened:
        height, width = opened.size[::-1]
        if orientation(opened) >= 5:
            height, width = width, height
        deep = opened.mode.startswith("I") and declared_white(opened) is None
    if deep or not looks_whole(first, last):
        with decoding(name), open_image(_read(path), name, max_pixels) as opened:
            opened.load()
            return Header(height, width, int(np.asarray(opened).max()) if deep else None)
    return Header(height, width, None)


def open_image(content: bytes, name: str, max_pixels: int) -> "PILImage":
    """An image whose header is within limits and whose pixels are not yet decoded."""
    from PIL import Image, UnidentifiedImageError

    content = without_notes(content, name, max_pixels)
    formats = _formats_of_boxes(content, name) if content[4:8] == b"ftyp" else FORMATS
    try:
        opened = Image.open(BytesIO(content), formats=formats)
    except UnidentifiedImageError as error:
        came = f"{len(content)} bytes of none of {', '.join(formats)}"
        raise ImageError(f"{name}: expected an image, got {came}") from error
    check_num_pixels(opened.size, name, max_pixels)
    check_tiles(opened, name)
    return opened


def _formats_of_boxes(content: bytes, name: str) -> tuple[str, ...]:
    from PIL import Image

    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
    Image.init()
    found = tuple(kind for kind in FORMATS_OF_BOXES if kind in Image.OPEN)
    kind = "AVIF" if b"avif" in content[8:64] else "HEIF"
    if kind not in found:
        needed = {"AVIF": "a Pillow that was built with it", "HEIF": "the package pillow-heif"}[kind]
        raise ImageError(f"{name}: expected an image that can be read here, got {kind}, which needs {needed}")
    return found


def _read(path: Path) -> bytes:
    check_regular(path, ImageError)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ImageError(f"{path}: expected at most {MAX_BYTES:,} bytes, got more")
    return content


def _read_ends(path: Path) -> tuple[bytes, bytes]:
    """The first 2²⁰ bytes and the last 16 ones."""
    check_regular(path, ImageError)
    with path.open("rb") as file:
        first = file.read(HEADER)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 16))
        return first, file.read()


def check_tiles(image: "PILImage", name: str) -> None:
    """Refuses a TIFF image whose tiles are larger than both itself and 2²⁰ pixels.

    Raises:
        ImageError: They are.
    """
    tags = getattr(image, "tag_v2", {})
    if TILE_WIDTH not in tags or TILE_LENGTH not in tags:
        return
    width, height = tags[TILE_WIDTH], tags[TILE_LENGTH]
    if width * height > max(MAX_TILE, image.width * image.height):
        expected = f"tiles of at most {MAX_TILE:,} pixels or as many as the image"
        raise ImageError(f"{name}: expected {expected}, got {width} by {height}")


def looks_whole(first: bytes, last: bytes) -> bool:
    """Whether the first and last bytes of a file are those of a whole JPEG or PNG; of others, only decoding tells."""
    return (first.startswith(JPEG) and last.endswith(END_OF_IMAGE)) or (first.startswith(PNG) and b"IEND" in last[-12:])
