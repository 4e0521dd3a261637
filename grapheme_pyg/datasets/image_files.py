"""Many pictures in files, read when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from torch import Tensor

from grapheme_pyg.datasets.image_reading import read_image
from grapheme_pyg.vision.pil_images import MAX_PIXELS


class ImageFiles(Sequence[Tensor]):
    """Pictures that are read when they are asked for, and not kept.

    ``files[i]`` is one of them, uint8 ``[in_channels, H, W]``; with a slice, some of them as another ``ImageFiles``.

    Args:
        paths: The files.
        in_channels: 1 or 3.
        max_pixels: As of :func:`read_image`.
    """

    def __init__(self, paths: Sequence[Path], in_channels: int = 3, *, max_pixels: int = MAX_PIXELS) -> None:
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels: expected 1 or 3, got {in_channels!r}")
        self.paths, self.in_channels, self.max_pixels = list(paths), in_channels, max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> ImageFiles: ...
    def __getitem__(self, index: int | slice) -> Tensor | ImageFiles:
        if isinstance(index, slice):
            return ImageFiles(self.paths[index], self.in_channels, max_pixels=self.max_pixels)
        return read_image(self.paths[index], self.in_channels, max_pixels=self.max_pixels)

    def select(self, indices: Tensor | Sequence[int]) -> ImageFiles:
        """Some of them, in the order given."""
        return ImageFiles([self.paths[int(i)] for i in indices], self.in_channels, max_pixels=self.max_pixels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} files, in_channels={self.in_channels})"
