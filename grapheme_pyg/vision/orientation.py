"""How a picture is to be turned: the one thing that is read of what a file says beside its pixels."""

import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

ORIENTATION = 0x0112
EXIF = b"Exif\0\0"
# By the type that an EXIF block gives a number.
NUMBERS = {1: "B", 3: "H", 4: "I"}
IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation(image: "PILImage") -> int:
    """The EXIF orientation of a picture, in 1…8; 1 if it says none, or none that can be read.

    Pillow's own ``getexif`` reads all values of a block, which may overlap: 220 KB of them took 959 MB. Here each entry
    of the first directory is looked at once. TIFF pictures have none: Pillow turns those while it loads them.
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
    """The orientation by an EXIF block, or else by XMP, in 1…8; 1 if neither says one that can be read."""
    found = None if exif is None else _in_exif(exif)
    if found is None and (match := IN_XMP.search(xmp)):
        found = int(match[1])
    return found if found is not None and 1 <= found <= 8 else 1


def _in_exif(exif: bytes) -> int | None:
    """The value of the tag in the first directory of an EXIF block; None if it is not there or cannot be read."""
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
    except struct.error:  # the block ends before
        pass
    return None


def exif_of(value: int) -> bytes:
    """An EXIF block that says an orientation and nothing else."""
    return EXIF + struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, ORIENTATION, 3, 1, value, 0, 0)
