"""How long it takes to import the package and to start the command, beside what PyTorch and PyG take by themselves.

Each is timed in processes of its own, in turn; medians, and the processor's seconds, which other work on the machine
changes less. `grapheme predict` is that of a model that is made here, on one image.

    python benchmarks/speed_import.py
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from timing import show

NAMES = "ClassificationBrain, DagNN, ImageClassificationModel, ImageGraph, Prediction, RandomWarp, VisionBrain"
PYTORCH_AND_PYG = "PyTorch and PyG"


def ways(folder: Path) -> dict[str, list[str]]:
    """Command lines of what is timed, after putting a model and an image there."""
    from PIL import Image

    from grapheme_pyg import ImageClassificationModel

    ImageClassificationModel.from_preset("base").save_pretrained(folder / "model")
    Image.new("L", (28, 28)).save(folder / "image.png")
    python = [sys.executable, "-W", "ignore"]
    command = [*python, "-m", "grapheme_pyg"]
    return {
        PYTORCH_AND_PYG: [*python, "-c", "import torch, torch_geometric"],
        "import grapheme_pyg": [*python, "-c", "import grapheme_pyg"],
        "all names but those of training": [*python, "-c", f"from grapheme_pyg import {NAMES}"],
        "grapheme predict": [*command, "predict", str(folder / "model"), str(folder / "image.png"), "--json"],
        "grapheme --help": [*command, "--help"],
    }


def run(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of a process on the clock, and of the processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(commands: Mapping[str, Sequence[str]], turns: int) -> dict[str, tuple[float, float]]:
    """Median seconds of each command, on the clock and of the processor; the first turn only warms up."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for turn in range(1 + turns):
        for name, command in commands.items():
            found = run(command)
            if turn:
                seconds[name].append(found)
    return {
        name: (statistics.median(wall for wall, _ in rows), statistics.median(cpu for _, cpu in rows))
        for name, rows in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=9, metavar="N", help="how often each is timed (9)")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(ways(Path(folder)), parser.parse_args().turns)
    wall, cpu = found[PYTORCH_AND_PYG]
    rows = [
        [name, f"{seconds:.2f}", f"{seconds - wall:+.2f}", f"{processor:.2f}", f"{processor / cpu:.2f}"]
        for name, (seconds, processor) in found.items()
    ]
    header = ["", "seconds", f"beyond {PYTORCH_AND_PYG}", "of the processor", "of theirs"]
    show("starting", header, rows)


if __name__ == "__main__":
    main()
