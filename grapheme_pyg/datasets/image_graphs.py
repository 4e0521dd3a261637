"""Labelled images in memory, as tensors and as graphs, augmented anew in each epoch."""

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor
from torch.utils.data import Dataset, Sampler
from torch_geometric.data import Dataset as GraphDataset

from grapheme_pyg.augmentation import RandomWarp
from grapheme_pyg.vision import ImageGraph, VisionBrain


class ImageDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and labels. ``dataset[i]`` is one of each, ``dataset[[i, j, …]]`` a batch.

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
        if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            expected = f"a tensor of torch.int64 and shape [{images.shape[0]}]"
            raise ValueError(f"labels: expected {expected}, got {_describe(labels)}")
        self.images, self.labels, self.augment, self.seed = images, labels, augment, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draws the augmentation of an epoch."""
        if self.augment is not None:
            generator = Generator().manual_seed(_seed(self.seed, epoch, stream=1))
            self._maps = self.augment.draw(len(self), generator)

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, index: int | Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        index = torch.as_tensor(index)
        rows = index.view(-1)
        images = self.images[rows]
        if self.augment is not None:
            images = self.augment(images, self._maps[rows])
        return images.view(*index.shape, *images.shape[1:]), self.labels[index]


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

    def __init__(self, images: ImageDataset, vision: VisionBrain) -> None:
        super().__init__()
        self.images, self.vision = images, vision

    def set_epoch(self, epoch: int) -> None:
        """Draws the augmentation of an epoch."""
        self.images.set_epoch(epoch)

    def len(self) -> int:
        """Number of graphs."""
        return len(self.images)

    def get(self, idx: int) -> ImageGraph:
        """The graph of one image, with its class as ``y``."""
        image, label = self.images[idx]
        graph: ImageGraph = self.vision(image)
        graph.y = label.view(1)
        return graph


class EpochSampler(Sampler[int]):
    """Every index once, in an order that depends on the seed and the epoch alone.

    Setting the epoch also sets the data set's, so that one call per epoch renews order and augmentation. Lightning
    makes that call by itself.

    Args:
        dataset: Whose indices to give.
        seed: Of the order.
    """

    def __init__(self, dataset: ImageDataset | ImageGraphDataset, seed: int = 0) -> None:
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


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {list(value.shape)}"
    return type(value).__name__


def _seed(seed: int, epoch: int, *, stream: int) -> int:
    """One seed for each purpose: distinct for fewer than 2³⁰ epochs, and seeds below 2³²."""
    return (seed << 31) + 2 * epoch + stream
