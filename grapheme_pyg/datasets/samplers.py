"""Samplers: the order of the data in an epoch, and its mini-batches."""

from collections.abc import Iterator, Sequence, Sized

import torch
from torch import Generator, Tensor
from torch.utils.data import ConcatDataset, Sampler, Subset

from grapheme_pyg.checks import as_int, as_seed
from grapheme_pyg.datasets.labelled_images import stream_seed


class EpochSampler(Sampler[int]):
    """Samples every index once, in an order that depends only on the seed and the epoch.

    Setting the epoch also sets that of the data set, so that one call per epoch renews both order and augmentation.
    Workers that live longer than an epoch (``persistent_workers=True``) keep the augmentation with which they started.

    Args:
        dataset: The data set, a slice or a ``Subset`` of one, or a ``ConcatDataset``.
        seed: Seed of the order.
        balance: ``[len(dataset)]`` int64, the class of each index: an epoch then has the same number of indices from
            each class, up to one, and repeats those of rare classes; its length does not change. None for every index
            once.
    """

    def __init__(self, dataset: Sized, seed: int = 0, balance: Tensor | None = None) -> None:
        self.dataset, self.seed, self.epoch, self.balance = dataset, as_seed(seed), 0, balance

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self.epoch = epoch
        set_epoch(self.dataset, epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[int]:
        generator = Generator().manual_seed(stream_seed(self.seed, self.epoch, stream=0))
        order = torch.randperm(len(self.dataset), generator=generator)
        if self.balance is not None:
            order = _balanced(order, self.balance, generator)
        yield from order.tolist()


def _balanced(order: Tensor, classes: Tensor, generator: Generator) -> Tensor:
    """Balances an order between classes, each of which repeats its indices in the given order; keeps the length."""
    of_class = [order[classes[order] == number] for number in classes.unique().tolist()]
    counts = [len(order) // len(of_class) + (number < len(order) % len(of_class)) for number in range(len(of_class))]
    chosen = [own.repeat(-(-count // len(own)))[:count] for own, count in zip(of_class, counts, strict=True)]
    return torch.cat(chosen)[torch.randperm(len(order), generator=generator)]


class EpochBatches(Sampler[list[int]]):
    """Samples the mini-batches of an epoch, each as a list of indices.

    An interrupted epoch can be continued. Each of several processes gets its share of every mini-batch, so that
    together they take the same steps as one process would: no index is left out or repeated. Shares differ by at most
    one index; in a last mini-batch with fewer indices than processes, a share may be empty.

    Args:
        sampler: The order of the indices; that of a range does not change.
        batch_size: Number of indices in a mini-batch, over all processes. The last mini-batch may have fewer.
        rank: Number of this process, in [0, world_size).
        world_size: Number of processes.
    """

    def __init__(self, sampler: EpochSampler | range, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.sampler = sampler
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self._interrupted = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch, and the augmentation of its images."""
        if isinstance(self.sampler, EpochSampler):
            self.sampler.set_epoch(epoch)

    def go_on(self, epoch: int, batches: int) -> None:
        """Chooses an epoch whose first ``batches`` are finished, which iterating over it skips."""
        self._interrupted = (epoch, batches)
        self.set_epoch(epoch)

    def share_of(self, batch: int) -> list[int]:
        """Returns this process's indices in a mini-batch of this epoch, counted from 0."""
        return list(self.sampler)[batch * self.batch_size : (batch + 1) * self.batch_size][self.rank :: self.world_size]

    def __len__(self) -> int:
        """Returns the number of mini-batches in a whole epoch."""
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        epoch, batches = self._interrupted
        done = batches if isinstance(self.sampler, EpochSampler) and self.sampler.epoch == epoch else 0
        for start in range(done * self.batch_size, len(order), self.batch_size):
            yield order[start : start + self.batch_size][self.rank :: self.world_size]


class BudgetBatchSampler(Sampler[list[int]]):
    """Samples batches of as many graphs as fit into a budget of nodes and edges; every index occurs exactly once.

    It is a ``batch_sampler`` for PyG's or PyTorch's ``DataLoader``. A graph that is larger than the budget makes a
    batch by itself. No batch is empty.

    Args:
        num_nodes: ``[N]`` int64, the number of nodes of each graph in the data set that is loaded: for a slice of a
            cache the slice's ``num_nodes``, for a ``Subset`` those at its ``indices``.
        max_nodes: The most nodes of a batch.
        num_edges: ``[N]`` int64, the number of edges of each graph; needed for ``max_edges``.
        max_edges: The most edges of a batch; any number if None.
        shuffle: Whether to draw a new order in each epoch.
        seed: Seed of the order, which depends only on the seed and the epoch.

    Raises:
        ValueError: An argument has another shape or dtype, or is out of range.

    Example:
        >>> list(BudgetBatchSampler(torch.tensor([3, 4, 9, 1, 1]), max_nodes=7))
        [[0, 1], [2], [3, 4]]
    """

    def __init__(
        self,
        num_nodes: Tensor,
        max_nodes: int,
        *,
        num_edges: Tensor | None = None,
        max_edges: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
    ) -> None:
        for name, sizes in (("num_nodes", num_nodes), ("num_edges", num_nodes if num_edges is None else num_edges)):
            if not isinstance(sizes, Tensor) or sizes.dtype != torch.int64 or sizes.shape != (len(num_nodes),):
                is_tensor = isinstance(sizes, Tensor)
                got = f"{sizes.dtype} of shape {list(sizes.shape)}" if is_tensor else type(sizes).__name__
                raise ValueError(f"{name}: expected torch.int64 of shape [N], got {got}")
        if (num_edges is None) != (max_edges is None):
            raise ValueError("max_edges: expected both num_edges and max_edges, or neither")
        self.max_nodes = as_int("max_nodes", max_nodes, 1)
        self.max_edges = None if max_edges is None else as_int("max_edges", max_edges, 1)
        self._nodes: list[int] = num_nodes.tolist()
        self._edges: list[int] = [0] * len(self._nodes) if num_edges is None else num_edges.tolist()
        self.shuffle, self.seed, self.epoch = shuffle, as_seed(seed), 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order: Sequence[int] = range(len(self._nodes))
        if self.shuffle:
            generator = Generator().manual_seed(stream_seed(self.seed, self.epoch, stream=0))
            order = torch.randperm(len(self._nodes), generator=generator).tolist()
        batch: list[int] = []
        nodes = edges = 0
        for index in order:
            nodes, edges = nodes + self._nodes[index], edges + self._edges[index]
            full = nodes > self.max_nodes or (self.max_edges is not None and edges > self.max_edges)
            if batch and full:
                yield batch
                batch, nodes, edges = [], self._nodes[index], self._edges[index]
            batch.append(index)
        if batch:
            yield batch

    def __len__(self) -> int:
        """Returns the number of batches of this epoch, which depends on the order."""
        return sum(1 for _ in self)


def set_epoch(dataset: object, epoch: int) -> None:
    """Draws the augmentation of an epoch in a data set, or in those within a ``Subset`` or ``ConcatDataset``."""
    if hasattr(dataset, "set_epoch"):
        dataset.set_epoch(epoch)
    elif isinstance(dataset, Subset):
        set_epoch(dataset.dataset, epoch)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            set_epoch(part, epoch)
