"""Labelled images, as tensors and as graphs, augmented anew in each epoch."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, Sampler
from torch_geometric.data import Dataset as GraphDataset

from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.vision import ImageGraph, VisionBrain
from grapheme_pyg.vision.image_graph import to_graphs


class LabelledImages(Dataset[Any]):
    """What both kinds of data sets of images have in common: labels, and augmentation that an epoch's number renews.

    Args:
        num_images: How many there are.
        labels: ``[N]`` int64.
        augment: Applied to images; none if None.
        seed: Of the augmentation.
    """

    def __init__(self, num_images: int, labels: Tensor, augment: RandomWarp | None, seed: int) -> None:
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != (num_images,):
            expected = f"a tensor of torch.int64 and shape [{num_images}]"
            raise ValueError(f"labels: expected {expected}, got {_describe(labels)}")
        self.labels, self.augment, self.seed = labels, augment, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draws the augmentation of an epoch."""
        if self.augment is not None:
            generator = Generator().manual_seed(_seed(self.seed, epoch, stream=1))
            self._maps = self.augment.draw(len(self), generator)

    def __len__(self) -> int:
        return self.labels.shape[0]


class ImageDataset(LabelledImages):
    """Images of one size and labels. ``dataset[i]`` is one of each, ``dataset[[i, j, …]]`` a batch.

    What augmentation does to an image depends on the seed, the epoch and the image's number alone: not on the
    order, the batch or the process in which it is asked for.

    Args:
        images: uint8 ``[N, H, W]`` or ``[N, C, H, W]``.
        labels: ``[N]`` int64.
        augment: Applied to images; none if None.
        seed: Of the augmentation.

    Raises:
        ValueError: Images or labels are of another shape or dtype, or not of equal number.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, augment: RandomWarp | None = None, seed: int = 0) -> None:
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.dim() not in (3, 4):
            expected = "a tensor of torch.uint8 and shape [N, H, W] or [N, C, H, W]"
            raise ValueError(f"images: expected {expected}, got {_describe(images)}")
        if images.numel() == 0:
            raise ValueError(f"images: expected at least one pixel, got shape {list(images.shape)}")
        super().__init__(images.shape[0], labels, augment, seed)
        self.images = images

    def __getitem__(self, index: int | Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        index = _to_index(index)
        rows = index.view(-1)
        images = self.images[rows]
        if self.augment is not None and rows.numel() > 0:
            images = self.augment(images, self._maps[rows])
        return images.view(*index.shape, *images.shape[1:]), self.labels[index]


class ImageSequenceDataset(LabelledImages):
    """Images of any sizes and labels. ``dataset[i]`` is one of each, ``dataset[[i, j, …]]`` a list and its labels.

    Images are taken from the sequence when they are asked for, so that they may be files:
    :class:`grapheme_pyg.datasets.ImageFiles`. They are augmented as in :class:`ImageDataset`.

    Args:
        images: Of uint8 ``[C, H, W]`` or ``[H, W]``.
        labels: ``[N]`` int64.
        augment: Applied to images; none if None.
        seed: Of the augmentation.

    Raises:
        ValueError: Images or labels are of another shape or dtype, or not of equal number; images when asked for.
    """

    def __init__(
        self, images: Sequence[Tensor], labels: Tensor, *, augment: RandomWarp | None = None, seed: int = 0
    ) -> None:
        if not isinstance(images, Sequence) or len(images) == 0:
            raise ValueError(f"images: expected a sequence of images, at least one, got {_describe(images)}")
        super().__init__(len(images), labels, augment, seed)
        self.images = images

    def __getitem__(self, index: int | Sequence[int] | Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        index = _to_index(index)
        rows = index.view(-1).tolist()
        images = [self._take(row) for row in rows]
        if self.augment is not None:
            # Those of one size at once.
            sizes: dict[torch.Size, list[int]] = {}
            for i, image in enumerate(images):
                sizes.setdefault(image.shape, []).append(i)
            for places in sizes.values():
                stacked = torch.stack([images[i] for i in places])
                warped = self.augment(stacked, self._maps[[rows[i] for i in places]])
                for i, image in zip(places, warped, strict=True):
                    images[i] = image
        return images if index.dim() else images[0], self.labels[index]

    def _take(self, row: int) -> Tensor:
        image = self.images[row]
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.dim() not in (2, 3):
            expected = "a tensor of torch.uint8 and shape [H, W] or [C, H, W]"
            raise ValueError(f"images[{row}]: expected {expected}, got {_describe(image)}")
        return image


def labelled_images(
    images: Tensor | Sequence[Tensor], labels: Tensor, *, augment: RandomWarp | None = None, seed: int = 0
) -> ImageDataset | ImageSequenceDataset:
    """The data set for a tensor of images, or for a sequence of them."""
    if isinstance(images, Sequence):
        return ImageSequenceDataset(images, labels, augment=augment, seed=seed)
    return ImageDataset(images, labels, augment=augment, seed=seed)


class ImageGraphDataset(GraphDataset):
    """The graphs of labelled images, made when asked for: for PyG's ``DataLoader`` and plain training loops.

    Args:
        images: The images and labels.
        vision: Makes the graphs.

    Example:
        >>> from torch_geometric.loader import DataLoader
        >>> images, labels = torch.zeros(4, 28, 28, dtype=torch.uint8), torch.arange(4)
        >>> dataset = ImageGraphDataset(ImageDataset(images, labels), VisionBrain())
        >>> next(iter(DataLoader(dataset, batch_size=4))).y
        tensor([0, 1, 2, 3])
    """

    def __init__(self, images: ImageDataset | ImageSequenceDataset, vision: VisionBrain) -> None:
        super().__init__()
        self.images, self.vision = images, vision

    def set_epoch(self, epoch: int) -> None:
        """Draws the augmentation of an epoch."""
        self.images.set_epoch(epoch)

    def len(self) -> int:
        """Number of graphs."""
        return len(self.images)

    def __getitems__(self, indices: list[int]) -> list[ImageGraph]:
        """The graphs of a mini-batch, made at once: ``DataLoader`` asks for this by itself."""
        if not indices:
            return []
        images, labels = self.images[indices]
        return to_graphs(self.vision.batch(images, labels))

    def get(self, idx: int) -> ImageGraph:
        """The graph of one image, with its class as ``y``."""
        (graph,) = self.__getitems__([idx])
        return graph


class EpochSampler(Sampler[int]):
    """Every index once, in an order that depends on the seed and the epoch alone.

    Setting the epoch also sets the data set's, so that one call per epoch renews order and augmentation. Lightning
    makes that call by itself.

    Args:
        dataset: Whose indices to give.
        seed: Of the order.
    """

    def __init__(self, dataset: LabelledImages | ImageGraphDataset, seed: int = 0) -> None:
        self.dataset, self.seed, self.epoch = dataset, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self.epoch = epoch
        self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        generator = Generator().manual_seed(_seed(self.seed, self.epoch, stream=0))
        yield from torch.randperm(len(self.dataset), generator=generator).tolist()


def _to_index(index: int | Sequence[int] | Tensor) -> Tensor:
    index = torch.as_tensor(index)
    return index if index.numel() else index.long()  # an empty list makes an empty tensor of floats


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {list(value.shape)}"
    return type(value).__name__


def _seed(seed: int, epoch: int, *, stream: int) -> int:
    """One seed for each purpose: distinct for fewer than 2³⁰ epochs, and seeds below 2³²."""
    return (seed << 31) + 2 * epoch + stream
