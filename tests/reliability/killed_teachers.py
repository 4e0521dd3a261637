"""Processes that teach drawings, one by one, until they are killed; a program, so that it has one thread to fork."""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from PIL import Image, ImageDraw
from tqdm import tqdm

from grapheme_pyg import ImageClassificationModel
from grapheme_pyg.cli import main
from grapheme_pyg.demo.teaching import Lesson, to_digit

NAMES = ("心", "ñandú", "شجرة", "🦋", "שלום", "ไทย", "e\u0301", "👩‍👩‍👧")
load = ImageClassificationModel.from_pretrained


def drawn(number: int) -> Image.Image:
    rng = random.Random(number)
    page = Image.new("L", (140, 140), "white")
    points = [(rng.randrange(20, 120), rng.randrange(20, 120)) for _ in range(4)]
    ImageDraw.Draw(page).line(points, "black", 11, joint="curve")
    return page


def killed(teach: Callable[[int], object], first: int, seconds: float) -> int:
    """Forks a process that teaches drawings from a number on; how many it had saved when it was killed."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            for number in range(first, first + 1000):
                teach(number)
                os.write(writer, b".")
        finally:
            os._exit(1)
    os.close(writer)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "expected a process that teaches until it is killed"
    with os.fdopen(reader, "rb") as acknowledged:
        return len(acknowledged.read())


def counted(total: int) -> dict[str, int]:
    """How many of so many drawings each class has."""
    return dict(Counter(NAMES[number % len(NAMES)] for number in range(total)))


def try_kills(
    folder: Path, kills: int, rng: random.Random, teach: Callable[[int], object], look: Callable[[], dict[str, int]]
) -> Counter[str]:
    """Counts the drawings that were saved, and those that were found though nobody was told that they are."""
    started = time.perf_counter()
    for number in range(3):
        teach(number)
    average, total, found = (time.perf_counter() - started) / 3, 3, Counter[str]()
    for _ in range(kills):
        saved = total + killed(teach, total, rng.uniform(0, 4 * average))
        names = {path.name for path in folder.iterdir()}
        found["within a save"] += any(name.endswith(".part") or len(name) > 60 for name in names)
        classes = look()
        total = sum(classes.values())
        assert classes == counted(total), f"expected {counted(total)}, got {classes}"
        # What was begun last may be there or not.
        assert saved <= total <= saved + 1, f"expected {saved} drawings or one more, got {total}"
        found["not told"] += total - saved
    teach(total)
    assert look() == counted(total + 1)
    return found + Counter(saved=total)


def try_page(folder: Path, kills: int, rng: random.Random) -> Counter[str]:
    """As the page teaches and saves: not only the number of drawings, but they themselves are there."""
    encoder = load("symbols")
    # One for each process; the page opens it anew, too.
    lessons: dict[int, Lesson] = {}

    def teach(number: int) -> None:
        pid = os.getpid()
        if pid not in lessons:
            lessons[pid] = Lesson.open(folder) if folder.exists() else Lesson.of(encoder)
        lessons[pid].teach(NAMES[number % len(NAMES)], to_digit(drawn(number)))
        lessons[pid].save(folder)

    def look() -> dict[str, int]:
        lessons[os.getpid()] = opened = Lesson.open(folder)
        for number, drawing in enumerate(opened.drawings):
            assert drawing.equal(to_digit(drawn(number))), f"expected drawing {number} at its place, got another"
        return {name: len(drawings) for name, drawings in opened.examples().items()}

    found = try_kills(folder, kills, rng, teach, look)
    # The model's two files, the lock, and a file for each drawing.
    assert len(list(folder.iterdir())) == 3 + len(lessons[os.getpid()].drawings)
    return found


def try_command(folder: Path, kills: int, rng: random.Random) -> Counter[str]:
    """As ``grapheme teach`` adds to a model."""
    load("symbols").save_pretrained(folder)

    def teach(number: int) -> None:
        drawn(number).save(picture := folder.with_suffix(".png"))
        with redirect_stdout(StringIO()):
            assert main(["teach", str(folder), str(picture), "--name", NAMES[number % len(NAMES)]]) == 0

    def look() -> dict[str, int]:
        model = load(folder)
        assert model.classifier.memory is not None
        model.predict([drawn(0)], reject=0.05)
        return dict(zip(model.classes, model.classifier.memory.examples(), strict=True))

    return try_kills(folder, kills, rng, teach, look)


if __name__ == "__main__":
    # By default bars share a lock with forked processes; one that is killed while it holds it would stop all others.
    tqdm.set_lock(threading.RLock())
    base, kills = Path(sys.argv[1]), int(sys.argv[2])
    assert threading.active_count() == 1, "expected one thread, as a fork has no other"
    for name, attempt in (("page", try_page), ("command", try_command)):
        print(name, json.dumps(attempt(base / name, kills, random.Random(kills))), flush=True)
