"""Small files of pictures that would unpack to something enormous."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG file of one bit per pixel, all black, with chunks between its header and its pixels."""
    row = bytes(1 + -(-width // 8))
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def tiff(generator: np.random.Generator, **tags: int) -> bytes:
    """A TIFF file of 8 × 8 grey pixels whose tags say something else, by their numbers: ``_257=100_000``."""
    said = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 8, 279: 64}
    said |= {int(name[1:]): value for name, value in tags.items()}
    said[273] = 8 + 2 + 12 * len(said) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(said.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(said)) + entries + bytes(4) + generator.bytes(64)


def bomb(generator: np.random.Generator, kind: int) -> tuple[str, bytes]:
    """Files of a few kilobytes that would unpack to hundreds of megabytes, or take minutes."""
    large = int(generator.integers(8_000, 30_000))
    text = zlib.compress(bytes(2**20), 9)
    if kind == 0:  # more pixels than are accepted
        return "png", png(large, large)
    if kind == 1:  # 60 texts of a megabyte
        return "png", png(8, 8, *(chunk(b"zTXt", b"%d\0\0" % i + text) for i in range(60)))
    if kind == 2:
        return "png", png(8, 8, *(chunk(b"iTXt", b"%d\0\1\0\0\0" % i + text) for i in range(60)))
    if kind == 3:  # 64 MiB in one piece, as a profile of colours
        return "png", png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26), 9)))
    if kind == 4:
        return "tiff", tiff(generator, _256=large, _257=large, _278=large, _279=2**31)
    if kind == 5:  # tiles as large as a city, compressed
        return "tiff", tiff(generator, _259=int(generator.choice([1, 5, 8])), _322=large, _323=large, _324=8, _325=64)
    if kind == 6:  # strips and samples that are not there
        return "tiff", tiff(generator, _277=int(generator.choice([0, 3, 5, 60_000])), _278=2**32 - 1, _279=2**32 - 1)
    if kind == 7:
        header = struct.pack("<2sIHHIIiiHHIIIIII", b"BM", 100, 0, 0, 54, 40, large, large, 1, 24, 0, 0, 0, 0, 0, 0)
        return "bmp", header + generator.bytes(300)
    if kind == 8:
        screen = b"GIF89a" + struct.pack("<HHBBB", large, large, 0, 0, 0)
        return "gif", screen + b"," + struct.pack("<HHHHB", 0, 0, large, large, 0) + b"\x02\x02D\x01\0;"
    if kind == 9:
        return "ppm", f"P6 {large} {large} 255\n".encode() + generator.bytes(300)
    file = io.BytesIO()
    image = Image.new("RGB", (256, 256), "red")
    image.save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")  # the last scan, over and over
    return "jpg", content[:-2] + content[last:-2] * 60_000 + content[-2:]


BOMBS = 11
