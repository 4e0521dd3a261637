"""Mini-batches of indices: from any of an epoch's on, and shared among processes."""

from collections.abc import Iterator

from torch.utils.data import Sampler

from grapheme_pyg.datasets.image_graphs import EpochSampler


class EpochBatches(Sampler[list[int]]):
    """The mini-batches of an epoch, each as a list of indices.

    An epoch that was interrupted goes on where it was. Of several processes each gets its share of every mini-batch,
    so that all of them together take the same steps as one would alone: no index is left out or comes twice. Shares
    differ by one index at most; that of a last batch with fewer indices than processes may be empty.

    Args:
        sampler: The order of the indices; that of a range does not change.
        batch_size: Indices in a mini-batch of all processes together. The last one may have fewer.
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
        """Chooses an epoch of which the first batches are done: iterating over it leaves them out."""
        self._interrupted = (epoch, batches)
        self.set_epoch(epoch)

    def share_of(self, batch: int) -> list[int]:
        """The indices of this process in a mini-batch of this epoch, whose first is 0."""
        return list(self.sampler)[batch * self.batch_size : (batch + 1) * self.batch_size][self.rank :: self.world_size]

    def size_of(self, batch: int) -> int:
        """Indices of a mini-batch of all processes together."""
        return min(self.batch_size, len(self.sampler) - batch * self.batch_size)

    def __len__(self) -> int:
        """Mini-batches of a whole epoch."""
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.sampler)
        epoch, batches = self._interrupted
        done = batches if isinstance(self.sampler, EpochSampler) and self.sampler.epoch == epoch else 0
        for start in range(done * self.batch_size, len(order), self.batch_size):
            yield order[start : start + self.batch_size][self.rank :: self.world_size]
