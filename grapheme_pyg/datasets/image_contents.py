"""Removes from picture files what Pillow would read besides the pixels, because no limit bounds its cost."""

import re
import struct

from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.orientation import EXIF, exif_of, orientation_in
from grapheme_pyg.vision.pil_images import check_num_pixels

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
GIF = (b"GIF87a", b"GIF89a")
# Formats of the PPM family with pixels as text.
PLAIN = re.compile(rb"P[123]\s")
COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")
# Other formats of the family, and their headers of two or three numbers, for which Pillow searches byte by byte.
PACKED = re.compile(rb"P[04-6fFy]")
NUMBER = rb"(?:(?:\s|#[^\r\n]*[\r\n])+[^\s#]+)"
PACKED_HEADER = re.compile(rb"P4%b{2}|P[^4\s]+%b{3}" % (NUMBER, NUMBER))
MAX_HEADER = 2**16
# Most chunks of a PNG file: the number in a file of the largest size that is written 8 KiB at a time, as is usual.
MAX_CHUNKS = 2**15
# Most bytes of unpacked text in a PNG file. Pillow's limit is 64 MiB.
MAX_TEXT = 2**24
# Pillow's limit for the text of a chunk, and the highest ratio of compression by deflate.
CHUNK, DEFLATE = 2**20, 1032
# Most scans of a JPEG file, each of which covers the whole picture again. Progressive files have about ten.
MAX_SCANS = 256
# Most segments before the first scan, without those that are removed. Few files have more than twenty.
MAX_SEGMENTS = 2**10
# Within a scan, 255 is followed by 0, or by the number of a restart.
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
# Markers without a length.
ALONE = (b"\xff\x01", b"\xff\xd8")
# Application segments and comments. Pixels depend on two of them, JFIF's 0xE0 and Adobe's 0xEE, which are kept.
NOTES = [bytes([0xFF, kind]) for kind in (*range(0xE1, 0xEE), 0xEF, 0xFE)]
XMP = b"http://ns.adobe.com/xap/1.0/\0"
# First bytes of the blocks of a GIF file: an extension, a frame, the end.
BLOCK = re.compile(rb"[!,;]")
TRANSPARENCY = b"!\xf9"
TIFF = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")
# Bytes of a value of each TIFF type, and the types whose values Pillow keeps as bytes.
SIZES = dict(zip((*range(1, 14), 16), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8), strict=True))
BYTES = (1, 2, 7)
# Tags of a TIFF directory that are kept: those of the baseline and of compression, without names, resolutions and other
# directories; and XMP, which may hold the orientation.
KEPT = {*range(254, 267), *range(273, 282), 284, *range(290, 294), 317, *range(320, 330), *range(331, 348)}
KEPT |= {*range(512, 533), 700}
MAX_ENTRIES = 2**12
# Most values of an entry; the tag of the palette and its most values; and the tags with a value for each strip or tile.
MAX_VALUES, PALETTE, MAX_PALETTE = 2**10, 320, 3 * 2**16
PLACES = (273, 279, 324, 325)
WIDTH, HEIGHT, SAMPLES, MAX_SAMPLES = 256, 257, 277, 6
# The entry that marks an item of an AVIF or HEIC file as EXIF or XMP.
NOTE_ITEM = re.compile(rb"(infe.{8}|infe.{10})(?:Exif|mime)", re.DOTALL)


def without_notes(content: bytes, name: str, max_pixels: int) -> bytes:
    """Returns a file with the same picture and orientation, but little else that Pillow would read before the pixels.

    Values in EXIF blocks and TIFF files may overlap, so that reading a file of 220 KB can take 1.9 GB; Pillow joins
    other metadata piece by piece, or reads it byte by byte. The file that is returned takes time and memory in
    proportion to its size and its pixels.

    Raises:
        ImageError: The file is a PNG file with more than 2¹⁵ chunks, or with texts that may unpack to more than 2²⁴
            bytes; a JPEG file with more than 256 scans or 2¹⁰ segments; or a TIFF file with more than ``max_pixels``
            pixels, or with values that overlap or are more than its pixels need.
    """
    if content.startswith(PNG):
        _check_png(content, name)
    elif content.startswith(JPEG):
        return _jpeg(content, name)
    elif content.startswith(GIF):
        return _gif(content)
    elif content.startswith(TIFF):
        return _tiff(content, name, max_pixels)
    elif PLAIN.match(content):
        return _without_comments(content)
    elif PACKED.match(content) and not PACKED_HEADER.match(content[:MAX_HEADER]):
        raise ImageError(f"{name}: expected an image with a header of at most {MAX_HEADER:,} bytes, got none")
    elif content[4:8] == b"ftyp":
        return _boxes(content)
    return content


def _without_comments(content: bytes) -> bytes:
    kept, at = bytearray(), 0
    for found in COMMENT.finditer(content):
        kept += content[at : found.start()]
        at = found.end()
    return bytes(kept + content[at:])


def _check_png(content: bytes, name: str) -> None:
    total, at, chunks = 0, len(PNG), 0
    while at + 8 <= len(content) and chunks <= MAX_CHUNKS:
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IEND":
            break
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            total += min(DEFLATE * length, CHUNK)
        elif kind == b"tEXt":
            total += length
        at += 12 + length
        chunks += 1
    if total > MAX_TEXT:
        raise ImageError(f"{name}: expected texts of at most {MAX_TEXT:,} bytes, got up to {total:,}")
    if chunks > MAX_CHUNKS:
        raise ImageError(f"{name}: expected at most {MAX_CHUNKS:,} chunks, got more")


def _jpeg(content: bytes, name: str) -> bytes:
    """Removes metadata and bytes between segments; what follows the picture, such as a film, is not examined."""
    kept: list[bytes] = []
    notes: dict[bytes, bytes] = {}
    scans, at, first_scan = 0, 2, len(content)
    while (found := MARKER.search(content, at)) and (marker := found[0]) != END_OF_IMAGE:
        start, at = found.span()
        if marker not in ALONE:
            at += int.from_bytes(content[at : at + 2])
        if marker == START_OF_SCAN:
            first_scan = min(start, first_scan)
            scans += 1
        elif scans == 0 and marker not in NOTES:
            kept.append(content[start:at])
        elif scans == 0:
            for kind in (EXIF, XMP):
                if content.startswith(kind, start + 4):
                    notes.setdefault(kind, content[start + 4 : at])
    if scans > MAX_SCANS:
        raise ImageError(f"{name}: expected at most {MAX_SCANS} scans, got {scans}")
    if len(kept) > MAX_SEGMENTS:
        raise ImageError(f"{name}: expected at most {MAX_SEGMENTS} segments, got {len(kept)}")
    if (turned := orientation_in(notes.get(EXIF), notes.get(XMP, b""))) != 1:
        exif = exif_of(turned)
        kept.insert(0, b"\xff\xe1" + struct.pack(">H", 2 + len(exif)) + exif)
    return content[:2] + b"".join(kept) + content[first_scan:]


def _gif(content: bytes) -> bytes:
    """Removes the extensions before the first frame, except the last one that defines the transparent colour."""
    colours = content[10] & 128 and 3 << (content[10] & 7) + 1 if len(content) > 10 else 0
    screen, transparency, at = content[: 13 + colours], b"", 13 + colours
    while (found := BLOCK.search(content, at)) and found[0] == b"!":
        start, at = found.start(), found.start() + 2
        while at < len(content) and content[at]:
            at += 1 + content[at]
        at += 1
        if content.startswith(TRANSPARENCY, start):
            transparency = content[start:at]
    return screen + transparency + (content[found.start() :] if found else b"")


def _tiff(content: bytes, name: str, max_pixels: int) -> bytes:
    """Replaces the first directory by one with the tags that pixels depend on, and no link to another directory."""
    if content.startswith(b"MM\0+"):
        raise ImageError(f"{name}: expected a supported image, got a big-endian BigTIFF file")
    order, big = "<" if content.startswith(b"I") else ">", content[2] == 43
    word, size, length_of_count = (f"{order}Q", 20, 8) if big else (f"{order}I", 12, 2)
    inline = struct.calcsize(word)
    try:
        (start,) = struct.unpack_from(word, content, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", content, start)
    except struct.error:  # a broken file, which Pillow refuses
        return content
    start += length_of_count
    if count > MAX_ENTRIES:
        raise ImageError(f"{name}: expected a directory of at most {MAX_ENTRIES:,} entries, got {count:,}")
    kept, numbers, total = [], {WIDTH: 0, HEIGHT: 0, SAMPLES: 1}, 0
    for at in range(start, min(start + size * count, len(content) - size + 1), size):
        tag, kind, number, value = struct.unpack_from(f"{order}HH{word[1]}{inline}s", content, at)
        length = number * SIZES.get(kind, 0)
        if length > inline and struct.unpack(word, value)[0] + length > len(content):
            break  # as Pillow does
        if length == 0 or tag not in KEPT:
            continue
        kept.append((tag, kind, number, content[at : at + size]))
        total += length if length > inline else 0
        if tag in numbers and number == 1 and kind in (3, 4):
            (numbers[tag],) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", value)
    if total > len(content):
        raise ImageError(f"{name}: expected values of at most {len(content):,} bytes, the file's, got {total:,}")
    width, height = numbers[WIDTH], numbers[HEIGHT]
    check_num_pixels((width, height), name, max_pixels)
    places = height * max(width, min(numbers[SAMPLES], MAX_SAMPLES))
    for tag, kind, number, _ in kept:
        most = MAX_PALETTE if tag == PALETTE else len(content) if kind in BYTES else MAX_VALUES
        if number > (most := places if tag in PLACES else most):
            raise ImageError(f"{name}: expected at most {most:,} values of tag {tag}, got {number:,}")
    directory = struct.pack(f"{order}{'Q' if big else 'H'}", len(kept)) + b"".join(entry for *_, entry in kept)
    start -= length_of_count
    return content[:start] + directory + bytes(inline) + content[start + len(directory) + inline :]


def _boxes(content: bytes) -> bytes:
    """Unmarks items of EXIF and XMP, on which the orientation of these formats does not depend."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        end = at + size if size > 1 else at + int.from_bytes(content[at + 8 : at + 16]) if size else len(content)
        if kind == b"meta":
            return content[:at] + NOTE_ITEM.sub(rb"\1skip", content[at:end]) + content[end:]
        at = max(end, at + 8)
    return content
