"""Training by the example's own command, in a process that can be killed, and what it leaves behind."""

import atexit
import contextlib
import csv
import hashlib
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from grapheme_pyg.training.checkpoints import read_checkpoint

SCRIPT = Path(__file__).parents[1] / "examples" / "train_mnist.py"
# Two epochs of sixteen steps with shuffling, augmentation, dropout and validation.
COMMAND = (
    *("--preset", "tiny", "--limit", "560", "--epochs", "2", "--batch-size", "32", "--lr", "0.004"),
    *("--device", "cpu", "--validate-only"),
    # Never from the network, which may come and go.
    *(() if os.environ.get("GRAPHEME_DATA") else ("--dataset", "mnist5k")),
)
# Settings that must not matter for the bits that come out, and some that go with them.
VARIANTS: tuple[tuple[str, ...], ...] = (
    ("--checkpoint-every", "1"),
    ("--checkpoint-every", "5", "--num-workers", "2"),
    ("--checkpoint-every", "4", "--accumulate", "2", "--template-update", "momentum"),
    ("--checkpoint-every", "3", "--num-workers", "2", "--loader", "pyg"),
)
TIMES = ("graphs_per_second", "seconds")


@dataclass
class Ended:
    """How a process ended: its exit code (negative for a signal), seconds since it was told to, its messages."""

    code: int
    seconds: float
    messages: str


# Forks new processes from one that has imported everything and computed nothing: OpenMP's threads, which this one may
# have, do not survive a fork, and whoever waits for them waits forever.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["grapheme_pyg.runs", "grapheme_pyg.training.fit", "matplotlib.pyplot"])


class Training:
    """A process of its own that trains.

    Args:
        run_dir: The run's folder.
        options: Further options of the command.
        prepare: What to do in that process first; a function of a module, or a part of one.
        environment: Variables that it has beside those of this process.
    """

    def __init__(
        self,
        run_dir: Path,
        *options: str,
        prepare: Callable[[], object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.run_dir = run_dir
        run_dir.mkdir(parents=True, exist_ok=True)
        self._messages = run_dir / "messages.txt"
        self._told = time.monotonic()
        arguments = [str(SCRIPT), *COMMAND, "--run-dir", str(run_dir), *options]
        variables = dict(os.environ) | dict(environment or {})
        self._process = FORKSERVER.Process(target=_train, args=(arguments, self._messages, prepare, variables))
        self._process.start()

    @property
    def _pid(self) -> int:
        assert self._process.pid is not None  # it was started
        return self._process.pid

    def running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process.is_alive()

    def tell(self, number: signal.Signals) -> None:
        """Sends it a signal, if it has not ended."""
        self._told = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def wait(self, limit: float = 300.0) -> Ended:
        """Waits for its end, and ends whatever it has left behind.

        Raises:
            TimeoutError: It has not ended after so many seconds, and was killed.
        """
        self._process.join(limit)
        seconds = time.monotonic() - self._told
        late = self.running()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._pid, signal.SIGKILL)
        self._process.join()
        messages = self._messages.read_text(errors="replace") if self._messages.exists() else ""
        if late:
            raise TimeoutError(f"a process of training did not end within {limit} s: {messages[-500:]}")
        assert self._process.exitcode is not None
        return Ended(self._process.exitcode, seconds, messages)


def _train(
    arguments: list[str], messages: Path, prepare: Callable[[], object] | None, environment: dict[str, str]
) -> None:
    """The example's command, in a process that was forked for it; never returns."""
    code = 1
    try:
        # Of a group of its own, so that workers that were left behind can be found and ended.
        os.setpgid(0, 0)
        os.environ.update(environment)
        sys.stdout = sys.stderr = messages.open("w", buffering=1)
        for stream in (1, 2):
            os.dup2(sys.stdout.fileno(), stream)
        torch.set_num_threads(1)
        if prepare is not None:
            prepare()
        warnings.resetwarnings()  # those of whoever tries this are not a newcomer's
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def train_to_the_end(run_dir: Path, *options: str) -> None:
    """Trains, and fails if the command does."""
    ended = Training(run_dir, *options).wait()
    assert ended.code == 0, f"exit code {ended.code}: {ended.messages[-500:]}"


def train_anew(run_dir: Path, *options: str, hash_seed: int) -> None:
    """The same in a new interpreter, in which strings have other hashes."""
    command = [sys.executable, "-W", "ignore", str(SCRIPT), *COMMAND, "--run-dir", str(run_dir), *options]
    variables = os.environ | {"PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, f"exit code {ended.returncode}: {ended.stderr[-500:]}"


def left_behind(run_dir: Path) -> dict[str, Any]:
    """All that a finished run leaves, as plain values; without times, which no two runs have in common.

    Of the checkpoint: weights, their average, the optimiser's state and the schedule. Beside it the loss log and the
    files of the model.
    """
    state = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    kept = {name: state[name] for name in state.keys() - {"callbacks", "hyper_parameters"}}
    with (run_dir / "metrics.csv").open() as file:
        log = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]
    files = {path.name: path.read_bytes() for path in (run_dir / "model").iterdir()}
    return {"checkpoint": _digests(kept), "log": log, "model": _digests(files)}


def _digests(value: Any) -> Any:
    """Tensors and bytes as checksums of their bits."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(f"{value.dtype}{list(value.shape)}".encode() + value.numpy().tobytes()).hexdigest()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, dict):
        return {str(key): _digests(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_digests(item) for item in value]
    return value


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two of :func:`left_behind` differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one for line in differences(one[key], other[key], f"{place}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [line for i in range(len(one)) for line in differences(one[i], other[i], f"{place}/{i}")]
    return [] if one == other else [f"{place}: {str(one)[:80]} ≠ {str(other)[:80]}"]


@cache
def temporary_folder() -> Path:
    """A folder that is removed when this process ends."""
    path = Path(tempfile.mkdtemp(prefix="grapheme-stop-and-go-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def uninterrupted(variant: tuple[str, ...]) -> tuple[dict[str, object], float]:
    """What an uninterrupted run leaves, and how many seconds it took."""
    run_dir = temporary_folder() / f"whole-{VARIANTS.index(variant)}"
    started = time.monotonic()
    train_to_the_end(run_dir, *variant)
    return left_behind(run_dir), time.monotonic() - started
