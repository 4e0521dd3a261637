"""Processes that train together on one machine, started without ``torchrun``, which would end all if one fails."""

import os
import pickle
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from training_process import FORKSERVER, Ended, Training


def free_port() -> int:
    """A port that nobody listens to now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def variables(rank: int, world_size: int, port: int, address: str = "127.0.0.1") -> dict[str, str]:
    """What tells a process who it is and where the others are."""
    names = {"RANK": rank, "WORLD_SIZE": world_size, "MASTER_ADDR": address, "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    return {name: str(value) for name, value in names.items()}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Within it, the environment has these values too."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def start_training(run_dir: Path, world_size: int, *options: str) -> list[Training]:
    """Starts processes that train by the example's command, with results in ``run_dir / "run"``."""
    port = free_port()
    return [
        Training(
            run_dir / f"process{rank}",
            *("--run-dir", str(run_dir / "run")),
            *options,
            environment=variables(rank, world_size, port),
        )
        for rank in range(world_size)
    ]


def train_together(run_dir: Path, world_size: int, *options: str) -> list[Ended]:
    """Trains to the end, and fails if one of them does."""
    ended = [training.wait() for training in start_training(run_dir, world_size, *options)]
    for rank, end in enumerate(ended):
        assert end.code == 0, f"process {rank}: exit code {end.code}: {end.messages[-500:]}"
    return ended


def on_ranks(world_size: int, function: Callable[[int], Any]) -> list[Any]:
    """What a function gives in each of some processes, by their numbers; raises what it raises in one of them.

    Args:
        world_size: How many.
        function: Of a module, or a part of one. Called with the number of the process, whose environment says the same.
    """
    port = free_port()
    with ExitStack() as stack:
        # One executor for each, as each of them is to be a process of its own.
        executors = [stack.enter_context(ProcessPoolExecutor(1, FORKSERVER)) for _ in range(world_size)]
        # Pickled here, as PyTorch would share the memory of tensors, which ends with the process.
        task = pickle.dumps(function)
        ends = [
            executor.submit(_on_rank, task, rank, variables(rank, world_size, port))
            for rank, executor in enumerate(executors)
        ]
        return [pickle.loads(end.result()) for end in ends]  # noqa: S301  they are our own


def _on_rank(task: bytes, rank: int, environment: dict[str, str]) -> bytes:
    os.environ.update(environment)
    torch.set_num_threads(1)
    return pickle.dumps(pickle.loads(task)(rank))  # noqa: S301  it is our own
