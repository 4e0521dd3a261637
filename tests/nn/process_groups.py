"""Process groups of threads: quick, and without a network."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def in_threads(number: int, function: Callable[[int, dist.ProcessGroup], T]) -> list[T]:
    """What a function gives in each of some threads, which can talk as processes of one group do."""
    store = dist.HashStore()

    def run(rank: int) -> T:
        return function(rank, dist.ProcessGroupGloo(store, rank, number, timedelta(seconds=20)))

    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(run, range(number)))
