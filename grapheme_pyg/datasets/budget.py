"""Batches of graphs of very different sizes: as many as fit into a budget of nodes and edges."""

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor
from torch.utils.data import Sampler

from grapheme_pyg.checks import as_int


class BudgetBatchSampler(Sampler[list[int]]):
    """Batches whose nodes and edges, all together, stay within a budget; every index occurs exactly once.

    A graph that is larger than the budget makes a batch by itself. No batch is empty. For ``batch_sampler=`` of PyG's
    or PyTorch's ``DataLoader``.

    Args:
        num_nodes: ``[N]`` int64, of each graph at its position in what is loaded: for a slice of a cache the slice's
            ``num_nodes``, for a ``Subset`` those at its ``indices``.
        max_nodes: Nodes in a batch.
        num_edges: ``[N]`` int64, of each graph; needed for ``max_edges``.
        max_edges: Edges in a batch; any number if None.
        shuffle: Whether to draw the order anew in each epoch.
        seed: Of the order, which depends on it and the epoch alone.

    Raises:
        ValueError: An argument is of another shape or dtype, or out of range.

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
        self.shuffle, self.seed, self.epoch = shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of an epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order: Sequence[int] = range(len(self._nodes))
        if self.shuffle:
            generator = Generator().manual_seed((self.seed << 31) + 2 * self.epoch)
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
        """Number of batches of this epoch; the order decides how many there are."""
        return sum(1 for _ in self)
