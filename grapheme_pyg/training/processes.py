"""Processes that train one model together, started by ``torchrun``."""

import atexit
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """One of the processes that train together.

    Attributes:
        rank: The number of this process, in [0, world_size).
        world_size: The number of processes.
        local_rank: The number of this process among those of its machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @classmethod
    def of_environment(cls) -> Self:
        """Reads ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``, set by ``torchrun``; by default there is one process."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        return cls(*(int(os.environ.get(name) or default) for name, default in zip(names, (0, 1, 0), strict=True)))

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.world_size > 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def connect(self, *, cuda: bool) -> None:
        """Joins the others once, by NCCL for tensors on CUDA devices and by Gloo for others."""
        if self.several and not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
            atexit.register(dist.destroy_process_group)

    def from_first(self, value: T) -> T:
        """Returns the first process's value on all of them."""
        held: list[T] = [value]
        if self.several:
            dist.broadcast_object_list(held, 0)
        return held[0]

    def gathered(self, value: T) -> list[T]:
        """Returns the values of all processes, by rank."""
        if not self.several:
            return [value]
        found = [value] * self.world_size
        dist.all_gather_object(found, value)
        return found

    def total(self, values: Tensor) -> Tensor:
        """Adds up a tensor over all processes, in place."""
        if self.several:
            dist.all_reduce(values)
        return values

    @torch.no_grad()
    def average(self, tensors: list[Tensor]) -> None:
        """Averages tensors over all processes, in place."""
        if not self.several or not tensors:
            return
        flat = self.total(torch.cat([tensor.flatten() for tensor in tensors])) / self.world_size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def wrap(self, module: nn.Module) -> nn.Module:
        """Gives a module the weights of the first process, and lets processes average its gradients."""
        if not self.several:
            return module
        # A process's graphs may lack a node type, whose weights then have no gradient; PyTorch warns if all have one.
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified")
        return DistributedDataParallel(module, find_unused_parameters=True, broadcast_buffers=False)

    @staticmethod
    def unsynced(module: nn.Module) -> AbstractContextManager[None]:
        """Returns a context in which each process adds up its gradients of a module from :meth:`wrap` separately."""
        return module.no_sync() if isinstance(module, DistributedDataParallel) else nullcontext()
