"""What the pixels of cells say: whether there is contrast, and features."""

from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from grapheme_pyg.native import available, call
from grapheme_pyg.vision.cells import extents_along

# Of each channel of coarse cells: mean and standard deviation.
COARSE_FEATURES = 2


@dataclass(frozen=True)
class CellMeasure:
    """Measures the cells of a grid; see :class:`grapheme_pyg.vision.grid.GridFinder` for the settings."""

    patch_size: int
    margin: int
    threshold: int

    @property
    def window(self) -> int:
        """Side of a fine cell with the pixels around it that count as its own."""
        return self.patch_size + 2 * self.margin

    def __call__(self, pixels: Tensor, grids: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """Which cells images have, and what their pixels say.

        Args:
            pixels: uint8 ``[B, C, H, W]``.
            grids: Rows and columns of each level.

        Returns:
            ``present`` bool ``[B, num_cells + 1]``, the last column for images without any active cell, and
            ``features`` float32 ``[B, num_cells + 1, num_features]`` in [0, 1], the last row for the image as a
            whole. Fine cells have their pixels and those of the margin, channel by channel and row by row, the border
            repeated; coarse cells and the whole have means, then standard deviations of the channels. All come from
            integers and correctly rounded operations, and so do not depend on the batch.
        """
        if available():
            return self._natively(pixels, grids)
        extended = self._extend(pixels, *grids[0])
        return self._present(extended, grids), self._features(pixels, extended, grids)

    def _natively(self, pixels: Tensor, grids: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        num_entities = 1 + sum(rows * columns for rows, columns in grids)
        num_features = pixels.shape[1] * max(self.window**2, COARSE_FEATURES)
        present = torch.empty(pixels.shape[0], num_entities, dtype=torch.bool)
        features = torch.zeros(pixels.shape[0], num_entities, num_features, dtype=torch.float32)
        rows, columns = torch.tensor(grids).t().contiguous()
        sizes = (*pixels.shape, self.patch_size, self.margin, self.threshold, len(grids), num_features)
        call("measure_cells", (pixels.contiguous(), rows, columns, present, features), sizes)
        return present, features

    def _extend(self, pixels: Tensor, rows: int, columns: int) -> Tensor:
        """Whole cells with a margin: the border is repeated, which adds no contrast."""
        height, width = pixels.shape[-2:]
        y = torch.arange(-self.margin, rows * self.patch_size + self.margin).clamp(0, height - 1)
        x = torch.arange(-self.margin, columns * self.patch_size + self.margin).clamp(0, width - 1)
        return pixels if (y.numel(), x.numel()) == (height, width) else pixels[:, :, y][:, :, :, x]

    def _present(self, extended: Tensor, grids: list[tuple[int, int]]) -> Tensor:
        active = self._active(extended, *grids[0])
        present = [active.flatten(1)]
        for _ in grids[1:]:
            # A coarse cell exists if one of the 3×3 cells that are part of it does.
            active = F.max_pool2d(active.float(), kernel_size=3, stride=2, padding=1).bool()
            present.append(active.flatten(1))
        present.append(~present[0].any(dim=1, keepdim=True))
        return torch.cat(present, dim=1)

    def _features(self, pixels: Tensor, extended: Tensor, grids: list[tuple[int, int]]) -> Tensor:
        num_images, _, height, width = pixels.shape
        (rows, columns), patch = grids[0], self.patch_size
        windows = extended.unfold(2, self.window, patch).unfold(3, self.window, patch).permute(0, 2, 3, 1, 4, 5)
        features = [windows.reshape(num_images, rows * columns, -1).float().div_(255)]

        padding = (0, columns * patch - width, 0, rows * patch - height)
        padded = F.pad(pixels, padding) if any(padding) else pixels
        # Sums of squares over one cell fit into int32 up to a side of 181, those over coarse cells may not.
        values = padded.to(torch.int32 if patch <= 181 else torch.int64)
        total = _block_sum(values, patch).long(), _block_sum(values.square(), patch).long()
        for i, (rows, columns) in enumerate(grids[1:], start=1):
            total = _block_sum(total[0], 2), _block_sum(total[1], 2)
            area = extents_along(rows, patch << i, height)[:, None] * extents_along(columns, patch << i, width)
            features.append(_mean_and_spread(*total, area))
        whole = total[0].sum((2, 3), keepdim=True), total[1].sum((2, 3), keepdim=True)
        features.append(_mean_and_spread(*whole, torch.tensor([[height * width]])))
        num_features = max(part.shape[-1] for part in features)
        return torch.cat([F.pad(part, (0, num_features - part.shape[-1])) for part in features], dim=1)

    def _active(self, extended: Tensor, rows: int, columns: int) -> Tensor:
        """Fine cells with contrast in any channel, bool ``[B, rows, columns]``."""
        patch = self.patch_size
        high = low = extended
        for dim, count in ((2, rows), (3, columns)):
            # The k-th pixel of every window along this axis.
            strided = [
                (slice(None),) * dim + (slice(k, k + (count - 1) * patch + 1, patch),) for k in range(self.window)
            ]
            high = reduce(torch.maximum, [high[at] for at in strided])
            low = reduce(torch.minimum, [low[at] for at in strided])
        return (high - low > self.threshold).any(dim=1)


def _block_sum(values: Tensor, side: int) -> Tensor:
    """Sums over blocks of ``side × side``, the last ones cut by the border, ``[B, C, rows, columns]``."""
    values = F.pad(values, (0, -values.shape[3] % side, 0, -values.shape[2] % side))
    values = reduce(torch.add, [values[:, :, k::side] for k in range(side)])
    return reduce(torch.add, [values[..., k::side] for k in range(side)])


def _mean_and_spread(total: Tensor, squares: Tensor, area: Tensor) -> Tensor:
    """Mean and standard deviation of each channel, ``[B, rows · columns, 2 C]``, in [0, 1]."""
    mean = total.double() / area
    variance = squares.double() / area - mean * mean
    spread = variance.clamp_(min=0).sqrt_()
    return torch.cat([mean, spread], dim=1).div_(255).float().flatten(2).transpose(1, 2)
