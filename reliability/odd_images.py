"""Odd images in memory, good and bad, each made from a generator of random numbers."""

from typing import Any

import numpy as np
import torch
from PIL import Image

MODES = ("1", "L", "P", "PA", "LA", "La", "RGB", "RGBX", "RGBA", "RGBa", "CMYK", "YCbCr", "LAB", "HSV", "I", "F")
SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
SIDES = (1, 2, 3, 7, 28, 29, 64, 200, 256)
# Of arrays; the first four are accepted.
DTYPES = ("uint8", "float16", "float32", "float64", "int64", "uint16", "bool", "complex64", ">f4")
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
    dtype = DTYPES[int(generator.integers(4 if generator.integers(3) else len(DTYPES)))]
    good = good and dtype in DTYPES[:4]
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
