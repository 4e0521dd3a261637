"""ImageFiles: a sequence of pictures in files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from torch import Tensor

from grapheme_pyg.datasets.image_reading import read_image
from grapheme_pyg.datasets.indexing import to_positions
from grapheme_pyg.vision.pil_images import MAX_PIXELS

if TYPE_CHECKING:
    import numpy as np

    from grapheme_pyg.datasets.indexing import Index


ON_ERROR = ("raise", "skip")


class ImageFiles(Sequence[Tensor]):
    """Reads pictures from files each time they are indexed.

    ``files[i]`` is a picture, uint8 ``[in_channels, H, W]``; a slice, a list of integers or a mask selects pictures as
    another ``ImageFiles``.

    Args:
        paths: The files.
        in_channels: 1 or 3.
        max_pixels: The most pixels of a picture, as in :func:`read_image`.
        size: The longer side in pixels, as in :func:`read_image`.
        white: The level that is white, as in :func:`read_image`.
        on_error: How training treats a file that cannot be read: ``"raise"`` an error, or ``"skip"`` the file with a
            warning in the log.
        transform: A function that is applied to each picture, uint8 ``[in_channels, H, W]``, when it is read; None for
            none.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        in_channels: int = 3,
        *,
        max_pixels: int = MAX_PIXELS,
        size: int | None = None,
        white: int | None = None,
        on_error: str = "raise",
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels: expected 1 or 3, got {in_channels!r}")
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error: expected one of {ON_ERROR}, got {on_error!r}")
        self.paths, self.in_channels, self.max_pixels = list(paths), in_channels, max_pixels
        self.size, self.white, self.on_error, self.transform = size, white, on_error, transform

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | Tensor | np.ndarray[Any, Any]) -> ImageFiles: ...
    def __getitem__(self, index: Index) -> Tensor | ImageFiles:
        positions = to_positions(index, len(self))
        if positions.dim() == 0:
            path = self.paths[int(positions)]
            image = read_image(path, self.in_channels, max_pixels=self.max_pixels, size=self.size, white=self.white)
            return image if self.transform is None else self.transform(image)
        files = copy.copy(self)
        files.paths = [self.paths[i] for i in positions.tolist()]
        return files

    def select(self, indices: Tensor | Sequence[int]) -> ImageFiles:
        """Returns some of the pictures, in the given order."""
        return self[indices]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} files, in_channels={self.in_channels})"
