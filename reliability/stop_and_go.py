"""Training that is killed, told to stop, or has no room to save, and goes on: is the end the same to the last bit?"""

import random
import shutil
import signal
import time
from pathlib import Path

from harness import Check, main
from training_process import (
    VARIANTS,
    Training,
    differences,
    left_behind,
    temporary_folder,
    train_anew,
    train_to_the_end,
    uninterrupted,
)

from grapheme_pyg.training.checkpoints import FOLDER, LAST, PREVIOUS, read_checkpoint

# Of these every second, from the first on, is killed while it saves.
KILLS, SIGNALS, SEEDS = 100, 20, 10
# Seconds of patience for a process that was told to stop: a step takes milliseconds.
PATIENCE = 5.0
# Runs that may be over when they are told to stop, one after the other.
ATTEMPTS = 10
WRITTEN = LAST + ".part"


def kill(number: int) -> dict[str, float]:
    """Kills a run at a random moment, or within a save, goes on, and compares."""
    chance = random.Random(number)
    variant = VARIANTS[number // 2 % len(VARIANTS)]
    expected, seconds = uninterrupted(variant)
    run_dir = temporary_folder() / f"kill-{number}"
    ended = None
    while ended is None or ended.code == 0:  # one that was quicker is not killed
        shutil.rmtree(run_dir, ignore_errors=True)
        training = Training(run_dir, *variant)
        if number % 2:
            time.sleep(chance.uniform(0, 0.8 * seconds))
        else:
            _wait_for_a_save(training, chance.randrange(5))
        training.tell(signal.SIGKILL)
        ended = training.wait()
    assert ended.code == -signal.SIGKILL, f"exit code {ended.code}: {ended.messages[-500:]}"
    within = _within_a_save(run_dir)
    if number % 10 == 9:
        train_anew(run_dir, *variant, "--resume", hash_seed=number)
    else:
        train_to_the_end(run_dir, *variant, "--resume")
    wrong = differences(left_behind(run_dir), expected)
    shutil.rmtree(run_dir)
    assert not wrong, f"{len(wrong)} differences, such as {wrong[0]}"
    return {"number of kills": 1, "number of kills within a save": within}


def _wait_for_a_save(training: Training, saves: int) -> None:
    """Returns while a run writes a checkpoint, after so many others, or when it has ended."""
    folder = training.run_dir / FOLDER
    part, seen, there = folder / WRITTEN, -1, False
    while training.running():
        for _ in range(200):  # asking whether it runs takes longer than looking for the file
            before, there = there, part.exists()
            seen += there and not before
            if there and seen >= saves:
                return


def _within_a_save(run_dir: Path) -> bool:
    """Whether a run that was killed has left a save half done: a part, or the same file under both names."""
    last, previous = (run_dir / FOLDER / name for name in (LAST, PREVIOUS))
    return (run_dir / FOLDER / WRITTEN).exists() or (previous.exists() and last.samefile(previous))


def stop(number: int) -> dict[str, float]:
    """Tells a run to stop, by one of the two signals; it does, saved, soon and with the code that says why."""
    chance = random.Random(number)
    variant = VARIANTS[number // 2 % len(VARIANTS)]
    expected, seconds = uninterrupted(variant)
    told = (signal.SIGTERM, signal.SIGINT)[number % 2]
    run_dir = temporary_folder() / f"stop-{number}"
    for _ in range(ATTEMPTS):
        training = Training(run_dir, *variant)
        # Between the first checkpoint and the end of training.
        while training.running() and not (run_dir / FOLDER / LAST).exists():
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.1 * seconds))
        training.tell(told)
        ended = training.wait()
        if f"stopped by {told.name}" in ended.messages:
            break
        # Training may have been over when it came.
        shutil.rmtree(run_dir)
    else:
        raise AssertionError(f"expected a run to be stopped by {told.name}, got none of {ATTEMPTS}")
    assert ended.code == 128 + told, f"exit code {ended.code}: {ended.messages[-500:]}"
    assert ended.seconds < PATIENCE, f"{ended.seconds:.1f} s"
    read_checkpoint(run_dir / FOLDER / LAST)
    train_to_the_end(run_dir, *variant, "--resume")
    wrong = differences(left_behind(run_dir), expected)
    shutil.rmtree(run_dir)
    assert not wrong, f"{len(wrong)} differences, such as {wrong[0]}"
    return {"number of runs that were stopped": 1, "seconds to the end": ended.seconds}


def repeat(number: int) -> dict[str, float]:
    """Trains again with the same seed; sets of strings have another order there."""
    run_dir = temporary_folder() / f"repeat-{number}"
    train_anew(run_dir, *VARIANTS[0], hash_seed=number)
    wrong = differences(left_behind(run_dir), uninterrupted(VARIANTS[0])[0])
    shutil.rmtree(run_dir)
    assert not wrong, f"{len(wrong)} differences, such as {wrong[0]}"
    return {}


def work(number: int) -> dict[str, float]:
    """Trains with 1 or 4 processes that load."""
    run_dir = temporary_folder() / f"work-{number}"
    train_to_the_end(run_dir, *VARIANTS[0], "--num-workers", str((1, 4)[number % 2]))
    wrong = differences(left_behind(run_dir), uninterrupted(VARIANTS[0])[0])
    shutil.rmtree(run_dir)
    assert not wrong, f"{len(wrong)} differences, such as {wrong[0]}"
    return {}


CHECKS = (
    Check("kills", "a run that is killed and resumed ends bit for bit as one that is not", KILLS, kill),
    Check("signals", f"SIGTERM and SIGINT: saved, ended within {PATIENCE:.0f} s, resumed bit for bit", SIGNALS, stop),
    Check("same_seed", "the same seed gives the same bits", SEEDS, repeat),
    Check("workers", "1 and 4 workers give the bits that none gives", 4, work),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
