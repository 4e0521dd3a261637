"""Reading of picture files, whose headers are compared with limits before Pillow decodes anything."""

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

# Pillow's names of the supported formats, without those that run other programs (EPS) and those that hold no data sets.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Formats that need a Pillow with support for them, or the package pillow-heif.
FORMATS_OF_BOXES = ("AVIF", "HEIF")
SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pfm", ".pgm"),
    *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
# Most bytes of a file, which is read as a whole, and of the part in which its header is looked for.
MAX_BYTES, HEADER = 2**28, 2**20
# Most pixels of a tile of a TIFF file, which is decoded whole, however small the picture.
MAX_TILE = 2**20
TILE_WIDTH, TILE_LENGTH = 322, 323


class Header(NamedTuple):
    """Size and depth of a picture, mostly known before it is decoded.

    Attributes:
        height: Height of the upright picture in pixels.
        width: Width of the upright picture in pixels.
        highest: The highest grey level of a 16-bit picture whose file does not say which level is white, and which is
            decoded for that; None for all other pictures.
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
    """Reads a picture from a file in BMP, GIF, JPEG, PNG, PPM and its family, TIFF, WebP, AVIF or HEIC format.

    - AVIF needs a Pillow with support for it, HEIC the package ``pillow-heif``.
    - The picture is turned upright by its EXIF orientation; an unreadable orientation is ignored.
    - Transparent pixels are put on white, since drawings without a background are mostly dark.
    - 16-bit grey levels are scaled so that white becomes 255; see :func:`grapheme_pyg.vision.pil_images.from_pil`.
    - Palettes, CMYK, YCbCr, LAB and HSV become RGB; bilevel images become 0 and 255.
    - Floats must be in [0, 1].
    - An animation is represented by its first frame.
    - With one channel, colour becomes ITU-R 601 luma; with three, grey is repeated.

    Files from strangers can do no harm: what a header announces is compared with limits before anything is decoded, and
    a broken file is refused as a whole.

    Args:
        path: The file, of at most 2²⁸ bytes.
        in_channels: 1 or 3.
        max_pixels: The most pixels that the picture may have; Pillow itself refuses more than 178,956,970.
        size: The length of the longer side, in pixels, to which the picture is scaled; None keeps its size.
        white: The 16-bit grey level that is white, in 1…65535; determined from the file if None.

    Returns:
        uint8 ``[in_channels, H, W]``.

    Raises:
        OSError: The file does not exist or may not be read.
        ImageError: The file is broken, too large, or not in one of these formats; the message names it.
        ValueError: Another argument is out of range.
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
    # Outside of decoding, which turns errors of the file system into ImageError.
    content = _read(path)
    with decoding(name):
        opened = open_image(content, name, max_pixels)
    with opened:
        pixels = from_pil(opened, name, max_pixels, white=white)
    image = to_pixels(pixels, in_channels, name=name)
    return image if size is None else resized(image[None], size)[0]


def read_header(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Header:
    """Reads the header of a picture, and checks, mostly without decoding, that the file is whole.

    JPEG and PNG files with a correct end are not decoded. Other files are, such as motion photographs, where a film
    follows the picture.

    Raises:
        OSError: The file does not exist or may not be read.
        ImageError: The file is broken, as in :func:`read_image`; damage within a JPEG or PNG file is not noticed.
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
    """Opens an image whose header is within limits, without decoding its pixels."""
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
        needed = {"AVIF": "a Pillow with support for it", "HEIF": "the package pillow-heif"}[kind]
        raise ImageError(f"{name}: expected a supported image, got {kind}, which needs {needed}")
    return found


def _read(path: Path) -> bytes:
    check_regular(path, ImageError)
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ImageError(f"{path}: expected at most {MAX_BYTES:,} bytes, got more")
    return content


def _read_ends(path: Path) -> tuple[bytes, bytes]:
    """Reads the first 2²⁰ bytes and the last 16."""
    check_regular(path, ImageError)
    with path.open("rb") as file:
        first = file.read(HEADER)
        file.seek(max(0, os.fstat(file.fileno()).st_size - 16))
        return first, file.read()


def check_tiles(image: "PILImage", name: str) -> None:
    """Refuses a TIFF image whose tiles are larger than both the image and 2²⁰ pixels.

    Raises:
        ImageError: The tiles are larger.
    """
    tags = getattr(image, "tag_v2", {})
    if TILE_WIDTH not in tags or TILE_LENGTH not in tags:
        return
    width, height = tags[TILE_WIDTH], tags[TILE_LENGTH]
    if width * height > max(MAX_TILE, image.width * image.height):
        expected = f"tiles of at most {MAX_TILE:,} pixels or as many as the image"
        raise ImageError(f"{name}: expected {expected}, got {width} by {height}")


def looks_whole(first: bytes, last: bytes) -> bool:
    """Tells whether the first and last bytes of a file are those of a whole JPEG or PNG; False for other formats."""
    return (first.startswith(JPEG) and last.endswith(END_OF_IMAGE)) or (first.startswith(PNG) and b"IEND" in last[-12:])
