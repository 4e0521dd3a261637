"""Several processes that train one model: do they do what one would, and what if one of them is killed?"""

import atexit
import random
import shutil
import signal
import tempfile
import time
import warnings
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from harness import Check, main
from namespaces import reason_against, train_in_namespaces
from ranks import on_ranks, start_training, train_together
from torch import Tensor
from training_process import TIMES, differences, left_behind

from grapheme_pyg import ImageClassificationModel, TrainingSettings, VisionBrain, fit
from grapheme_pyg.datasets import load_mnist5k
from grapheme_pyg.datasets.labelled_images import ImageDataset
from grapheme_pyg.datasets.samplers import EpochBatches, EpochSampler
from grapheme_pyg.errors import TrainingWarning
from grapheme_pyg.training.checkpoints import FOLDER, LAST
from grapheme_pyg.training.loading import make_loader

# Seconds within which the others end if one is killed or stopped.
LIMIT = 60.0
# Every fifth is stopped and not killed: the others wait for it, 45 seconds if nothing else is said.
KILLS, PARITIES, SHARES, NAMESPACES = 20, 16, 200, 2
OPTIONS = ("--checkpoint-every", "5")
# In double precision: weights, templates and running statistics of several processes, and of one.
TOLERANCE = 1e-9


@cache
def folder() -> Path:
    """For what runs leave behind; removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="grapheme-several-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def _whole() -> tuple[dict[str, Any], float]:
    """What an uninterrupted run of two processes leaves, and how many seconds it took."""
    run_dir, started = folder() / "whole", time.monotonic()
    train_together(run_dir, 2, *OPTIONS)
    return left_behind(run_dir / "run"), time.monotonic() - started


def kill(number: int) -> dict[str, float]:
    """Kills or stops one of two processes; the other ends, saying why, and both together go on to the same end."""
    chance = random.Random(number)
    expected, seconds = _whole()
    run_dir, victim = folder() / f"kill-{number}", number % 2
    told = signal.SIGSTOP if number % 5 == 4 else signal.SIGKILL
    while True:
        processes = start_training(run_dir, 2, *OPTIONS)
        if number % 4 < 2:
            # In training, between the first checkpoint and the end.
            while all(process.running() for process in processes) and not (run_dir / "run" / FOLDER / LAST).exists():
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.2 * seconds))
        else:
            time.sleep(chance.uniform(0, 0.8 * seconds))
        in_time = all(process.running() for process in processes)
        processes[victim].tell(told)
        started = time.monotonic()
        other = processes[1 - victim].wait(2 * LIMIT)
        waited = time.monotonic() - started
        processes[victim].tell(signal.SIGKILL)
        processes[victim].wait()
        if in_time and other.code != 0:
            break
        # They had nothing more to say to one another.
        shutil.rmtree(run_dir)
    assert other.code == 1, f"exit code {other.code}: {other.messages[-500:]}"
    assert waited < LIMIT, f"{waited:.1f} s"
    said = other.messages.strip().splitlines()[-1]
    assert said.startswith("train_mnist.py: processes: expected all 2 to answer, got"), other.messages[-500:]
    assert "Traceback" not in other.messages, other.messages[-500:]
    train_together(run_dir, 2, *OPTIONS, "--resume")
    wrong = differences(left_behind(run_dir / "run"), expected)
    shutil.rmtree(run_dir)
    assert not wrong, f"{len(wrong)} differences, such as {wrong[0]}"
    return {"seconds until the other ended": waited, "number of processes that were left alone": 1.0}


def share(number: int) -> dict[str, float]:
    """Loads an epoch on each of several processes: every sample once, and in every mini-batch its share."""
    chance = random.Random(number)
    size, batch_size, world_size = chance.randint(1, 60), chance.randint(1, 20), chance.randint(1, 8)
    settings = TrainingSettings(loader=("images", "pyg")[number % 2])
    images = torch.zeros(size, 8, 8, dtype=torch.uint8)
    vision = VisionBrain()
    parts: list[list[list[int]]] = []
    for rank in range(world_size):
        # Labels are numbers of images here: what is loaded says which it was.
        dataset = ImageDataset(images, torch.arange(size))
        batches = EpochBatches(EpochSampler(dataset, number), batch_size, rank=rank, world_size=world_size)
        batches.set_epoch(number)
        loaded = make_loader(dataset, batches, vision, settings)
        parts.append([(batch.y if settings.loader == "pyg" else batch[1]).tolist() for batch in loaded])
    order = list(batches.sampler)
    assert sorted(order) == list(range(size)), "the order leaves out or repeats a sample"
    expected = [order[start : start + batch_size] for start in range(0, size, batch_size)]
    joint = [sorted(chain.from_iterable(shares)) for shares in zip(*parts, strict=True)]
    assert joint == [sorted(batch) for batch in expected], f"{joint} is not {expected}"
    sizes = [{len(some) for some in shares} for shares in zip(*parts, strict=True)]
    assert all(max(each) - min(each) <= 1 for each in sizes), f"shares of {sizes}"
    return {"number of empty shares": float(sum(part == [] for some in parts for part in some))}


def settings_of(number: int) -> tuple[dict[str, Any], dict[str, Any], int, int]:
    """Arguments of the model, settings, number of images and number of processes of a case of parity."""
    world_size = 2 + number // 2 % 2
    accumulate = 1 + number // 4 % 2
    vision = VisionBrain(("grid", "hybrid", "blob", "superpixel")[number % 2 if number < 12 else number % 4])
    model = {"vision": vision, "template_update": ("gradient", "momentum")[number // 8 % 2 ^ number % 2]}
    # Five batches an epoch, of which the last has one image: fewer than there are processes.
    settings = {"batch_size": 6, "epochs": 4 if accumulate == 1 else 7, "accumulate": accumulate}
    return model, settings | {"loader": ("images", "pyg")[number // 2 % 2]}, 25, world_size


Trained = tuple[dict[str, Tensor], list[dict[str, float]]]


def train(number: int, _: int) -> Trained:
    """Weights, templates and running statistics after twenty steps or more in double precision, and the metrics."""
    arguments, settings, size, _ = settings_of(number)
    torch.manual_seed(number)
    model = ImageClassificationModel(
        **arguments, embedding_channels=12, templates_per_class=2, hidden_channels=_widths(arguments), dropout=0.0
    )
    images, labels = load_mnist5k().train
    # Sorted by label there. The last image is blank: of most types its graph has no node.
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(number))[: size + 7]
    images, labels = images[chosen].clone(), labels[chosen]
    images[size - 1] = 0
    common: dict[str, Any] = {"precision": "64-true", "device": "cpu", "seed": number, "patience": 30.0}
    with warnings.catch_warnings():
        # It is not meant to be good.
        warnings.simplefilter("ignore", TrainingWarning)
        metrics = fit(
            model.double(),
            images[:size],
            labels[:size],
            validation=(images[size:], labels[size:]),
            settings=TrainingSettings(**common, **settings),
            verbose=False,
        )
    state = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    return state, [{name: row[name] for name in row.keys() - set(TIMES)} for row in metrics]


def train_on(world_size: int, number: int) -> Trained:
    """The same on several processes, which must agree."""
    every: list[Trained] = on_ranks(world_size, partial(train, number))
    for state, metrics in every[1:]:
        assert all(torch.equal(value, every[0][0][name]) for name, value in state.items()), "processes differ"
        assert metrics == every[0][1], "metrics differ"
    return every[0]


def _widths(arguments: dict[str, Any]) -> list[int]:
    return [6 + 2 * level for level in range(max(arguments["vision"].node_levels) + 1)]


def compare(number: int) -> dict[str, float]:
    """Trains on several processes and on one, and compares."""
    alone, metrics_alone = train_on(1, number)
    jointly, metrics_jointly = train_on(settings_of(number)[3], number)
    difference = max(float((value - jointly[name]).abs().max()) for name, value in alone.items())
    assert difference < TOLERANCE, f"weights differ by {difference}"
    of_metrics = max(
        abs(row[name] - other[name]) for row, other in zip(metrics_alone, metrics_jointly, strict=True) for name in row
    )
    assert of_metrics < TOLERANCE, f"metrics differ by {of_metrics}"
    return {"difference of weights": difference, "difference of metrics": of_metrics}


def cross(number: int) -> dict[str, float]:
    """Trains by ``torchrun`` in two network namespaces, and compares with two processes on one machine."""
    assert (reason := reason_against()) is None, f"not tried: this machine has no network namespaces: {reason}"
    run_dir = folder() / f"namespaces-{number}"
    seconds = train_in_namespaces(run_dir, number, *OPTIONS)
    wrong = differences(left_behind(run_dir), _whole()[0])
    shutil.rmtree(run_dir)
    assert not wrong, f"{len(wrong)} differences, such as {wrong[0]}"
    return {"seconds": seconds}


CHECKS = (
    Check(
        "lost_processes", f"one of two killed or stopped: the other ends within {LIMIT:.0f} s, both go on", KILLS, kill
    ),
    Check("shares", "several processes load each sample once an epoch", SHARES, share),
    Check("parity", f"20 steps of two or three processes are those of one, to {TOLERANCE}", PARITIES, compare),
    Check("namespaces", "two machines by torchrun: the bits of two processes on one", NAMESPACES, cross),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
