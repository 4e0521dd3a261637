"""Long training: memory and open files stay what they were after the first steps."""

import multiprocessing
import statistics
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from harness import Check, main
from threads import images_of

from grapheme_pyg import ImageClassificationModel, TrainingSettings, fit
from grapheme_pyg.errors import TrainingWarning

STEPS, WARM_UP = 10_000, 1_000
STEPS_IN_EPOCH, BATCH_SIZE = 100, 4
WORKERS = (0, 4)
# Of the memory after the first steps.
LARGEST_GROWTH = 0.02


@dataclass(frozen=True)
class Use:
    """What training uses at the last step of an epoch.

    Attributes:
        memory: Proportional set size of the process and its children in kB: memory that n of them share counts 1/n
            in each.
        files: Open files of the process.
    """

    memory: int
    files: int


def use_of_process() -> Use:
    """What this process, and what it has started, use now. Linux alone tells."""
    me = multiprocessing.current_process()
    memory = sum(_memory(pid) for pid in (me.pid, *(child.pid for child in multiprocessing.active_children())))
    return Use(memory, len(list(Path("/proc/self/fd").iterdir())))


def _memory(pid: int | None) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def train(workers: int, steps: int, spoil: Callable[[], None] | None = None) -> list[Use]:
    """Trains for so many steps, with validation, metrics and a checkpoint after each epoch.

    Args:
        workers: Processes that load.
        steps: A multiple of those in an epoch.
        spoil: What each step does besides; a leak, to see that it is noticed.

    Returns:
        What was used at the last step of each epoch.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    number = STEPS_IN_EPOCH * BATCH_SIZE
    images, labels = images_of(generator, number, (12, 12)), torch.arange(number) % 4
    model = ImageClassificationModel.from_preset("tiny", 4)
    found: list[Use] = []
    done = 0

    def count(module: torch.nn.Module, *_: Any) -> None:
        nonlocal done
        if not module.training:  # validation
            return
        done += 1
        if spoil is not None:
            spoil()
        if done % STEPS_IN_EPOCH == 0:
            found.append(use_of_process())

    model.dag.register_forward_pre_hook(count)
    settings = TrainingSettings(
        epochs=steps // STEPS_IN_EPOCH, batch_size=BATCH_SIZE, num_workers=workers, device="cpu"
    )
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)  # labels mean nothing here
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more processes than CPUs: they are meant
        fit(
            model,
            images,
            labels,
            validation=(images[:32], labels[:32]),
            settings=settings,
            run_dir=folder,
            verbose=False,
        )
    return found


def compare(found: list[Use], warm_up: int) -> dict[str, float]:
    """What was used after so many epochs, and at the end.

    Raises:
        AssertionError: Memory has grown too much, or more or fewer files are open.
    """
    kept = found[warm_up:]
    # A few epochs together: what is in flight between processes differs from one moment to the other.
    some = min(5, len(kept) // 2)
    first, last = (statistics.median(use.memory for use in part) for part in (kept[:some], kept[-some:]))
    growth, files = last / first - 1, {use.files for use in kept}
    assert growth < LARGEST_GROWTH, f"expected memory to grow less than {LARGEST_GROWTH:.0%}, got {growth:.2%}"
    assert len(files) == 1, f"expected a constant number of open files, got {sorted(files)}"
    return {"growth in %": 100 * growth, "open files": max(files), "memory in MB": last / 1024}


def case(
    number: int, steps: int = STEPS, warm_up: int = WARM_UP, spoil: Callable[[], None] | None = None
) -> dict[str, float]:
    """A run in a process of its own, without or with processes that load."""
    workers = WORKERS[number % len(WORKERS)]
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start_loaders_by_fork) as pool:
        found = pool.submit(train, workers, steps, spoil).result()
    return compare(found, warm_up // STEPS_IN_EPOCH)


def _start_loaders_by_fork() -> None:
    """As a program of its own starts them, and not as this process was started itself."""
    multiprocessing.set_start_method("fork", force=True)


CHECKS = (
    Check(
        "steps",
        f"in {STEPS:,} steps of training, with 0 and with 4 loading processes, memory grows less than "
        f"{LARGEST_GROWTH:.0%} after the first {WARM_UP:,}, and the number of open files stays the same",
        len(WORKERS),
        case,
    ),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
