"""Whole and broken files of pictures, each made from a generator of random numbers."""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from odd_images import picture
from PIL import Image

Content = tuple[str, bytes]
# What is saved in which format; Pillow refuses the others itself.
SAVED: dict[str, tuple[str, ...]] = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"),
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


FILES: tuple[Callable[[np.random.Generator], Content], ...] = (saved, cut, changed, changed, lying, joined, foreign)
