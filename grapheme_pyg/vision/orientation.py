"""The EXIF orientation of pictures, the only metadata that is read."""

import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

ORIENTATION = 0x0112
EXIF = b"Exif\0\0"
# Formats of EXIF number types.
NUMBERS = {1: "B", 3: "H", 4: "I"}
IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation(image: "PILImage") -> int:
    """Returns the EXIF orientation of a picture, in 1…8; 1 if there is none that can be read.

    Pillow's ``getexif`` reads all values of a block, which can overlap: a block of 220 KB took 959 MB. This reads each
    entry of the first directory once. Pillow applies the orientation of TIFF pictures itself while loading them.
    """
    if hasattr(image, "tag_v2"):
        return 1
    info = image.info
    exif, profile, xmp = (info.get(key) for key in ("exif", "Raw profile type exif", "xmp"))
    if exif is None and isinstance(profile, str):  # ImageMagick's: three lines, then hexadecimal digits
        with suppress(ValueError):
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    xmp = info.get("XML:com.adobe.xmp") or xmp or b""
    return orientation_in(exif, xmp.encode() if isinstance(xmp, str) else xmp)


def orientation_in(exif: bytes | None, xmp: bytes) -> int:
    """Returns the orientation in an EXIF block, or else in XMP, in 1…8; 1 if neither has one that can be read."""
    found = None if exif is None else _in_exif(exif)
    if found is None and (match := IN_XMP.search(xmp)):
        found = int(match[1])
    return found if found is not None and 1 <= found <= 8 else 1


def _in_exif(exif: bytes) -> int | None:
    """Returns the tag's value in the first directory of an EXIF block; None if it is missing or cannot be read."""
    block = exif.removeprefix(EXIF)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", block, at)
            if tag == ORIENTATION and kind in NUMBERS and number:
                return int(struct.unpack_from(f"{order}{NUMBERS[kind]}", block, at + 8)[0])
    except struct.error:  # the block is too short
        pass
    return None


def exif_of(value: int) -> bytes:
    """Returns an EXIF block that contains only an orientation."""
    return EXIF + struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, ORIENTATION, 3, 1, value, 0, 0)
