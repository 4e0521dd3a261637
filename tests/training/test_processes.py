"""Several processes that train together, started by PyTorch's own ``torchrun``."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from systems import needs_linux

from grapheme_pyg import ImageClassificationModel, VisionBrain
from grapheme_pyg.datasets import Split
from grapheme_pyg.training.data import no_graphs
from grapheme_pyg.training.processes import Processes

SCRIPT = Path(__file__).with_name("train_shares.py")
Outcome = tuple[dict[str, torch.Tensor], list[dict[str, float]]]


def command(images: Path, out: Path, options: list[dict[str, object]], *launcher: str) -> list[str]:
    torchrun = (
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *launcher] if launcher else [sys.executable]
    )
    return [*torchrun, str(SCRIPT), str(images), str(out), json.dumps(options)]


def outcomes(images: Path, out: Path, options: list[dict[str, object]], *launcher: str) -> list[Outcome]:
    done = subprocess.run(command(images, out, options, *launcher), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[Outcome] = torch.load(out)
    return found


def save(digits: tuple[Split, Split], count: int, path: Path) -> Path:
    torch.save(tuple(part[:count].clone() for part in digits[0]), path)
    return path


@pytest.fixture
def images(digits: tuple[Split, Split], tmp_path: Path) -> Path:
    """Nine digits: of two processes, one has nothing of a last batch of one."""
    return save(digits, 9, tmp_path / "images.pt")


def test_who_is_who(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert Processes.of_environment() == Processes(0, 1, 0)
    assert not Processes.of_environment().several
    for name, value in (("WORLD_SIZE", "8"), ("RANK", "5"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert Processes.of_environment() == Processes(5, 8, 1)
    assert not Processes.of_environment().writes


@pytest.mark.slow
def test_two_are_as_one(images: Path, tmp_path: Path) -> None:
    # Without batch statistics, which are each process's own. One after the other, for processes take long to start.
    both = {"epochs": 2, "precision": "64-true", "augment": False}
    options = [
        {"model": {"norm": "layer"} | model, "settings": both | settings}
        for model, settings in (
            ({"template_update": "momentum"}, {"batch_size": 4}),
            ({}, {"batch_size": 2, "accumulate": 2}),
            ({}, {"batch_size": 4, "optimizer": "adamw", "freeze": ["dag"]}),
        )
    ]
    alone = outcomes(images, tmp_path / "one.pt", options)
    together = outcomes(images, tmp_path / "two.pt", options, "--nproc-per-node=2")
    assert len(alone) == 3
    for (one, metrics), (two, others) in zip(alone, together, strict=True):
        for name, tensor in one.items():
            torch.testing.assert_close(two[name], tensor, rtol=0, atol=1e-6, msg=name)
        for row, other in zip(metrics, others, strict=True):
            assert other["train_loss"] == pytest.approx(row["train_loss"], abs=1e-6)
            assert other["val_loss"] == pytest.approx(row["val_loss"], abs=1e-6)
            assert other["val_accuracy"] == row["val_accuracy"]


@pytest.mark.slow
def test_two_with_batch_statistics_learn(digits: tuple[Split, Split], tmp_path: Path) -> None:
    path = save(digits, 601, tmp_path / "images.pt")
    options = [{"model": {}, "settings": {"epochs": 8, "batch_size": 20}}]
    rows = [outcomes(path, tmp_path / "out.pt", options, *which)[0][1] for which in ((), ("--nproc-per-node=2",))]
    one, two = (each[-1]["val_accuracy"] for each in rows)
    assert one > 0.7
    assert two > one - 0.1


@pytest.mark.slow
@needs_linux
def test_processes_that_are_killed(digits: tuple[Split, Split], tmp_path: Path) -> None:
    """Kills one of two processes again and again; ``torchrun`` starts them anew, and the result has the same bits.

    ``GRAPHEME_KILLS`` says how often; 20 have been tried. Between two kills less than a second of training is done: ten
    epochs for each leave most of it for after the last.
    """
    path, kills = save(digits, 200, tmp_path / "images.pt"), int(os.environ.get("GRAPHEME_KILLS", "3"))

    def options(name: str) -> list[dict[str, object]]:
        settings = {"epochs": 10 * kills, "batch_size": 20, "checkpoint_every": 1}
        return [{"model": {}, "settings": settings, "fit": {"run_dir": str(tmp_path / name), "resume": True}}]

    launcher = ("--nproc-per-node=2", f"--max-restarts={kills}", "--monitor-interval=0.1")
    ((whole, rows),) = outcomes(path, tmp_path / "whole.pt", options("whole"), *launcher)
    out, dice, killed = tmp_path / "killed.pt", random.Random(0), 0
    with (tmp_path / "errors.txt").open("w") as errors:
        # The store that torchrun shares with its processes remembers addresses of those that are gone (PyTorch 2.13).
        environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        process = subprocess.Popen(command(path, out, options("killed"), *launcher), stderr=errors, env=environment)
        checkpoint, seen = tmp_path / "killed" / "checkpoints" / "last.ckpt", 0.0
        while process.poll() is None and killed < kills:
            time.sleep(0.05)
            if not checkpoint.exists() or checkpoint.stat().st_mtime == seen:
                continue  # not before it has gone on a little since the last time
            time.sleep(dice.uniform(0.0, 0.5))
            seen = checkpoint.stat().st_mtime
            workers = _workers(process.pid)
            if len(workers) == 2:
                os.kill(dice.choice(workers), signal.SIGKILL)
                killed += 1
        assert process.wait() == 0, (tmp_path / "errors.txt").read_text()[-2000:]
    assert killed == kills
    ((tensors, others),) = torch.load(out)
    assert all(torch.equal(tensors[name], tensor) for name, tensor in whole.items())
    assert [row["train_loss"] for row in others] == [row["train_loss"] for row in rows]


def _workers(pid: int) -> list[int]:
    """The processes that ``torchrun`` has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if str(SCRIPT) in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.mark.parametrize("mode", ["grid", "blob", "superpixel", "hybrid"])
@pytest.mark.parametrize("readout", ["levels", "sinks"])
def test_a_share_of_nothing(mode: str, readout: str) -> None:
    vision = VisionBrain(mode=mode)
    model = ImageClassificationModel(vision, readout=readout, template_update="gradient").train()
    some, none = vision.batch(torch.zeros(2, 28, 28, dtype=torch.uint8), [1, 0]), no_graphs(vision)
    assert set(none.keys()) == set(some.keys())
    for key in set(some.keys()):
        assert none[key].dtype == some[key].dtype, key
        assert none[key].dim() == some[key].dim(), key
    assert none.num_graphs == none.num_nodes == none.num_edges == 0
    logits = model(none)
    assert logits.shape == (0, 10)
    logits.sum().backward()
