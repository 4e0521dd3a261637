"""Processes that train together on one machine, started without ``torchrun``, which would end all if one fails."""

import os
import pickle
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from training_process import Ended, Training


def free_port() -> int:
    """A port that nobody listens to now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def variables(rank: int, world_size: int, port: int, address: str = "127.0.0.1") -> dict[str, str]:
    """What tells a process who it is and where the others are."""
    names = {"RANK": rank, "WORLD_SIZE": world_size, "MASTER_ADDR": address, "MASTER_PORT": port}
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
    port, started = free_port(), []
    for rank in range(world_size):
        with environment(variables(rank, world_size, port)):
            started.append(Training(run_dir / f"process{rank}", "--run-dir", str(run_dir / "run"), *options))
    return started


def train_together(run_dir: Path, world_size: int, *options: str) -> list[Ended]:
    """Trains to the end, and fails if one of them does."""
    ended = [training.wait() for training in start_training(run_dir, world_size, *options)]
    for rank, end in enumerate(ended):
        assert end.code == 0, f"process {rank}: exit code {end.code}: {end.messages[-500:]}"
    return ended


def on_ranks(world_size: int, function: Callable[[int], Any], folder: Path) -> list[Any]:
    """What a function gives in each of some processes that are forked from this one, by their numbers.

    Args:
        world_size: How many.
        function: Called with the number of the process, whose environment says the same.
        folder: For what they have to say; made if missing.

    Raises:
        RuntimeError: One of them has failed; the message is its traceback.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, paths = free_port(), [folder / f"rank{rank}.pickle" for rank in range(world_size)]
    sys.stdout.flush()
    children = []
    for rank, path in enumerate(paths):
        pid = os.fork()
        if pid == 0:
            try:
                os.environ.update(variables(rank, world_size, port))
                torch.set_num_threads(1)
                path.write_bytes(pickle.dumps(function(rank)))
            except BaseException:
                path.with_suffix(".error").write_text(traceback.format_exc())
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    for path in paths:
        if not path.exists():
            raise RuntimeError(path.with_suffix(".error").read_text())
    return [pickle.loads(path.read_bytes()) for path in paths]  # noqa: S301  they are our own
