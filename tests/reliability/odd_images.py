"""Odd pictures, good and bad, each made from a generator of random numbers: in memory, as files, and bombs."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

MODES = ("1", "L", "P", "PA", "LA", "La", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I", "F")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
SIDES = (1, 2, 3, 7, 28, 29, 64, 200, 256)
# Of arrays; the first five are accepted.
DTYPES = ("uint8", "float16", "float32", "float64", "bool", "int64", "uint16", "complex64", ">f4")
BAD_VALUES = (np.nan, np.inf, -np.inf, -1e-3, 1.01, 255.0)


def picture(generator: np.random.Generator, mode: str) -> Image.Image:
    """A picture of a mode and a random size: noise, strokes, a chequerboard or an empty page."""
    height, width = (int(generator.choice(SIDES)) for _ in range(2))
    values = np.zeros((height, width), np.float64)
    kind = generator.integers(4)
    if kind == 0:
        values = generator.random((height, width))
    elif kind == 1:
        for _ in range(4):
            y, x = generator.integers(height), generator.integers(width)
            values[y : y + 5, x:] = generator.random()
    elif kind == 2:
        values += np.indices((height, width)).sum(axis=0) % 2
    if mode == "F":
        return Image.fromarray(values.astype(np.float32))
    if mode == "I":
        return Image.fromarray((65_535 * values).astype(np.int32))
    if mode.startswith("I;16"):
        dtype = ">u2" if mode == "I;16B" else "<u2"
        return Image.frombytes(mode, (width, height), (65_535 * values).astype(dtype).tobytes())
    grey = Image.fromarray((255 * values).astype(np.uint8))
    if mode in ("1", "L", "P"):
        return grey.convert(mode)
    if mode in ("LA", "La", "PA"):
        layers = Image.merge("LA", (grey, grey.transpose(Image.Transpose.ROTATE_180)))
        return layers.convert(mode) if mode != "PA" else layers.convert("RGBA").convert("PA")
    colour = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
    if mode in ("RGBA", "RGBa"):
        colour.putalpha(grey)
    return colour.convert(mode)


def in_memory(generator: np.random.Generator) -> tuple[Any, bool]:
    """An image in memory, and whether it is one that must be accepted."""
    kind = generator.integers(3)
    if kind == 0:
        if generator.integers(10) == 0:
            return Image.new(str(generator.choice(MODES)), (int(generator.integers(2)), 0)), False
        return picture(generator, str(generator.choice([*MODES, *SIXTEEN_BITS]))), True
    shape = [int(size) for size in generator.choice([*SIDES, 0], 2)]
    channels = int(generator.choice([0, 1, 1, 2, 3, 3, 3, 4]))
    if generator.integers(2):
        shape.insert(0 if kind == 1 else 2, channels)
        good = channels in (1, 3)
    else:
        good = True
    if generator.integers(10) == 0:
        shape, good = [[], [5], [1, 1, 5, 5]][int(generator.integers(3))], False
    values = np.array(generator.random(shape))
    good = good and values.size > 0
    dtype = DTYPES[int(generator.integers(5 if generator.integers(3) else len(DTYPES)))]
    good = good and dtype in DTYPES[:5]
    if values.size and dtype.startswith("float") and generator.integers(3) == 0:
        values.reshape(-1)[int(generator.integers(values.size))] = generator.choice(BAD_VALUES)
        good = False
    array = np.asarray(255 * values if dtype == "uint8" else values).astype(dtype)
    if kind == 2:
        return array, good
    if not array.dtype.isnative:
        return torch.from_numpy(values).to_sparse() if values.ndim else None, False
    tensor = torch.from_numpy(array)
    # As it lies in memory does not matter.
    return (tensor.mT.contiguous().mT if tensor.dim() > 1 and generator.integers(2) else tensor), good


Content = tuple[str, bytes]
# What is saved in which format; Pillow refuses the others itself.
SAVED: dict[str, tuple[str, ...]] = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "bmp": ("1", "L", "P", "RGB"),
    "gif": ("1", "L", "P", "RGB"),
    "tiff": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB", "I", "I;16", "F"),
    "webp": ("RGB", "RGBA"),
    "ppm": ("1", "L", "RGB", "I", "F"),
}


def saved(generator: np.random.Generator) -> Content:
    """A whole file of a random format and mode, and its suffix."""
    suffix = str(generator.choice(list(SAVED)))
    image = picture(generator, str(generator.choice(SAVED[suffix])))
    options: dict[str, Any] = {}
    if suffix == "tiff" and image.mode not in ("F", "I", "LAB", "PA"):
        options["compression"] = str(generator.choice(["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]))
    if suffix == "jpg":
        options["progressive"] = bool(generator.integers(2))
    if suffix in ("png", "jpg", "webp", "tiff") and generator.integers(2):
        exif = Image.Exif()
        exif[0x0112] = int(generator.integers(1, 9) if suffix == "tiff" else generator.integers(12))
        options["exif"] = exif
    if suffix == "gif" and generator.integers(2):
        options |= {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_180)]}
    if suffix == "png" and image.mode in ("L", "P", "RGB", "I;16") and generator.integers(2):
        options["transparency"] = (0, 0, 0) if image.mode == "RGB" else 0
    file = io.BytesIO()
    image.save(file, {"jpg": "JPEG"}.get(suffix, suffix.upper()), **options)
    return suffix, file.getvalue()


def cut(generator: np.random.Generator) -> Content:
    suffix, content = saved(generator)
    return suffix, content[: int(generator.integers(len(content)))]


def changed(generator: np.random.Generator) -> Content:
    """A few bytes of another value, half of them in the header."""
    suffix, content = saved(generator)
    values = bytearray(content)
    for _ in range(int(generator.integers(1, 12))):
        end = min(len(values), 64) if generator.integers(2) else len(values)
        value = int(generator.choice([0, 1, 127, 128, 255, -1]))
        values[int(generator.integers(end))] = value if value >= 0 else int(generator.integers(256))
    return suffix, bytes(values)


def lying(generator: np.random.Generator) -> Content:
    """Four bytes somewhere in the header say something enormous."""
    suffix, content = saved(generator)
    at = int(generator.integers(2, max(3, min(len(content), 200))))
    number = int(generator.choice([2**31 - 1, 2**32 - 1, 2**16, 2**24, 60_000]))
    order = str(generator.choice(["<I", ">I"]))
    return suffix, content[:at] + struct.pack(order, number) + content[at + 4 :]


def joined(generator: np.random.Generator) -> Content:
    """The beginning of one file and the end of another, or the same parts twice."""
    suffix, content = saved(generator)
    _, other = saved(generator)
    return suffix, content[: int(generator.integers(len(content)))] + other[int(generator.integers(len(other))) :]


def foreign(generator: np.random.Generator) -> Content:
    """No picture of the formats that are read, under the name of one."""
    suffix = str(generator.choice(list(SAVED)))
    image = Image.fromarray(generator.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    file = io.BytesIO()
    kind = str(generator.choice(["EPS", "ICO", "TGA", "PCX", "PDF", "JPEG2000", "ICNS", "SGI", "noise", "nothing"]))
    if kind == "noise":
        file.write(generator.bytes(int(generator.integers(1, 5_000))))
    elif kind != "nothing":
        image.resize((32, 32)).save(file, kind)
    return suffix, file.getvalue()


FILES: tuple[Callable[[np.random.Generator], Content], ...] = (saved, cut, changed, lying, joined, foreign)


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


BOMBS = range(11)


def overlapping(size: int, order: str = "<", first: int = 40_000) -> bytes:
    """An EXIF block, or the directory of a TIFF file, of so many bytes: half of them tags, each with the other half."""
    count = size // 24
    entries = (struct.pack(f"{order}HHII", first + i, 7, size // 2, size // 2) for i in range(count))
    block = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, count) + b"".join(entries)
    return block.ljust(size, b"\0")


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG file."""
    return struct.pack(">BBH", 255, marker, 2 + len(data)) + data


def tiff_of(*entries: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """A TIFF file of one grey pixel with entries (tag, type, count, value or offset) beside those it needs."""
    needed = [
        (tag, 4, 1, value) for tag, value in ((256, 1), (257, 1), (258, 8), (259, 1), (262, 1), (278, 1), (279, 1))
    ]
    given = {entry[0] for entry in entries}
    both = sorted([*(entry for entry in [*needed, (273, 4, 1, 4)] if entry[0] not in given), *entries])
    return (
        b"II*\0" + struct.pack("<IH", 8, len(both)) + b"".join(struct.pack("<HHII", *e) for e in both) + bytes(4) + tail
    )


def with_notes(generator: np.random.Generator, kind: str) -> Content:
    """Files of one pixel, or a few, with 220 KB beside it that took up to 1.9 GB or 9 s each."""
    size = int(generator.integers(200_000, 240_000))
    order, block, file = str(generator.choice(["<", ">"])), overlapping(size), io.BytesIO()
    image = Image.new("RGB", (1, 1), "red")
    if kind.startswith("tiff tags"):  # as many as there may be, and more; that pixels do not depend on, or do
        count = int(generator.choice([4_000, size // 24]))
        first, step = (40_000, 1) if kind == "tiff tags" else (333, 0)
        return "tiff", tiff_of(*((first + i * step, 7, size, 0) for i in range(count)), tail=bytes(size))
    if kind == "tiff exif":
        start = len(tiff_of((34665, 4, 1, 0)))
        exif = struct.pack("<H", 9_000) + b"".join(struct.pack("<HHII", 40_000 + i, 7, size, 0) for i in range(9_000))
        return "tiff", tiff_of((34665, 4, 1, start), tail=exif + bytes(size))
    if kind == "tiff strips":  # of one byte each, as numbers of one byte and as numbers of four
        start = len(tiff_of((273, 1, 1, 0)))
        return "tiff", tiff_of((273, *((1, size), (4, size // 4))[generator.integers(2)], start), tail=bytes(size))
    if kind == "tiff resolutions":
        start = len(tiff_of((282, 5, 1, 0)))
        return "tiff", tiff_of((282, 5, size // 8, start), tail=bytes(size))
    if kind == "png exif":
        return "png", png(1, 1, chunk(b"eXIf", overlapping(size, order)))
    if kind == "png profile":
        text = b"\n\n\n" + overlapping(size, order).hex().encode()
        return "png", png(1, 1, chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)))
    if kind == "png chunks":
        return "png", png(1, 1, *(chunk(b"tEXt", b"%d\0" % i) for i in range(3 * size // 10)))
    if kind == "ppm header":
        return "ppm", b"P6 1 #" + generator.choice([b"a", b" ", b"\n#"]) * (5 * size) + b"\n1 255\nabc"
    image.save(file, "JPEG")
    if kind == "jpeg exif":
        parts = [block[at : at + 65_000] for at in range(0, size, 65_000)]
        notes = b"".join(segment(0xE1, b"Exif\0\0" + part) for part in parts)
    elif kind == "jpeg exif in pieces":
        notes = segment(0xE1, b"Exif\0\0" + bytes(60)) * (3 * size // 70)
    elif kind == "jpeg pictures":
        notes = segment(0xE2, b"MPF\0" + overlapping(65_000, order))
    elif kind == "jpeg segments":
        notes = segment(0xE0, b"") * (size // 4)
    elif kind == "jpeg between segments":
        notes = bytes(size)
    if kind.startswith("jpeg"):
        return "jpg", file.getvalue()[:20] + notes + file.getvalue()[20:]
    if kind == "gif comment":
        image.convert("P").save(file := io.BytesIO(), "GIF")
        content, comment = file.getvalue(), b"!\xfe" + b"\x01a" * (size // 2) + b"\0"
        at = content.index(b",\0\0\0\0")
        return "gif", content[:at] + b"\0" * int(generator.integers(2)) + comment + content[at:]
    if kind == "ppm comments":
        head = [b"P1 2 1\n", b"P2 2 1 1\n", b"P3 2 1 1\n1 0 0 1"][generator.integers(3)]
        return "ppm", head + b"#\n" * (2 * size) + b" 1 0 "
    image.save(file := io.BytesIO(), kind.split()[0], exif=b"Exif\0\0" + overlapping(size, order))
    return kind.split()[0], file.getvalue()


NOTES = (
    *(
        "tiff tags",
        "tiff tags of the baseline",
        "tiff exif",
        "tiff strips",
        "tiff resolutions",
        "png exif",
        "png profile",
    ),
    *("png chunks", "jpeg exif", "jpeg exif in pieces", "jpeg pictures", "jpeg segments", "jpeg between segments"),
    *("gif comment", "ppm comments", "ppm header", "webp exif", "avif exif"),
)
