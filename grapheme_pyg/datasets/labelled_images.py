"""Data sets of labelled images of any kind, with new augmentation in each epoch."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset

from grapheme_pyg.augmentation import RandomCutout, RandomDegradation, RandomWarp
from grapheme_pyg.checks import as_seed
from grapheme_pyg.datasets.image_files import ImageFiles
from grapheme_pyg.datasets.indexing import Index, to_positions
from grapheme_pyg.errors import ImageError
from grapheme_pyg.labels import to_labels
from grapheme_pyg.vision import VisionBrain
from grapheme_pyg.vision.canvas import by_canvas, on_canvas, stacked
from grapheme_pyg.vision.image_batches import check_many, in_batches, to_pixel_batch
from grapheme_pyg.vision.pixels import resized, to_pixels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

log = logging.getLogger(__name__)

# Bytes of pictures read from files that are kept in memory for the next epochs.
KEPT = 2**28
Augmentation = RandomWarp | RandomCutout | RandomDegradation
Augment = Augmentation | Sequence[Augmentation] | None
Transform = Callable[[Tensor], Any] | None


class LabelledImages(Dataset[Any]):
    """The base of data sets of images: labels, and augmentation that depends on the epoch.

    Args:
        num_images: The number of images.
        labels: ``[N]``, in any form that :func:`grapheme_pyg.labels.to_labels` accepts.
        augment: An augmentation, or several that are applied in turn; None for none.
        seed: Seed of the augmentation.
        transform: A function that is applied to each image, after augmentation, when it is indexed; None for none.

    Attributes:
        labels: ``[N]`` int64.
    """

    images: Any

    def __init__(self, num_images: int, labels: Any, augment: Augment, seed: int, transform: Transform) -> None:
        self.labels, self.seed, self.transform = to_labels(labels, num_images), as_seed(seed), transform
        self.augment_by(augment)

    def augment_by(self, augment: Augment, *, later: Augment = None, since: int | None = None) -> None:
        """Replaces the augmentation.

        Args:
            augment: An augmentation, or several that are applied in turn; None for none.
            later: The augmentation from epoch ``since`` on.
            since: The number of an epoch, counted from 0; None to keep ``augment`` in all epochs.
        """
        self._first, self._later, self._since = _several(augment), _several(later), since
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draws the augmentation of an epoch."""
        generator = Generator().manual_seed(stream_seed(self.seed, epoch, stream=1))
        self.augment = self._first if self._since is None or epoch < self._since else self._later
        self._drawn = [augment.draw(len(self), generator) for augment in self.augment]

    def augmented(self, images: Tensor, rows: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Augments images, uint8 ``[n, ..., H, W]``, as drawn for the images at ``rows``.

        They lie in the upper left corners if ``sizes``, int64 ``[n, 2]``, are given.
        """
        if rows.numel() > 0:
            for augment, drawn in zip(self.augment, self._drawn, strict=True):
                images = augment(images, drawn[rows], sizes)
        return images

    def transformed(self, images: Tensor | list[Tensor]) -> Tensor | list[Any]:
        """Applies the transform to each image."""
        return images if self.transform is None else [self.transform(image) for image in images]

    def __len__(self) -> int:
        return self.labels.shape[0]


class ImageDataset(LabelledImages):
    """A data set of images of one size, and labels.

    ``dataset[i]`` is an image and its label; a slice, a list of integers or a mask returns a batch of both. The
    images of a batch are stacked; with a transform they are a list. The augmentation of an image depends only on the
    seed, the epoch and the image's number, and not on the order, the batch or the process.

    Args:
        images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
        labels: ``[N]``, in any form that :func:`grapheme_pyg.labels.to_labels` accepts.
        augment: An augmentation, or several that are applied in turn; None for none.
        seed: Seed of the augmentation.
        transform: A function that is applied to each image, uint8 ``[H, W]`` or ``[C, H, W]``, after augmentation, when
            it is indexed; None for none.

    Raises:
        ValueError: Images or labels have another shape or dtype, or their numbers differ.
    """

    def __init__(
        self, images: Tensor, labels: Any, *, augment: Augment = None, seed: int = 0, transform: Transform = None
    ) -> None:
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.dim() not in (3, 4):
            expected = "a tensor of torch.uint8 and shape [N, H, W] or [N, C, H, W]"
            raise ValueError(f"images: expected {expected}, got {_describe(images)}")
        if images.numel() == 0:
            raise ValueError(f"images: expected at least one pixel, got shape {list(images.shape)}")
        super().__init__(images.shape[0], labels, augment, seed, transform)
        self.images = images

    def readable(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Returns images without augmentation, and their positions."""
        return self.images[positions], positions

    def __getitem__(self, index: Index) -> tuple[Any, Tensor]:
        positions = to_positions(index, len(self))
        rows = positions.view(-1)
        images = self.transformed(self.augmented(self.images[rows], rows))
        return images if positions.dim() else images[0], self.labels[positions]


class ImageSequenceDataset(LabelledImages):
    """A data set of images of any sizes, and labels.

    ``dataset[i]`` is an image and its label; a slice, a list of integers or a mask returns a list of images and their
    labels. Images are taken from the sequence when they are indexed, so that they may be files:
    :class:`grapheme_pyg.datasets.ImageFiles`, which are kept in memory once read, up to 256 MiB. They are augmented as
    in :class:`ImageDataset`.

    Args:
        images: A sequence of images in any form that :func:`grapheme_pyg.vision.pixels.to_pixels` accepts. Unreadable
            files that are to be skipped (``on_error``) are missing from the lists.
        labels: ``[N]``, in any form that :func:`grapheme_pyg.labels.to_labels` accepts.
        in_channels: 1 or 3, the channels to which images are converted; uint8 tensors stay as they are.
        size: The length of the longer side, in pixels, to which images are scaled; None keeps their sizes.
        white: The level that is white in 16-bit PIL images.
        augment: An augmentation, or several that are applied in turn; None for none.
        seed: Seed of the augmentation.
        transform: A function that is applied to each image, as in :class:`ImageDataset`.

    Raises:
        ValueError: Labels have another shape or dtype, or their number is not that of the images; or, when it is
            indexed, an image is invalid.
    """

    def __init__(
        self,
        images: Any,
        labels: Any,
        *,
        in_channels: int = 3,
        size: int | None = None,
        white: int | None = None,
        augment: Augment = None,
        seed: int = 0,
        transform: Transform = None,
    ) -> None:
        check_many(images)
        if isinstance(images, Tensor) or len(images) == 0:
            raise ValueError(f"images: expected a sequence of images, at least one, got {_describe(images)}")
        super().__init__(len(images), labels, augment, seed, transform)
        self.images, self.in_channels, self.size, self.white = images, in_channels, size, white
        self._kept: dict[int, Tensor] = {}
        self._room = KEPT

    def readable(self, positions: Tensor) -> tuple[list[Tensor], Tensor]:
        """Returns images without augmentation, and their positions; unreadable files may be missing from both."""
        images, rows = [], []
        for row in positions.tolist():
            try:
                images.append(self._take(row))
            except (OSError, ImageError) as error:
                if getattr(self.images, "on_error", "raise") == "raise":
                    raise
                log.warning("left out: %s", error)
                continue
            rows.append(row)
        return images, torch.tensor(rows, dtype=torch.int64)

    def __getitem__(self, index: Index) -> tuple[Any, Tensor]:
        positions = to_positions(index, len(self))
        if positions.dim() == 0:
            images, rows = [self._take(int(positions))], [int(positions)]
        else:
            images, found = self.readable(positions)
            rows = found.tolist()
        if self.augment and images:
            self._augment(images, rows)
        shown = self.transformed(images)
        return (shown, self.labels[rows]) if positions.dim() else (shown[0], self.labels[positions])

    def _augment(self, images: list[Tensor], rows: list[int]) -> None:
        """Augments images of similar sizes at once, and puts them in place of the given ones."""
        stacks, places = stacked([image.view(-1, *image.shape[-2:]) for image in images])
        for (_, *size), some in by_canvas(stacks).items():
            canvas, sizes = on_canvas([stacks[k] for k in some], size)
            at = [i for k in some for i in places[k]]
            augmented = self.augmented(canvas, torch.tensor([rows[i] for i in at]), sizes)
            for i, image, (height, width) in zip(at, augmented, sizes.tolist(), strict=True):
                images[i] = image[:, :height, :width].view(images[i].shape)

    def _take(self, row: int) -> Tensor:
        if row in self._kept:
            return self._kept[row]
        image = self.images[row]
        if not (isinstance(image, Tensor) and image.dtype == torch.uint8 and image.dim() in (2, 3)):
            image = to_pixels(image, self.in_channels, name=f"images[{row}]", white=self.white)
        if self.size is not None and max(image.shape[-2:]) != self.size:
            image = resized(image.view(1, -1, *image.shape[-2:]), self.size)[0]
        # Other sequences, and transforms, may return another image the next time.
        of_files = isinstance(self.images, ImageFiles) and self.images.transform is None
        if of_files and image.numel() <= self._room:
            self._kept[row] = image
            self._room -= image.numel()
        return image


def labelled_images(
    images: "Images",
    labels: Any,
    *,
    classes: Sequence[str],
    vision: VisionBrain,
    seed: int = 0,
    name: str = "labels",
) -> ImageDataset | ImageSequenceDataset:
    """Makes the data set of images and labels of any kind that a model accepts.

    Args:
        images: Images in any form that :func:`grapheme_pyg.vision.image_batches.check_many` accepts.
        labels: ``[N]``, in any form that :func:`grapheme_pyg.labels.to_labels` accepts.
        classes: Names of the classes.
        vision: Determines the size of the images, and the channels of those that are not uint8 tensors.
        seed: Seed of the augmentation.
        name: The name of the labels in messages.

    Raises:
        ValueError: Images or labels are invalid, or their numbers differ.
    """
    found = to_labels(labels, classes=classes, name=name)
    check_many(images, count=len(found))
    if len(images) != len(found):
        raise ValueError(f"{name}: expected {len(images)}, one for each image, got {len(found)}")
    if isinstance(images, np.ndarray) and images.dtype == object:
        images = list(images)
    if not isinstance(images, Tensor | np.ndarray):
        return ImageSequenceDataset(
            images,
            found,
            in_channels=vision.in_channels,
            size=vision.longer_side,
            white=vision.white,
            seed=seed,
        )
    if not (isinstance(images, Tensor) and images.dtype == torch.uint8):
        (images,), _ = to_pixel_batch(images, vision.in_channels, count=len(found))
    if vision.longer_side is not None and images.numel() and max(images.shape[-2:]) != vision.longer_side:
        batches = in_batches(images, images.shape[1] if images.dim() == 4 else 1, len(found), size=vision.longer_side)
        images = torch.cat([torch.as_tensor(pixels) for _, pixels in batches])
    return ImageDataset(images.cpu(), found, seed=seed)


def _several(augment: Augment) -> tuple[Augmentation, ...]:
    return (augment,) if isinstance(augment, Augmentation) else tuple(augment or ())


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {list(value.shape)}"
    return type(value).__name__


def stream_seed(seed: int, epoch: int, *, stream: int) -> int:
    """Returns a seed for each purpose (stream) and epoch, which are distinct for fewer than 2³⁰ epochs."""
    return (seed << 31) + 2 * epoch + stream
