"""Writes README's table of accuracies, after the runs that have no result yet.

    make results
    make results ARGS="--only tiny base --seeds 0 1 2"

Each system and seed runs in its own process, with a folder in `runs/results`. Finished runs are not repeated, so that
an interrupted command continues where it was; to repeat a run, delete its folder. Results are stored in
`benchmarks/results/accuracy.json`, from which the table is written; the entry of a row is replaced when all its runs
are finished. Results of other code than the present one are refused.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict

import torch
from common import ROOT, check_code, replace_between, spread, this_code
from timing import cpu_name


@dataclass(frozen=True)
class Measured:
    """A system that we run: a script with its options; it has no seeds, and runs once, if nothing is random."""

    name: str
    system: str
    command: str
    seeds: tuple[int, ...] = (0, 1, 2)
    dataset: str = "mnist"


@dataclass(frozen=True)
class Quoted:
    """A result that others report, with their number of digits."""

    system: str
    accuracy: str
    source: str
    weights: str = ""


OURS = "examples/train_mnist.py"
MEASURED = (
    Measured("example-cnn", "the CNN of PyTorch's MNIST example", "benchmarks/example_cnn.py"),
    Measured(
        "robust-cnn",
        "the same CNN, trained on the same images as ours",
        "benchmarks/example_cnn.py --robust",
        seeds=(0,),
    ),
    Measured("tiny", "ours, `tiny`", f"{OURS} --preset tiny"),
    Measured("small", "ours, `small`", f"{OURS} --preset small"),
    Measured("base", "ours, `base`", f"{OURS} --preset base"),
)
BOARD = (
    "[leaderboard](https://github.com/graphdeeplearning/benchmarking-gnns/blob/master-may2022/docs/07_leaderboards.md)"
)
OPERATORS = "[Potter et al., submitted to ICLR 2021](https://openreview.net/forum?id=Y45i-hDynr)"
QUOTED = (
    Quoted("PNA on superpixels, first of benchmarking-gnns", "97.94", BOARD, "119,812"),
    Quoted("pseudo-differential operators, the best on 75 superpixels that we know of", "99.20", OPERATORS),
)

README, ACCURACY, RUNS = ROOT / "README.md", ROOT / "benchmarks/results/accuracy.json", ROOT / "runs/results"
REMARK = (
    "Mean ± sample standard deviation over seeds. Quoted figures were not run here, and superpixels, their input, have "
    "less detail than cells. The last twelfth of the training images is held out for validation; each run uses the "
    "test set once, on its final weights."
)
TAIL = 20  # lines of a failed run's stderr


class Run(TypedDict):
    """A run in accuracy.json."""

    command: str
    seed: int | None
    dataset: str
    num_weights: int
    test_accuracy: float
    commit: str
    machine: dict[str, Any]


def this_machine() -> dict[str, Any]:
    """Describes the machine; ``threads`` is the number of cores that PyTorch uses."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "torch_geometric": version("torch_geometric"),
    }


def measure(row: Measured, seed: int | None, runs: Path = RUNS) -> Run:
    """Returns the result of a run, which is made first if it is not there.

    Raises:
        ChildProcessError: The run failed; the message ends with its last output.
        ValueError: The run's folder holds a result of something else.
    """
    folder = runs / (row.name if seed is None else f"{row.name}-seed{seed}")
    options = ["--run-dir", str(folder), *([] if seed is None else ["--seed", str(seed)])]
    if not (folder / "test.json").exists():
        # The files of an interrupted run would be in the way of a new one.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(
            json.dumps({"command": row.command, **this_code(), "machine": this_machine()}) + "\n"
        )
        print(f"== {folder.name}: {row.command}", flush=True)
        command = [sys.executable, *shlex.split(row.command), *options]
        ended = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, errors="replace", check=False)  # noqa: S603
        if ended.returncode != 0:
            tail = "\n".join(ended.stderr.splitlines()[-TAIL:])
            raise ChildProcessError(f"{folder.name}: {row.command} ended with status {ended.returncode}\n{tail}")
    return read_run(folder, row, seed)


def read_run(folder: Path, row: Measured, seed: int | None) -> Run:
    """Reads a finished run.

    Raises:
        ValueError: The run is of another command, data set, seed or code, or its result is incomplete.
    """
    how, result = (json.loads((folder / name).read_text()) for name in ("run.json", "test.json"))
    expected = {"command": row.command, "dataset": row.dataset, "seed": seed}
    found = {key: (how | result).get(key) for key in expected}
    if found != expected:
        raise ValueError(f"{folder}: expected a run of {expected}, got one of {found}; delete it to repeat the run")
    check_code(folder, how)
    missing = {"num_weights", "test_accuracy"} - set(result)
    if missing:
        raise ValueError(f"{folder / 'test.json'}: expected {', '.join(sorted(missing))}, too, got {sorted(result)}")
    return Run(
        command=row.command,
        seed=seed,
        dataset=row.dataset,
        num_weights=result["num_weights"],
        test_accuracy=result["test_accuracy"],
        commit=how["commit"],
        machine=how["machine"],
    )


def read_accuracy() -> dict[str, list[Run]]:
    """Reads all results, by name of the system."""
    measured: dict[str, list[Run]] = json.loads(ACCURACY.read_text()) if ACCURACY.exists() else {}
    return measured


def write_accuracy(measured: Mapping[str, Sequence[Run]]) -> None:
    """Writes all results in the order of the rows; systems without a row are left out."""
    ACCURACY.parent.mkdir(parents=True, exist_ok=True)
    kept = {row.name: measured[row.name] for row in MEASURED if row.name in measured}
    ACCURACY.write_text(json.dumps(kept, indent=2, allow_nan=False) + "\n")


def table(measured: Mapping[str, Sequence[Run]]) -> str:
    """Returns the table, worst system first, and a remark on it."""
    rows = [
        (float(row.accuracy), [row.system, row.weights, "", f"{row.accuracy} %", f"quoted: {row.source}"])
        for row in QUOTED
    ]
    for row in MEASURED:
        if row.name not in measured:
            continue
        runs = measured[row.name]
        accuracies = [run["test_accuracy"] for run in runs]
        shown = f"**{spread(accuracies)}**" if OURS in row.command else spread(accuracies)
        seeds = ", ".join(str(run["seed"]) for run in runs if run["seed"] is not None)
        cells = [row.system, f"{runs[0]['num_weights']:,}", seeds, shown, f"`python {runs[0]['command']}`"]
        rows.append((100 * statistics.mean(accuracies), cells))
    header = ["MNIST", "weights", "seeds", "test accuracy", "command or source"]
    lines = [header, ["---"] * len(header), *(cells for _, cells in sorted(rows, key=lambda row: row[0]))]
    commits = sorted({run["commit"][:7] for runs in measured.values() for run in runs})
    measured_at = f"commit{'' if len(commits) == 1 else 's'} {', '.join(commits) or 'none yet'}"
    remark = f"{REMARK} Measured at {measured_at}. (`make results`)"
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", textwrap.fill(remark, 120)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [row.name for row in MEASURED]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--seeds", type=int, nargs="+", metavar="K", help="instead of each row's own")
    parser.add_argument("--table-only", action="store_true", help="run nothing, write the table from accuracy.json")
    arguments = parser.parse_args()
    # Missing markers are reported before hours of training.
    replace_between(README.read_text(), "results", "")
    for row in () if arguments.table_only else MEASURED:
        if row.name in arguments.only:
            seeds = (arguments.seeds or row.seeds) if row.seeds else [None]
            runs = [measure(row, seed) for seed in seeds]
            print(f"{row.name}: {spread([run['test_accuracy'] for run in runs])}", flush=True)
            # Read again, since another process may have written its rows.
            write_accuracy(read_accuracy() | {row.name: runs})
    README.write_text(replace_between(README.read_text(), "results", table(read_accuracy())))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"results.py: {error}")
