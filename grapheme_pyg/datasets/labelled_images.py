"""Images and labels of every accepted kind, augmented anew in each epoch."""

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
from grapheme_pyg.vision.image_batches import check_many, in_batches, to_pixel_batch
from grapheme_pyg.vision.pixels import resized, to_pixels

if TYPE_CHECKING:
    from grapheme_pyg.vision.pixels import Images

log = logging.getLogger(__name__)

# Bytes of files that were read, which are kept for the next epochs.
KEPT = 2**28
Augmentation = RandomWarp | RandomCutout | RandomDegradation
Augment = Augmentation | Sequence[Augmentation] | None
Transform = Callable[[Tensor], Any] | None


class LabelledImages(Dataset[Any]):
    """What both kinds of data sets of images have in common: labels, and augmentation that an epoch's number renews.

    Args:
        num_images: How many there are.
        labels: ``[N]``, as :func:`grapheme_pyg.labels.to_labels` takes them.
        augment: Applied to images, or several, one after the other; none if None.
        seed: Of the augmentation.
        transform: Applied to each image, after augmentation, when it is asked for; none if None.

    Attributes:
        labels: ``[N]`` int64.
    """

    images: Any

    def __init__(self, num_images: int, labels: Any, augment: Augment, seed: int, transform: Transform) -> None:
        self.labels, self.seed, self.transform = to_labels(labels, num_images), as_seed(seed), transform
        self.augment_by(augment)

    def augment_by(self, augment: Augment, *, later: Augment = None, since: int | None = None) -> None:
        """Takes other augmentation.

        Args:
            augment: Applied to images, or several, one after the other; none if None.
            later: Likewise, in place of it from epoch ``since`` on.
            since: The number of an epoch, 0 the first; None for never.
        """
        self._first, self._later, self._since = _several(augment), _several(later), since
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draws the augmentation of an epoch."""
        generator = Generator().manual_seed(stream_seed(self.seed, epoch, stream=1))
        self.augment = self._first if self._since is None or epoch < self._since else self._later
        self._drawn = [augment.draw(len(self), generator) for augment in self.augment]

    def augmented(self, images: Tensor, rows: Tensor) -> Tensor:
        """Applies to images of one size, uint8 ``[n, ...]``, what was drawn for those of these numbers."""
        if rows.numel() > 0:
            for augment, drawn in zip(self.augment, self._drawn, strict=True):
                images = augment(images, drawn[rows])
        return images

    def transformed(self, images: Tensor | list[Tensor]) -> Tensor | list[Any]:
        """Applies the transform to each of some images."""
        return images if self.transform is None else [self.transform(image) for image in images]

    def __len__(self) -> int:
        return self.labels.shape[0]


class ImageDataset(LabelledImages):
    """Images of one size and labels. ``dataset[i]`` is one of each; a slice, integers or a mask give a batch.

    The images of a batch are stacked; with a transform they are a list.

    What augmentation does to an image depends on the seed, the epoch and the image's number alone: not on the
    order, the batch or the process in which it is asked for.

    Args:
        images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
        labels: ``[N]``, as :func:`grapheme_pyg.labels.to_labels` takes them.
        augment: Applied to images, or several, one after the other; none if None.
        seed: Of the augmentation.
        transform: Applied to each image, uint8 ``[H, W]`` or ``[C, H, W]``, when it is asked for, after augmentation;
            none if None.

    Raises:
        ValueError: Images or labels are of another shape or dtype, or not of equal number.
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
        """Images as they are, without augmentation, and their positions."""
        return self.images[positions], positions

    def __getitem__(self, index: Index) -> tuple[Any, Tensor]:
        positions = to_positions(index, len(self))
        rows = positions.view(-1)
        images = self.transformed(self.augmented(self.images[rows], rows))
        return images if positions.dim() else images[0], self.labels[positions]


class ImageSequenceDataset(LabelledImages):
    """Images of any sizes and labels. ``dataset[i]`` is one of each; a slice, integers or a mask give a list of both.

    Images are taken from the sequence when they are asked for, so that they may be files:
    :class:`grapheme_pyg.datasets.ImageFiles`, which are read once as far as 256 MiB hold them. They are augmented as in
    :class:`ImageDataset`.

    Args:
        images: A sequence of what :func:`grapheme_pyg.vision.pixels.to_pixels` takes. Files that cannot be read and are
            to be left out then (``on_error``) are missing from lists.
        labels: ``[N]``, as :func:`grapheme_pyg.labels.to_labels` takes them.
        in_channels: 1 or 3, of the images that are no uint8 tensors: those stay as they are.
        size: To how many pixels the longer side of each is brought; None leaves them as they are.
        white: Of PIL images of 16 bits, the level that is white.
        augment: Applied to images, or several, one after the other; none if None.
        seed: Of the augmentation.
        transform: As of :class:`ImageDataset`.

    Raises:
        ValueError: Labels are of another shape or dtype, or not as many as images; an image is not as above, when it is
            asked for.
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
        """Images as they are, without augmentation, and their positions; see the class for those left out."""
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
        if self.augment:
            # Those of one size at once.
            sizes: dict[torch.Size, list[int]] = {}
            for i, image in enumerate(images):
                sizes.setdefault(image.shape, []).append(i)
            for places in sizes.values():
                stacked = torch.stack([images[i] for i in places])
                augmented = self.augmented(stacked, torch.tensor([rows[i] for i in places]))
                for i, image in zip(places, augmented, strict=True):
                    images[i] = image
        shown = self.transformed(images)
        return (shown, self.labels[rows]) if positions.dim() else (shown[0], self.labels[positions])

    def _take(self, row: int) -> Tensor:
        if row in self._kept:
            return self._kept[row]
        image = self.images[row]
        if not (isinstance(image, Tensor) and image.dtype == torch.uint8 and image.dim() in (2, 3)):
            image = to_pixels(image, self.in_channels, name=f"images[{row}]", white=self.white)
        if self.size is not None and max(image.shape[-2:]) != self.size:
            image = resized(image.view(1, -1, *image.shape[-2:]), self.size)[0]
        # Nobody knows whether other sequences, or transforms, give the same image twice.
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
    augment: Augment = None,
    seed: int = 0,
    name: str = "labels",
) -> ImageDataset | ImageSequenceDataset:
    """The data set for images and labels of any kind that a model takes.

    Args:
        images: As :func:`grapheme_pyg.vision.image_batches.check_many` accepts them.
        labels: ``[N]``, as :func:`grapheme_pyg.labels.to_labels` takes them.
        classes: Names of the classes.
        vision: What the images are for: they come in its size, and those that are no uint8 tensors in its channels.
        augment: Applied to images, or several, one after the other; none if None.
        seed: Of the augmentation.
        name: What messages call the labels.

    Raises:
        ValueError: They are not as above, or not as many images as labels.
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
            augment=augment,
            seed=seed,
        )
    if not (isinstance(images, Tensor) and images.dtype == torch.uint8):
        (images,), _ = to_pixel_batch(images, vision.in_channels, count=len(found))
    if vision.longer_side is not None and images.numel() and max(images.shape[-2:]) != vision.longer_side:
        batches = in_batches(images, images.shape[1] if images.dim() == 4 else 1, len(found), size=vision.longer_side)
        images = torch.cat([torch.as_tensor(pixels) for _, pixels in batches])
    return ImageDataset(images.cpu(), found, augment=augment, seed=seed)


def _several(augment: Augment) -> tuple[Augmentation, ...]:
    return (augment,) if isinstance(augment, Augmentation) else tuple(augment or ())


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {list(value.shape)}"
    return type(value).__name__


def stream_seed(seed: int, epoch: int, *, stream: int) -> int:
    """One seed for each purpose: distinct for fewer than 2³⁰ epochs."""
    return (seed << 31) + 2 * epoch + stream
