"""Processes that train one model together: who they are, how they find one another, and what if one is gone."""

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import TypeVar

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from grapheme_pyg.errors import TrainingError

T = TypeVar("T")

# How often processes of this program have met: each meeting has names of its own for what it writes down.
_meetings = count()


@dataclass(frozen=True)
class Processes:
    """One of the processes that train together.

    Attributes:
        rank: Its number, in [0, world_size).
        world_size: How many there are.
        local_rank: Its number among those of its machine.
        local_world_size: How many are on its machine, as on every other.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.world_size > 1

    @property
    def writes(self) -> bool:
        """Whether this is the one that writes files and tells people."""
        return self.rank == 0

    @classmethod
    def of_environment(cls) -> "Processes":
        """As the environment says, which ``torchrun`` prepares; one alone if it says nothing.

        The variables are ``RANK`` and ``WORLD_SIZE``, and ``LOCAL_RANK`` and ``LOCAL_WORLD_SIZE`` if there are several
        processes on a machine; ``MASTER_ADDR`` and ``MASTER_PORT`` say where they meet.

        Raises:
            ValueError: A variable is missing or out of its range.
        """
        world_size = _variable("WORLD_SIZE", 1)
        if world_size == 1:
            return cls()
        for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(name):
                raise ValueError(f"{name}: expected it in the environment, as WORLD_SIZE is {world_size}, got nothing")
        local_world_size = _variable("LOCAL_WORLD_SIZE", 1, high=world_size)
        if world_size % local_world_size:
            raise ValueError(f"LOCAL_WORLD_SIZE: expected a divisor of {world_size}, got {local_world_size}")
        rank = _variable("RANK", 0, low=0, high=world_size - 1)
        return cls(rank, world_size, _variable("LOCAL_RANK", 0, low=0, high=local_world_size - 1), local_world_size)


def _variable(name: str, default: int, *, low: int = 1, high: int | None = None) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
        wanted = f"an integer of at least {low}" if high is None else f"an integer in [{low}, {high}]"
        raise ValueError(f"{name}: expected {wanted} in the environment, got {text!r}")
    return int(text)


class ProcessesOfEnvironment(TorchElasticEnvironment):
    """What Lightning asks about them; it is to start none."""

    def __init__(self, processes: Processes) -> None:
        super().__init__()
        self._processes = processes

    def local_rank(self) -> int:
        """Number of this process on its machine."""
        return self._processes.local_rank

    def node_rank(self) -> int:
        """Number of this machine."""
        return self._processes.rank // self._processes.local_world_size


@contextmanager
def met(processes: Processes, *, cuda: bool, patience: float) -> Iterator[None]:
    """Within it, processes can talk to one another; a process that does not answer ends all of them.

    Args:
        processes: Which one this is.
        cuda: Whether tensors are on CUDA devices, for which NCCL is used; all else goes through Gloo.
        patience: Seconds to wait for the others, when they meet and each time that they exchange something.

    Raises:
        TrainingError: Another process does not come, is gone, or is silent for longer than that.
    """
    if not processes.several:
        yield
        return
    try:
        _meet(processes, cuda=cuda, patience=patience)
        try:
            yield
            dist.barrier()
        finally:
            dist.destroy_process_group()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        raise TrainingError(
            f"processes: expected all {processes.world_size} to answer, got another than {processes.rank} gone or "
            f"silent ({_reason(error)}); resume goes on from the last checkpoint"
        ) from error


def _meet(processes: Processes, *, cuda: bool, patience: float) -> None:
    limit = timedelta(seconds=patience)
    errors: list[Exception] = []

    def meet() -> None:
        try:
            store, _, _ = next(rendezvous("env://", timeout=limit))
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                store=PrefixStore(f"meeting{next(_meetings)}", store),
                rank=processes.rank,
                world_size=processes.world_size,
                timeout=limit,
            )
        except Exception as error:  # of a thread it would be lost: it is raised where the thread is joined
            errors.append(error)

    # PyTorch waits without limit for a first process that listens and says nothing, as one does that was stopped; and
    # tries twice one that does not listen. So another thread waits, which ends with this process at the latest.
    thread = threading.Thread(target=meet, name="meeting", daemon=True)
    thread.start()
    thread.join(patience)
    if errors:
        raise errors[0]
    if thread.is_alive():
        raise dist.DistError(f"no answer within {patience:g} s")


def _reason(error: RuntimeError) -> str:
    """Its first sentence, without the place in Gloo's sources that it begins with."""
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"^\[\S+:\d+\] ", "", line).partition(". ")[0]


def from_writer(processes: Processes, value: T) -> T:
    """What the writing process has here, for all; others may give anything."""
    if not processes.several:
        return value
    held: list[T] = [value]
    dist.broadcast_object_list(held, 0)
    return held[0]


def check_same(processes: Processes, described: dict[str, dict[str, object]]) -> None:
    """Refuses processes that are about to do different things.

    Raises:
        TrainingError: Naming the first setting that differs from the writing process's.
    """
    expected = from_writer(processes, described)
    found = [
        f"{part}.{name} = {expected[part].get(name)!r} on every process, got {values.get(name)!r}"
        for part, values in described.items()
        for name in values
        if values[name] != expected[part].get(name)
    ]
    if processes.several:
        differ = torch.tensor(bool(found)).int()
        dist.all_reduce(differ)
        if differ:
            raise TrainingError(f"processes: expected {found[0] if found else 'others with the same settings'}")
