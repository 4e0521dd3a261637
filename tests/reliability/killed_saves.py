"""Processes that save over models and files until they are killed; a program, so that it has one thread to fork."""

import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.atomic import replace_file

Saving = Callable[[int], object]
load = ImageClassificationModel.from_pretrained


def killed(save: Saving, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Forks a process that saves again and again, and kills it after a while; meanwhile something is done."""
    if (child := os.fork()) == 0:
        number = 0
        while True:
            save(number)
            number += 1
    try:
        meanwhile()
        time.sleep(seconds)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def without_room(save: Saving, size: int) -> None:
    """Saves where files can be no larger, as on a disk that is full."""
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            save(0)
        except OSError:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == 1, f"expected an error of {size} bytes, got exit {status}"


def made() -> list[ImageClassificationModel]:
    """Two models whose settings and weights both differ, one of them with a class that was added."""
    torch.manual_seed(0)
    images = torch.rand(40, 1, 12, 12)
    first, second = (ImageClassificationModel.from_preset(preset, 10).eval() for preset in ("base", "small"))
    second.remember(images, torch.arange(40) % 10)
    second.calibrate(images, torch.arange(40) % 10)
    second.add_class("eleven", images[:3])
    return [first, second]


def try_models(folder: Path, kills: int, rng: random.Random) -> Counter[str]:
    """Counts which model was there after each kill; one that is neither ends the program with an error."""
    models, found = made(), Counter[str]()
    images = torch.rand(3, 1, 12, 12)
    expected = [model.predict(images).probabilities for model in models]

    def look() -> str:
        probabilities = load(folder).predict(images).probabilities
        return next(f"model {i}" for i, wanted in enumerate(expected) if torch.equal(probabilities, wanted))

    def save(number: int) -> None:
        models[(first + number) % 2].save_pretrained(folder)

    first = 1
    started = time.perf_counter()
    for number in range(4):
        save(number)
    average = (time.perf_counter() - started) / 4
    for kill in range(kills):
        first = kill % 2
        # Loading takes longer than some saves: those are read while they are changed, others killed in the first.
        killed(save, rng.uniform(0, 3 * average), meanwhile=look if kill % 5 == 0 else lambda: None)
        names = {path.name for path in folder.iterdir()}
        found["within a save"] += names != {"config.json", "model.safetensors"}
        found[look()] += 1
    for first in (0, 1):
        save(0)
        size = (folder / "model.safetensors").stat().st_size
        save(1)
        for most in (0, 100, size // 2, size - 1):
            without_room(save, most)
            found["without room"] += look() == f"model {1 - first}"
    assert found["without room"] == 8
    save(0)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    return found


def try_files(folder: Path, kills: int, rng: random.Random) -> Counter[str]:
    """Counts what files were left after each kill of a process that replaces one and keeps the one before."""
    last, previous, found = folder / "last", folder / "previous", Counter[str]()

    def save(number: int) -> None:
        replace_file(last, bytes([number % 256]) * 2**20, keep_as=previous)

    save(0)
    for _ in range(kills):
        killed(save, rng.uniform(0, 0.05))
        for path in folder.iterdir():
            found["left"] += path not in (last, previous)
        for path in (last, previous):
            content = path.read_bytes() if path is last or path.exists() else bytes(2**20)
            assert content == content[:1] * 2**20, f"expected {path} whole"
            found["whole"] += 1
    save(0)
    assert {path.name for path in folder.iterdir()} == {"last", "previous"}
    return found


if __name__ == "__main__":
    base, kills = Path(sys.argv[1]), int(sys.argv[2])
    for name, attempt in (("models", try_models), ("files", try_files)):
        (base / name).mkdir()
        print(name, json.dumps(attempt(base / name, kills, random.Random(kills))), flush=True)
