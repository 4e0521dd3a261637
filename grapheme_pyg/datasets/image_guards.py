"""What files of pictures may hold beside pixels, compared with limits before Pillow unpacks it."""

import re
import struct
from typing import TYPE_CHECKING

from grapheme_pyg.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
# Bytes of text in a PNG file, unpacked. Pillow itself would go on to 64 MiB.
MAX_TEXT = 2**24
# To which Pillow cuts the text of each chunk; and by how much deflate shrinks a text at most.
CHUNK, DEFLATE = 2**20, 1032
# Scans of a JPEG file, each of which goes over the whole picture again. Progressive ones have about ten.
MAX_SCANS = 256
# Within a scan, 255 is followed by 0, or by the number of a restart.
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
# Markers that no length follows.
ALONE = (b"\xff\x01", b"\xff\xd8")
# Of the tiles of a TIFF file, which are unpacked whole, however small the picture.
MAX_TILE = 2**20
TILE_WIDTH, TILE_LENGTH = 322, 323


def check_content(content: bytes, name: str) -> None:
    """Refuses a file that would take much more time or memory than its pixels.

    Raises:
        ImageError: It is a PNG file whose texts may unpack to more than 2²⁴ bytes, or a JPEG file of more than 256
            scans.
    """
    if content.startswith(PNG) and (size := _text(content)) > MAX_TEXT:
        raise ImageError(f"{name}: expected texts of at most {MAX_TEXT:,} bytes, got up to {size:,}")
    if content.startswith(JPEG) and (scans := _scans(content)) > MAX_SCANS:
        raise ImageError(f"{name}: expected at most {MAX_SCANS} scans, got {scans}")


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
    """Whether a file ends as a whole JPEG or PNG picture does; of others, only decoding tells.

    Args:
        first: The first bytes of the file.
        last: Its last bytes.
    """
    return (first.startswith(JPEG) and last.endswith(END_OF_IMAGE)) or (first.startswith(PNG) and b"IEND" in last[-12:])


def _scans(content: bytes) -> int:
    """How many scans a JPEG picture has; what follows it, such as the film of a motion photograph, does not count."""
    scans, at = 0, 2
    while (found := MARKER.search(content, at)) and (marker := found[0]) != END_OF_IMAGE:
        at = found.end()
        scans += marker == START_OF_SCAN
        if marker not in ALONE:
            at += int.from_bytes(content[at : at + 2])
    return scans


def _text(content: bytes) -> int:
    """How many bytes the texts of a PNG file may unpack to."""
    total, at = 0, len(PNG)
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IEND":
            break
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            total += min(DEFLATE * length, CHUNK)
        elif kind == b"tEXt":
            total += length
        at += 12 + length
    return total
