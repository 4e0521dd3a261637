"""Training that loses the room or the permission to save: what was saved stays, and it goes on later."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from pathlib import Path

from harness import Check, main
from training_process import (
    VARIANTS,
    Training,
    differences,
    left_behind,
    temporary_folder,
    train_to_the_end,
    uninterrupted,
)

from grapheme_pyg.training.checkpoints import FOLDER, LAST, PREVIOUS

# Whose permissions hold where root's do not.
NOBODY = 65534


def no_room(number: int) -> dict[str, float]:
    """Takes away the room or the permission to save in the middle of a run; then goes on with both."""
    expected, _ = uninterrupted(VARIANTS[0])
    run_dir = temporary_folder() / f"no-room-{number}"
    kind = ("limit", "permission", "disk")[number % 3]
    if kind == "disk" and not _may_mount():
        kind = "limit"
    stopped = Training(run_dir, *VARIANTS[0])
    while stopped.running() and not (run_dir / FOLDER / PREVIOUS).exists():
        time.sleep(0.002)
    stopped.tell(signal.SIGTERM)
    stopped.wait()
    last = run_dir / FOLDER / LAST
    before = last.read_bytes()
    with _full(run_dir / FOLDER, len(before)) if kind == "disk" else nullcontext():
        prepare = {"limit": partial(_limit, len(before) // 2), "permission": partial(_renounce, run_dir), "disk": None}
        ended = Training(run_dir, *VARIANTS[0], "--resume", prepare=prepare[kind]).wait()
        (run_dir / FOLDER).chmod(0o755)
        assert last.read_bytes() == before, "the old checkpoint is not as it was"
    lines = [line for line in ended.messages.splitlines() if line.startswith("train_mnist.py: ")]
    assert ended.code == 1, f"exit code {ended.code}: {ended.messages[-500:]}"
    assert len(lines) == 1, ended.messages[-500:]
    assert "what was saved before is kept" in lines[0], lines
    train_to_the_end(run_dir, *VARIANTS[0], "--resume")
    wrong = differences(left_behind(run_dir), expected)
    shutil.rmtree(run_dir)
    assert not wrong, f"{len(wrong)} differences, such as {wrong[0]}"
    return {f"number of cases without {kind}": 1}


def _limit(size: int) -> None:
    """Files of this process can be no larger."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _renounce(run_dir: Path) -> None:
    """This process may read the run's checkpoints, and write none."""
    (run_dir / FOLDER).chmod(0o555)
    if os.getuid() == 0:  # for whom permissions do not hold
        run_dir.chmod(0o777)
        run_dir.parent.chmod(0o755)
        os.setuid(NOBODY)


@cache
def _may_mount() -> bool:
    """Whether this process may make file systems."""
    folder = temporary_folder() / "mounted"
    folder.mkdir()
    try:
        with _full(folder, 2**20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def _full(folder: Path, room: int) -> Iterator[None]:
    """A file system for a folder that is too small for one more of its files; what is written there is gone again."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    size = sum(len(content) for content in files.values()) + room // 2
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, capture_output=True)
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


CHECKS = (
    Check("no_room", "a full disk or no permission: one line, exit code 1, the old checkpoint whole", 9, no_room),
)

if __name__ == "__main__":
    raise SystemExit(main(CHECKS))
