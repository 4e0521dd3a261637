"""Picture files without what Pillow would read of them beside the pixels, as no limit bounds what that takes."""

import re
import struct

from grapheme_pyg.errors import ImageError
from grapheme_pyg.vision.orientation import EXIF, exif_of, orientation_in
from grapheme_pyg.vision.pil_images import check_num_pixels

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
GIF = (b"GIF87a", b"GIF89a")
# The numbers of the family of PPM whose pixels are written as text.
PLAIN = re.compile(rb"P[123]\s")
COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")
# The others of the family, and their headers: two or three numbers, which Pillow looks for byte by byte.
PACKED = re.compile(rb"P[04-6fFy]")
NUMBER = rb"(?:(?:\s|#[^\r\n]*[\r\n])+[^\s#]+)"
PACKED_HEADER = re.compile(rb"P4%b{2}|P[^4\s]+%b{3}" % (NUMBER, NUMBER))
MAX_HEADER = 2**16
# Chunks of a PNG file. A file of the largest size, written 8 KiB at a time as usual, has as many.
MAX_CHUNKS = 2**15
# Bytes of text in a PNG file, unpacked. Pillow itself would go on to 64 MiB.
MAX_TEXT = 2**24
# To which Pillow cuts the text of each chunk; and by how much deflate shrinks a text at most.
CHUNK, DEFLATE = 2**20, 1032
# Scans of a JPEG file, each of which goes over the whole picture again. Progressive ones have about ten.
MAX_SCANS = 256
# Segments before the first scan, without those that are left out. Few files have more than twenty.
MAX_SEGMENTS = 2**10
# Within a scan, 255 is followed by 0, or by the number of a restart.
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
# Markers that no length follows.
ALONE = (b"\xff\x01", b"\xff\xd8")
# Notes of programs and cameras. Of such segments pixels depend on JFIF's, the first kind, and Adobe's, the fifteenth.
NOTES = [bytes([0xFF, kind]) for kind in (*range(0xE1, 0xEE), 0xEF, 0xFE)]
XMP = b"http://ns.adobe.com/xap/1.0/\0"
# Of the blocks before a frame of a GIF file: an extension, a frame, the end.
BLOCK = re.compile(rb"[!,;]")
TRANSPARENCY = b"!\xf9"
TIFF = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")
# Bytes of a value of each type, and the types whose values Pillow keeps as they are.
SIZES = dict(zip((*range(1, 14), 16), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 8), strict=True))
BYTES = (1, 2, 7)
# Entries of a TIFF directory that pixels depend on: the baseline and compression, without names, resolutions and other
# directories; and XMP, which may say the orientation.
KEPT = {*range(254, 267), *range(273, 282), 284, *range(290, 294), 317, *range(320, 330), *range(331, 348)}
KEPT |= {*range(512, 533), 700}
MAX_ENTRIES = 2**12
# Values of an entry; of a palette; and the entries that have one for each strip or tile.
MAX_VALUES, PALETTE, MAX_PALETTE = 2**10, 320, 3 * 2**16
PLACES = (273, 279, 324, 325)
WIDTH, HEIGHT, SAMPLES, MAX_SAMPLES = 256, 257, 277, 6
# The entry of a list of items by which an AVIF or HEIC file says that one is EXIF or XMP.
NOTE_ITEM = re.compile(rb"(infe.{8}|infe.{10})(?:Exif|mime)", re.DOTALL)


def without_notes(content: bytes, name: str, max_pixels: int) -> bytes:
    """A file with the same picture and orientation, and little else that Pillow would read before the pixels.

    In EXIF blocks and TIFF files values may overlap, so that a file of 220 KB took 1.9 GB; other notes are put together
    piece by piece, or read byte by byte. What is left takes time and memory in proportion to the file and its pixels.

    Raises:
        ImageError: It is a PNG file of more than 2¹⁵ chunks, or with texts that may unpack to more than 2²⁴ bytes; a
            JPEG file of more than 256 scans or 2¹⁰ segments; or a TIFF file of more than ``max_pixels`` pixels, or with
            values that overlap or are more than its pixels need.
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
    """Without notes and what lies between segments; of what follows the picture, such as a film, scans do not count."""
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
    """Without the extensions before the first frame, but for the last that says which colour is transparent."""
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
    """With a directory, in place of the first, of the entries that pixels depend on, and no other directory."""
    if content.startswith(b"MM\0+"):
        raise ImageError(f"{name}: expected an image that can be read here, got a BigTIFF file, big end first")
    order, big = "<" if content.startswith(b"I") else ">", content[2] == 43
    word, size, length_of_count = (f"{order}Q", 20, 8) if big else (f"{order}I", 12, 2)
    inline = struct.calcsize(word)
    try:
        (start,) = struct.unpack_from(word, content, 8 if big else 4)
        (count,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", content, start)
    except struct.error:  # Pillow says so
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
    """Without the words that make items EXIF or XMP, of which the orientation of such pictures does not depend."""
    at = 0
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        end = at + size if size > 1 else at + int.from_bytes(content[at + 8 : at + 16]) if size else len(content)
        if kind == b"meta":
            return content[:at] + NOTE_ITEM.sub(rb"\1skip", content[at:end]) + content[end:]
        at = max(end, at + 8)
    return content
