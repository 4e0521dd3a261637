"""Training that is killed, told to stop, or has no room to save, and goes on: is the end the same to the last bit?"""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from random import Random

import pytest
from cases import TIMES as CASES

pytestmark = pytest.mark.slow
# Without hypothesis, which would look for a simpler failure for hours.
several = pytest.mark.parametrize("seed", range(-(-CASES // 4)))
KILLS = int(os.environ.get("GRAPHEME_KILLS", "3"))
COMMAND = (
    *(sys.executable, "-W", "ignore", "-m", "grapheme_pyg", "train", "mnist5k", "--preset", "tiny", "--limit", "560"),
    *("--settings.epochs", "2", "--settings.batch_size", "32", "--settings.device", "cpu"),
)
TRAINING_ALONE = ("--no_test",)
# Settings that must not matter for the bits that come out, and one that goes with them.
VARIANTS = (
    (*TRAINING_ALONE, "--settings.checkpoint_every", "1"),
    (*TRAINING_ALONE, "--settings.checkpoint_every", "3", "--settings.accumulate", "2", "--settings.num_workers", "2"),
)
# With all that a run does after training; little of it is training.
EVERYTHING = ("--settings.checkpoint_every", "1", "--limit", "200", "--settings.epochs", "1")
TIMES = ("graphs_per_second", "seconds")
# Runs that may be over when they are killed or told to stop, one after the other.
ATTEMPTS = 10


class Training:
    """A process that trains, as anyone would start it."""

    def __init__(
        self, run_dir: Path, *options: str, prepare: Callable[[], None] | None = None, hash_seed: int = 0
    ) -> None:
        self.run_dir, self.checkpoints = run_dir, run_dir / "checkpoints"
        run_dir.mkdir(exist_ok=True)
        self._messages = (run_dir / "messages.txt").open("w+")
        self._process = subprocess.Popen(
            [*COMMAND, "--run_dir", str(run_dir), *options],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": str(hash_seed)},
            stdout=self._messages,
            stderr=subprocess.STDOUT,
            preexec_fn=prepare,
            start_new_session=True,
        )

    def wait_for_a_checkpoint(self) -> None:
        while self._process.poll() is None and not any(self.checkpoints.glob("*")):
            time.sleep(0.002)

    def running(self) -> bool:
        return self._process.poll() is None

    def end(self, told: signal.Signals | None = None) -> tuple[int, str]:
        """Sends a signal, if there is one, and waits; the exit code, which is negative for a signal, and messages."""
        if told is not None:
            self._process.send_signal(told)
        try:
            code = self._process.wait(300 if told is None else 60)
        finally:
            # With processes that load and that it has left behind.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._messages.seek(0)
        with self._messages as file:
            return code, file.read()


def train(run_dir: Path, *options: str, hash_seed: int = 0) -> dict[str, object]:
    """Trains to the end; all that is left, without times, which no two runs have in common."""
    code, messages = Training(run_dir, *options, hash_seed=hash_seed).end()
    assert code == 0, messages[-1000:]
    with (run_dir / "metrics.csv").open() as file:
        log = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]
    kept = {path.name: path.read_bytes() for path in (run_dir / "model").iterdir()}
    if (run_dir / "test.json").exists():
        result = json.loads((run_dir / "test.json").read_text())
        kept |= {"test": {key: value for key, value in result.items() if key not in TIMES}}
        kept |= {path.name: path.read_bytes() for path in (run_dir / "report").iterdir()}
    return {"metrics": log} | kept


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, object]]:
    return cache(lambda number: train(tmp_path_factory.mktemp("whole"), *VARIANTS[number]))


def interrupted(folder: Path, options: tuple[str, ...], told: signal.Signals, random: Random) -> tuple[int, str]:
    """A run that is told something at a random moment of its training."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        training = Training(folder, *options)
        training.wait_for_a_checkpoint()
        time.sleep(random.uniform(0, 1))
        code, messages = training.end(told)
        assert code in (0, -told, 128 + told), messages[-1000:]
        # The interpreter that ends hears signals no more as training does, so a run must have had more to do.
        if code != 0 and "epoch   2/2" not in messages:
            return code, messages
    raise AssertionError(f"expected a run to be stopped by {told.name}, got none of {ATTEMPTS}")


# Both signals that can be caught are heard in the same way.
@pytest.mark.parametrize(
    ("told", "variant"),
    [(signal.SIGKILL, 0), (signal.SIGKILL, 1), (signal.SIGTERM, 1), (signal.SIGINT, 0)],
    ids=lambda it: getattr(it, "name", it),
)
@several
def test_a_run_that_is_stopped_goes_on(
    told: signal.Signals, variant: int, seed: int, uninterrupted: Callable[[int], object], tmp_path_factory: object
) -> None:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    code, messages = interrupted(folder, VARIANTS[variant], told, Random(seed))
    assert code == (-told if told == signal.SIGKILL else 128 + told), messages[-1000:]
    assert train(folder, *VARIANTS[variant], "--resume") == uninterrupted(variant)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], list[Path]]:
    """What is left of a whole run, and its files, in a random order."""
    folder = tmp_path_factory.mktemp("everything")
    train(folder, *EVERYTHING)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return train(folder, *EVERYTHING, "--resume"), Random(0).sample(files, len(files))


@pytest.mark.parametrize("number", range(KILLS))
def test_kills_fall_everywhere_in_a_run(
    number: int, everything: tuple[dict[str, object], list[Path]], tmp_path: Path
) -> None:
    """A run is killed when one of its files has come, and goes on: memory, calibration and report are the same.

    ``GRAPHEME_KILLS`` says how often.
    """
    expected, files = everything
    file, folder = files[number % len(files)], tmp_path / "killed"
    training = Training(folder, *EVERYTHING)
    while training.running() and not (folder / file).exists():
        time.sleep(0.002)
    time.sleep(Random(number).uniform(0, 0.2))
    code, messages = training.end(signal.SIGKILL)
    assert code in (0, -signal.SIGKILL), messages[-1000:]  # the last file may be its last word
    print(f"{'killed' if code else 'ended'} after {file}")
    assert train(folder, *EVERYTHING, "--resume") == expected


@several
def test_without_room_what_was_saved_stays(
    seed: int, uninterrupted: Callable[[int], object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("full") / "run"
    interrupted(folder, VARIANTS[0], signal.SIGTERM, Random(seed))
    saved = {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}
    most = min(map(len, saved.values())) // 2
    code, messages = Training(folder, *VARIANTS[0], "--resume", prepare=partial(limit_files, most)).end()
    assert code == 1, messages[-1000:]
    assert "Traceback" not in messages
    assert {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()} == saved
    assert train(folder, *VARIANTS[0], "--resume") == uninterrupted(0)


def limit_files(size: int) -> None:
    """Files of this process can be no larger, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_the_seed_alone_decides(uninterrupted: Callable[[int], object], tmp_path: Path) -> None:
    # Sets of strings have another order there, and four processes load.
    workers = ("--settings.num_workers", "4")
    assert train(tmp_path / "same", *VARIANTS[0], *workers, hash_seed=1) == uninterrupted(0)
    assert train(tmp_path / "other", *VARIANTS[0], "--settings.seed", "1") != uninterrupted(0)
