"""Pictures in files, of every mode that Pillow reads, and folders of them: read when asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
import torch
from torch import Tensor

from grapheme_pyg.vision.pixels import to_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
WHITE = 255
ON_ERROR = ("raise", "skip")


def read_image(path: str | Path, in_channels: int = 3) -> Tensor:
    """Reads a picture.

    - It is turned upright as its EXIF orientation says.
    - Transparent pixels show white paper behind them.
    - 16-bit grey levels are divided by 257, so that 65,535 becomes 255.
    - Palettes, CMYK, YCbCr, LAB and HSV become RGB; bilevel images become 0 and 255.
    - Of an animation it is the first frame.
    - With one channel, colour becomes ITU-R 601 luma; with three, grey is repeated.

    Args:
        path: The file.
        in_channels: 1 or 3.

    Returns:
        uint8 ``[in_channels, H, W]``.

    Raises:
        OSError: There is no such file, or it may not be read.
        ValueError: It is broken, or no image; the message names it.
    """
    from PIL import Image, ImageOps

    # Apart from decoding, so that what the file system says stays what it is.
    content = BytesIO(Path(path).read_bytes())
    try:
        with Image.open(content) as opened:
            upright = ImageOps.exif_transpose(opened)
            return to_pixels(_to_grey_or_rgb(upright), in_channels)
    except MemoryError:
        raise
    # Of a broken file Pillow's decoders raise OSError, SyntaxError, ValueError, IndexError, struct.error and others, by
    # format, and too large a picture is a class of its own: they have no base in common but this.
    except Exception as error:
        raise ValueError(f"{path}: expected an image, got {type(error).__name__}: {error}") from error


def _to_grey_or_rgb(image: Image) -> np.ndarray | Image:
    from PIL import Image as PILImage

    mode = image.mode
    if mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65_535:
            raise ValueError(f"expected grey levels in 0…65535, got {values.min()}…{values.max()}")
        return ((values + 128) // 257).astype(np.uint8)
    if mode == "F":
        return np.asarray(image)
    if mode == "1":
        return image.convert("L")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        paper = PILImage.new("RGBA", pixels.size, (WHITE, WHITE, WHITE, 255))
        flat = PILImage.alpha_composite(paper, pixels).convert("RGB")
        return flat.convert("L") if mode in ("L", "LA", "La") else flat
    return image if mode in ("L", "RGB") else image.convert("RGB")


class ImageFiles(Sequence[Tensor]):
    """Pictures that are read when they are asked for, and not kept.

    ``files[i]`` is one of them, uint8 ``[in_channels, H, W]``; with a slice, some of them as another ``ImageFiles``.

    Args:
        paths: The files.
        in_channels: 1 or 3.
    """

    def __init__(self, paths: Sequence[Path], in_channels: int = 3) -> None:
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels: expected 1 or 3, got {in_channels!r}")
        self.paths, self.in_channels = list(paths), in_channels

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> ImageFiles: ...
    def __getitem__(self, index: int | slice) -> Tensor | ImageFiles:
        if isinstance(index, slice):
            return ImageFiles(self.paths[index], self.in_channels)
        return read_image(self.paths[index], self.in_channels)

    def select(self, indices: Tensor | Sequence[int]) -> ImageFiles:
        """Some of them, in the order given."""
        return ImageFiles([self.paths[int(i)] for i in indices], self.in_channels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} files, in_channels={self.in_channels})"


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """Labelled pictures from a folder with one folder for each class.

    Attributes:
        images: The pictures, class by class, in the order of their names.
        labels: int64 ``[N]``, indices into the classes.
        classes: Names of the folders, sorted.
    """

    images: ImageFiles
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def split(self, share: float = 0.1) -> tuple[ImageFolder, ImageFolder]:
        """Training and validation: of each class the last ``share`` of the files, but at least one, for the latter.

        Args:
            share: In (0, 1).

        Raises:
            ValueError: The share is out of range, or a class has one picture only.
        """
        if not 0 < share < 1:
            raise ValueError(f"share: expected a number in (0, 1), got {share!r}")
        training, validation = [], []
        for label, name in enumerate(self.classes):
            members = (self.labels == label).nonzero().flatten()
            if len(members) < 2:
                raise ValueError(f"class {name!r}: expected at least two pictures to split, got {len(members)}")
            held_out = min(len(members) - 1, max(1, round(share * len(members))))
            training.append(members[:-held_out])
            validation.append(members[-held_out:])
        first, second = (torch.cat(parts) for parts in (training, validation))
        return self._part(first), self._part(second)

    def _part(self, indices: Tensor) -> ImageFolder:
        return ImageFolder(self.images.select(indices), self.labels[indices], self.classes)


def load_image_folder(folder: str | Path, in_channels: int = 3, *, on_error: str = "raise") -> ImageFolder:
    """Pictures of a folder ``folder/class_name/*.png|jpg|…``, of any sizes and modes; see :func:`read_image`.

    Files that are no pictures by their name, and hidden ones, are left out.

    Args:
        folder: The folder.
        in_channels: 1 or 3.
        on_error: What to do about broken files: ``"raise"`` when one is asked for, or ``"skip"`` them now, which reads
            every file once and logs a warning for each that is left out.

    Raises:
        NotADirectoryError: There is no such folder.
        ValueError: It has no pictures in folders of classes, or an argument is out of range.
    """
    if on_error not in ON_ERROR:
        raise ValueError(f"on_error: expected one of {ON_ERROR}, got {on_error!r}")
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: expected a folder with one folder for each class")
    found: list[tuple[str, Path]] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for path in sorted(place.rglob("*")):
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
                if on_error == "skip" and not _readable(path):
                    continue
                found.append((place.name, path))
    classes = tuple(sorted({name for name, _ in found}))
    if not classes:
        expected = f"pictures ({', '.join(SUFFIXES)}) in folders of classes"
        raise ValueError(f"{folder}: expected {expected}, got none")
    labels = torch.tensor([classes.index(name) for name, _ in found])
    return ImageFolder(ImageFiles([path for _, path in found], in_channels), labels, classes)


def _readable(path: Path) -> bool:
    try:
        read_image(path)
    except ValueError as error:
        log.warning("left out: %s", error)
        return False
    return True
